"""A large text file by its places: any line at once, and counts in place of the lines.

Nothing is kept of the file but a number for each 256 KiB and some blocks that were read last, so a
file of ten million lines opens at its end at once and takes no more memory than a short one.

A line ends behind its newline, or at the end of the file. One that fills whole blocks is cut
between two of them, so that what a line is can be told from any place, forwards and backwards.
"""

from __future__ import annotations

import os
import stat
import zlib
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from runstore.files.regular import NotRegularError, opened_regular

BLOCK_BYTES = 64 << 10
"""A line is shorter than two of them: what is longer comes in pieces."""
BLOCKS_KEPT = 48
CHUNK_BYTES = 256 << 10
MAY_CHANGE_BYTES = 1 << 20
"""So much before the end is read again when a file grows: a network mount shows its size before its
bytes, and zeros in their place."""
GUARD_BYTES = 4096


class ChunkCounts:
    """How often something occurs in each chunk of a growing file, as far as it was counted."""

    def __init__(self, count: Callable[[bytes], int], beyond: int = 0) -> None:
        """Count by `count`, in a chunk and so many bytes beyond it, which begin no occurrence."""
        self._count = count
        self._beyond = beyond
        self.counted = 0
        """Bytes from the beginning of the file."""
        self._sums = array("Q")
        """Of each chunk and all before it."""

    @property
    def total(self) -> int:
        """How often, as far as it was counted."""
        return self._sums[-1] if self._sums else 0

    def extend(self, file: TextFile, is_over: Callable[[], bool]) -> bool:
        """Count on until `is_over`; tell whether the end is reached."""
        while self.counted < file.size:
            if is_over():
                return False
            at = self.counted // CHUNK_BYTES
            size = min(CHUNK_BYTES, file.size - at * CHUNK_BYTES)
            data = file.read(at * CHUNK_BYTES, size + self._beyond)
            del self._sums[at:]
            self._sums.append(self.total + self._count(data))
            self.counted = at * CHUNK_BYTES + size
        return True

    def back_to(self, offset: int) -> None:
        """Forget the chunks that end behind `offset`."""
        whole = max(0, offset) // CHUNK_BYTES
        if len(self._sums) > whole:
            del self._sums[whole:]
            self.counted = whole * CHUNK_BYTES

    def before(self, chunk: int) -> int | None:
        """Return how often in front of a chunk; None where that is not counted yet."""
        if chunk > len(self._sums):
            return None
        return self._sums[chunk - 1] if chunk else 0

    def within(self, chunk: int) -> int | None:
        """Return how often in one chunk; None where that is not counted yet."""
        return None if chunk >= len(self._sums) else self._sums[chunk] - (self.before(chunk) or 0)

    def chunk_of(self, number: int) -> int:
        """Return the chunk in which the occurrence `number` is, counted from 0."""
        return bisect_right(self._sums, number)


class TextFile:
    """One file, opened when it is looked at, and again after each `close`."""

    def __init__(self, path: Path, status: os.stat_result) -> None:
        """Know the file at `path`, of which `lstat` says `status`."""
        self.path = path
        self.identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self.newlines = ChunkCounts(lambda data: data.count(b"\n"))
        self.hits: ChunkCounts | None = None
        """Of whoever searches in it."""
        self._fd = -1
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.changed_ns = status.st_mtime_ns
        """When it was written last."""
        self._guard: tuple[int, int] | None = None
        """An offset, and the checksum of the bytes before it."""

    def close(self) -> None:
        """Close the file; it is opened again when it is next read."""
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            os.close(descriptor)

    def has_grown(self, status: os.stat_result) -> bool:
        """Take a new size in; return False when the file has other contents than before."""
        if status.st_size < self.size:
            return False
        if (status.st_size, status.st_mtime_ns) == (self.size, self.changed_ns):
            return True
        if self._guard is not None and self._checksum(self._guard[0]) != self._guard[1]:
            return False
        settled = self.size - MAY_CHANGE_BYTES
        self.size, self.changed_ns = status.st_size, status.st_mtime_ns
        self.note_end()
        for counts in (self.newlines, self.hits):
            if counts is not None:
                counts.back_to(settled)
        for number in [n for n in self._blocks if (n + 1) * BLOCK_BYTES > settled]:
            del self._blocks[number]
        return True

    def note_end(self) -> None:
        """Remember the last bytes, by which a file that was written anew is known."""
        self._guard = self.size, self._checksum(self.size)

    def _checksum(self, offset: int) -> int:
        start = max(0, offset - GUARD_BYTES)
        return zlib.crc32(self.read(start, offset - start))

    def read(self, offset: int, count: int) -> bytes:
        """Return at most `count` bytes from `offset`, none of them behind `size`.

        Raises:
            OSError: the file is gone, or another one has its name.
        """
        if self._fd < 0:
            self._fd, status = opened_regular(self.path)
            if (status.st_dev, status.st_ino) != self.identity:
                self.close()
                raise FileNotFoundError(2, "replaced by another file", str(self.path))
        return os.pread(self._fd, max(0, min(count, self.size - offset)), offset)

    def _block(self, number: int) -> bytes:
        found = self._blocks.get(number)
        if found is None:
            found = self._blocks[number] = self.read(number * BLOCK_BYTES, BLOCK_BYTES)
            if len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return found

    def line_end(self, start: int) -> int:
        """Return where the line that begins at `start` ends, its newline included."""
        number = start // BLOCK_BYTES
        newline = self._block(number).find(b"\n", start - number * BLOCK_BYTES)
        is_begun = start > number * BLOCK_BYTES
        while newline < 0:
            end = (number + 1) * BLOCK_BYTES
            if end >= self.size:
                return self.size
            if not is_begun:  # a block without a newline ends a line
                return end
            number, is_begun = number + 1, False
            newline = self._block(number).find(b"\n")
        return number * BLOCK_BYTES + newline + 1

    def line_start(self, offset: int) -> int:
        """Return where the line begins that holds the byte before `offset`, which is above 0."""
        number = (offset - 1) // BLOCK_BYTES
        newline = self._block(number).rfind(b"\n", 0, offset - 1 - number * BLOCK_BYTES)
        if newline >= 0 or number == 0:
            return number * BLOCK_BYTES + newline + 1
        before = self._block(number - 1)
        newline = before.rfind(b"\n")
        return number * BLOCK_BYTES - (len(before) - newline - 1 if newline >= 0 else 0)

    def line(self, start: int, end: int) -> bytes:
        """Return the bytes of a line without its newline."""
        first, last = start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        data = b"".join(self._block(number) for number in range(first, last + 1))
        line = data[start - first * BLOCK_BYTES : end - first * BLOCK_BYTES]
        return line.removesuffix(b"\n")

    def number_at(self, start: int) -> int | None:
        """Return the number of the line that begins at `start`, from 0; None: not counted yet."""
        chunk = start // CHUNK_BYTES
        before = self.newlines.before(chunk)
        if before is None:
            return None
        at = chunk * CHUNK_BYTES
        while at < start:
            number = at // BLOCK_BYTES
            end = min(start, (number + 1) * BLOCK_BYTES)
            block = self._block(number)
            before += block.count(b"\n", at - number * BLOCK_BYTES, end - number * BLOCK_BYTES)
            at = end
        return before


def looked_at(path: Path) -> os.stat_result | None:
    """Return what `lstat` says of a regular file; None where there is no such file.

    Raises:
        OSError: what is there cannot be looked at, or is no regular file.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(22, "not a regular file", str(path))
    return status
