"""What is new in a growing file: whole lines since an offset, nothing lost, nothing twice.

Built for files that another machine writes, a copy tool replaces, or a crash damages:

* the file is opened by its path on every poll (an NFS client may serve a held descriptor 60 s of
  stale attributes);
* the cursor is the offset plus a checksum of the bytes before it and of the first line, not inode
  or mtime, which copies change without a change of content;
* a line counts when its newline is there;
* zeros near the end of a file that was touched lately are read again for a while: an NFS reader
  sees the size before the data, and pages that the writer's machine sends side by side may arrive
  in another order, so bytes behind the zeros prove nothing. In a file at rest they are damage.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runstore.limits import LINES_AT_ONCE, MAX_LINE_BYTES
from runstore.regular import NotRegularError, open_regular, why_unreadable

READ_BYTES = 1 << 20
GUARD_BYTES = 4096
PASSED_OVER_BYTES = 64 << 20
"""Of a line that is too long, at once: some 30 ms."""
ZERO_RETRIES = 20
AT_REST_S = 600.0
"""A file not touched for so long has no data on the way. The times come from two clocks, the file
server's and the reader's, which may be minutes apart; when more, zeros count as damage at once."""
_Reading = Callable[[int, os.stat_result], "Chunk"]


@dataclass(slots=True)
class Chunk:
    """Whole lines, in file order, without their newlines."""

    lines: list[bytes] = field(default_factory=list)
    offset: int = 0
    """Where the first of them begins."""
    line_number: int = 0
    """The number of the first of them, from 1; 0 when unknown (reading began in the middle)."""
    restarted: bool = False
    """The file is another one than before: forget what was read, this is its beginning."""
    more: bool = False
    """There are further whole lines to read now."""
    problem: str | None = None
    """Why nothing can be read (`not a regular file`, `permission denied`)."""
    unread: bool = False
    """So it is with a regular file, which may hold rows; what is none holds nothing of ours."""
    oversized: int = 0
    """Lines over 1 MiB that were passed over."""

    def ends(self) -> Iterator[int]:
        """Yield the offset behind each line's newline."""
        end = self.offset
        for line in self.lines:
            end += len(line) + 1
            yield end


