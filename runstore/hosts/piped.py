"""Programs with pipes at their three ends, ssh and rsync: started, and ended with certainty."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GOODBYE_S = 2.0
ASKS_NOBODY = Path(__file__).with_name("ask_nobody.sh")


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
            an ssh that would ask ends (`ask_nobody.sh`).
        environment: instead of this process's.
        pass_fds: descriptors that it keeps open.

    Raises:
        OSError: it cannot be started.
    """
    environment = dict(os.environ if environment is None else environment)
    if not ask:
        environment |= {"SSH_ASKPASS": str(ASKS_NOBODY), "SSH_ASKPASS_REQUIRE": "force"}
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
