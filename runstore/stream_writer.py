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
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from runstore.atomic import sync_directory
from runstore.line_queue import LineQueue
from runstore.paths import StreamFile

PART_BYTES = 64 << 20
"""A part is closed at this size: rsync then skips it, and a checksum covers a bounded file."""
WAITING_BYTES = 32 << 20
"""The most that is kept in memory for a disk that takes no more."""
UNSYNCED_BYTES = 32 << 20
"""The most that is kept in memory for a replay after a failed fdatasync."""
LOOK_BYTES = 4 << 20
"""After so many bytes more, `append` looks at how much memory they take."""
MOST_TAKEN_NAMES = 100
"""So many names of parts are passed over because another process made files of that name."""
MAX_PAUSE_S = 60.0
"""The longest pause between two syncs of a disk whose syncs fail: each begins a new part."""

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)

Result = TypeVar("Result")


@dataclass(slots=True)
class FileTally:
    """What one finished file should hold; written into the `end` event."""

    rows: int = 0
    bytes: int = 0
    crc32: int = 0

    def to_record(self) -> dict[str, int | str]:
        """Return the fields as they stand in the `end` event."""
        return {"rows": self.rows, "bytes": self.bytes, "crc32": f"{self.crc32:08x}"}


@dataclass(slots=True)
class _Sync:
    """What one fdatasync is to make durable."""

    descriptor: int
    counted: FileTally
    lines: bytearray
    replayable: bool


