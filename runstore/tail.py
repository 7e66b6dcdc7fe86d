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

import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runstore.records import MAX_LINE_BYTES

READ_BYTES = 1 << 20
GUARD_BYTES = 4096
ZERO_RETRIES = 20
AT_REST_S = 600.0
"""A file not touched for so long has no data on the way. The times come from two clocks, the file
server's and the reader's, which may be minutes apart; when more, zeros count as damage at once."""
_Reading = Callable[[int, os.stat_result], "Chunk"]
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


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
        further already.
        """

        def read(fd: int, status: os.stat_result) -> Chunk:
            start = self._readable(status.st_size) - back
            if start > self.offset:
                self._skip_to(fd, start)
            return self._read(fd, status, READ_BYTES)

        return self._with_file(read)

    def _with_file(self, read: _Reading) -> Chunk:
        try:
            fd = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            return Chunk()
        except OSError as error:
            return Chunk(problem=_describe(self.path, error))
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return Chunk(problem="not a regular file")
            return read(fd, status)
        except OSError as error:
            return Chunk(problem=_describe(self.path, error))
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
        unread = max(0, end - self.offset)
        data = os.pread(fd, min(budget, unread), self.offset)
        if b"\n" not in data and len(data) < unread:
            data = os.pread(fd, min(MAX_LINE_BYTES + 1, unread), self.offset)
        whole = data.rfind(b"\n") + 1
        if not whole:
            return self._without_newline(fd, data, end)
        chunk = Chunk(data[: whole - 1].split(b"\n"), self.offset, self._line_number)
        if self._oversized:
            self._drop_rest_of_oversized(chunk)
        self._wait_for_zeros(chunk, end, at_rest)
        self._advance(fd, chunk)
        chunk.more = self.offset < end and len(data) >= budget and not self._zero_retries
        return chunk

    def _without_newline(self, fd: int, data: bytes, end: int) -> Chunk:
        """A partial line waits for its newline, unless it is longer than a line may be."""
        chunk = Chunk(offset=self.offset, line_number=self._line_number)
        if len(data) > MAX_LINE_BYTES or (self._oversized and data):
            chunk.oversized = int(not self._oversized)
            self._oversized = True
            self.offset += len(data)
            self._guard, self._first = self._checksums(fd)
            chunk.more = self.offset < end
        return chunk

    def _drop_rest_of_oversized(self, chunk: Chunk) -> None:
        chunk.offset += len(chunk.lines.pop(0)) + 1
        chunk.line_number += bool(chunk.line_number)
        self._oversized = False

    def _wait_for_zeros(self, chunk: Chunk, end: int, at_rest: bool) -> None:
        """Hold back a line with NULs near the end, and what follows: data may be on the way."""
        zeros = next((i for i, line in enumerate(chunk.lines) if b"\0" in line), None)
        near_end = chunk.offset + sum(map(len, chunk.lines)) + READ_BYTES > end
        patient = self._patient and not at_rest
        wait = patient and near_end and self._zero_retries < ZERO_RETRIES
        if zeros is None or not wait:
            self._zero_retries = 0
            return
        self._zero_retries += 1
        del chunk.lines[zeros:]

    def _advance(self, fd: int, chunk: Chunk) -> None:
        self.offset = chunk.offset + sum(map(len, chunk.lines)) + len(chunk.lines)
        if self._line_number:
            self._line_number = chunk.line_number + len(chunk.lines)
        self._guard, self._first = self._checksums(fd)

    def _skip_to(self, fd: int, start: int) -> None:
        """Put the cursor on the first line that begins at or behind `start`."""
        data = os.pread(fd, MAX_LINE_BYTES, start - 1)
        newline = data.find(b"\n")
        if newline < 0:
            return
        self.offset = start + newline
        self._line_number = 0
        self._oversized = False
        self._guard, self._first = self._checksums(fd)


def _describe(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return "a symbolic link, not a regular file"
    return (error.strerror or str(error)).lower()
