"""What `runstore exec` writes of an attempt: its own stream, rows from the output, the heartbeat.

All of it is written by a thread, so that a command never waits for the disk of its log. As soon as
an `init()` inside the command has claimed the attempt's events, rows and heartbeat are its own.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from runstore.console import say
from runstore.environment.mounts import is_network
from runstore.environment.process import current_process
from runstore.errors import AttemptError, BadValueError
from runstore.exec.output_log import OutputLog
from runstore.files.paths import RunPaths, Stream, StreamFile
from runstore.files.records import FORMAT, RecordError, encode
from runstore.files.run_directory import RunDirectory
from runstore.metrics.row_values import RowValues, encode_row
from runstore.metrics.values import as_index
from runstore.threads import start_daemon
from runstore.writer.heartbeat import Heartbeat, why_degraded
from runstore.writer.reserve import Reserve
from runstore.writer.stream_writer import (
    END_WAIT_S,
    QUEUE_INTERVAL_S,
    SYNC_INTERVAL_S,
    StreamWriter,
)
from runstore.writer.writer import END_TELL_S, HEARTBEAT_LOCAL_S, HEARTBEAT_NETWORK_S, attempt_clock

_log = logging.getLogger("runstore")


class Recorder:
    """Writes one attempt of a command. Rows, text and events may come from any thread."""

    strict = False

    def __init__(
        self,
        run_dir: Path,
        attempt: int,
        opening: Mapping[str, Any],
        params: Mapping[str, Any],
    ) -> None:
        """Claim `exec-NNNN.jsonl` and write its `open` event.

        Args:
            run_dir: an existing run directory, absolute.
            attempt: from 1.
            opening: further fields of the `open` event.
            params: what a launcher has handed over.

        Raises:
            AttemptError: another process claimed the attempt.
            OSError: the directory cannot be written.
        """
        self.path, self.attempt, self.params = run_dir, attempt, params
        self._directory = RunDirectory(run_dir)
        self._reserve = Reserve(self._directory)
        self.clock = attempt_clock()
        self._wake = threading.Event()
        self._heartbeat = Heartbeat(self._directory, attempt, self.clock, self._position)
        self.log = OutputLog(run_dir, wake=self._wake.set)
        self.begun = time.monotonic()
        self._look: Callable[[], object] = lambda: None
        self._network = is_network(run_dir)
        self._events_file = RunPaths(run_dir).stream("events", attempt)
        self._problems: list[str] = []
        self._told: set[str] = set()
        self._rows_lock = threading.Lock()
        self._values = RowValues(self, self._take_step)
        self._step: int | None = None
        self._last_row = 0.0
        self._longest_gap_s = 0.0
        self._is_joined = False
        self._stop = threading.Event()
        self._events = self._new_stream("exec")
        self._metrics = self._new_stream("metrics")
        self._lock_fd = self._claim(opening)
        self._thread: threading.Thread | None = None

    def _new_stream(self, stream: Stream) -> StreamWriter:
        return StreamWriter(
            self._directory,
            StreamFile(self.attempt, 0, stream),
            queued=True,
            on_cut=self._record_cut,
            on_problem=self._problems.append,
            is_shared=lambda: stream == "metrics" and self.is_joined,
        )

    def _record_cut(self, file: str, size: int) -> None:
        self.event("cut", file=file, bytes=size)
        # In the file before the rows that it is about, or a kill in between shows them twice.
        self._events.drain()

    def _claim(self, opening: Mapping[str, Any]) -> int:
        try:
            descriptor = os.dup(self._events.create())
        except FileExistsError:
            raise AttemptError(
                f"{self.path}: attempt {self.attempt} was started by another process at the "
                "same moment; only one may run; this one stops"
            ) from None
        has_lock = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            has_lock = False
        identity = current_process().to_record()
        inode = os.fstat(descriptor).st_ino
        numbers = {"format": FORMAT, "attempt": self.attempt}
        self.event("open", **numbers, **identity, inode=inode, lock=has_lock, **opening)
        self._events.drain()
        self._events.sync()
        return descriptor

    def start(self, look: Callable[[], object]) -> None:
        """Start the thread that writes; `look` is called with each heartbeat."""
        self._look = look
        self._thread = start_daemon(self._serve, "runstore-exec")

    @property
    def is_joined(self) -> bool:
        """Whether an `init()` inside the command has claimed the attempt."""
        self._is_joined = self._is_joined or self._events_file.exists()
        return self._is_joined

    def now(self) -> float:
        """Return Unix seconds UTC, on the attempt's clock."""
        return self.clock()

    def write_document(self, name: str, data: bytes) -> None:
        """Write a small document of the run, durably.

        Raises:
            OSError: the disk does not take it.
        """
        self._directory.write_document(name, data, durable=True)

    def complain(self, key: str, message: str) -> None:
        """Warn once per key."""
        self.warn_once(key, message)

    def event(self, event: str, **fields: Any) -> None:
        """Append one event."""
        stamped = {"event": event, "time": self.clock()}
        try:
            self._events.append(encode({**stamped, **fields}))
        except RecordError as error:
            self._events.append(encode({**stamped, "unwritable": str(error)}))

    def warn_once(self, key: str, message: str) -> None:
        """Warn once per key: in the events, where the output of the command is not disturbed."""
        if key not in self._told:
            self._told.add(key)
            self.event("warning", message=message)

    def warn(self, message: str) -> None:
        """Warn of something that happens once."""
        self.warn_once(message, message)

    def take_row(self, printed: Mapping[str, Any]) -> None:
        """Write a row of numbers, as `run.log` would; nothing when an `init()` writes them."""
        with self._rows_lock:
            if self.is_joined:
                return
            try:
                row: dict[str, Any] = {"step": as_index("step", printed["step"])}
            except BadValueError as error:
                self.warn_once("step", str(error))
                return
            row["time"] = self.clock()
            for key, value in printed.items():
                self._values.add(row, key, value)
            self._metrics.append(encode_row(row, self.warn_once))
            self._note_row(row["step"])

    def _take_step(self, step: int) -> int:
        return step

    def _note_row(self, step: int) -> None:
        now = time.monotonic()
        if self._last_row:
            self._longest_gap_s = max(self._longest_gap_s, now - self._last_row)
        self._step, self._last_row = step, now

    # ---- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        heartbeat_s = HEARTBEAT_NETWORK_S if self._network else HEARTBEAT_LOCAL_S
        next_sync, next_beat = time.monotonic() + SYNC_INTERVAL_S, time.monotonic()
        self._guard("reserving room for the end", self._reserve.take)
        while True:
            now = time.monotonic()
            self._guard("writing", self._write)
            if now >= next_sync:
                self._guard("syncing a file", self._sync)
                next_sync = now + SYNC_INTERVAL_S
            if now >= next_beat:
                self._guard("rewriting progress.json", self._beat)
                next_beat = now + heartbeat_s
            self._wake.wait(QUEUE_INTERVAL_S)
            self._wake.clear()
            if self._stop.is_set():
                return

    def _write(self) -> None:
        for stream in (self._events, self._metrics):
            if stream.waiting_rows:
                stream.drain()
        self.log.write()
        if self.log.failing:
            self.warn_once("log", f"output.log cannot be written ({self.log.failing})")
        while self._problems:
            self.event("warning", message=self._problems.pop(0))

    def _sync(self) -> None:
        self._events.sync()
        self._metrics.sync()

    def _guard(self, what: str, action: Callable[[], object]) -> None:
        """Do one thing; a fault in it must not stop the others."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the boundary of the thread and of the end
            self.warn_once(what, f"{what} failed ({type(error).__name__}: {error})"[:500])

    def _beat(self) -> None:
        if self.is_joined:
            return
        self._look()
        try:
            self._heartbeat.beat(self._why_degraded())
        except OSError as error:
            self.warn_once("beat", f"progress.json cannot be written ({error.strerror})")

    def _position(self) -> dict[str, Any]:
        position: dict[str, Any] = {"duration_s": round(time.monotonic() - self.begun, 3)}
        if self._last_row:
            idle_s = max(0.0, time.monotonic() - self._last_row)
            position |= {"step": self._step, "idle_s": round(idle_s, 3)}
            position["longest_gap_s"] = round(self._longest_gap_s, 3)
        return position

    def _why_degraded(self) -> str:
        waiting = why_degraded((self._events, self._metrics))
        unwritten = f"output.log cannot be written ({self.log.failing})" if self.log.failing else ""
        return waiting or unwritten

    # ---- the end ---------------------------------------------------------------------------------

    def end(self, fields: Mapping[str, Any]) -> None:
        """Write what waits and the `exit` event, with the tally of the rows, and close.

        In a thread, for `END_WAIT_S` at most: a file server may not answer for hours, or never.
        """
        ending = start_daemon(partial(self._end, fields), "runstore-exec-end")
        ending.join(END_TELL_S)
        if not ending.is_alive():
            return
        say(f"runstore: waiting for the disk of {self.path}; at most {END_WAIT_S:.0f} s")
        ending.join(END_WAIT_S - END_TELL_S)
        if ending.is_alive():
            say("runstore: the disk has not answered; rows, and the end of the run, may be missing")

    def _end(self, fields: Mapping[str, Any]) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._guard("writing", self._write)
        self.log.give_up()
        self._guard("closing a file", self._metrics.finish)
        self._guard("rewriting progress.json", self._beat)
        files = {name: tally.to_record() for name, tally in self._metrics.tallies.items()}
        lost = {"dropped_rows": self._metrics.dropped_rows} if self._metrics.dropped_rows else {}
        if self.log.lost_bytes:
            lost["log_lost_bytes"] = self.log.lost_bytes
        step = {} if self._step is None else {"step": self._step}
        if not self.is_joined or self._events.failing:
            # Behind the rest: the log may have filled the disk. Of a joined run it is the init's.
            self._reserve.release()
        self.event("exit", **{**fields, **step, **lost, "files": files})
        self._guard("closing a file", self._events.finish)
        self.log.close()
        self._directory.close()
        with suppress(OSError):
            os.close(self._lock_fd)
