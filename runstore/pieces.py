"""What is learnt from one file of a run: latest values, curves, epochs, reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runstore.paths import StreamFile
from runstore.records import JsonObject, integer, metric_values, number
from runstore.series import Series


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far."""

    epoch: int
    metric: str
    value: float


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
    epoch_rows: list[JsonObject] = field(default_factory=list)
    """All of them, or only the newest when the file is not read in full."""
    best: Best | None = None
    best_rule: str = ""
    """What `best` was judged by."""
    reports: dict[str, JsonObject] = field(default_factory=dict)

    def add_epoch(self, row: JsonObject, rule: str, *, partial: bool) -> None:
        """Take in an epoch's row; `rule` is `metric:min` or `metric:max`."""
        if partial:
            self.epoch_rows.clear()
        self.epoch_rows.append(row)
        self.judge(rule, row)

    def judge(self, rule: str, *fresh: JsonObject) -> None:
        """Take further epochs into the best one; all of them when the rule is another one."""
        rows: Sequence[JsonObject] = fresh
        if self.best_rule != rule:
            self.best, self.best_rule, rows = None, rule, self.epoch_rows
        metric, _, direction = rule.rpartition(":")
        for row in rows:
            epoch, value = integer(row, "epoch"), number(row, metric)
            if epoch is not None and value is not None:
                self.best = better(self.best, Best(epoch, metric, value), direction)

    def add_values(self, row: JsonObject, step: int | None, *, partial: bool) -> None:
        """Take in a row's values: the latest of each metric, and its curve unless `partial`."""
        time = number(row, "time") or 0.0
        x = float(self.rows if step is None else step)
        if self.file.stream == "metrics":
            self.last_row = row
        series = self.series
        for key, value in metric_values(row).items():
            self.last[key] = (time, value)
            if partial:
                continue
            curve = series.get(key)
            if curve is None:
                curve = series[key] = Series()
            curve.add(x, value)


def better(best: Best | None, other: Best | None, direction: str) -> Best | None:
    """Return the better of two epochs, the first when they are equal."""
    if best is None or other is None:
        return best or other
    higher, lower = other.value > best.value, other.value < best.value
    return other if (higher if direction == "max" else lower) else best
