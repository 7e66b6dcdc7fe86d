"""The writer of a process that is not rank 0: how its machine does, and rows where it may log."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from runstore.environment.mounts import is_network
from runstore.files.paths import Stream, StreamFile
from runstore.files.records import encode
from runstore.files.run_directory import RunDirectory
from runstore.threads import start_daemon
from runstore.writer.heartbeat import lost_in_words
from runstore.writer.late_rows import LATE_WAIT_S, LateRows
from runstore.writer.stream_writer import (
    END_WAIT_S,
    QUEUE_INTERVAL_S,
    SYNC_INTERVAL_S,
    StreamWriter,
)

_log = logging.getLogger("runstore")


class RankWriter:
    """Takes what `RunWriter` takes; writes `system.rank3-0001.jsonl` and the like at most.

    The attempt is claimed by rank 0, and its events tell of all ranks.
    """

    def __init__(
        self, run_dir: Path, attempt: int, rank: int, *, streams: Collection[Stream]
    ) -> None:
        """Prepare the `streams` that this rank has, of `metrics` and `system`.

        The file of each appears with its first row.
        """
        self._run_dir, self._attempt, self._rank = run_dir, attempt, rank
        self._problems: deque[str] = deque()
        self._has_lost = False
        self._queued = bool(streams) and is_network(run_dir)
        self._directory = RunDirectory(run_dir)
        self.late = LateRows(self._note_lost)
        self._streams = {stream: self._new_stream(stream) for stream in streams}
        self.metrics = self._streams.get("metrics") or self._closed_stream()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if self._streams:
            self._thread = start_daemon(self._serve, "runstore-rank-writer")

    def _new_stream(self, stream: Stream) -> StreamWriter:
        return StreamWriter(
            self._directory,
            StreamFile(self._attempt, 0, stream, self._rank),
            queued=self._queued,
            on_cut=lambda _file, _bytes: None,
            on_problem=self._problems.append,
        )

    def _closed_stream(self) -> StreamWriter:
        """Return one that drops what it is given: this rank does not log."""
        stream = self._new_stream("metrics")
        stream.finish()
        return stream

    def _serve(self) -> None:
        """Write what waits and sync what grew, until the end; on a network mount the end too."""
        pause_s = QUEUE_INTERVAL_S if self._queued else SYNC_INTERVAL_S
        next_sync = time.monotonic() + SYNC_INTERVAL_S
        while not self._stop.wait(pause_s):
            self.late.look()
            for stream in self._streams.values():
                if stream.waiting_rows or stream.failing:
                    stream.drain()
            if time.monotonic() >= next_sync:
                for stream in self._streams.values():
                    stream.sync()
                next_sync = time.monotonic() + SYNC_INTERVAL_S
            self._tell_problems()
        if self._queued:
            self._finish()

    def _finish(self) -> None:
        for stream in self._streams.values():
            stream.finish()

    def _note_lost(self, problem: str) -> None:
        """Have it told once: a device that is broken fails every row behind it."""
        if "metrics" in self._streams and not self._has_lost:
            self._has_lost = True
            self._problems.append(problem)

    def _tell_problems(self) -> None:
        """Tell each fault of the disk: not where it happened, as `RunWriter` does it."""
        while self._problems:
            problem = self._problems.popleft()
            _log.warning("runstore: rank %d: %s (%s)", self._rank, problem, self._run_dir)

    def append(self, stream: Stream, record: Mapping[str, Any]) -> None:
        """Write a row of a stream that this rank has; the others are rank 0's."""
        if stream in self._streams:
            self._streams[stream].append(encode(record))

    def note_problem(self, kind: str, problem: str) -> None:
        """Nothing: rank 0 has the same rows."""

    def event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Nothing: events are rank 0's."""

    def write_document(self, name: str, data: bytes) -> None:
        """Nothing: documents are rank 0's."""

    def sync(self) -> dict[str, int]:
        """Make the rows durable that a resume cuts; return the file's name and size.

        Samples of the machine are not cut: no checkpoint waits for them.
        """
        self.late.settle()
        self.metrics.drain()
        self.metrics.sync()
        position = self.metrics.position()
        return dict([position]) if position is not None else {}

    @property
    def degraded(self) -> bool:
        """Whether rows that a resume cuts wait in memory, as the disk does not take them.

        Without a disk that all machines share, samples of the others have nowhere to go.
        """
        return self.metrics.failing

    @property
    def end_is_written(self) -> bool:
        """Rank 0 writes the end, and tells."""
        return True

    @property
    def lost(self) -> str:
        """What is lost for ever of this rank's rows, in words; empty when nothing is."""
        dropped = sum(stream.dropped_rows for stream in self._streams.values())
        return lost_in_words(dropped) if dropped else ""

    def end(self, fields: Mapping[str, Any]) -> None:
        """Close the files."""
        # Of a rank that does not log nothing is lost: it need not wait for a device that hangs.
        self.late.give_up(LATE_WAIT_S if "metrics" in self._streams else 0.0)
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=END_WAIT_S if self._queued else 5.0)
        if not self._queued:
            self._finish()
            self._directory.close()
        self._tell_problems()

    def forget_in_child(self) -> None:
        """Drop everything in a forked child; the file belongs to the parent."""
        self.late.forget_in_child()
        for stream in (*self._streams.values(), self.metrics):
            stream.forget_in_child()
        self._directory.forget_in_child()
