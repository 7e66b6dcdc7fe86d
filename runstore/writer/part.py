"""One file of a stream as this process writes it: its descriptor, and what is known to be in it."""

from __future__ import annotations

import errno
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace

from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory

LOOK_BYTES = 4 << 20
"""After so many bytes more, `append` looks at how much memory they take."""
UNSYNCED_BYTES = 32 << 20
"""The most that is kept in memory for a replay after a failed fdatasync."""

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)

_Written = bytes | bytearray


@dataclass(slots=True)
class FileTally:
    """What one finished file should hold; written into the `end` event."""

    rows: int = 0
    bytes: int = 0
    crc32: int = 0

    def add(self, data: _Written) -> None:
        """Count what is written behind the rest."""
        self.crc32 = zlib.crc32(data, self.crc32)
        self.rows += data.count(b"\n")
        self.bytes += len(data)

    def to_record(self) -> dict[str, int | str]:
        """Return the fields as they stand in the `end` event."""
        return {"rows": self.rows, "bytes": self.bytes, "crc32": f"{self.crc32:08x}"}


@dataclass(slots=True)
class Sync:
    """What one fdatasync is to make durable."""

    part: Part
    counted: FileTally
    lines: bytearray
    replayable: bool


@dataclass(slots=True)
class Part:
    """One part of a stream. The stream's lock is held by whoever calls."""

    directory: RunDirectory
    name: StreamFile
    owed_bytes: int = 0
    """So many bytes at its beginning are lines of a part that was left behind a fault."""
    descriptor: int = -1
    """-1 while it is not open: not yet, or left."""
    # One buffer, not a list of lines: each line that orjson returns sits in a block of 1 KiB,
    # and keeping those costs 1.7 µs a line in fresh memory.
    unsynced: bytearray = field(default_factory=bytearray)
    """What was written since the last sync, to write it again when the next one fails."""
    look_at: int = LOOK_BYTES
    """The size of `unsynced` at which it is time to count."""
    replayable: bool = True
    """Whether `unsynced` is all that was written since the last sync."""
    tally: FileTally = field(default_factory=FileTally)
    synced: FileTally = field(default_factory=FileTally)
    """The tally as of the last good sync."""
    doubt: OSError | None = None
    """Why what was written since then may be gone, although a sync would not say so."""
    _counted: int = 0
    """How much of `unsynced` is in the tally."""
    _inode: tuple[int, int] = (0, 0)
    _name_is_durable: bool = False

    @property
    def is_open(self) -> bool:
        """Whether lines can be written to it."""
        return self.descriptor >= 0

    def open(self) -> None:
        """Create the file.

        Raises:
            FileExistsError: somebody else has.
            OSError: it cannot be created.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        descriptor = self.directory.open(self.name.name, flags)
        status = os.fstat(descriptor)
        self.descriptor, self._inode = descriptor, (status.st_dev, status.st_ino)

    def close(self) -> None:
        """Close the file, if it is open."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            # NFS reports an earlier fault here; fdatasync has told it already.
            with suppress(OSError):
                os.close(descriptor)

    def leave_number(self) -> None:
        """Give up the file, but not its descriptor's number, which a write may be about to use.

        As it would be somebody else's in a moment, what is written there goes nowhere.
        """
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(nowhere, descriptor, inheritable=False)
                os.close(nowhere)

    def count(self) -> None:
        """Bring the tally up to date, off the hot path, from what was written since."""
        self.tally.add(self.unsynced[self._counted :])
        self._counted = len(self.unsynced)
        self.look_at = self._counted + LOOK_BYTES
        if self.tally.bytes - self.synced.bytes > UNSYNCED_BYTES:
            self.keep(bytearray(), replayable=False)

    def keep(self, unsynced: bytearray, *, replayable: bool = True) -> None:
        """Set what would be written again; all of it is counted already."""
        self.unsynced, self._counted, self.replayable = unsynced, len(unsynced), replayable
        self.look_at = len(unsynced) + LOOK_BYTES

    def measure(self) -> None:
        """Bring the tally up to date and compare it with the file.

        It is longer after a KeyboardInterrupt between a write and its note. A shorter one has lost
        what was written: a file server had no room for it.
        """
        self.count()
        with suppress(OSError):
            size = os.fstat(self.descriptor).st_size
            if size < self.tally.bytes:
                self.doubt = OSError(errno.EIO, f"it has {size:,} bytes of {self.tally.bytes:,}")
            elif size > self.tally.bytes:
                self._recount()

    def _recount(self) -> None:
        data = self._read()
        self.tally = FileTally()
        self.tally.add(data)

    def _read(self) -> bytes:
        descriptor = self.directory.open(self.name.name, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def is_deleted(self) -> bool:
        """Tell whether the file has no name any more."""
        try:
            return os.fstat(self.descriptor).st_nlink == 0
        except OSError:
            return False

    def is_another_file(self) -> bool:
        """Tell whether the descriptor was closed behind our back, and its number used again.

        `os.closerange`, as daemons call it: the next line would go into somebody else's file.
        """
        try:
            status = os.fstat(self.descriptor)
        except OSError:
            # A number that nobody uses fails by itself; a file server out of reach is no other.
            return False
        return (status.st_dev, status.st_ino) != self._inode

    def begin_sync(self) -> Sync:
        """Take what is unsynced."""
        begun = Sync(self, replace(self.tally), self.unsynced, self.replayable)
        self.keep(bytearray())
        return begun

    def sync(self) -> None:
        """Make what was written durable, and the file's name too; needs no lock.

        Without the latter XFS was seen to lose the file.

        Raises:
            OSError: what was written since the last good one may be lost.
        """
        _sync_data(self.descriptor)
        if self.doubt is not None:
            raise self.doubt
        if not self._name_is_durable:
            self.directory.sync()
            self._name_is_durable = True

    def drop_torn_line(self) -> None:
        """Leave no half line behind the last newline."""
        with suppress(OSError):
            os.ftruncate(self.descriptor, self._read().rfind(b"\n") + 1)
            self.count()
            self._recount()


def cut_back(directory: RunDirectory, name: str, size: int) -> None:
    """Let a file that was left after a failed sync end where its valid rows end.

    What lies behind is in the next part, or is a hole of NULs that a file server made.

    Raises:
        OSError: it stays as it is; readers know its cut.
    """
    descriptor = directory.open(name, os.O_WRONLY | os.O_NONBLOCK)
    try:
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
