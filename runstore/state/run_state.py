"""What a run is: everything that follows from the fold of its records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from runstore.files.records import BadLine, JsonObject, integer, number
from runstore.slurm.submission import Submission
from runstore.slurm.variables import job_of, restarts_of
from runstore.state.attempt_facts import Attempt, environment_of
from runstore.state.fold import Fold
from runstore.state.pieces import Best, Piece, ReportPlace, better
from runstore.state.progress import Progress
from runstore.state.series import Series
from runstore.state.tags import effective


class RunState(Fold):
    """A run, as far as its records tell."""

    def __init__(self, path: Path, *, source: str = "native") -> None:
        """Start with nothing known about the run at `path`."""
        super().__init__(path, source=source)
        self._joined: list[JsonObject] = []
        self._joined_version = -1

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
        """Seconds at work: from the first start to `end_time`, without those between attempts."""
        first, last = self._begun, self.end_time
        if first is None or last is None:
            # Some logs have no times, but say at the end how long it took.
            return number(self.ended or {}, "duration_s")
        return max(0.0, last - first - self._between_attempts_s())

    @property
    def end_time(self) -> float | None:
        """When it ended, in Unix seconds UTC; the last sign of life where nothing says so."""
        execution = self.newest.execution if self.newest else None
        exited = _time(execution.ended) if execution and not self.newest_opened else None
        return _time(self.ended) or exited or self.last_time

    @property
    def _begun(self) -> float | None:
        first = self.created
        begun = min((t for a in self._attempts() if (t := _time(a.begun))), default=None)
        # A run that was planned waits for its start; one that was not is created behind it.
        return begun if begun is not None and (first is None or begun > first) else first

    def _between_attempts_s(self) -> float:
        """Return the seconds from each attempt's last sign of life to the next one's start."""
        if len(self.attempts) < 2:
            return 0.0
        last = self._last_times()
        return sum(
            max(0.0, begun - last[ended.number])
            for ended, following in pairwise(self._attempts())
            if ended.number in last and (begun := _time(following.begun)) is not None
        )

    def _last_times(self) -> dict[int, float]:
        """Return for each attempt the newest time in its rows and events."""
        last: dict[int, float] = {}
        for attempt in self._attempts():
            for event in attempt.all_events[-1:]:
                if (time := _time(event)) is not None:
                    last[attempt.number] = time
        for piece in self._pieces.values():
            attempt_number = piece.file.attempt
            for time, _ in piece.last.values():
                last[attempt_number] = max(time, last.get(attempt_number, time))
        return last

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
    def best(self) -> Best | None:
        """The best finished epoch by `best_rule`, the earliest of equals.

        While a glance has passed over epochs: what a reader of all of them has found, or the run
        itself has told.
        """
        direction = self.best_rule.rpartition(":")[2]
        best, pieces = self._told_best(), self._ordered("epochs")
        if not all(piece.is_judged for piece in pieces):
            return self.best_read or best
        for piece in reversed(pieces):
            piece.judge(self.best_rule)
            best = better(piece.best, best, direction)
        return best

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
        for key, pieces in self.epoch_series.items():
            curves.setdefault(key, pieces)
        return curves

    @property
    def epoch_series(self) -> dict[str, list[Series]]:
        """Each column of the epoch table, as `series`."""
        return self._curves("epochs")

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
            found.append(
                "an attempt went on without naming a checkpoint: earlier rows are hidden from its "
                "first step on (inferred)"
            )
        return found

    def _left_out(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for piece in self._pieces.values():
            total.update(piece.left_out)
        return total

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


def _time(event: JsonObject | None) -> float | None:
    return number(event, "time") if event else None