class StreamWriter:
    """Appends lines to `metrics-0001.jsonl`, `metrics-0001.1.jsonl`, … of one run directory.

    Safe to call from several threads and from a signal handler; after a fork the child's copy
    does nothing. Two locks, taken in this order: one for syncing and closing (held for as long as
    a disk takes), one for the file (held for a write). In `queued` mode the caller takes neither,
    so that a stalled file server does not stall training.
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
            on_problem: told, in words, when writing fails and when it works again. Called with
                locks held: it must only take a note.
        """
        self._run_dir = run_dir
        self._name = first
        self._queued = queued
        self._on_cut = on_cut
        self._on_problem = on_problem
        self._new_locks()
        self._busy = False
        self._syncing = False
        self._fd = -1
        self._direct = False
        self._closed = False
        self._waiting = LineQueue(WAITING_BYTES)
        # One buffer, not a list of lines: each line that orjson returns sits in a block of 1 KiB,
        # and keeping those costs 1.7 µs a line in fresh memory.
        self._unsynced = bytearray()
        self._counted = 0
        self._look_at = LOOK_BYTES
        self._replayable = True
        self._tally = FileTally()
        self._synced = FileTally()
        self._cut: tuple[str, int] | None = None
        """What `on_cut` is to be told once the next part is open."""
        self._failed_syncs = 0
        self._next_sync = 0.0
        self._directory_synced = False
        self._failing: str | None = None
        self.tallies: dict[str, FileTally] = {}

    def _new_locks(self) -> None:
        self._sync_lock = threading.RLock()
        self._lock = threading.RLock()

    def _in_turn(self, action: Callable[[], Result]) -> Result | None:
        """Return what `action` returns, or None without calling it: closed, or in use.

        It holds the file; what a signal handler logs meanwhile waits. Not a context manager in
        Python: Ctrl-C between its entry and the block would leave the file held for ever.
        """
        with self._lock:
            if self._busy or self._closed:
                return None
            self._busy = True
            try:
                return action()
            finally:
                self._busy = False

    def append(self, line: bytes) -> None:
        """Take one whole line; never raises for a fault of the disk."""
        if self._queued:
            self._wait(line)
            return
        # `with` enters a lock of C in one step. Between `acquire()` and a `try`, a signal handler
        # may raise, and the lock would stay held.
        with self._lock:
            if not self._direct or self._busy:
                self._append_slowly(line)
                return
            self._busy = True
            unsynced = self._unsynced
            try:
                written = os.write(self._fd, line)
                if written == len(line):
                    unsynced += line
                else:
                    unsynced += line[:written]
                    self._direct = False
                    self._waiting.put_first(line[written:], torn=True)
            except OSError as error:
                self._fail(error)
                self._wait(line)
            finally:
                self._busy = False
            # Whoever makes something wait clears `_direct`; asking the queue would be a call.
            if not self._direct or len(unsynced) >= self._look_at:
                self._leave_fast_path()

    def _append_slowly(self, line: bytes) -> None:
        """Append when the file is not open yet, is failing, or this call interrupted another."""
        self._wait(line)
        if not self._busy and self._failing is None:
            self.drain()

    def _leave_fast_path(self) -> None:
        """Something waits (a short write, a row from a signal handler), or memory fills."""
        self._in_turn(self._count)
        if self._waiting and self._failing is None:
            self.drain()

    def _wait(self, line: bytes) -> None:
        if not self._closed:
            self._waiting.put(line)
            self._direct = False

    def drain(self) -> None:
        """Write what waits, oldest first, as far as the disk takes it."""
        self._in_turn(self._write_all)

    def _write_all(self) -> None:
        try:
            while self._waiting:
                self._open_if_needed()
                self._write_oldest()
            self._recover()
        except OSError as error:
            self._fail(error)

    def _write_oldest(self) -> None:
        line = self._waiting.oldest
        written = os.write(self._fd, line)
        self._unsynced += line[:written]
        self._waiting.written(written)

    def _recover(self) -> None:
        """Go back to writing directly once nothing waits."""
        if self._failing is not None:
            lost = f", {self.dropped_rows:,} rows were lost" if self.dropped_rows else ""
            self._on_problem(f"writing {self._name.name} works again{lost}")
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
            self._open_free(self._name)
        if self._cut is not None:
            # Before the rows that are written again, or a kill in between would show them twice.
            cut, self._cut = self._cut, None
            self._on_cut(*cut)

    def _open_free(self, name: StreamFile) -> None:
        """Open the part `name`, or the first one behind it whose name is free.

        What is there came with half a copy of another run. It stays, and does not count.
        """
        taken: list[str] = []
        while True:
            try:
                self._open(name)
                break
            except FileExistsError:
                if len(taken) == MOST_TAKEN_NAMES:
                    raise
                taken.append(name.name)
                name = replace(name, part=name.part + 1)
        for file in taken:
            self._on_cut(file, 0)
            self._on_problem(f"{file} was there before; its rows do not count, {name.name} is used")

    def _open(self, name: StreamFile) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._run_dir / name.name, flags, 0o666)
        self._close_file()
        self._fd, self._name = descriptor, name
        self._tally = self.tallies[name.name] = FileTally()
        self._synced = FileTally()
        self._keep(bytearray())
        self._directory_synced = False

    def _close_file(self) -> None:
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            # NFS reports an earlier fault here; fdatasync has told it already.
            with suppress(OSError):
                os.close(descriptor)

    def _next_name(self) -> StreamFile:
        return replace(self._name, part=self._name.part + 1)

    def _count(self) -> None:
        """Bring the tally up to date, off the hot path, from what was written since."""
        fresh = self._unsynced[self._counted :]
        self._counted = len(self._unsynced)
        self._look_at = self._counted + LOOK_BYTES
        tally = self._tally
        tally.crc32 = zlib.crc32(fresh, tally.crc32)
        tally.rows += fresh.count(b"\n")
        tally.bytes += len(fresh)
        if tally.bytes - self._synced.bytes > UNSYNCED_BYTES:
            self._keep(bytearray(), replayable=False)

    def _measure(self) -> None:
        """Bring the tally up to date and compare it with the file.

        They differ after a KeyboardInterrupt between a write and its note.
        """
        self._count()
        with suppress(OSError):
            if os.fstat(self._fd).st_size != self._tally.bytes:
                self._recount()

    def _recount(self) -> None:
        data = (self._run_dir / self._name.name).read_bytes()
        tally = self._tally
        tally.rows, tally.bytes, tally.crc32 = data.count(b"\n"), len(data), zlib.crc32(data)

    def _keep(self, unsynced: bytearray, *, replayable: bool = True) -> None:
        """Set what would be written again; all of it is counted already."""
        self._unsynced, self._counted, self._replayable = unsynced, len(unsynced), replayable
        self._look_at = len(unsynced) + LOOK_BYTES

    def position(self) -> tuple[str, int] | None:
        """Return the open file's name and size, or None before the first row."""
        return self._in_turn(self._measured)

    def _measured(self) -> tuple[str, int] | None:
        if self._fd < 0:
            return None
        self._measure()
        return self._name.name, self._tally.bytes

    def sync(self) -> None:
        """Make everything appended so far survive power loss; replay it when that fails."""
        # Two at a time would each take half of what is unsynced, and each miss the other's fault.
        with self._sync_lock:
            if self._syncing:
                return
            self._syncing = True
            try:
                self._sync()
            finally:
                self._syncing = False

    def _sync(self) -> None:
        begun = self._in_turn(self._begin_sync)
        if begun is None:
            return
        try:
            _sync_data(begun.descriptor)
            self._sync_name()
        except OSError as error:
            self._in_turn(partial(self._leave_failed, error, begun))
            self.drain()
        else:
            self._in_turn(partial(self._note_sync, begun))

    def _begin_sync(self) -> _Sync | None:
        """Take what is unsynced, if there is any and the disk's pause is over."""
        if self._fd < 0 or time.monotonic() < self._next_sync:
            return None
        self._measure()
        if self._tally.bytes == self._synced.bytes:
            return None
        begun = _Sync(self._fd, replace(self._tally), self._unsynced, self._replayable)
        self._keep(bytearray())
        return begun

    def _note_sync(self, done: _Sync) -> None:
        self._synced, self._failed_syncs = done.counted, 0
        self._rotate_when_full()

    def _rotate_when_full(self) -> None:
        """Go on in the next part; the one left behind is synced and complete."""
        self._count()
        if self._tally.bytes >= PART_BYTES and self._synced == self._tally:
            # No room for a new file: this one still works, and the next sync tries again.
            with suppress(OSError):
                self._open_free(self._next_name())

    def _sync_name(self) -> None:
        """Make the file's name durable too, once; without it XFS was seen to lose the file."""
        if not self._directory_synced:
            sync_directory(self._run_dir)
            self._directory_synced = True

    def _leave_failed(self, error: OSError, begun: _Sync) -> None:
        """Leave the file; every line since its last good sync goes into the next part.

        The file is never synced again: the second fdatasync says OK although the kernel has
        thrown the pages away.
        """
        lines, failed = begun.lines + self._unsynced, self._name.name
        whole = begun.replayable and self._replayable
        self._close_file()
        self._name, self._direct = self._next_name(), False
        self._keep(bytearray())
        if whole:
            self.tallies[failed] = self._synced
            self._cut = failed, self._synced.bytes
            self._waiting.put_first(bytes(lines))
        else:
            self._waiting.give_up_torn()
        self._failed_syncs += 1
        self._next_sync = time.monotonic() + min(2.0**self._failed_syncs, MAX_PAUSE_S)
        what = "rows are written again" if whole else "rows since the last good one may be lost"
        self._on_problem(f"fdatasync of {failed} failed ({error.strerror}); {what}")

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
    def dropped_rows(self) -> int:
        """Rows that were lost because memory was full, or that the disk never took."""
        return self._waiting.dropped

    @property
    def waiting(self) -> bool:
        """Whether lines wait to be written."""
        return bool(self._waiting)

    def finish(self) -> None:
        """Write and sync everything, make the tallies true, and close."""
        self._next_sync = 0.0
        self.drain()
        self.sync()
        with self._sync_lock:
            self._in_turn(self._conclude)
            self.close()

    def _conclude(self) -> None:
        self._give_up_what_waits()
        if self._fd >= 0:
            self._measure()

    def _give_up_what_waits(self) -> None:
        """Count the rows that the disk never took, and leave no half of one in the file."""
        if self._waiting.torn and self._fd >= 0:
            with suppress(OSError):
                data = (self._run_dir / self._name.name).read_bytes()
                os.ftruncate(self._fd, data.rfind(b"\n") + 1)
        self._waiting.give_up()

    def close(self) -> None:
        """Close the file; what is appended afterwards is ignored."""
        with self._sync_lock, self._lock:
            self._closed, self._direct = True, False
            self._close_file()

    def forget_in_child(self) -> None:
        """Drop everything in a forked child: the file belongs to the parent.

        The parent's locks may be held by a thread that does not exist here, and an inherited
        descriptor would keep the parent's file lock after the parent is gone.
        """
        self._new_locks()
        self._waiting = LineQueue(WAITING_BYTES)
        self._unsynced.clear()
        self._busy = False
        self.close()
