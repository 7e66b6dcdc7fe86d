"""A place in a growing file, and whether the file is still the one that was read.

Built for files that another machine writes, a copy tool replaces, or a crash damages:

* the file is opened by its path on every look (an NFS client may serve a held descriptor 60 s of
  stale attributes);
* the cursor is the offset plus a checksum of the bytes before it and of the first ones, not inode
  or mtime, which copies change without a change of content;
* zeros near the end of a file that was touched lately are read again for a while: an NFS reader
  sees the size before the data, and pages that the writer's machine sends side by side may arrive
  in another order, so bytes behind the zeros prove nothing. In a file at rest they are damage.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runstore.files.regular import NotRegularError, open_regular, why_unreadable

READ_BYTES = 1 << 20
GUARD_BYTES = 4096
FIRST_BYTES = 256
NO_BYTES = b"", b""
ZERO_RETRIES = 20
AT_REST_S = 600.0
"""A file not touched for so long has no data on the way. The times come from two clocks, the file
server's and the reader's, which may be minutes apart; when more, zeros count as damage at once."""


@dataclass(slots=True)
class Look:
    """What every look at a file tells."""

    offset: int = 0
    """Where what was read begins."""
    restarted: bool = False
    """The file is another one than before: forget what was read, this is its beginning."""
    more: bool = False
    """There is more to read now."""
    problem: str | None = None
    """Why nothing can be read (`not a regular file`, `permission denied`)."""
    unread: bool = False
    """So it is with a regular file, which may hold rows; what is none holds nothing of ours."""


Looked = TypeVar("Looked", bound=Look)


class Cursor:
    """How far one file was read."""

    def __init__(self, path: Path, *, limit: int | None = None, patient: bool = True) -> None:
        """Start at the beginning of `path`.

        Args:
            path: the file; it need not exist yet.
            limit: never read past so many bytes.
            patient: wait some looks for zeros at the end to become data. A reader that looks only
                once is not.
        """
        self.path = path
        self.limit = limit
        self._patient = patient
        self.size = 0
        """The file's size at the last look."""
        self._signature: tuple[int, int, int] | None = None
        self._around = NO_BYTES
        """While the file is looked at: the bytes of which `_guard` and `_first` are checksums."""
        self._rewind()

    def _rewind(self) -> None:
        self.offset = 0
        self._guard = 0
        self._first = 0
        self._around = NO_BYTES
        self._zero_retries = 0

    def _look(
        self,
        blank: Callable[[], Looked],
        take: Callable[[int, int, bool], Looked],
        before: Callable[[int, int], None] | None = None,
    ) -> Looked:
        """Open the file, make sure that it is still the same, and take what is new.

        Args:
            blank: makes what is returned when there is nothing.
            take: reads on from `offset`; gets the descriptor, the end of what may be read, and
                whether the file is at rest.
            before: is called with descriptor and end, to move the cursor; not in a file that did
                not change, nor in one that is another one, which is read from its beginning.
        """
        try:
            fd = open_regular(self.path)
        except FileNotFoundError:
            return blank()
        except OSError as error:
            return _unreadable(blank(), error)
        try:
            status = os.fstat(fd)
            signature = (status.st_ino, status.st_size, status.st_mtime_ns)
            if signature == self._signature:
                return blank()
            restarted = self.offset > 0 and not self._still_the_same(fd, status.st_size)
            if before is not None and not restarted:
                before(fd, self._readable(status.st_size))
            found = self._take_new(fd, status, take, restarted)
            if not found.more and not self._zero_retries:
                self._signature = signature
            return found
        except OSError as error:
            return _unreadable(blank(), error)
        finally:
            self._around = NO_BYTES
            os.close(fd)

    def _take_new(
        self,
        fd: int,
        status: os.stat_result,
        take: Callable[[int, int, bool], Looked],
        restarted: bool,
    ) -> Looked:
        self._signature = None
        if restarted:
            self._rewind()
        self.size = status.st_size
        at_rest = time.time() - status.st_mtime > AT_REST_S
        found = take(fd, self._readable(status.st_size), at_rest)
        found.restarted = restarted
        return found

    def _readable(self, size: int) -> int:
        return size if self.limit is None else min(size, self.limit)

    def _still_the_same(self, fd: int, size: int) -> bool:
        """Tell whether the bytes that were read are still there."""
        if size < self.offset:
            return False
        self._around = self._read_around(fd)
        before, first = self._around
        return (zlib.crc32(before), zlib.crc32(first)) == (self._guard, self._first)

    def _read_around(self, fd: int) -> tuple[bytes, bytes]:
        """Return the bytes in front of the cursor, and the first ones of the file."""
        start = max(0, self.offset - GUARD_BYTES)
        before = os.pread(fd, self.offset - start, start)
        return before, os.pread(fd, min(FIRST_BYTES, self.offset), 0)

    def _may_wait(self, at_rest: bool) -> bool:
        """Count a look at zeros that may still become data; False when it is time to give up."""
        if not self._patient or at_rest or self._zero_retries >= ZERO_RETRIES:
            return False
        self._zero_retries += 1
        return True

    def _move_to(self, fd: int, offset: int) -> None:
        """Move anywhere."""
        self.offset = offset
        self._remember(*self._read_around(fd))

    def _move_over(self, data: bytes) -> None:
        """Move behind bytes that were read at the cursor: nothing is read again."""
        before, first = self._around
        self.offset += len(data)
        before = (before + data[-GUARD_BYTES:])[-GUARD_BYTES:]
        self._remember(before, first + data[: FIRST_BYTES - len(first)])

    def _remember(self, before: bytes, first: bytes) -> None:
        self._around = before, first
        self._guard, self._first = zlib.crc32(before), zlib.crc32(first)

    @property
    def reached_end(self) -> bool:
        """Whether the last look came to the end of the file."""
        return self._signature is not None


def _unreadable(found: Looked, error: OSError) -> Looked:
    found.problem = why_unreadable(error)
    found.unread = not isinstance(error, NotRegularError)
    return found


def behind_hole(fd: int, at: int, end: int) -> int:
    """Return the first byte from `at` on that is no hole, at most `end`."""
    try:
        return min(end, os.lseek(fd, at, os.SEEK_DATA))
    except OSError as error:
        # ENXIO: nothing but a hole. Otherwise: a file system that cannot tell.
        return end if error.errno == errno.ENXIO else at
