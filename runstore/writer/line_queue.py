"""Lines that wait for a disk: bounded, in order, with the half-written one in front."""

from __future__ import annotations

import threading
from collections import deque

TOGETHER_BYTES = 32 << 10
"""So many bytes of short lines are written at once."""


class LineQueue:
    """A queue of bytes to write, each whole lines, except that the oldest may be a rest of one.

    The lock is held for an instant only, so a caller never waits for a disk here. It is
    re-entrant: a signal handler may log while the same thread is inside.
    """

    def __init__(self, most_bytes: int) -> None:
        """Take `most_bytes` at most."""
        self._most_bytes = most_bytes
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self.rows = 0
        """Lines that wait; a begun one counts."""
        self.torn = False
        """Whether the oldest is the rest of a line whose head is in the file."""
        self.dropped = 0
        """Lines that were not taken, or were given up."""

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, line: bytes) -> None:
        """Take a line, unless memory is full."""
        with self._lock:
            if self._bytes + len(line) > self._most_bytes:
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self.rows += 1

    def put_first(self, lines: bytes, *, torn: bool = False) -> None:
        """Put what must not be lost before all others; `torn`: the rest of a line.

        What was torn before is whole with what is put before it.
        """
        with self._lock:
            self._lines.appendleft(lines)
            self._bytes += len(lines)
            self.rows += lines.count(b"\n")
            self.torn = torn

    def oldest(self) -> bytes:
        """Return what is to be written next: one line, or several that are short.

        A server that takes 100 ms for each write would never see the end of a long queue of them.
        """
        with self._lock:
            size, count = len(self._lines[0]), 1
            # By index: a signal handler may put a line meanwhile.
            while count < len(self._lines) and size + len(self._lines[count]) <= TOGETHER_BYTES:
                size += len(self._lines[count])
                count += 1
            return b"".join(self._lines[index] for index in range(count))

    def written(self, size: int) -> None:
        """Note that the next `size` bytes are in the file."""
        with self._lock:
            self._bytes -= size
            while size:
                oldest = self._lines[0]
                taken = oldest[:size]
                size -= len(taken)
                self.rows -= taken.count(b"\n")
                self.torn = not taken.endswith(b"\n")
                if len(taken) == len(oldest):
                    self._lines.popleft()
                else:
                    self._lines[0] = oldest[len(taken) :]

    def give_up_torn(self) -> None:
        """Drop the rest of a line whose head stays behind in another file."""
        with self._lock:
            if self.torn:
                self.written(self._lines[0].index(b"\n") + 1)
                self.torn = False
                self.dropped += 1

    def give_up(self) -> None:
        """Drop and count everything."""
        with self._lock:
            self.dropped += self.rows
            self._lines.clear()
            self._bytes = self.rows = 0
            self.torn = False

    def refuse(self, lost: int = 0) -> None:
        """Drop and count everything, also what will come; and `lost` lines more."""
        with self._lock:
            self.give_up()
            self.dropped += lost
            self._most_bytes = 0
