"""What is learnt from one file of a run: latest values, curves, epochs, reports."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from runstore.files.limits import TEXT_CHARS
from runstore.files.paths import StreamFile
from runstore.files.records import JsonObject, integer, metric_values, number
from runstore.state.series import Series

# What may be left out of what is kept, each as it is told behind a number.
VALUES = "values of metrics beyond those that are kept"
CURVES = "curves of earlier attempts"
EPOCHS = "earlier epochs"
REPORTS = "earlier reports"

CLOCK_BUCKETS = 128
"""Of the curve of times of a file: one part in a hundred of a chart's width is exact enough."""

# What things take in memory, about, in bytes.
PIECE_BYTES = 2000
VALUE_BYTES = 50
PLACE_BYTES = 200
PARSED_PER_BYTE = 10
"""A line of lists or objects, per byte of its text; measured of matrices of reports."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far, and the metric that decided."""

    epoch: int
    """From 1."""
    metric: str
    """`split/name`."""
    value: float
    """Of that metric, in that epoch."""


class ReportPlace(NamedTuple):
    """Where a classification report lies: of most only that is kept, and they are read again."""

    split: str
    epoch: int | None
    step: int | None
    file: str
    """The name of its file."""
    offset: int
    """Of the first byte of its line."""
    size_bytes: int
    """Of its line, without the newline."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a metrics file that follow each other, with the same metrics and growing steps."""

    steps: Sequence[int]
    values: Mapping[str, Sequence[float]]
    """Metric to its values, one for each step."""
    time: float
    """Of the last row, in Unix seconds; 0 where it has none."""
    last_row: JsonObject


class Room(Protocol):
    """Whether a further curve may be kept, and how finely."""

    buckets: int

    def admit(self, name: str) -> bool:
        """Take a further curve of a metric in; return False when there is no room for it."""


