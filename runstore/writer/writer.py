"""The only module that appends to a run: one attempt's streams, their thread, their end.

An attempt is claimed by creating its events file with `O_EXCL`; the loser does not start. Every
file has one writer, for ever: two NFS clients appending to one file lost 39 % of the lines in a
trial. After that, nothing here raises into the training loop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from runstore.console import say
from runstore.environment.mounts import is_network
from runstore.environment.process import current_process
from runstore.errors import AttemptError, UnusableDirectoryError
from runstore.files.paths import RunPaths, Stream, StreamFile
from runstore.files.records import FORMAT, RecordError, encode
from runstore.files.run_directory import RunDirectory
from runstore.threads import start_daemon
from runstore.writer.heartbeat import (
    Heartbeat,
    Progress,
    fault_in_words,
    lost_in_words,
    why_degraded,
)
from runstore.writer.late_rows import LATE_WAIT_S, LateRows
from runstore.writer.probe import MISSING, Probe, probe, takes_lock
from runstore.writer.reserve import Reserve
from runstore.writer.stream_writer import (
    END_WAIT_S,
    QUEUE_INTERVAL_S,
    SYNC_INTERVAL_S,
    StreamWriter,
)

HEARTBEAT_LOCAL_S = 1.0
HEARTBEAT_NETWORK_S = 10.0
END_TELL_S = 5.0
"""After so many seconds of that it says what it waits for."""
PROBLEM_CHARS = 500
SHORT_FIELD_BYTES = 1000
"""The longest field that is kept of an event that cannot be written as it is."""

Clock = Callable[[], float]

_log = logging.getLogger("runstore")
_open_writers: weakref.WeakSet[RunWriter] = weakref.WeakSet()


def attempt_clock() -> Clock:
    """Return a clock of Unix seconds UTC that never runs backwards.

    One reading of the wall clock, then the monotonic one: a clock set back by an hour in the
    middle of a run must not put later rows before earlier ones.
    """
    offset = time.time() - time.monotonic()
    monotonic = time.monotonic
    return lambda: monotonic() + offset


class RunWriter:
    """Claims one attempt of a run directory and appends to its streams."""

    def __init__(
        self,
        run_dir: Path,
        attempt: int,
        *,
        opening: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        clock: Clock | None = None,
        on_moved: Callable[[Path], object] = lambda path: None,
    ) -> None:
        """Claim `attempt` and start the thread that syncs and beats.

        Args:
            run_dir: an existing run directory.
            attempt: from 1.
            opening: further fields of the `open` event (`cuts`, Slurm's ids, …).
            progress: called about once a second for the position that `progress.json` shows.
            clock: Unix seconds; rows and events are stamped with it.
            on_moved: told where the directory is, when somebody moved it.

        Raises:
            AttemptError: somebody else claimed the attempt.
            UnusableDirectoryError: the directory cannot be written, or not be appended to.
        """
        self.run_dir, self.attempt = run_dir, attempt
        self.clock = clock or attempt_clock()
        self._on_moved = on_moved
        self._directory = RunDirectory(run_dir)
        self._heartbeat = Heartbeat(self._directory, attempt, self.clock, progress)
        self._reserve = Reserve(self._directory)
        self._deleted = False
        self._in_sight = True
        self._network = is_network(run_dir)
        self._streams: dict[Stream, StreamWriter] = {}
        # Re-entrant: a signal handler may log while this thread is inside.
        self._streams_lock = threading.RLock()
        self._problems: deque[str] = deque()
        self._told: set[str] = set()
        self._lock_fd = -1
        self._closed = False
        self._stop = threading.Event()
        self._end_fields: dict[str, Any] | None = None
        self._files: dict[str, dict[str, int | str]] = {}
        self._ending = False
        self._ended = False
        self.write_mode = "queued" if self._network else "direct"
        try:
            self._claim(dict(opening or {}), self._probe())
        except BaseException:
            # Who does not get the attempt keeps nothing of it open.
            self._directory.close()
            raise
        self.metrics = self.stream("metrics")
        self.late = LateRows(partial(self._note_once, "late"))
        """What waits for an accelerator, on its way to `metrics`."""
        _open_writers.add(self)
        self._thread = start_daemon(self._serve, "runstore-writer")

    def _probe(self) -> Probe:
        """Try out the directory; what does not work costs a promise, or the run."""
        try:
            found = probe(self._directory)
        except OSError as error:
            raise UnusableDirectoryError(self.run_dir, error) from error
        if not found.append:
            raise UnusableDirectoryError(self.run_dir)
        self._directory.can_rename = found.rename
        self._problems += [MISSING[name] for name in found.without]
        return found

    def _claim(self, opening: dict[str, Any], found: Probe) -> None:
        events = self.stream("events")
        try:
            descriptor = events.create()
        except FileExistsError:
            raise AttemptError(
                f"{self.run_dir}: attempt {self.attempt} was started by another process at the "
                f"same moment; only one may run; this one stops"
            ) from None
        inode = os.fstat(descriptor).st_ino
        identity = current_process().to_record()
        lock = takes_lock(descriptor)
        # The lock lasts as long as a descriptor of it is open, and the stream may leave its first
        # file for the next part.
        self._lock_fd = os.dup(descriptor)
        self.event(
            "open",
            {
                "format": FORMAT,
                "attempt": self.attempt,
                "rank": 0,
                **identity,
                "inode": inode,
                "lock": lock,
                **({"without": found.without} if found.without else {}),
                **opening,
            },
        )
        events.drain()
        events.sync()

    def stream(self, stream: Stream) -> StreamWriter:
        """Return the writer of one stream; its file appears with its first row."""
        with self._streams_lock:
            found = self._streams.get(stream)
            if found is None:
                # setdefault: a signal handler may have made it since.
                found = self._streams.setdefault(stream, self._new_stream(stream))
        return found

    def _new_stream(self, stream: Stream) -> StreamWriter:
        return StreamWriter(
            self._directory,
            StreamFile(self.attempt, 0, stream),
            queued=self._network,
            on_cut=self._record_cut,
            on_problem=self._problems.append,
            is_shared=lambda: stream == "metrics" and self._is_watched(),
        )

    def _is_watched(self) -> bool:
        """Tell whether `runstore exec` began the attempt: rows that it found have their parts."""
        return RunPaths(self.run_dir).stream("exec", self.attempt).exists()

    def append(self, stream: Stream, record: Mapping[str, Any]) -> None:
        """Encode and append one record; after the end, and in a forked child, do nothing.

        Raises:
            RecordError: it cannot be written as one line of JSON.
        """
        if not self._closed:
            self.stream(stream).append(encode(record))

    def event(self, event: str, fields: Mapping[str, Any] | None = None) -> None:
        """Append one lifecycle event, stamped with the time; what is no JSON is left out."""
        stamped = {"event": event, "time": self.clock()}
        fields = fields or {}
        try:
            self.append("events", {**stamped, **fields})
        except RecordError as error:
            kept = {key: value for key, value in fields.items() if _is_short(key, value)}
            self.append("events", {**stamped, "unwritable": str(error), **kept})

    def write_document(self, name: str, data: bytes) -> None:
        """Replace a small document of the run, durably.

        Raises:
            OSError: the disk does not take it; the old document is untouched.
        """
        self._directory.write_document(name, data, durable=True)

    def sync(self) -> dict[str, int]:
        """Make everything appended so far durable; return each open file's name and size.

        Waits for values that are still on an accelerator.
        """
        self.late.settle()
        for stream in self._all_streams():
            stream.drain()
            stream.sync()
        positions = [stream.position() for stream in self._all_streams()]
        return dict(position for position in positions if position is not None)

    def end(self, fields: Mapping[str, Any]) -> None:
        """Write the end of the attempt, with each file's tally, and close; only once.

        When Ctrl-C leaves it half done, a further call does the rest, and says what the first would
        have said.
        """
        if self._ended or self._ending:
            return
        if self._end_fields is None:
            self._end_fields = dict(fields)
        self._ending = True
        try:
            if self._network and self._thread.is_alive():
                self._end_in_thread()
            else:
                self._end_here()
        finally:
            self._ending = False

    def _end_here(self) -> None:
        try:
            self._give_up_late_rows()
            self._stop.set()
            if self._thread is not threading.current_thread():
                self._thread.join(timeout=5.0)
            self._close_data()
        finally:
            # Also when a second Ctrl-C interrupts the above: without an end the run looks crashed.
            self._stop.set()
            self._write_end()

    def _end_in_thread(self) -> None:
        """Let the thread write the end: a file server may not answer for hours, or never."""
        try:
            self._give_up_late_rows()
        finally:
            self._stop.set()
        begun, told = time.monotonic(), False
        while self._thread.is_alive():
            self._thread.join(timeout=0.2)
            waited_s = time.monotonic() - begun
            if waited_s >= END_WAIT_S:
                _log.warning(
                    "runstore: the file server has not answered for %.0f s; %s, and the end of the "
                    "run, may be missing (%s)",
                    waited_s,
                    f"{self._waiting_rows():,} rows",
                    self.run_dir,
                )
                return
            if waited_s >= END_TELL_S and not told:
                told = True
                say(
                    f"runstore: waiting for the file server, {self._waiting_rows():,} rows are not "
                    f"written yet; at most {END_WAIT_S:.0f} s"
                )

    def _give_up_late_rows(self) -> None:
        self._guard("writing the last rows", partial(self.late.give_up, LATE_WAIT_S))

    def _close_data(self) -> None:
        self._guard("looking at the directory", self._look_at_directory)
        for stream in self._data_streams():
            self._guard("closing a file", stream.finish)
            tallies = stream.tallies.items()
            self._files.update({name: tally.to_record() for name, tally in tallies})
        self._guard("rewriting progress.json", self._beat)

    def _write_end(self) -> None:
        if not self._closed:
            # Once more: Ctrl-C may have cut the first wait short.
            self._guard("writing the last rows", self.late.give_up)
            self._guard("reporting a problem", self._tell_problems)
            dropped = self._dropped_rows()
            lost = {"dropped_rows": dropped} if dropped else {}
            # Behind the rows, which may need more room than there is: the end must have some.
            self._reserve.release()
            self.event("end", {**(self._end_fields or {}), **lost, "files": self._files})
            self._closed = True
        for stream in self._all_streams():
            stream.finish()
        self._release_lock()
        self._directory.close()
        _open_writers.discard(self)
        # Last: until here a further call has something to do.
        self._ended = True

    def _waiting_rows(self) -> int:
        return sum(stream.waiting_rows for stream in self._data_streams())

    def _dropped_rows(self) -> int:
        return sum(stream.dropped_rows for stream in self._data_streams())

    @property
    def end_is_written(self) -> bool:
        """Whether the end has reached the file: a disk that takes nothing has not got it."""
        return self._ended and not self._deleted and not self.stream("events").dropped_rows

    @property
    def lost(self) -> str:
        """What is lost for ever, in words; empty when nothing is."""
        dropped = self._dropped_rows()
        rows = lost_in_words(dropped)
        if self._deleted:
            return f"the run's directory was deleted while it ran; {rows}"
        faults = [stream.fault for stream in self._data_streams() if stream.failing]
        if not self._in_sight:
            written = sum(int(tally["rows"]) for tally in self._files.values())
            also = f"; {rows}" if dropped else ""
            return (
                f"the run's directory is out of sight, unmounted or mounted over: {written:,} rows "
                f"are in it, to be seen when it is back, or lost if it was only in memory{also}"
            )
        because = f" ({fault_in_words(faults[0])})" if faults else ""
        return f"{rows}{because}" if dropped else ""

    def _data_streams(self) -> list[StreamWriter]:
        events = self.stream("events")
        return [stream for stream in self._all_streams() if stream is not events]

    def _release_lock(self) -> None:
        descriptor, self._lock_fd = self._lock_fd, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    @property
    def degraded(self) -> bool:
        """Whether some rows wait in memory because the disk does not take them."""
        return any(stream.failing for stream in self._all_streams())

    @property
    def why_degraded(self) -> str:
        """Why rows wait in memory, and how many; empty when they do not."""
        return why_degraded(self._all_streams())

    def _all_streams(self) -> list[StreamWriter]:
        with self._streams_lock:
            return list(self._streams.values())

    def _record_cut(self, file: str, size: int) -> None:
        self.event("cut", {"file": file, "bytes": size})
        # In the file before the rows that it is about, or a kill in between shows them twice.
        self.stream("events").drain()

    def _tell_problems(self) -> None:
        """Tell each fault of the disk, on the terminal and in the events.

        Not where it happened: there the stream's lock is held, and a logging handler may log.
        """
        while self._problems:
            problem = self._problems.popleft()
            self.event("warning", {"message": problem})
            # Last: the user's logging handler may raise.
            _log.warning("runstore: %s (%s)", problem, self.run_dir)

    def _serve(self) -> None:
        """Write what waits, sync what grew, beat; until the end."""
        heartbeat_s = HEARTBEAT_NETWORK_S if self._network else HEARTBEAT_LOCAL_S
        next_sync, next_beat = time.monotonic() + SYNC_INTERVAL_S, time.monotonic()
        pause = QUEUE_INTERVAL_S if self._network else min(SYNC_INTERVAL_S, heartbeat_s)
        # Here and not before the claim: it may take a while, and nobody needs it yet.
        self._guard("reserving room for the end", self._reserve.take)
        while True:
            now = time.monotonic()
            self._guard("writing what was late", self.late.look)
            for stream in self._all_streams():
                if stream.waiting_rows or stream.failing:
                    self._guard("writing what waits", stream.drain)
            if now >= next_sync:
                self._guard("looking at the directory", self._look_at_directory)
                for stream in self._all_streams():
                    self._guard("syncing a file", stream.sync)
                next_sync = now + SYNC_INTERVAL_S
            if now >= next_beat:
                self._guard("rewriting progress.json", self._beat)
                next_beat = now + heartbeat_s
            self._guard("reporting a problem", self._tell_problems)
            if self._stop.wait(pause):
                break
        if self._network:
            self._guard("ending the run", self._end_for_caller)

    def _end_for_caller(self) -> None:
        try:
            self._close_data()
        finally:
            self._write_end()

    def _look_at_directory(self) -> None:
        """Follow a directory that was moved; give up one that was deleted."""
        if self._deleted:
            return
        if self._directory.is_deleted():
            self._deleted = True
            for stream in self._all_streams():
                stream.lose()
            self._note_once("deleted", "the run's directory was deleted; rows are lost from now on")
            return
        moved = self._directory.moved_to()
        if moved is not None:
            self._problems.append(f"the run's directory was moved to {moved}; the rows follow it")
            self._on_moved(moved)
        self._look_whether_in_sight()

    def _look_whether_in_sight(self) -> None:
        before, self._in_sight = self._in_sight, self._directory.is_in_sight()
        if before and not self._in_sight:
            self._problems.append(
                "the run's directory is out of sight: its file system was unmounted, or another "
                "mounted over it; rows are written there, and seen when it is back"
            )
        elif self._in_sight and not before:
            self._problems.append("the run's directory is back")

    def _guard(self, what: str, action: Callable[[], object]) -> None:
        """Do one thing of the thread or of the end; a fault in it must not stop the others."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the boundary of the thread and of the end
            reason = f"{type(error).__name__}: {error}"[:PROBLEM_CHARS]
            self._note_once(f"{what}: {type(error).__name__}", f"{what} failed ({reason})")

    def _note_once(self, kind: str, problem: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._problems.append(problem)

    def note_problem(self, kind: str, problem: str) -> None:
        """Have a problem told soon, once for each kind; where a warning now might hang."""
        self._note_once(kind, problem)

    def _beat(self) -> None:
        """Rewrite `progress.json`; a full disk or an odd position only stops the beat."""
        if self._deleted:
            return
        try:
            self._heartbeat.beat(self.why_degraded)
        except (OSError, RecordError) as error:
            if not self._directory.is_deleted():
                reason = error.strerror if isinstance(error, OSError) else error
                self._note_once("beat", f"progress.json cannot be written ({reason})")

    def forget_in_child(self) -> None:
        """Drop everything in a forked child; the run belongs to the parent."""
        self._ended = self._closed = True
        self._streams_lock = threading.RLock()
        self.late.forget_in_child()
        for stream in self._streams.values():
            stream.forget_in_child()
        self._directory.forget_in_child()
        self._release_lock()


def _is_short(key: str, value: object) -> bool:
    try:
        return len(encode({key: value})) <= SHORT_FIELD_BYTES
    except RecordError:
        return False


def _forget_all_in_child() -> None:
    for writer in list(_open_writers):
        writer.forget_in_child()


os.register_at_fork(after_in_child=_forget_all_in_child)
