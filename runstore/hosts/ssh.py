"""A host as one process reaches it: logged in once, then asked as often as need be.

The user's own configuration decides how (`ssh -G` tells it): names, keys, gateways, and the place
of a shared connection. Where no place is configured, the connection is shared at one of our own,
which goes when this process ends, however it ends: what holds it is a `cat` over there that reads
from this process.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runstore.errors import RunStoreError
from runstore.hosts.login_socket import new_socket
from runstore.hosts.piped import GOODBYE_S, end, start_piped
from runstore.hosts.remote import checked_host, ssh_command, ssh_question
from runstore.hosts.ssh_words import is_noise, is_refusal, lines_of, why_not_in
from runstore.text import printable
from runstore.threads import start_daemon

CONNECT_S = 15
"""Where the user's configuration gives none: a host that is off does not refuse, it is silent."""
ALIVE_S = 10
"""A shared connection over which nothing comes for three times so long is cut."""
ANSWER_S = 30.0
"""A short command over there takes less, or the link is gone."""
ANSWER_BYTES = 1 << 20
CONFIG_S = 20.0
READY = "runstore-link-ready"
SSH_FAILED = 255
"""The status of ssh itself; others are the remote command's."""
_LINES_KEPT = 20


class LinkError(RunStoreError):
    """A host that cannot be reached, or does not let us in."""

    def __init__(self, host: str, why: str, *, would_ask: bool = False) -> None:
        """Say `why` of a `host`.

        Args:
            host: as it was given.
            why: in one line.
            would_ask: it is there, and lets in who answers on a terminal.
        """
        self.host = host
        self.why = why
        self.would_ask = would_ask
        super().__init__(f"{host}: {why}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script over there has printed."""

    status: int
    output: str
    errors: str
    """The first line of standard error, safe to print."""


class Link:
    """One host. `open` and `run` may be called by any one thread at a time, `close` by any."""

    def __init__(self, host: str) -> None:
        """Reach `[user@]host`, as ssh names it; nothing is connected yet.

        Raises:
            RemoteError: it is no name of a host.
        """
        self.host = checked_host(host)
        self._config: Mapping[str, str] = {}
        self._socket: Path | None = None
        """Where our own shared connection is; None where the user's is taken."""
        self._holder: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        self._aloud = False
        """Somebody logs in on the terminal now: what ssh says is for them."""
        self._is_shared = True
        """Whether commands are let through one connection; a restricted login may refuse that."""
        self._closed = False

    @property
    def options(self) -> list[str]:
        """What ssh is told for each command: never to ask, and which connection to share."""
        return [
            *self._basics(ask=False),
            *(["-oControlMaster=no"] if self._socket else []),
            *self._path(),
        ]

    @property
    def is_open(self) -> bool:
        """Whether what `open` has begun is still there."""
        holder = self._holder
        return bool(self._config) and (holder is None or holder.poll() is None)

    def open(self, *, ask: bool) -> None:
        """Log in, and share that login with all that follows.

        Args:
            ask: ssh may ask for a password or a code on the terminal, which must be free for that.

        Raises:
            LinkError: there is no ssh, the host cannot be reached, or does not let us in.
        """
        self._end_holder()
        self._refuse_if_closed()
        self._config = self._read_config()
        if not self._has_path() and self._socket is None:
            self._socket = new_socket()
        if self._has_path() and self._is_alive():
            return
        if self._is_shared:
            self._hold(ask=ask)

    def run(self, script: str, *, wait_s: float = ANSWER_S) -> Answer:
        """Run a script of a POSIX shell over there, whatever the user's login shell is.

        Args:
            script: it is read from standard input, so the login shell sees none of it.
            wait_s: seconds that it may take.

        Raises:
            LinkError: the link is gone.
        """
        command = ssh_command(self.host, ["sh"], self.options)
        try:
            process = start_piped(command)
        except OSError as error:
            raise self._no_ssh(error) from None
        return self._answer(process, script.encode(errors="surrogateescape"), wait_s)

    def close(self) -> None:
        """End the connection, if it is ours."""
        self._closed = True
        self._end_holder()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.unlink()

    def _refuse_if_closed(self) -> None:
        if self._closed:  # by another thread: whatever was begun since is ended here
            self.close()
            raise LinkError(self.host, "the connection was closed here")

    # ---- the user's configuration --------------------------------------------------------------

    def _read_config(self) -> Mapping[str, str]:
        try:
            done = subprocess.run(
                ssh_question(self.host, ["-G"]),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CONFIG_S,
            )
        except OSError as error:
            raise self._no_ssh(error) from None
        except subprocess.TimeoutExpired:
            raise LinkError(
                self.host, "ssh does not come to an end with its configuration"
            ) from None
        if done.returncode != 0:
            said = lines_of(done.stderr) or ["ssh refuses its configuration"]
            raise LinkError(self.host, said[0])
        lines = done.stdout.decode(errors="replace").splitlines()
        return {key.lower(): value for key, _, value in (line.partition(" ") for line in lines)}

    def _no_ssh(self, error: OSError) -> LinkError:
        return LinkError(self.host, f"ssh cannot be started here ({error.strerror}); install it")

    def _has_path(self) -> bool:
        return self._config.get("controlpath", "none").lower() not in ("none", "")

    def _path(self) -> list[str]:
        return [f"-oControlPath={self._socket}"] if self._socket else []

    def _basics(self, *, ask: bool) -> list[str]:
        config = self._config
        options = ["-T"] if ask else ["-T", "-oBatchMode=yes"]
        if config.get("connecttimeout", "none") in ("none", "0"):
            options.append(f"-oConnectTimeout={CONNECT_S}")
        if config.get("remotecommand", "none") != "none":
            # With one, ssh refuses any other command.
            options.append("-oRemoteCommand=none")
        return options

    # ---- the login that is shared --------------------------------------------------------------

    def _is_alive(self) -> bool:
        """Tell whether the user's shared connection is there now."""
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                ssh_question(self.host, ["-O", "check"]),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CONFIG_S,
            )
            return done.returncode == 0
        return False

    def _hold(self, *, ask: bool) -> None:
        options = self._basics(ask=ask)
        if self._socket or self._config.get("controlmaster", "false") in ("false", "no"):
            options.append("-oControlMaster=auto")
        if self._socket:
            # Ours alone: it carries files and ends with us.
            options += ["-oControlPersist=no", "-oClearAllForwardings=yes", "-oForwardX11=no"]
        if self._config.get("serveraliveinterval", "0") == "0":
            options.append(f"-oServerAliveInterval={ALIVE_S}")
        command = ssh_command(self.host, ["sh"], [*options, *self._path()])
        self._said.clear()
        self._aloud = ask
        try:
            holder = start_piped(command, ask=ask)
        except OSError as error:
            raise self._no_ssh(error) from None
        self._holder = holder
        start_daemon(lambda: self._listen(holder), "runstore-link")  # it closes the pipe
        self._refuse_if_closed()
        try:
            is_ready = self._wait_until_ready(holder, None if ask else self._patience_s())
        except ValueError:  # `close`, in another thread, has closed the pipes
            self._refuse_if_closed()
            raise
        except BaseException:
            self._end_holder()
            raise
        finally:
            self._aloud = False
        if not is_ready:
            self._refuse_if_closed()
            self._give_up(holder)

    def _patience_s(self) -> float:
        asked = self._config.get("connecttimeout", "")
        return 2.0 * (int(asked) if asked.isdigit() and asked != "0" else CONNECT_S)

    def _wait_until_ready(self, holder: subprocess.Popen[bytes], wait_s: float | None) -> bool:
        """Tell whether the shell over there has answered; login scripts may print before it."""
        assert holder.stdin is not None
        assert holder.stdout is not None
        with suppress(BrokenPipeError):
            holder.stdin.write(f"echo {READY}\nexec cat >/dev/null\n".encode())
            holder.stdin.flush()
        alarm = None if wait_s is None else threading.Timer(wait_s, holder.kill)
        if alarm is not None:
            alarm.daemon = True
            alarm.start()
        try:
            while line := holder.stdout.readline(4096):
                if line.strip().endswith(READY.encode()):
                    return True
        finally:
            if alarm is not None:
                alarm.cancel()
        return False

    def _listen(self, holder: subprocess.Popen[bytes]) -> None:
        """Keep what ssh says, and pass it on while somebody logs in."""
        assert holder.stderr is not None
        with holder.stderr:
            while line := holder.stderr.readline(4096):
                text = printable(line.decode(errors="replace").strip())
                if text:
                    self._said.append(text)
                    if self._aloud and not is_noise(text):
                        sys.stderr.write(f"{text}\n")

    def _give_up(self, holder: subprocess.Popen[bytes]) -> None:
        """Find out why the login has ended.

        Raises:
            LinkError: ssh itself has failed.
        """
        with suppress(subprocess.TimeoutExpired):
            holder.wait(GOODBYE_S)
        status = holder.poll()
        time.sleep(0.05)  # what it said last is on its way from the other thread
        said = [text for text in self._said if not is_noise(text)]
        self._end_holder()
        if status == SSH_FAILED or status is None:
            raise LinkError(self.host, why_not_in(said), would_ask=any(map(is_refusal, said)))
        if status < 0:
            raise LinkError(self.host, self._silent(self._patience_s()))
        # Let in, and the shell refused: a login for rsync alone. Each command then has its own.
        self._is_shared = False

    def _silent(self, waited_s: float) -> str:
        return f"no answer within {waited_s:g} s; see what `ssh {self.host} true` waits for"

    def _end_holder(self) -> None:
        holder, self._holder = self._holder, None
        if holder is None:
            return
        assert holder.stdin is not None
        assert holder.stdout is not None
        with suppress(OSError):
            holder.stdin.close()
        end(holder)
        # Only now: closed while another thread reads from it, it would wait for that.
        holder.stdout.close()

    # ---- a command -----------------------------------------------------------------------------

    def _answer(self, process: subprocess.Popen[bytes], script: bytes, wait_s: float) -> Answer:
        late = threading.Timer(wait_s, process.kill)
        late.daemon = True
        late.start()
        errors: list[bytes] = []
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stderr = process.stderr
        listener = start_daemon(lambda: errors.append(_some(stderr)), "runstore-link")
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(script)
                process.stdin.close()
            with process.stdout:
                output = process.stdout.read(ANSWER_BYTES)
            if len(output) == ANSWER_BYTES:
                process.kill()
            status = process.wait()
        finally:
            late.cancel()
            end(process)
        listener.join(GOODBYE_S)
        said = lines_of(errors[0]) if errors else []
        if status == SSH_FAILED:
            raise LinkError(self.host, why_not_in(said))
        if len(output) == ANSWER_BYTES:
            raise LinkError(self.host, f"it answers with more than {ANSWER_BYTES:,} bytes")
        if status < 0:
            raise LinkError(self.host, self._silent(wait_s))
        return Answer(status, output.decode(errors="replace"), next(iter(said), ""))


def _some(stream: IO[bytes]) -> bytes:
    """Read a stream to its end, and keep its beginning."""
    with stream:
        kept = more = stream.read(1 << 14)
        while more:
            more = stream.read(1 << 14)
            if len(kept) < 1 << 16:
                kept += more
    return kept