@dataclass(slots=True)
class Piece:
    """What was folded from one metrics, epochs or reports file."""

    file: StreamFile
    rows: int = 0
    series: dict[str, Series] = field(default_factory=dict)
    last: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Metric to (time, value)."""
    last_row: JsonObject = field(default_factory=dict)
    first_step: int | None = None
    hidden_from: int | None = None
    """The step from which its rows were left out."""
    epoch_rows: list[JsonObject] = field(default_factory=list)
    """The newest; without those that there was no room for, or that a glance passed over."""
    best: Best | None = None
    best_rule: str = ""
    """What `best` was judged by."""
    is_judged: bool = True
    """False where a better epoch than `best` may have been passed over."""
    reports: dict[str, JsonObject] = field(default_factory=dict)
    report_places: list[ReportPlace] = field(default_factory=list)
    """Of all reports, the newest at the end; empty where the source cannot tell."""
    epoch_values: int = 0
    """How many values `epoch_rows` hold."""
    report_bytes: dict[str, int] = field(default_factory=dict)
    """How long the lines of the reports were."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What there was no room for, in words, and how much of it."""
    clock: Series = field(default_factory=lambda: Series(CLOCK_BUCKETS))
    """When some of its rows were written, over the x of its curves."""
    is_closed: bool = False
    """Its curves were let go to make room for those of newer attempts."""

    @property
    def held_bytes(self) -> int:
        """About how much memory it takes."""
        curves = sum(curve.held_bytes for curve in self.series.values())
        values = VALUE_BYTES * (self.epoch_values + len(self.last_row) + 2 * len(self.last))
        reports = PARSED_PER_BYTE * sum(self.report_bytes.values())
        return PIECE_BYTES + curves + values + reports + PLACE_BYTES * len(self.report_places)

    def add_epoch(self, row: JsonObject, rule: str, *, partial: bool) -> None:
        """Take in an epoch's row; `rule` is `metric:min` or `metric:max`."""
        if partial:
            self.epoch_rows.clear()
            self.epoch_values = 0
        self.epoch_rows.append(row)
        self.epoch_values += len(row)
        self.judge(rule, row)

    def judge(self, rule: str, *fresh: JsonObject) -> None:
        """Take further epochs into the best one; all of them when the rule is another one."""
        rows: Sequence[JsonObject] = fresh
        if self.best_rule != rule:
            self.best, self.best_rule, rows = None, rule, self.epoch_rows
        metric, _, direction = rule.rpartition(":")
        for row in rows:
            epoch, value = integer(row, "epoch"), number(row, metric)
            # A diverged epoch is no best one; rows of other tools hold NaN as it is.
            if epoch is not None and value is not None and math.isfinite(value):
                self.best = better(self.best, Best(epoch, metric, value), direction)

    def add_report(self, row: JsonObject, size_bytes: int, offset: int | None) -> None:
        """Take in a report, the newest of its split; see `ReportPlace` for the two numbers."""
        split = str(row.get("split"))[:TEXT_CHARS]
        self.reports.pop(split, None)
        self.reports[split], self.report_bytes[split] = row, size_bytes
        if offset is not None:
            epoch, step = integer(row, "epoch"), integer(row, "step")
            # One text for all reports of a split, not one for each.
            place = ReportPlace(sys.intern(split), epoch, step, self.file.name, offset, size_bytes)
            self.report_places.append(place)

    def add_values(self, row: JsonObject, step: int | None, room: Room, *, partial: bool) -> None:
        """Take in a row's values: the latest of each metric, and its curve unless `partial`."""
        time = number(row, "time") or 0.0
        if step is None and self.file.stream == "epochs":
            step = integer(row, "epoch")
        x = float(self.rows if step is None else step)
        if self.file.stream == "metrics":
            self.last_row = row
        if not self.rows & 7 or self.rows < CLOCK_BUCKETS:
            # Not of every row: that would cost a tenth of folding it.
            self._note_time(x, 0.0 if partial else time)
        series, last, left_out = self.series, self.last, 0
        for key, value in metric_values(row).items():
            if key not in last and (self.is_closed or not room.admit(key)):
                left_out += 1
                continue
            last[key] = (time, value)
            if partial:
                continue
            curve = series.get(key)
            if curve is None:
                curve = series[key] = Series(room.buckets)
            curve.add(x, value)
        if left_out:
            self.left_out[VALUES] += left_out

    def add_block(self, block: Block, room: Room) -> None:
        """Take in rows that are alike: the same as one after the other, and faster."""
        xs, last = list(map(float, block.steps)), self.last
        self.rows += len(xs)
        self.last_row = block.last_row
        self._note_time(xs[-1], block.time)
        for key, values in block.values.items():
            if key not in last and (self.is_closed or not room.admit(key)):
                self.left_out[VALUES] += len(values)
                continue
            last[key] = (block.time, values[-1])
            curve = self.series.get(key)
            if curve is None:
                curve = self.series[key] = Series(room.buckets)
            curve.extend(xs, values)

    def _note_time(self, x: float, time: float) -> None:
        if time and not self.is_closed:
            self.clock.add(x, time)

    def cut(self, key: str, x: float) -> bool:
        """Drop a metric's values from `x` on; return False when only reading anew can do that."""
        if self.file.stream == "epochs":
            return key not in self.last
        self.clock.cut(x)
        curve = self.series.get(key)
        return curve is None or curve.cut(x)

    def shrink(self, buckets: int) -> None:
        """Keep at most so many buckets of each curve."""
        for curve in self.series.values():
            curve.shrink(buckets)

    def let_curves_go(self) -> int:
        """Drop all curves and latest values for good, and return how many there were."""
        count = len(self.last)
        self.series, self.last, self.last_row, self.is_closed = {}, {}, {}, True
        self.clock = Series(CLOCK_BUCKETS)
        self.left_out[CURVES] += count
        return count

    def let_epochs_go(self) -> None:
        """Drop the older half of the epochs' rows."""
        count = (len(self.epoch_rows) + 1) // 2
        self.epoch_values -= sum(map(len, self.epoch_rows[:count]))
        del self.epoch_rows[:count]
        self.left_out[EPOCHS] += count

    def let_report_go(self) -> None:
        """Drop the oldest report."""
        split = next(iter(self.reports))
        del self.reports[split], self.report_bytes[split]
        self.left_out[REPORTS] += 1

    def let_places_go(self) -> int:
        """Forget where the older half of the reports lies, and return how many those are."""
        count = (len(self.report_places) + 1) // 2
        del self.report_places[:count]
        self.left_out[REPORTS] += count
        return count


def better(best: Best | None, other: Best | None, direction: str) -> Best | None:
    """Return the better of two epochs, the first when they are equal."""
    if best is None or other is None:
        return best or other
    higher, lower = other.value > best.value, other.value < best.value
    return other if (higher if direction == "max" else lower) else best
