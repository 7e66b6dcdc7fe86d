"""One call of rsync: what it has brought, or why it has not."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from runstore.hosts.piped import end, start_piped
from runstore.pull.failures import PullError, why_failed
from runstore.threads import start_daemon

LINES_KEPT = 200
_STATISTIC = re.compile(r"(?P<name>[A-Z][A-Za-z ]+): (?P<value>[0-9,]+)")
_ESCAPED = re.compile(r"\\#([0-7]{3})")
_SETTINGS = (
    "RSYNC_RSH",
    "RSYNC_OLD_ARGS",
    "RSYNC_PROTECT_ARGS",
    "RSYNC_ICONV",
    "RSYNC_PARTIAL_DIR",
)
"""Variables by which a user changes what rsync does when it is called by hand."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a pull has brought."""

    files: frozenset[str] = frozenset()
    """Those that changed, as paths below the directory over there."""
    looked_at: int = 0
    """How many names rsync has compared."""
    received_bytes: int = 0
    """Over the wire."""

    def __add__(self, other: Brought) -> Brought:
        return Brought(
            self.files | other.files,
            self.looked_at + other.looked_at,
            self.received_bytes + other.received_bytes,
        )


class Rsync:
    """Calls rsync, once at a time; `stop` may come from another thread."""

    def __init__(self, host: str, path: str) -> None:
        """Copy from a `path` on a `host`."""
        self._host, self._path = host, path
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the call that is at work, and let none follow."""
        self._stopped.set()
        process = self._process
        if process is not None:
            end(process)

    def call(
        self, command: Sequence[str], files: bytes, kept_open: int
    ) -> tuple[Brought, PullError | None]:
        """Run rsync to its end.

        Args:
            command: `runstore.hosts.remote.rsync_command`.
            files: what it reads from standard input.
            kept_open: a descriptor that stays open for as long as rsync runs, also when this
                process is killed: the lock on the copy.

        Returns:
            What has come, and what of the rest cannot be read over there.

        Raises:
            PullError: it was cut short.
        """
        try:
            process = start_piped(command, environment=_environment(), pass_fds=(kept_open,))
        except OSError as error:
            why = f"rsync cannot be started here ({error.strerror}); install it"
            raise PullError(self._host, why) from None
        self._process = process
        try:
            output, errors = self._communicate(process, files)
        finally:
            end(process)
            self._process = None
        if self._stopped.is_set():
            raise PullError(self._host, "stopped")
        brought = _brought(output)
        failure = why_failed(self._host, self._path, process.returncode, errors)
        if failure is not None and not failure.is_partial:
            raise failure
        return brought, failure

    def _communicate(
        self, process: subprocess.Popen[bytes], files: bytes
    ) -> tuple[list[str], list[str]]:
        if self._stopped.is_set():
            end(process)
        output: list[str] = []
        errors: list[str] = []
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr

        def listen() -> None:
            with stderr:
                for line in stderr:
                    if len(errors) < LINES_KEPT:
                        errors.append(_text(line[:4096]))

        listener = start_daemon(listen, "runstore-rsync")

        def read() -> None:
            with stdout:
                output.extend(map(_text, stdout))

        reader = start_daemon(read, "runstore-rsync")
        with suppress(OSError):
            stdin.write(files)
            stdin.close()
        # The threads end with rsync; joined in pieces, so that a signal is served in between.
        while reader.is_alive():
            reader.join(0.2)
        process.wait()
        listener.join(1.0)
        return output, errors


def _text(line: bytes) -> str:
    return line.decode(errors="surrogateescape").rstrip("\n")


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in _SETTINGS}
    # Its messages are read; its names of files are bytes in any case.
    return {**kept, "LC_ALL": "C"}


def _brought(output: Sequence[str]) -> Brought:
    files: set[str] = set()
    numbers: dict[str, int] = {}
    for line in output:
        # `>f.st...... runs/a/progress.json`; statistics begin with a capital.
        if line.startswith(">f"):
            files.add(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), line.partition(" ")[2]))
        elif match := _STATISTIC.match(line):
            numbers[match["name"]] = int(match["value"].replace(",", ""))
    return Brought(
        frozenset(files),
        numbers.get("Number of files", 0),
        numbers.get("Total bytes received", 0),
    )