class Tail:
    """A cursor in one file."""

    def __init__(self, path: Path, *, limit: int | None = None, patient: bool = True) -> None:
        """Start at the beginning of `path`.

        Args:
            path: the file; it need not exist yet.
            limit: never read past so many bytes.
            patient: wait some polls for zeros at the end to become data. A reader that looks only
                once is not.
        """
        self.path = path
        self.limit = limit
        self._patient = patient
        self.size = 0
        """The file's size at the last poll."""
        self._signature: tuple[int, int, int] | None = None
        self._rewind()

    def _rewind(self) -> None:
        self.offset = 0
        self._line_number = 1
        self._guard = 0
        self._first = 0
        self._zero_retries = 0
        self._oversized = False

    @property
    def unfinished_line(self) -> int | None:
        """The number of a line at the very end that has no newline, as of the last poll.

        0 when reading began in the middle; None when there is no such line, when the end was not
        reached yet, or when `limit` cut it off.
        """
        reached = self._signature is not None
        within = self.limit is None or self.size <= self.limit
        half = reached and within and self.size > self.offset and not self._oversized
        return self._line_number if half else None

    def poll(self, budget: int = READ_BYTES) -> Chunk:
        """Return the whole lines that came since the last poll, about `budget` bytes at most."""
        return self._with_file(lambda fd, status: self._read(fd, status, budget))

    def jump(self, back: int) -> Chunk:
        """Go to `back` bytes before the end, and return the whole lines from there.

        For a look at the last rows of a large file. Nothing happens when the cursor is there or
        further already. Where the last line is longer than `back`, it is read all the same.
        """

        def read(fd: int, status: os.stat_result) -> Chunk:
            end = self._readable(status.st_size)
            start = self._line_behind(fd, end - back) if end - back > self.offset else None
            if start is not None and start >= end:
                start = self._last_line(fd, end)
            if start is not None:
                self._line_number = 0
                self._oversized = False
                self._move_to(fd, start)
            return self._read(fd, status, READ_BYTES)

        return self._with_file(read)

    def _with_file(self, read: _Reading) -> Chunk:
        try:
            fd = open_regular(self.path)
        except FileNotFoundError:
            return Chunk()
        except OSError as error:
            foreign = isinstance(error, NotRegularError)
            return Chunk(problem=why_unreadable(error), unread=not foreign)
        try:
            return read(fd, os.fstat(fd))
        except OSError as error:
            return Chunk(problem=why_unreadable(error), unread=True)
        finally:
            os.close(fd)

    def _read(self, fd: int, status: os.stat_result, budget: int) -> Chunk:
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        if signature == self._signature:
            return Chunk()
        self._signature = None
        restarted = self.offset > 0 and not self._still_the_same(fd, status.st_size)
        if restarted:
            self._rewind()
        self.size = status.st_size
        at_rest = time.time() - status.st_mtime > AT_REST_S
        chunk = self._take_lines(fd, self._readable(status.st_size), budget, at_rest)
        chunk.restarted = restarted
        if not chunk.more and not self._zero_retries:
            self._signature = signature
        return chunk

    def _readable(self, size: int) -> int:
        return size if self.limit is None else min(size, self.limit)

    def _still_the_same(self, fd: int, size: int) -> bool:
        """Tell whether the bytes that were read are still there."""
        if size < self.offset:
            return False
        return self._checksums(fd) == (self._guard, self._first)

    def _checksums(self, fd: int) -> tuple[int, int]:
        start = max(0, self.offset - GUARD_BYTES)
        before = os.pread(fd, self.offset - start, start)
        first = os.pread(fd, min(256, self.offset), 0)
        return zlib.crc32(before), zlib.crc32(first)

    def _take_lines(self, fd: int, end: int, budget: int, at_rest: bool) -> Chunk:
        if self._oversized:
            self._pass_over(fd, end)
            if self._oversized:
                return Chunk(offset=self.offset, more=self.offset < end)
        unread = max(0, end - self.offset)
        data = os.pread(fd, min(budget, unread), self.offset) if unread else b""
        if b"\n" not in data and len(data) < unread:
            data = os.pread(fd, min(MAX_LINE_BYTES + 1, unread), self.offset)
        whole = data.rfind(b"\n") + 1
        if not whole:
            return self._without_newline(fd, data, end, at_rest)
        lines = data[: whole - 1].split(b"\n", LINES_AT_ONCE)
        left = len(lines) > LINES_AT_ONCE
        chunk = Chunk(lines[:LINES_AT_ONCE], self.offset, self._line_number)
        self._wait_for_zeros(chunk, end, at_rest)
        self._advance(fd, chunk, data)
        cut_short = left or len(data) >= budget
        chunk.more = self.offset < end and cut_short and not self._zero_retries
        return chunk

    def _without_newline(self, fd: int, data: bytes, end: int, at_rest: bool) -> Chunk:
        """A partial line waits for its newline, unless it is longer than a line may be."""
        chunk = Chunk(offset=self.offset, line_number=self._line_number)
        if len(data) > MAX_LINE_BYTES and not (b"\0" in data and self._may_wait(at_rest)):
            self._zero_retries = 0
            chunk.oversized = 1
            self._oversized = True
            self._move_to(fd, self.offset + len(data))
            chunk.more = self.offset < end
        return chunk

    def _pass_over(self, fd: int, end: int) -> None:
        """Go on to the end of a line that is longer than a line may be, some way at a time.

        A hole has no newline in it, and need not be read: 40 GiB of it take 4 KiB on a disk.
        """
        at, stop = self.offset, min(end, self.offset + PASSED_OVER_BYTES)
        buffer = bytearray(READ_BYTES)
        while self._oversized and at < stop:
            at = _behind_hole(fd, at, end)
            got = os.preadv(fd, [buffer], at) if at < end else 0
            newline = buffer.find(b"\n", 0, min(got, end - at))
            self._oversized = newline < 0
            at = min(end, at + (newline + 1 if newline >= 0 else got))
            if not got:
                break
        self._line_number += bool(self._line_number and not self._oversized)
        self._move_to(fd, at)

    def _may_wait(self, at_rest: bool) -> bool:
        """Count a look at zeros that may still become data; False when it is time to give up."""
        if not self._patient or at_rest or self._zero_retries >= ZERO_RETRIES:
            return False
        self._zero_retries += 1
        return True

    def _wait_for_zeros(self, chunk: Chunk, end: int, at_rest: bool) -> None:
        """Hold back a line with NULs near the end, and what follows: data may be on the way."""
        zeros = next((i for i, line in enumerate(chunk.lines) if b"\0" in line), None)
        near_end = chunk.offset + sum(map(len, chunk.lines)) + READ_BYTES > end
        if zeros is None or not near_end or not self._may_wait(at_rest):
            self._zero_retries = 0
            return
        del chunk.lines[zeros:]

    def _advance(self, fd: int, chunk: Chunk, data: bytes) -> None:
        """Go behind the lines of a chunk, which were taken from `data`."""
        if self._line_number:
            self._line_number = chunk.line_number + len(chunk.lines)
        end = chunk.offset + sum(map(len, chunk.lines)) + len(chunk.lines)
        if chunk.offset:
            self._move_to(fd, end)
            return
        # From the beginning: two reads less, for each file of a hundred thousand runs.
        self.offset = end
        self._guard = zlib.crc32(data[max(0, end - GUARD_BYTES) : end])
        self._first = zlib.crc32(data[: min(256, end)])

    def _move_to(self, fd: int, offset: int) -> None:
        self.offset = offset
        self._guard, self._first = self._checksums(fd)

    def _line_behind(self, fd: int, start: int) -> int | None:
        """Return where the first line begins that does so at or behind `start`, if any."""
        newline = os.pread(fd, MAX_LINE_BYTES, start - 1).find(b"\n")
        return None if newline < 0 else start + newline

    def _last_line(self, fd: int, end: int) -> int | None:
        """Return where the line begins whose newline is the last byte; None if not behind here."""
        start = max(self.offset, end - MAX_LINE_BYTES)
        newline = os.pread(fd, end - 1 - start, start).rfind(b"\n")
        return None if newline < 0 else start + newline + 1


def _behind_hole(fd: int, at: int, end: int) -> int:
    """Return the first byte from `at` on that is no hole, at most `end`."""
    try:
        return min(end, os.lseek(fd, at, os.SEEK_DATA))
    except OSError as error:
        # ENXIO: nothing but a hole. Otherwise: a file system that cannot tell.
        return end if error.errno == errno.ENXIO else at
