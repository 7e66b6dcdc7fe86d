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
from dataclasses import replace
from functools import partial
from typing import TypeVar

from runstore.line_queue import LineQueue
from runstore.part import FileTally, Part, Sync, cut_back
from runstore.paths import StreamFile
from runstore.run_directory import NEVER_HEALS, RunDirectory

PART_BYTES = 64 << 20
"""A part is closed at this size: rsync then skips it, and a checksum covers a bounded file."""
WAITING_BYTES = 32 << 20
"""The most that is kept in memory for a disk that takes no more."""
MOST_TAKEN_NAMES = 100
"""So many names of parts are passed over because another process made files of that name."""
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
    ) -> None:
        """Prepare the stream; its file appears with its first row.

        Args:
            directory: the run's.
            first: names the first part.
            queued: never write in the caller's thread (network mounts).
            on_cut: told (file name, bytes) when a file ends earlier than its size says.
            on_problem: told, in words, when writing fails and when it works again. Called with
                locks held: it must only take a note.
        """
        self._directory = directory
        self._queued = queued
        self._on_cut = on_cut
        self._on_problem = on_problem
        self._new_locks()
        self._busy = False
        self._syncing = False
        self._part = Part(directory, first)
        self._direct = False
        self._closed = False
        self._waiting = LineQueue(WAITING_BYTES)
        self._cut: tuple[str, int] | None = None
        """What `on_cut` is to be told once the next part is open."""
        self._cut_files: dict[str, int] = {}
        """The files that were left behind a fault, and where their valid rows end."""
        self._failed_syncs = 0
        self._next_sync = 0.0
        self._failing: str | None = None
        self._failing_since = 0.0
        self._dead_parts = 0
        self._was_deleted = False
        """Whether the open file had no name at the last look."""
        self._lost = False
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
            part = self._part
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
        self._in_turn(self._part.count)
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
                self._open_if_needed()
                self._write_oldest()
            self._recover()
        except OSError as error:
            if error.errno == errno.ENOENT and self._directory.is_deleted():
                self._lose()
                return
            self._fail(error)
            self._leave_if_dead(error)

    def _write_oldest(self) -> None:
        line = self._waiting.oldest
        written = os.write(self._part.descriptor, line)
        self._part.unsynced += line[:written]
        self._waiting.written(written)

    def _recover(self) -> None:
        """Go back to writing directly once nothing waits."""
        if self._failing is not None:
            lost = f", {self.dropped_rows:,} rows were lost" if self.dropped_rows else ""
            self._on_problem(f"writing {self._part.name.name} works again{lost}")
            self._failing = None
            self._dead_parts = 0
        self._direct = self._part.is_open and not self._queued

    def _fail(self, error: OSError) -> None:
        """Note a fault once, however often it repeats."""
        reason = errno.errorcode.get(error.errno or 0, "?")
        if self._failing is None:
            self._failing_since = time.monotonic()
        if self._failing != reason:
            self._failing = reason
            self._on_problem(
                f"writing {self._part.name.name} fails ({error.strerror}); rows wait in memory"
            )

    def _leave_if_dead(self, error: OSError) -> None:
        """Go on in the next part when this descriptor will never work again.

        Not on a full disk: there the next part would have no room either.
        """
        if not self._part.is_open or self._syncing:
            return
        patience_s = min(EIO_PATIENCE_S * 2.0**self._dead_parts, MAX_PAUSE_S)
        tried_long = time.monotonic() - self._failing_since >= patience_s
        if error.errno in NEVER_HEALS or (error.errno == errno.EIO and tried_long):
            if error.errno == errno.EBADF:
                # Closed behind our back: its number may be somebody else's in a moment.
                self._part.descriptor = -1
            self._dead_parts += 1
            self._failing_since = time.monotonic()
            self._part.count()
            self._leave(self._part.unsynced, whole=self._part.replayable)

    # ---- parts -------------------------------------------------------------------------------

    def _open_if_needed(self) -> None:
        if not self._part.is_open:
            self._open_free(self._part.name)
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
        owed_bytes = 0 if self._part.is_open else self._part.owed_bytes
        part = Part(self._directory, name, owed_bytes=owed_bytes)
        part.open()
        self._part.close()
        self._part = part
        self.tallies[name.name] = part.tally

    def _next_name(self) -> StreamFile:
        return replace(self._part.name, part=self._part.name.part + 1)

    def _leave(self, lines: bytearray, *, whole: bool) -> None:
        """Leave the file; every line since its last good sync goes into the next part.

        Args:
            lines: what was written since then.
            whole: whether `lines` is all of that. When memory did not suffice, the file's rows
                count as they are.
        """
        left = self._part
        left.close()
        owed_bytes = len(lines) if whole else 0
        self._part = Part(self._directory, self._next_name(), owed_bytes=owed_bytes)
        self._direct = False
        if whole:
            self.tallies[left.name.name] = left.synced
            self._cut = left.name.name, left.synced.bytes
            self._cut_files[left.name.name] = left.synced.bytes
            self._waiting.put_first(bytes(lines))
        else:
            # What was left before may have gone with it: those files have the only copy.
            self._cut_files.clear()
            self._waiting.give_up_torn()

    def position(self) -> tuple[str, int] | None:
        """Return the open file's name and size, or None before the first row."""
        return self._in_turn(self._measured)

    def _measured(self) -> tuple[str, int] | None:
        if not self._part.is_open:
            return None
        self._measure()
        return self._part.name.name, self._part.tally.bytes

    def _measure(self) -> None:
        self._part.measure()
        self.tallies[self._part.name.name] = self._part.tally

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
        part = self._part
        if not part.is_open or time.monotonic() < self._next_sync or self._is_pulled_away():
            return None
        self._measure()
        return part.begin_sync() if part.tally.bytes != part.synced.bytes else None

    def _note_sync(self, done: Sync) -> None:
        done.part.synced, self._failed_syncs = done.counted, 0
        self._rotate_when_full()

    def _rotate_when_full(self) -> None:
        """Go on in the next part; the one left behind is synced and complete."""
        part = self._part
        part.count()
        if part.tally.bytes >= PART_BYTES and part.synced == part.tally:
            # No room for a new file: this one still works, and the next sync tries again.
            with suppress(OSError):
                self._open_free(self._next_name())

    def _leave_failed(self, error: OSError, begun: Sync) -> None:
        """Leave a file whose sync has failed.

        The file is never synced again: the second fdatasync says OK although the kernel has
        thrown the pages away.
        """
        if self._lost:
            return
        failed = self._part.name.name
        whole = begun.replayable and self._part.replayable
        self._leave(begun.lines + self._part.unsynced, whole=whole)
        self._failed_syncs += 1
        self._next_sync = time.monotonic() + min(2.0**self._failed_syncs, MAX_PAUSE_S)
        what = "rows are written again" if whole else "rows since the last good one may be lost"
        self._on_problem(f"fdatasync of {failed} failed ({error.strerror}); {what}")

    def _is_pulled_away(self) -> bool:
        """Tell whether somebody took the open file from us; the next part goes on then."""
        part = self._part
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
            self.tallies.pop(part.name.name)
            self._cut_files.pop(part.name.name, None)
            self._cut = None
            return True
        return self._was_deleted

    def _leave_pulled(self, why: str) -> None:
        part = self._part
        part.count()
        self._leave(part.unsynced, whole=part.replayable)
        self._on_problem(f"{part.name.name}: {why}; {self._part.name.name} goes on")

    # ---- beginning and end -------------------------------------------------------------------

    def create(self) -> int:
        """Create the first part now and return its descriptor.

        Raises:
            FileExistsError: another process has created it.
            OSError: it cannot be created.
        """
        with self._lock:
            self._open(self._part.name)
            self._direct = not self._queued
            return self._part.descriptor

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
        self._waiting.refuse(lost=self._part.unsynced.count(b"\n"))
        self._part.keep(bytearray())
        self._part.close()

    def finish(self) -> None:
        """Write and sync everything, make the tallies true, and close."""
        self.drain()
        for _ in range(END_SYNCS):
            self._next_sync = 0.0
            self.sync()
        with self._sync_lock:
            self._in_turn(self._conclude)
            self.close()

    def _conclude(self) -> None:
        self._give_up_what_waits()
        if self._part.is_open:
            self._measure()
        self._cut_back()

    def _give_up_what_waits(self) -> None:
        """Count the rows that the disk never took, and leave no half of one in the file."""
        if self._waiting.torn and self._part.is_open:
            self._part.drop_torn_line()
        self._waiting.give_up()

    def _cut_back(self) -> None:
        """Cut the files that were left, once their lines are safe elsewhere.

        A file server that was full has left NULs behind the cut, which no JSON parser takes.
        """
        part = self._part
        if part.is_open and part.synced.bytes >= part.owed_bytes:
            for name, size in self._cut_files.items():
                with suppress(OSError):
                    cut_back(self._directory, name, size)

    def close(self) -> None:
        """Close the file; what is appended afterwards is ignored."""
        with self._sync_lock, self._lock:
            self._closed, self._direct = True, False
            self._part.close()

    def forget_in_child(self) -> None:
        """Drop everything in a forked child: the file belongs to the parent.

        The parent's locks may be held by a thread that does not exist here, and an inherited
        descriptor would keep the parent's file lock after the parent is gone.
        """
        self._new_locks()
        self._waiting = LineQueue(WAITING_BYTES)
        self._part.unsynced.clear()
        self._busy = False
        self.close()
