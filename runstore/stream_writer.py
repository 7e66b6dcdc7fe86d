"""One stream of one attempt: whole lines appended to a file, and what happens when that fails.

In `direct` mode a line is in the kernel when `append` returns, so SIGKILL loses nothing. Three
things can still go wrong, and none may reach the training loop:

* `write` is short or fails (disk full, quota): the rest of the line, and all that follows, waits
  in memory in order and is written when there is room; a remainder is finished, never restarted.
* `fdatasync` fails: the kernel may have thrown the dirty pages away and the next fdatasync says
  OK. Every line since the last good one is kept in memory and written again to the next part.
* memory for either runs out: rows are dropped and counted, and the count is reported.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runstore.atomic import sync_directory
from runstore.paths import StreamFile

PART_BYTES = 64 << 20
"""A part is closed at this size: rsync then skips it, and a checksum covers a bounded file."""
WAITING_BYTES = 32 << 20
"""The most that is kept in memory for a disk that takes no more."""
UNSYNCED_BYTES = 32 << 20
"""The most that is kept in memory for a replay after a failed fdatasync."""
LOOK_BYTES = 4 << 20
"""After so many bytes more, `append` looks at how much memory they take."""

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)


@dataclass(slots=True)
class FileTally:
    """What one finished file should hold; written into the `end` event."""

    rows: int = 0
    bytes: int = 0
    crc32: int = 0

    def to_record(self) -> dict[str, int | str]:
        """Return the fields as they stand in the `end` event."""
        return {"rows": self.rows, "bytes": self.bytes, "crc32": f"{self.crc32:08x}"}


class StreamWriter:
    """Appends lines to `metrics-0001.jsonl`, `metrics-0001.1.jsonl`, … of one run directory.

    Safe to call from several threads and from a signal handler; after a fork the child's copy
    does nothing.
    """

    def __init__(
        self,
        run_dir: Path,
        first: StreamFile,
        *,
        queued: bool = False,
        on_cut: Callable[[str, int], None],
        on_problem: Callable[[str], None],
    ) -> None:
        """Prepare the stream; its file appears with its first row.

        Args:
            run_dir: the run's directory.
            first: names the first part.
            queued: never write in the caller's thread (network mounts).
            on_cut: told (file name, bytes) when a file ends earlier than its size says.
            on_problem: told, in words, when writing fails and when it works again.
        """
        self._run_dir = run_dir
        self._name = first
        self._queued = queued
        self._on_cut = on_cut
        self._on_problem = on_problem
        self._new_lock()
        self._busy = False
        self._fd = -1
        self._direct = False
        self._closed = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        # One buffer, not a list of lines: each line that orjson returns sits in a block of 1 KiB,
        # and keeping those costs 1.7 µs a line in fresh memory.
        self._unsynced = bytearray()
        self._counted = 0
        self._look_at = LOOK_BYTES
        self._replayable = True
        self._synced_bytes = 0
        self._directory_synced = False
        self._failing: str | None = None
        self._tally = FileTally()
        self.tallies: dict[str, FileTally] = {}
        self.dropped_rows = 0

    def _new_lock(self) -> None:
        self._lock = threading.RLock()
        self._acquire, self._release = self._lock.acquire, self._lock.release

    def append(self, line: bytes) -> None:
        """Take one whole line; never raises for a fault of the disk."""
        # Spelled out: a `with` costs 0.1 µs more, and this is the one call of every logged row.
        self._acquire()
        try:
            if not self._direct or self._busy:
                self._append_slowly(line)
                return
            self._busy = True
            try:
                written = os.write(self._fd, line)
                if written == len(line):
                    self._unsynced += line
                else:
                    self._unsynced += line[:written]
                    self._wait(line[written:])
            except OSError as error:
                self._fail(error)
                self._wait(line)
            finally:
                self._busy = False
            if self._waiting or len(self._unsynced) >= self._look_at:
                self._leave_fast_path()
        finally:
            self._release()

    def _append_slowly(self, line: bytes) -> None:
        """Append when the file is not open yet, is failing, or this call interrupted another."""
        if self._closed:
            return
        self._wait(line)
        if not self._busy and not self._queued and self._failing is None:
            self.drain()

    def _leave_fast_path(self) -> None:
        """Something waits (a short write, a row from a signal handler), or memory fills."""
        self._count()
        if self._waiting:
            self._direct = False
            if self._failing is None:
                self.drain()

    def _wait(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > WAITING_BYTES:
            self.dropped_rows += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self._direct = False

    def drain(self) -> None:
        """Write what waits, oldest first, as far as the disk takes it."""
        with self._lock:
            if self._busy or self._closed:
                return
            self._busy = True
            try:
                while self._waiting:
                    self._open_if_needed()
                    self._write_oldest()
                self._recover()
            except OSError as error:
                self._fail(error)
            finally:
                self._busy = False

    def _write_oldest(self) -> None:
        line = self._waiting[0]
        written = os.write(self._fd, line)
        self._unsynced += line[:written]
        self._waiting_bytes -= written
        if written == len(line):
            self._waiting.popleft()
        else:
            self._waiting[0] = line[written:]

    def _count(self) -> None:
        """Bring the tally up to date, off the hot path, from what was written since.

        A KeyboardInterrupt between a write and its note makes the tally differ from the file's
        size; `finish` sees that and counts again.
        """
        fresh = self._unsynced[self._counted :]
        self._counted = len(self._unsynced)
        self._look_at = self._counted + LOOK_BYTES
        tally = self._tally
        tally.crc32 = zlib.crc32(fresh, tally.crc32)
        tally.rows += fresh.count(b"\n")
        tally.bytes += len(fresh)
        if tally.bytes - self._synced_bytes > UNSYNCED_BYTES:
            self._keep(bytearray(), replayable=False)

    def _keep(self, unsynced: bytearray, *, replayable: bool = True) -> None:
        """Set what would be written again; all of it is counted already."""
        self._unsynced, self._counted, self._replayable = unsynced, len(unsynced), replayable
        self._look_at = len(unsynced) + LOOK_BYTES

    def _recover(self) -> None:
        """Go back to writing directly once nothing waits."""
        if self._failing is not None:
            self._on_problem(f"writing {self._name.name} works again")
            self._failing = None
        self._direct = self._fd >= 0 and not self._queued

    def _fail(self, error: OSError) -> None:
        """Note a fault once, however often it repeats."""
        reason = errno.errorcode.get(error.errno or 0, "?")
        if self._failing != reason:
            self._failing = reason
            self._on_problem(
                f"writing {self._name.name} fails ({error.strerror}); rows wait in memory"
            )

    def _open_if_needed(self) -> None:
        if self._fd < 0:
            self._open(self._name)

    def _open(self, name: StreamFile) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._run_dir / name.name, flags, 0o666)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._name = descriptor, name
        self._tally = self.tallies[name.name] = FileTally()
        self._synced_bytes = 0
        self._keep(bytearray())
        self._directory_synced = False

    def _next_name(self) -> StreamFile:
        name = self._name
        return StreamFile(name.attempt, name.part + 1, name.stream, name.rank)

    def sync(self) -> None:
        """Make everything appended so far survive power loss; replay it when that fails."""
        with self._lock:
            if self._fd < 0 or self._closed or self._busy:
                return
            self._count()
            fd, size = self._fd, self._tally.bytes
            if size == self._synced_bytes:
                return
            taken, whole = self._unsynced, self._replayable
            self._keep(bytearray())
        try:
            _sync_data(fd)
            self._sync_name()
        except OSError as error:
            self._replay(error, taken, whole)
            return
        with self._lock:
            if fd == self._fd:
                self._synced_bytes = size
                self._rotate_when_full()

    def _rotate_when_full(self) -> None:
        """Go on in the next part; the one left behind is synced and complete."""
        self._count()
        if self._tally.bytes >= PART_BYTES and self._synced_bytes == self._tally.bytes:
            try:
                self._open(self._next_name())
            except OSError as error:
                self._fail(error)

    def _sync_name(self) -> None:
        """Make the file's name durable too, once; without it XFS was seen to lose the file."""
        if not self._directory_synced:
            sync_directory(self._run_dir)
            self._directory_synced = True

    def _replay(self, error: OSError, taken: bytearray, whole: bool) -> None:
        """Write every line since the last good sync again, into the next part."""
        with self._lock:
            lines, cut, failed = taken + self._unsynced, self._synced_bytes, self._name.name
            whole = whole and self._replayable
            self._on_problem(f"fdatasync of {failed} failed ({error.strerror}); rows written again")
            try:
                self._open(self._next_name())
            except OSError as second:
                self._keep(lines, replayable=whole)
                self._fail(second)
                return
            if whole:
                self._waiting.appendleft(bytes(lines))
                self._waiting_bytes += len(lines)
                self._on_cut(failed, cut)
            self._direct = False
            self.drain()

    def position(self) -> tuple[str, int] | None:
        """Return the open file's name and size, or None before the first row."""
        with self._lock:
            if self._fd < 0:
                return None
            self._count()
            return self._name.name, self._tally.bytes

    def create(self) -> int:
        """Create the first part now and return its descriptor.

        Raises:
            FileExistsError: another process has created it.
            OSError: it cannot be created.
        """
        with self._lock:
            self._open(self._name)
            self._direct = not self._queued
            return self._fd

    @property
    def failing(self) -> bool:
        """Whether the last write failed and rows wait in memory."""
        return self._failing is not None

    @property
    def waiting(self) -> bool:
        """Whether lines wait to be written."""
        return bool(self._waiting)

    def finish(self) -> None:
        """Write and sync everything, and make the tallies true; the file stays open."""
        self.drain()
        self.sync()
        with self._lock:
            self._count()
            if self._fd >= 0 and os.fstat(self._fd).st_size != self._tally.bytes:
                self._recount()

    def _recount(self) -> None:
        data = (self._run_dir / self._name.name).read_bytes()
        tally = self._tally
        tally.rows, tally.bytes, tally.crc32 = data.count(b"\n"), len(data), zlib.crc32(data)

    def close(self) -> None:
        """Close the file; what is appended afterwards is ignored."""
        with self._lock:
            self._closed, self._direct = True, False
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def forget_in_child(self) -> None:
        """Drop everything in a forked child: the file belongs to the parent.

        The parent's lock may be held by a thread that does not exist here, and an inherited
        descriptor would keep the parent's file lock after the parent is gone.
        """
        self._new_lock()
        self._waiting.clear()
        self._unsynced.clear()
        self._busy = False
        self.close()
