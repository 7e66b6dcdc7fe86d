"""The lines of a file with their places, and its checksum, in bounded memory.

A reader of rows passes over what it cannot use; here that is what is looked for.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from runstore.files.limits import MAX_LINE_BYTES

BLOCK_BYTES = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_SEEK_DATA = getattr(os, "SEEK_DATA", None)
"""Missing on some platforms; there a hole is read as the zeros that it stands for."""

Line = tuple[int, int, bytes | None]
"""The line's number from 1, the byte where it begins, and what stands there without its newline;
None when it is longer than a line may be."""


class NotRegularError(OSError):
    """A symbolic link, a FIFO, a directory: nothing that a writer of runs makes."""


def open_regular(path: Path) -> int:
    """Open a file for reading, when it is one: a run's directory may come from anywhere.

    Raises:
        NotRegularError: it is something else.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise NotRegularError(error.errno, "not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "not a regular file")
    return descriptor


class LineFile:
    """One file, read once from its beginning to the end that it had when it was opened."""

    def __init__(self, path: Path, *, checked_bytes: int = 0) -> None:
        """Prepare to read `path`; `crc32` will be that of its first `checked_bytes` bytes."""
        self._path = path
        self._checked_bytes = checked_bytes
        self.size = 0
        self.modified = 0.0
        """Unix seconds, on the file server's clock."""
        self.rows = 0
        """Newlines."""
        self.end_of_lines = 0
        """The byte behind the last newline."""
        self.crc32: int | None = 0
        """None when a hole was skipped: no sum is that of a file with rows only."""

    def lines(self) -> Iterator[Line]:
        """Yield each line that has its newline.

        Raises:
            NotRegularError: it is no regular file.
            OSError: it cannot be read.
        """
        descriptor = open_regular(self._path)
        try:
            status = os.fstat(descriptor)
            self.size, self.modified = status.st_size, status.st_mtime
            yield from self._split(self._blocks(descriptor))
        finally:
            os.close(descriptor)

    def _blocks(self, descriptor: int) -> Iterator[tuple[int, bytes]]:
        offset = 0
        while offset < self.size:
            block = os.pread(descriptor, min(BLOCK_BYTES, self.size - offset), offset)
            if not block:
                # It has shrunk since.
                self.size = offset
                return
            self._sum_up(block, offset)
            yield offset, block
            offset += len(block)
            if block[0] == 0 and not block.strip(b"\0"):
                offset = self._behind_hole(descriptor, offset)

    def _sum_up(self, block: bytes, offset: int) -> None:
        if self.crc32 is not None and offset < self._checked_bytes:
            self.crc32 = zlib.crc32(block[: self._checked_bytes - offset], self.crc32)

    def _behind_hole(self, descriptor: int, offset: int) -> int:
        """Return where data comes again: 40 GiB of a sparse file must cost nothing."""
        if _SEEK_DATA is None:
            return offset
        try:
            data = min(self.size, os.lseek(descriptor, offset, _SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:
                return offset
            # A hole to the end.
            data = self.size
        if data > offset:
            self.crc32 = None
        return data

    def _split(self, blocks: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
        rest, begins, skipping = b"", 0, False
        for offset, block in blocks:
            pieces = block.split(b"\n")
            if len(pieces) > 1:
                pieces[0] = rest + pieces[0]
                rest = pieces.pop()
                for piece in pieces:
                    self.rows += 1
                    yield self.rows, begins, None if skipping else piece
                    begins = (offset if skipping else begins) + len(piece) + 1
                    skipping = False
                self.end_of_lines = begins
            elif not skipping:
                rest += block
            if len(rest) >= MAX_LINE_BYTES:
                # Kept is only that it is too long, wherever its newline may be.
                rest, skipping = b"", True


def first_line(path: Path) -> bytes | None:
    """Return a file's first line without its newline; None where there is no whole one."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return None
    try:
        line, newline, _ = os.pread(descriptor, MAX_LINE_BYTES, 0).partition(b"\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return line if newline else None


def ends_line(path: Path, size: int) -> bool | None:
    """Tell whether byte `size` is where a line ends; None when the file cannot be read."""
    if size <= 0:
        return True
    try:
        descriptor = open_regular(path)
    except OSError:
        return None
    try:
        return os.pread(descriptor, 1, size - 1) == b"\n"
    except OSError:
        return None
    finally:
        os.close(descriptor)
