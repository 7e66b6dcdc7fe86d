"""`output.log`: what a command printed, in parts, written beside the passing on.

Who prints never waits for this file: what a disk does not take waits in memory, up to a limit, and
what is beyond it is left out, counted, and told in the log where it is missing.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runstore.files.paths import RunPaths

PART_BYTES = 32 << 20
"""A part is closed at this size; editors and `less` still open it at once."""
NEWEST_PARTS = 2
"""So many closed parts stay besides the first one: 128 MiB at most with the open one.

How a run began and how it ended is what people look for.
"""
WAITING_BYTES = 32 << 20
"""The most that waits in memory for the disk."""
HURRY_BYTES = 1 << 20
"""With so much waiting, `wake` is called."""
LOOK_BYTES = 64 << 10
"""Where the last lines are looked for."""
_CLOSED = re.compile(r"output\.([0-9]{1,9})\.log")


class OutputLog:
    """Appends text to `output.log` of a run directory. `put` may be called by any thread."""

    def __init__(
        self,
        run_dir: Path,
        *,
        wake: Callable[[], object] = lambda: None,
        part_bytes: int = PART_BYTES,
        waiting_bytes: int = WAITING_BYTES,
    ) -> None:
        """Prepare the log; its file appears with the first `write`.

        Args:
            run_dir: the run's directory.
            wake: called when so much waits that `write` should come soon.
            part_bytes: a part is closed at this size.
            waiting_bytes: what waits beyond is left out.
        """
        self._paths = RunPaths(run_dir)
        self._wake = wake
        self._part_bytes, self._most_waiting = part_bytes, waiting_bytes
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._left_out = 0
        """Bytes left out since the last note of it in the log."""
        self.lost_bytes = 0
        """Bytes left out in all."""
        self.failing: str | None = None
        """Why the last write failed."""
        self._fd = -1
        self._size = 0

    def put(self, text: bytes) -> None:
        """Have text written soon."""
        if not text:
            return
        with self._lock:
            note = self._note()
            if self._waiting_bytes + len(note) + len(text) > self._most_waiting:
                self._left_out += len(text)
                self.lost_bytes += len(text)
                return
            self._left_out = 0
            self._waiting.append(note + text)
            self._waiting_bytes += len(note) + len(text)
        if self._waiting_bytes > HURRY_BYTES:
            self._wake()

    def _note(self) -> bytes:
        """Return the line that stands where something is missing."""
        if not self._left_out:
            return b""
        why = f": {self.failing}" if self.failing else ", which came faster than it was written"
        return f"[runstore: {self._left_out:,} bytes are left out here{why}]\n".encode()

    def write(self) -> None:
        """Write what waits, as far as the disk takes it; never raises for a fault of the disk."""
        try:
            self._open_if_needed()
            while self._waiting:
                self._write_oldest()
        except OSError as error:
            self.failing = error.strerror or str(error)
        else:
            self.failing = None

    def _open_if_needed(self) -> None:
        if self._fd >= 0:
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(self._paths.output, flags, 0o666)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            # An earlier attempt was killed in the middle of a line.
            self._size += os.write(self._fd, b"\n")

    def _write_oldest(self) -> None:
        text = self._waiting[0]
        if self._size and self._size + len(text) > self._part_bytes:
            self._close_part()
        written = os.write(self._fd, text)
        self._size += written
        with self._lock:
            self._waiting_bytes -= written
            if written == len(text):
                self._waiting.popleft()
            else:
                self._waiting[0] = text[written:]

    def _close_part(self) -> None:
        """Go on in a new file; of the closed ones the first and the newest stay."""
        closed = closed_parts(self._paths.run_dir)
        number = max(closed, default=0) + 1
        self._paths.output.rename(self._paths.output_part(number))
        self.close()
        self._open_if_needed()
        middle = [n for n in closed if 1 < n <= number - NEWEST_PARTS]
        for gone in middle:
            with suppress(OSError):
                self._paths.output_part(gone).unlink()
        if middle:
            first = number - NEWEST_PARTS + 1
            told = f"between output.1.log and output.{first}.log output is left out"
            self._size += os.write(self._fd, f"[runstore: {told}]\n".encode())

    def give_up(self) -> None:
        """Count what the disk has not taken, and forget it."""
        with self._lock:
            self.lost_bytes += self._waiting_bytes
            self._waiting.clear()
            self._waiting_bytes = 0

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            with suppress(OSError):
                os.close(descriptor)


def last_lines(run_dir: Path, count: int) -> list[str]:
    """Return the last lines of `output.log`; none when it is missing, or no regular file."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(RunPaths(run_dir).output, flags)
    except OSError:
        return []
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return []
        data = os.pread(descriptor, LOOK_BYTES, max(0, status.st_size - LOOK_BYTES))
    except OSError:
        return []
    finally:
        os.close(descriptor)
    lines = data.decode("utf-8", "replace").split("\n")
    # The first one may have lost its beginning.
    whole = lines if status.st_size <= LOOK_BYTES else lines[1:]
    return [line for line in whole if line][-count:]


def closed_parts(run_dir: Path) -> list[int]:
    """Return the numbers of the parts that are there besides `output.log`, in order."""
    try:
        names = os.listdir(run_dir)
    except OSError:
        return []
    return sorted(int(match[1]) for name in names if (match := _CLOSED.fullmatch(name)))
