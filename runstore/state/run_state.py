"""What a run is, folded from its records. Pure: no file is opened and no clock is read here.

Everything learnt from one file is one piece. Folding is order-independent between files, so a
viewer may read them in any order and at any pace and ends with the same state; and when a file's
rows turn out to be superseded, or the file was replaced, its piece is dropped and read again.

Rows are superseded in two ways. A later attempt's `open` event, or a `cut` event, names the byte
at which an earlier file ends (exact: rows behind a checkpoint can share its step). An attempt that
resumed without saying so supersedes the earlier rows from its own first step on, and the state
says `inferred`.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from runstore.files.limits import (
    BAD_LINES_KEPT,
    EVENTS_KEPT,
    EVENTS_PER_RUN,
    FILES_PER_RUN,
    MAX_LINE_BYTES,
    METRICS_PER_RUN,
    OPEN_BYTES_KEPT,
    TEXT_CHARS,
)
from runstore.files.paths import StreamFile
from runstore.files.records import BadLine, JsonObject, flat, integer, number
from runstore.slurm.submission import Submission, is_job
from runstore.state.attempt_facts import Attempt, Execution
from runstore.state.inferred import InferredCuts
from runstore.state.pieces import PARSED_PER_BYTE, VALUES, Best, Block, Piece, ReportPlace, better
from runstore.state.progress import Progress
from runstore.state.retention import SMALL_BYTES, Retention, without_nesting
from runstore.state.series import Series
from runstore.state.status import Status
from runstore.state.tags import NO_CHANGES, effective

DEFAULT_BEST = "val/loss:min"
EVENT_BYTES = 1000
"""What an event that is kept takes in memory, about; and an attempt as much again."""

Told = TypeVar("Told")


class RunState:
    """The fold of one run's records."""

    def __init__(self, path: Path, *, source: str = "native") -> None:
        """Start with nothing known about the run at `path`."""
        self.path = path
        self.source = source
        self.called = ""
        """Its id in lists, where that is not the directory's name."""
        self.info: JsonObject = {}
        """`run.json`."""
        self.info_bytes = 0
        """How long the document is, as far as it is kept; 0 where the source has none."""
        self.tag_changes = NO_CHANGES
        """`tags/`."""
        self.progress: Progress | None = None
        self.submission: Submission | None = None
        """The Slurm job that is to begin the next attempt, or has begun the newest."""
        self.status = Status("unknown", "not read yet")
        """Set by the reader from what liveness says; the fold itself cannot know."""
        self.attempts: dict[int, Attempt] = {}
        self.bad_lines: deque[BadLine] = deque(maxlen=BAD_LINES_KEPT)
        self.problems: dict[str, str] = {}
        """File name to why it cannot be read."""
        self.cuts: dict[str, int] = {}
        """File name to the byte where its valid rows end."""
        self.version = 0
        """Grows whenever something changed."""
        self._bad_counts: Counter[str] = Counter()
        self._pieces: dict[str, Piece] = {}
        self._retention = Retention(self._pieces)
        self._events_kept = 0
        self._open_bytes = 0
        self.left_out: dict[str, str] = {}
        """What the reader left out, by what it is about, in words."""
        self._inferred = InferredCuts()
        self._inferred_version = 0
        self._stale: set[str] = set()
        self._joined: list[JsonObject] = []
        self._joined_version = -1
        self._half_lines: dict[str, BadLine] = {}
        """File name to its last line, while that has no newline."""

    # ---- folding -------------------------------------------------------------------------------

    def apply(
        self,
        file: StreamFile,
        record: JsonObject,
        *,
        partial: bool = False,
        size_bytes: int = MAX_LINE_BYTES,
        offset: int | None = None,
    ) -> None:
        """Fold one record in.

        Args:
            file: the file it came from.
            record: what `records.decode` returned.
            partial: rows of the same file were passed over before this one, so it tells the
                latest values but is no part of a curve.
            size_bytes: the length of its line, which bounds what it takes in memory.
            offset: where its line begins in the file, if it is a line.
        """
        self.version += 1
        if file.stream == "events":
            self._apply_event(file, record, size_bytes)
        elif file.stream == "exec":
            self._apply_execution(file, record, size_bytes)
        elif file.rank == 0 and file.stream != "system":
            self._apply_row(file, record, partial, size_bytes, offset)

    def _apply_event(self, file: StreamFile, event: JsonObject, size_bytes: int) -> None:
        attempt = self.attempts.get(file.attempt)
        if attempt is None:
            attempt = self.attempts[file.attempt] = Attempt(file.attempt)
        kept = event if size_bytes <= SMALL_BYTES else flat(event)
        if attempt.is_repeat(kept) and file.part:
            # After a failed fdatasync of the events, the next part has some of them again.
            return
        self._keep_event(attempt, kept)
        match event.get("event"):
            case "open":
                self._keep_opened(file.attempt, attempt, event, size_bytes)
                self._apply_cuts(event.get("cuts"))
                silent = "cuts" not in event and file.attempt > 1
                self._inferred.note_open(file.attempt, is_silent=silent)
            case "cut":
                self._apply_cut(event.get("file"), event.get("bytes"))
            case "warning":
                attempt.warnings.append(str(kept.get("message")))
            case "epoch_start":
                attempt.epoch = integer(event, "epoch")
                attempt.total_epochs = integer(event, "epochs") or attempt.total_epochs
            case "split_start":
                split = event.get("split")
                attempt.split = split[:TEXT_CHARS] if isinstance(split, str) else None
            case "end":
                attempt.ended = kept
                if isinstance(best := event.get("best"), dict):
                    attempt.ended = {**kept, "best": flat(best)}
                lost = integer(event, "dropped_rows")
                if lost:
                    attempt.warnings.append(f"{lost:,} rows were lost: the disk took no more")

    def _apply_execution(self, file: StreamFile, event: JsonObject, size_bytes: int) -> None:
        attempt = self.attempts.setdefault(file.attempt, Attempt(file.attempt))
        execution = attempt.execution = attempt.execution or Execution()
        kept = event if size_bytes <= SMALL_BYTES else flat(event)
        if file.part and kept in execution.events:
            return
        execution.events.append(kept)
        match event.get("event"):
            case "open":
                self._keep_opened(file.attempt, execution, event, size_bytes)
                if attempt.opened is None:
                    silent = "cuts" not in event and file.attempt > 1
                    self._inferred.note_open(file.attempt, is_silent=silent)
            case "start":
                execution.started = kept
            case "cut":
                self._apply_cut(event.get("file"), event.get("bytes"))
            case "warning":
                execution.warnings.append(str(kept.get("message")))
            case "exit":
                execution.ended = kept
                lost = integer(event, "dropped_rows")
                if lost:
                    execution.warnings.append(f"{lost:,} rows were lost: the disk took no more")

    def _keep_event(self, attempt: Attempt, event: JsonObject) -> None:
        self._events_kept += len(attempt.events) < EVENTS_KEPT
        attempt.events.append(event)
        attempt.event_count += 1
        while self._events_kept > EVENTS_PER_RUN:
            oldest = min(number for number, found in self.attempts.items() if found.events)
            self._events_kept -= len(self.attempts[oldest].events)
            self.attempts[oldest].events.clear()

    def _keep_opened(
        self, number: int, holder: Attempt | Execution, event: JsonObject, size_bytes: int
    ) -> None:
        """Keep the newest attempts' `open` events whole, of earlier ones what is no list."""
        cuts: JsonObject = {"cuts": {}} if "cuts" in event else {}
        self._open_bytes += size_bytes - holder.opened_bytes
        holder.opened, holder.opened_bytes = {**event, **cuts}, size_bytes
        for earlier in sorted(self.attempts)[:-1] if self._open_bytes > OPEN_BYTES_KEPT else ():
            older = self.attempts[earlier]
            for one in (older, older.execution):
                if one is not None and one.opened is not None and one.opened_bytes:
                    cuts = {"cuts": {}} if "cuts" in one.opened else {}
                    self._open_bytes -= one.opened_bytes
                    one.opened, one.opened_bytes = flat(one.opened) | cuts, 0

    def _apply_cuts(self, cuts: object) -> None:
        for name, size in cuts.items() if isinstance(cuts, dict) else ():
            self._apply_cut(name, size)

    def _apply_cut(self, name: object, size: object) -> None:
        if not isinstance(name, str) or type(size) is not int or StreamFile.parse(name) is None:
            return
        known = self.cuts.get(name)
        if known is None and len(self.cuts) >= 4 * FILES_PER_RUN:
            self.left_out["cuts"] = f"cuts of more than {len(self.cuts):,} files are left out"
        elif known is None or size < known:
            self.cuts[name] = max(0, size)

    def _apply_row(
        self,
        file: StreamFile,
        row: JsonObject,
        partial: bool,
        size_bytes: int,
        offset: int | None,
    ) -> None:
        step = integer(row, "step")
        piece = self._piece(file)
        if piece.first_step is None and step is not None and not partial:
            piece.first_step = step
            if file.attempt > 1 and file.stream == "metrics":
                self._inferred.note_first_step(file, step)
        hidden_from = self.hidden_from(file.attempt)
        if hidden_from != piece.hidden_from:
            # Earlier rows of this file were judged by another step.
            self._stale.add(file.name)
        if step is not None and hidden_from is not None and step >= hidden_from:
            return
        piece.rows += 1
        if file.stream == "reports":
            self._retention.add_report(piece, row, size_bytes, offset)
            return
        kept = without_nesting(row, size_bytes)
        if file.stream == "epochs":
            self._retention.add_epoch(piece, kept, self.best_rule, partial=partial)
        self._retention.add_values(piece, kept, step, partial=partial)
        beyond = len(row) - METRICS_PER_RUN
        if beyond > 0 and len(kept) < len(row):
            piece.left_out[VALUES] += beyond

    def apply_block(self, file: StreamFile, block: Block) -> None:
        """Fold in rows of a log that names no attempts: the same as one after the other."""
        self.version += 1
        piece = self._piece(file)
        if piece.first_step is None:
            piece.first_step = block.steps[0]
        self._retention.add_block(piece, block)

    def _piece(self, file: StreamFile) -> Piece:
        piece = self._pieces.get(file.name)
        if piece is None:
            piece = self._pieces[file.name] = Piece(file)
            piece.hidden_from = self.hidden_from(file.attempt)
        return piece

    def hidden_from(self, attempt: int) -> int | None:
        """Return the step from which an attempt's rows are hidden, where that was inferred."""
        return self._inferred.hidden_from(attempt)

    def forget(self, file: StreamFile, *, is_unchanged: bool = False) -> None:
        """Drop what was folded from one file; it will be read again from its beginning.

        Where it `is_unchanged`, what its first row hides stays hidden meanwhile.
        """
        self.version += 1
        piece = self._pieces.pop(file.name, None)
        if piece is not None:
            self._retention.forget(piece)
        if file.part == 0:
            self._forget_attempt(file)
        if file.stream == "metrics" and not is_unchanged:
            self._inferred.forget(file)
        self.problems.pop(file.name, None)
        self._half_lines.pop(file.name, None)
        if self._bad_counts.pop(file.name, 0):
            kept = [bad for bad in self.bad_lines if bad.file != file.name]
            self.bad_lines = deque(kept, maxlen=BAD_LINES_KEPT)

    def cut_curve(self, file: StreamFile, key: str, x: float) -> bool:
        """Drop a metric's values from `x` on in one file; return False where only reading anew can.

        For logs that do not name cuts, and whose metrics go back one by one.
        """
        self.version += 1
        piece = self._pieces.get(file.name)
        return piece is None or piece.cut(key, x)

    def _forget_attempt(self, file: StreamFile) -> None:
        """Drop what one of the two files that tell of an attempt has told."""
        attempt = self.attempts.get(file.attempt)
        if attempt is None or file.stream not in ("events", "exec"):
            return
        if file.stream == "exec":
            self._open_bytes -= attempt.execution.opened_bytes if attempt.execution else 0
            kept, attempt.execution = attempt, None
        else:
            self._events_kept -= len(attempt.events)
            self._open_bytes -= attempt.opened_bytes
            kept = Attempt(file.attempt, execution=attempt.execution)
            self._inferred.note_open(file.attempt, is_silent=False)
        self.attempts[file.attempt] = kept
        if kept.execution is None and not kept.event_count:
            del self.attempts[file.attempt]

    def take_stale(self) -> set[str]:
        """Return the files to read again: an inferred cut hides or shows other rows of theirs."""
        stale, self._stale = self._stale, set()
        if self._inferred.version != self._inferred_version:
            self._inferred_version = self._inferred.version
            for name, piece in self._pieces.items():
                if piece.hidden_from != self.hidden_from(piece.file.attempt):
                    stale.add(name)
        return stale

    def add_bad_line(self, bad: BadLine) -> None:
        """Count a damaged line and keep its place."""
        self.version += 1
        self._bad_counts[bad.file] += 1
        self.bad_lines.append(bad)

    def note_last_line(self, file_name: str, half: BadLine | None) -> bool:
        """Note whether a file ends in the middle of a line; return whether that is news."""
        if self._half_lines.get(file_name) == half:
            return False
        self.version += 1
        if half is None:
            del self._half_lines[file_name]
        else:
            self._half_lines[file_name] = half
        return True

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """About how much memory the fold takes: enough to tell large ones from small ones."""
        parsed = PARSED_PER_BYTE * (self.info_bytes + self._open_bytes)
        events = EVENT_BYTES * (self._events_kept + len(self.attempts))
        return parsed + events + sum(piece.held_bytes for piece in self._pieces.values())

    @property
    def bad_line_count(self) -> int:
        """How many damaged lines were met; `bad_lines` has the newest of them."""
        return self._bad_counts.total()

    @property
    def torn_lines(self) -> list[BadLine]:
        """The last lines that will never be whole; none while somebody may be writing them."""
        unattended = self.source != "native" and self.status.word == "unknown"
        if self.status.alive and not unattended:
            return []
        return [self._half_lines[name] for name in sorted(self._half_lines)]

    @property
    def id(self) -> str:
        """The run's id: the directory's name unless `run.json` says otherwise."""
        return self._text("id") or self.called or self.path.name

    @property
    def name(self) -> str:
        """The name that the user gave, or the id."""
        return self._text("name") or self._told_by_script("name", str) or self.id

    @property
    def params(self) -> JsonObject:
        """The hyperparameters."""
        params = self.info.get("params")
        found = params if isinstance(params, dict) else {}
        return {**(self._told_by_script("params", dict) or {}), **found}

    @property
    def git(self) -> JsonObject:
        """The checkout that the first attempt ran from; empty when nothing is known of one."""
        first = self.attempts.get(1)
        told = (first.begun or {}).get("git") if first else None
        # A run that was planned may have been started from a later commit.
        found = told if isinstance(told, dict) else self.info.get("git")
        return found if isinstance(found, dict) else {}

    @property
    def tags(self) -> list[str]:
        """The tags: those that it began with, as people have changed them since."""
        tags = self.info.get("tags")
        found = tags if isinstance(tags, list) else []
        more = self._told_by_script("tags", list) or []
        return effective((str(tag) for tag in (*found, *more)), self.tag_changes.changes)

    @property
    def created(self) -> float | None:
        """When the run was created, in Unix seconds UTC."""
        return number(self.info, "created")

    def _told_by_script(self, key: str, kind: type[Told]) -> Told | None:
        """Return what the script in a command of `runstore exec` says, which run.json cannot."""
        for attempt in self._attempts():
            told = attempt.opened.get(key) if attempt.opened and attempt.execution else None
            if isinstance(told, kind):
                return told
        return None

    def _text(self, key: str) -> str:
        value = self.info.get(key)
        return value if isinstance(value, str) else ""

    @property
    def attempt(self) -> int:
        """The number of the newest attempt, from 1; 0 when there is none."""
        return max(self.attempts, default=0)

    @property
    def newest(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts.get(self.attempt)

    @property
    def newest_opened(self) -> JsonObject | None:
        """The newest attempt's `open` event."""
        return self.newest.opened if self.newest else None

    @property
    def ended(self) -> JsonObject | None:
        """The newest attempt's `end` event."""
        return self.newest.ended if self.newest else None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first start to the end, or to the last sign of life."""
        first = self.created
        begun = min((t for a in self._attempts() if (t := _time(a.begun))), default=None)
        # A run that was planned waits for its start; one that was not is created behind it.
        if begun is not None and (first is None or begun > first):
            first = begun
        execution = self.newest.execution if self.newest else None
        exited = _time(execution.ended) if execution and not self.newest_opened else None
        last = _time(self.ended) or exited or self.last_time
        if first is None or last is None:
            # Some logs have no times, but say at the end how long it took.
            return number(self.ended or {}, "duration_s")
        return max(0.0, last - first)

    @property
    def last_time(self) -> float | None:
        """The newest time in any row, event or beat."""
        times = [time for piece in self._pieces.values() for time, _ in piece.last.values()]
        times += [t for a in self._attempts() for e in a.all_events[-1:] if (t := _time(e))]
        if self.progress and self.progress.time:
            times.append(self.progress.time)
        return max(times, default=None)

    @property
    def last_row_time(self) -> float | None:
        """The newest time in any metrics or epochs row."""
        times = [time for piece in self._pieces.values() for time, _ in piece.last.values()]
        return max(times, default=None)

    @property
    def epoch(self) -> int | None:
        """The epoch that is open or was last, from 1."""
        live, attempt = self._live_progress(), self.newest
        # The heartbeat may be a second behind the events, and the events of a glance incomplete.
        known = (live.epoch if live else None, attempt.epoch if attempt else None)
        if known != (None, None):
            return max(epoch for epoch in known if epoch is not None)
        rows = [self.epoch_rows[-1]] if self.epoch_rows else []
        epochs = [integer(row, "epoch") for row in (*rows, *self._last_rows())]
        return max((epoch for epoch in epochs if epoch is not None), default=None)

    @property
    def epochs(self) -> int | None:
        """How many epochs the run will have, when it said so."""
        live = self._live_progress()
        totals = [a.total_epochs for a in self._attempts() if a.total_epochs is not None]
        return (live.epochs if live else None) or (totals[-1] if totals else None)

    @property
    def step(self) -> int | None:
        """The newest optimizer step."""
        live = self._live_progress()
        steps = [integer(row, "step") for row in self._last_rows()]
        steps.append(live.step if live else None)
        if self.epoch_rows:
            steps.append(integer(self.epoch_rows[-1], "step"))
        return max((step for step in steps if step is not None), default=None)

    @property
    def split(self) -> str | None:
        """The split that is open (`train`, `val`, …) while the run is alive."""
        live = self._live_progress()
        return live.split if live else None

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment variables that the newest attempt has recorded."""
        begun = self.newest.begun if self.newest else None
        return environment_of(begun or {}, self.info)

    @property
    def job(self) -> str | None:
        """The Slurm job in which the newest attempt was begun: `123`, or `123_4` in an array."""
        return job_of(self.environment)

    @property
    def job_restarts(self) -> int:
        """How often the newest attempt's job had been started before it, as Slurm counts."""
        return restarts_of(self.environment)

    @property
    def next_job(self) -> Submission | None:
        """The Slurm job that was submitted to begin an attempt that is not there yet."""
        next_job = self.submission
        return next_job if next_job and next_job.attempts >= self.attempt else None

    @property
    def best_rule(self) -> str:
        """What makes an epoch the best one, as `metric:min` or `metric:max`."""
        return self._text("best") or self._told_by_script("best", str) or DEFAULT_BEST

    @property
    def best(self) -> Best | None:
        """The best finished epoch by `best_rule`, the earliest of equals."""
        direction = self.best_rule.rpartition(":")[2]
        best: Best | None = None
        for piece in self._ordered("epochs"):
            piece.judge(self.best_rule)
            best = better(best, piece.best, direction)
        return better(best, self._told_best(), direction)

    def _told_best(self) -> Best | None:
        """The newest attempt's own word: a glance may have passed over the row itself."""
        live, ended = self._live_progress(), self.ended
        told = (ended or {}).get("best") or (live.best if live else None)
        metric = self.best_rule.rpartition(":")[0]
        if not isinstance(told, Mapping) or told.get("metric", metric) != metric:
            return None
        epoch = integer(told, "epoch")
        value = number(told, metric) if metric in told else number(told, "value")
        return None if epoch is None or value is None else Best(epoch, metric, value)

    @property
    def epoch_rows(self) -> list[JsonObject]:
        """The finished epochs of the visible rows, in order; only the newest after a glance."""
        pieces = self._ordered("epochs")
        if self.source != "native":
            return self._joined_epochs(pieces)
        if len(pieces) == 1:
            # The list itself: it is asked for many times a second, and may be long.
            return pieces[0].epoch_rows
        return [row for piece in pieces for row in piece.epoch_rows]

    def _joined_epochs(self, pieces: Sequence[Piece]) -> list[JsonObject]:
        """Return one row per epoch: other tools write training and validation in rows apart."""
        if self._joined_version != self.version:
            self._joined_version = self.version
            rows = [row for piece in pieces for row in piece.epoch_rows]
            self._joined = joined_epochs(rows)
        return self._joined

    @property
    def reports(self) -> dict[str, JsonObject]:
        """The newest report of each split."""
        newest: dict[str, JsonObject] = {}
        for piece in self._ordered("reports"):
            newest.update(piece.reports)
        return newest

    @property
    def report_places(self) -> list[ReportPlace]:
        """Where the reports of all epochs and splits lie, in the order of the files."""
        return [place for piece in self._ordered("reports") for place in piece.report_places]

    @property
    def last(self) -> dict[str, float]:
        """The latest value of every metric; NaN and infinities as they are.

        Within an attempt what a step measured comes before an epoch's mean of it, although the
        epoch's row is written later: of both, only the step's value is about now.
        """
        newest: dict[str, tuple[tuple[int, bool, float], float]] = {}
        for piece in self._ordered("metrics", "epochs"):
            is_step = piece.file.stream == "metrics"
            for key, (time, value) in piece.last.items():
                order = (piece.file.attempt, is_step, time)
                if key not in newest or order >= newest[key][0]:
                    newest[key] = (order, value)
        return {key: value for key, (_, value) in newest.items()}

    @property
    def last_row(self) -> JsonObject:
        """The newest metrics row, whole."""
        rows = self._last_rows()
        return rows[-1] if rows else {}

    def _last_rows(self) -> list[JsonObject]:
        """Return the newest row, last, and before it those of files that are written beside it."""
        rows = [piece.last_row for piece in self._ordered("metrics") if piece.last_row]
        if self.source == "native":
            return rows[-1:]
        return sorted(rows, key=lambda row: number(row, "time") or -math.inf)

    @property
    def row_count(self) -> int:
        """How many visible metrics rows were read."""
        return sum(piece.rows for piece in self._ordered("metrics"))

    @property
    def series(self) -> dict[str, list[Series]]:
        """Each metric's curve in pieces, one per file, in order.

        A metric that has no metrics rows (only a column of the epoch table) is drawn from there.
        """
        curves = self._curves("metrics")
        for key, pieces in self._curves("epochs").items():
            curves.setdefault(key, pieces)
        return curves

    @property
    def clock(self) -> list[Series]:
        """When some rows were written, in Unix seconds over the x of `series`; by file."""
        return [piece.clock for piece in self._ordered("metrics", "epochs") if piece.clock.count]

    @property
    def first_steps(self) -> dict[int, int]:
        """The first step of each attempt that has metrics rows with steps."""
        steps: dict[int, int] = {}
        for piece in self._ordered("metrics"):
            if piece.first_step is not None:
                steps.setdefault(piece.file.attempt, piece.first_step)
        return steps

    def _curves(self, stream: str) -> dict[str, list[Series]]:
        curves: dict[str, list[Series]] = {}
        for piece in self._ordered(stream):
            for key, series in piece.series.items():
                curves.setdefault(key, []).append(series)
        return curves

    @property
    def events(self) -> list[JsonObject]:
        """The newest events of all attempts, in order."""
        return [event for attempt in self._attempts() for event in attempt.all_events]

    @property
    def events_let_go(self) -> int:
        """How many earlier events are not kept any more."""
        return sum(a.event_count - len(a.events) for a in self.attempts.values())

    @property
    def warnings(self) -> list[str]:
        """What went wrong without ending the run, in words."""
        found = [warning for attempt in self._attempts() for warning in attempt.all_warnings]
        found += [f"{name}: {problem}" for name, problem in sorted(self.problems.items())]
        found += [f"{torn.place}: {torn.reason}" for torn in self.torn_lines]
        found += [f"{count:,} {what} are left out here" for what, count in self._left_out().items()]
        found += self.left_out.values()
        if self._inferred:
            found.append("earlier rows are hidden from a step that was inferred, not recorded")
        return found

    def _left_out(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for piece in self._pieces.values():
            total.update(piece.left_out)
        return total

    def _attempts(self) -> Iterator[Attempt]:
        return (self.attempts[number] for number in sorted(self.attempts))

    @property
    def degraded(self) -> str:
        """Why rows waited in memory at the last heartbeat, in words; empty when they did not."""
        live = self._live_progress()
        return live.degraded if live and self.ended is None else ""

    def _ordered(self, *streams: str) -> list[Piece]:
        pieces = [piece for piece in self._pieces.values() if piece.file.stream in streams]
        return sorted(pieces, key=lambda piece: piece.file)

    def _live_progress(self) -> Progress | None:
        """The heartbeat's position, when it is the newest attempt's."""
        progress = self.progress
        return progress if progress and progress.attempt >= self.attempt else None


def joined_epochs(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """Return one row per epoch, in the order of epochs, of rows that each have a part of it."""
    joined: dict[int, JsonObject] = {}
    for row in rows:
        epoch = integer(row, "epoch")
        if epoch is not None:
            joined[epoch] = {**joined.get(epoch, {}), **row}
    return [joined[epoch] for epoch in sorted(joined)]


def environment_of(opened: Mapping[str, Any], info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the environment variables of an attempt, from its `open` event and `run.json`."""
    # The first attempt's are in run.json, with everything else that does not change.
    found = opened.get("environment") or info.get("environment")
    return found if isinstance(found, dict) else {}


def job_of(environment: Mapping[str, Any]) -> str | None:
    """Return the Slurm job that has these variables, as Slurm's programs take it."""
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    task = "_".join(str(environment.get(name)) for name in names)
    job = task if is_job(task) else environment.get("SLURM_JOB_ID")
    return job if is_job(job) else None


def restarts_of(environment: Mapping[str, Any]) -> int:
    """Return how often Slurm had started a job before it gave it these variables."""
    count = str(environment.get("SLURM_RESTART_COUNT", 0))
    return int(count) if re.fullmatch(r"[0-9]{1,9}", count) else 0


def _time(event: JsonObject | None) -> float | None:
    return number(event, "time") if event else None
