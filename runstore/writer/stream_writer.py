"""One stream of one attempt: whole lines appended to a file, and what happens when that fails.

In `direct` mode a line is in the kernel when `append` returns, so SIGKILL loses nothing. These
things can still go wrong, and none may reach the training loop:

* `write` is short or fails (disk full, quota): the rest of the line, and all that follows, waits
  in memory in order and is written when there is room; a remainder is finished, never restarted.
* `fdatasync` fails: the kernel may have thrown the dirty pages away and the next fdatasync says
  OK. Every line since the last good one is kept in memory and written again to the next part.
* `write` fails and never works again on this descriptor (ESTALE; EIO for seconds), or somebody
  deletes the file: the next part is opened anew, in the same way.
* the directory is deleted: what follows is lost, and counted. Nothing is made in its place.
* memory for any of these runs out: rows are dropped and counted, and the count is reported.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from runstore.files.paths import StreamFile
from runstore.files.run_directory import NEVER_HEALS, RunDirectory
from runstore.writer.line_queue import LineQueue
from runstore.writer.part import FileTally, Sync
from runstore.writer.parts import Parts

SYNC_INTERVAL_S = 2.0
"""The time between two syncs of a stream: what a power loss may cost."""
QUEUE_INTERVAL_S = 0.1
"""The time between two looks at what waits for a network mount."""
END_WAIT_S = 60.0
"""How long the end of an attempt waits for a file server that does not answer."""
WAITING_BYTES = 32 << 20
"""The most that is kept in memory for a disk that takes no more."""
MAX_PAUSE_S = 60.0
"""The longest pause between two syncs of a disk whose syncs fail: each begins a new part."""
EIO_PATIENCE_S = 5.0
"""So long writes may fail with EIO before the file is left; longer after each such part."""
END_SYNCS = 3
"""So often the end tries to make the last rows durable; each failure goes on in the next part."""

Result = TypeVar("Result")


class StreamWriter:
    """Appends lines to `metrics-0001.jsonl`, `metrics-0001.1.jsonl`, … of one run directory.

    Safe to call from several threads and from a signal handler; after a fork the child's copy
    does nothing. Two locks, taken in this order: one for syncing and closing (held for as long as
    a disk takes), one for the file (held for a write). In `queued` mode the caller takes neither,
    so that a stalled file server does not stall training.
    """

    def __init__(
        self,
        directory: RunDirectory,
        first: StreamFile,
        *,
        queued: bool = False,
        on_cut: Callable[[str, int], None],
        on_problem: Callable[[str], None],
        is_shared: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the stream; its file appears with its first row.

        Args:
            directory: the run's.
            first: names the first part.
            queued: never write in the caller's thread (network mounts).
            on_cut: told (file name, bytes) when a file ends earlier than its size says.
            on_problem: told, in words, when writing fails and when it works again. Called with
                locks held: it must only take a note.
            is_shared: tells whether another process writes parts of the same stream.
        """
        self._directory = directory
        self._queued = queued
        self._on_problem = on_problem
        self._new_locks()
        self._busy = False
        self._syncing = False
        self._parts = Parts(directory, first, on_cut, on_problem, is_shared)
        self._direct = False
        self._closed = False
        self._waiting = LineQueue(WAITING_BYTES)
        self._failed_syncs = 0
        self._next_sync = 0.0
        self._failing: str | None = None
        self._failing_since = 0.0
        self._dead_parts = 0
        self._was_deleted = False
        """Whether the open file had no name at the last look."""
        self._lost = False

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

    # ---- lines in ----------------------------------------------------------------------------

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
            part = self._parts.current
            unsynced = part.unsynced
            try:
                written = os.write(part.descriptor, line)
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
            if not self._direct or len(unsynced) >= part.look_at:
                self._leave_fast_path()

    def _append_slowly(self, line: bytes) -> None:
        """Append when the file is not open yet, is failing, or this call interrupted another."""
        self._wait(line)
        if not self._busy and self._failing is None:
            self.drain()

    def _leave_fast_path(self) -> None:
        """Something waits (a short write, a row from a signal handler), or memory fills."""
        self._in_turn(self._parts.current.count)
        if self._waiting and self._failing is None:
            self.drain()

    def _wait(self, line: bytes) -> None:
        if not self._closed:
            self._waiting.put(line)
            self._direct = False

    # ---- lines out ---------------------------------------------------------------------------

    def drain(self) -> None:
        """Write what waits, oldest first, as far as the disk takes it."""
        self._in_turn(self._write_all)

    def _write_all(self) -> None:
        if self._lost:
            return
        try:
            while self._waiting:
                self._parts.open_if_needed()
                self._write_oldest()
            self._recover()
        except OSError as error:
            if error.errno == errno.ENOENT and self._directory.is_deleted():
                self._lose()
                return
            self._fail(error)
            if self._queued:
                # NFS tells here of pages that earlier writes left, and then fdatasync says OK
                # although they are gone (Linux, nfs_file_write). Seen on a full export.
                self._parts.current.doubt = error
            self._leave_if_dead(error)

    def _write_oldest(self) -> None:
        line = self._waiting.oldest()
        written = os.write(self._parts.current.descriptor, line)
        self._parts.current.unsynced += line[:written]
        self._waiting.written(written)

    def _recover(self) -> None:
        """Go back to writing directly once nothing waits."""
        if self._failing is not None:
            lost = f", {self.dropped_rows:,} rows were lost" if self.dropped_rows else ""
            self._on_problem(f"writing {self._parts.current.name.name} works again{lost}")
            self._failing = None
            self._dead_parts = 0
        self._direct = self._parts.current.is_open and not self._queued

    def _fail(self, error: OSError) -> None:
        """Note a fault once, however often it repeats."""
        reason = errno.errorcode.get(error.errno or 0, "?")
        if self._failing is None:
            self._failing_since = time.monotonic()
        if self._failing != reason:
            self._failing = reason
            file = self._parts.current.name.name
            self._on_problem(f"writing {file} fails ({error.strerror}); rows wait in memory")

    def _leave_if_dead(self, error: OSError) -> None:
        """Go on in the next part when this descriptor will never work again.

        Not on a full disk: there the next part would have no room either.
        """
        if not self._parts.current.is_open or self._syncing:
            return
        patience_s = min(EIO_PATIENCE_S * 2.0**self._dead_parts, MAX_PAUSE_S)
        tried_long = time.monotonic() - self._failing_since >= patience_s
        if error.errno in NEVER_HEALS or (error.errno == errno.EIO and tried_long):
            if error.errno == errno.EBADF:
                # Closed behind our back: its number may be somebody else's in a moment.
                self._parts.current.descriptor = -1
            self._dead_parts += 1
            self._failing_since = time.monotonic()
            self._parts.current.count()
            self._leave(self._parts.current.unsynced, whole=self._parts.current.replayable)

    def _leave(self, lines: bytearray, *, whole: bool) -> None:
        """Leave the file; every line since its last good sync goes into the next part.

        Args:
            lines: what was written since then.
            whole: whether `lines` is all of that. When memory did not suffice, the file's rows
                count as they are.
        """
        self._direct = False
        self._parts.leave(len(lines) if whole else None)
        if whole:
            self._waiting.put_first(bytes(lines))
        else:
            self._waiting.give_up_torn()

    def position(self) -> tuple[str, int] | None:
        """Return the open file's name and size, or None before the first row."""
        return self._in_turn(self._measured)

    def _measured(self) -> tuple[str, int] | None:
        if not self._parts.current.is_open:
            return None
        self._parts.measure()
        return self._parts.current.name.name, self._parts.current.tally.bytes

    # ---- durability --------------------------------------------------------------------------

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
            begun.part.sync()
        except OSError as error:
            self._in_turn(partial(self._leave_failed, error, begun))
            self.drain()
        else:
            self._in_turn(partial(self._note_sync, begun))

    def _begin_sync(self) -> Sync | None:
        """Take what is unsynced, if there is any and the disk's pause is over."""
        part = self._parts.current
        if not part.is_open or time.monotonic() < self._next_sync or self._is_pulled_away():
            return None
        self._parts.measure()
        return part.begin_sync() if part.tally.bytes != part.synced.bytes or part.doubt else None

    def _note_sync(self, done: Sync) -> None:
        done.part.synced, self._failed_syncs = done.counted, 0
        self._parts.rotate_when_full()

    def _leave_failed(self, error: OSError, begun: Sync) -> None:
        """Leave a file whose sync has failed.

        The file is never synced again: the second fdatasync says OK although the kernel has
        thrown the pages away.
        """
        if self._lost:
            return
        failed = self._parts.current.name.name
        whole = begun.replayable and self._parts.current.replayable
        self._leave(begun.lines + self._parts.current.unsynced, whole=whole)
        self._failed_syncs += 1
        self._next_sync = time.monotonic() + min(2.0**self._failed_syncs, MAX_PAUSE_S)
        what = "rows are written again" if whole else "rows since the last good one may be lost"
        call = "fdatasync of" if error is not begun.part.doubt else "writing"
        self._on_problem(f"{call} {failed} failed ({error.strerror}); {what}")

    def _is_pulled_away(self) -> bool:
        """Tell whether somebody took the open file from us; the next part goes on then."""
        part = self._parts.current
        if part.is_another_file():
            # Not to be closed: it is somebody else's.
            part.descriptor = -1
            self._leave_pulled("its descriptor was closed by another part of the program")
            return True
        before, self._was_deleted = self._was_deleted, part.is_deleted()
        # Only the second time: `rm -r` takes the directory next, and would stumble over a new file.
        if before and self._was_deleted:
            self._was_deleted = False
            self._leave_pulled("it was deleted")
            self._parts.forget(part)
            return True
        return self._was_deleted

    def _leave_pulled(self, why: str) -> None:
        part = self._parts.current
        part.count()
        self._leave(part.unsynced, whole=part.replayable)
        self._on_problem(f"{part.name.name}: {why}; {self._parts.current.name.name} goes on")

    # ---- beginning and end -------------------------------------------------------------------

    def create(self) -> int:
        """Create the first part now and return its descriptor.

        Raises:
            FileExistsError: another process has created it.
            OSError: it cannot be created.
        """
        with self._lock:
            self._parts.create()
            self._direct = not self._queued
            return self._parts.current.descriptor

    @property
    def tallies(self) -> dict[str, FileTally]:
        """What each file of the stream should hold, by name."""
        return self._parts.tallies

    @property
    def failing(self) -> bool:
        """Whether the last write failed and rows wait in memory."""
        return self._failing is not None

    @property
    def fault(self) -> str:
        """The name of the fault (`ENOSPC`) while writes fail; else empty."""
        return self._failing or ""

    @property
    def dropped_rows(self) -> int:
        """Rows that were lost: memory was full, the disk never took them, or it was deleted."""
        return self._waiting.dropped

    @property
    def waiting_rows(self) -> int:
        """How many lines wait to be written."""
        return self._waiting.rows

    def lose(self) -> None:
        """Count as lost what comes, and what is not known to have been there: nobody can read it.

        For a directory that was deleted.
        """
        self._in_turn(self._lose)

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost, self._direct, self._failing = True, False, None
        self._waiting.refuse(lost=self._parts.current.unsynced.count(b"\n"))
        self._parts.current.keep(bytearray())
        self._parts.current.close()

    def finish(self) -> None:
        """Write and sync everything, make the tallies true, and close."""
        with self._lock:
            # Of this thread, then: a signal handler has interrupted it.
            if self._busy:
                self._finish_inside()
                return
        for _ in range(END_SYNCS):
            self._next_sync = 0.0
            self.drain()
            self.sync()
        with self._sync_lock:
            self._in_turn(self._conclude)
            self.close()

    def _finish_inside(self) -> None:
        """Do the same in a signal handler that has interrupted this very thread at its writing.

        What was under way is looked for in the file, and goes nowhere from now on. Without the lock
        for syncing: a thread that has it may wait for the one that this thread holds.
        """
        self._busy = False
        if self._parts.current.is_open and not self._waiting.torn:
            self._parts.current.drop_torn_line()
        self.drain()
        if self._parts.current.is_open:
            with suppress(OSError):
                self._parts.current.sync()
        self._in_turn(self._conclude)
        self._closed, self._direct, self._busy = True, False, True
        self._parts.current.leave_number()

    def _conclude(self) -> None:
        self._give_up_what_waits()
        if self._parts.current.is_open:
            self._parts.measure()
        self._parts.cut_back()

    def _give_up_what_waits(self) -> None:
        """Count the rows that the disk never took, and leave no half of one in the file."""
        if self._waiting.torn and self._parts.current.is_open:
            self._parts.current.drop_torn_line()
        self._waiting.give_up()

    def close(self) -> None:
        """Close the file; what is appended afterwards is ignored."""
        with self._sync_lock, self._lock:
            self._closed, self._direct = True, False
            self._parts.current.close()

    def forget_in_child(self) -> None:
        """Drop everything in a forked child: the file belongs to the parent.

        The parent's locks may be held by a thread that does not exist here, and an inherited
        descriptor would keep the parent's file lock after the parent is gone.
        """
        self._new_locks()
        self._waiting = LineQueue(WAITING_BYTES)
        self._parts.current.unsynced.clear()
        self._busy = False
        self.close()
