"""Programs with pipes at their three ends, ssh and rsync: started, and ended with certainty."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

GOODBYE_S = 2.0
_ASKING = ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE")


def start_piped(
    command: Sequence[str],
    *,
    ask: bool = False,
    environment: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program.

    Args:
        command: its name and its arguments.
        ask: it may ask on the terminal, and Ctrl-C there is for it too. Otherwise it has none, and
            opens no window to ask in: an ssh that was told not to ask may start another one, for
            a gateway, which was not told.
        environment: instead of this process's.
        pass_fds: descriptors that it keeps open.

    Raises:
        OSError: it cannot be started.
    """
    environment = dict(os.environ if environment is None else environment)
    if not ask:
        environment = {key: text for key, text in environment.items() if key not in _ASKING}
        environment["SSH_ASKPASS_REQUIRE"] = "never"
    # Inherited: in our threads all signals are blocked, and what one of them starts could not be
    # told to end.
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=tuple(pass_fds),
            start_new_session=not ask,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours: by what it is asked, or else at once."""
    if process.poll() is None:
        with suppress(OSError):
            process.terminate()
        try:
            process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
