"""The table of epochs: newest first, the best one starred, each value with its change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from runstore.files.records import integer, metric_values
from runstore.metrics.ranking import is_bookkeeping, split_metric
from runstore.numbers import NOTHING, duration, metric, short_count
from runstore.runs.comparison import direction_of, is_judged
from runstore.state.pieces import Best
from runstore.state.run_state import RunState

from .facts import ranked
from .text import LazyLines, Line, Span, fit, from_file, line, shorten

COLUMN_ROWS = 50
"""Newest epochs that decide the table's columns; not every epoch is validated."""
COLUMN_VALUES = 20_000
"""Fewer epochs decide where each has thousands of metrics."""
LOOK_BACK = 20
"""Epochs in which an earlier value is looked for: not every epoch is validated."""
CHANGE_WIDTH = 7
_FIXED = 15
"""Cells of the epoch and its duration, which stay where the rest is scrolled sideways."""
_SPEEDS = ("samples_per_s", "tokens_per_s")


class Column(NamedTuple):
    """One metric of the table."""

    name: str
    width: int
    """Of its value; the sign of the change takes one cell more, its size `CHANGE_WIDTH` more."""
    changes: bool
    """Whether its change tells anything: that of a learning rate or a speed does not."""


class EpochTable(NamedTuple):
    """A head that stays, and the rows below it."""

    head: Line
    rows: Sequence[Line]
    hidden: int
    """Columns that do not fit, or are scrolled out of sight."""
    first: int
    """How many of them are left of the others."""


def epochs(state: RunState, width: int) -> Sequence[Line]:
    """Return the head and the rows of the epoch table as lines of one list."""
    table = epoch_table(state, width)
    if not table.rows:
        return [table.head]
    return LazyLines(1 + len(table.rows), lambda at: table.rows[at - 1] if at else table.head)


def epoch_table(state: RunState, width: int, first: int = 0) -> EpochTable:
    """Return the epoch table.

    Rows are made when they are looked at, so look while the state is held still.

    Args:
        state: the run.
        width: cells.
        first: how many columns of metrics are scrolled out of sight at the left.
    """
    rows = state.epoch_rows
    if not rows:
        return EpochTable(line(Span("no finished epoch yet", "dim")), [], 0, 0)
    best = state.best
    deciding = max(2, min(COLUMN_ROWS, COLUMN_VALUES // (1 + len(rows[-1]))))
    columns = _columns(rows[-deciding:], best)
    room = width - _FIXED
    sized = sum(_size(column, True) for column in columns) <= room
    if sum(_size(column, sized) for column in columns) > room:
        room -= len(_left_of(len(columns)) + _right_of(len(columns)))
    first = max(0, min(first, _furthest(columns, room, sized)))
    shown = _fitting(columns[first:], room, sized)
    hidden = len(columns) - len(shown)
    titles = [_title(column, sized) for column in shown]
    head = line(
        Span(f" {'EPOCH':>6}{'TIME':>8}" + "".join(titles), "head"),
        Span(_left_of(first) + _right_of(hidden - first), "dim"),
    )
    best_epoch = best.epoch if best else None
    newest = len(rows) - 1
    made = LazyLines(len(rows), lambda at: _row(rows, newest - at, shown, best_epoch, sized=sized))
    return EpochTable(head, made, hidden, first)


def _left_of(hidden: int) -> str:
    return f" ◂{hidden}" if hidden else ""


def _right_of(hidden: int) -> str:
    return f" +{hidden}▸" if hidden else ""


def _columns(rows: Sequence[Mapping[str, Any]], best: Best | None) -> list[Column]:
    """Return the columns: metrics, the most telling first, then learning rates, then speeds."""
    names = ranked(tuple(dict.fromkeys(name for row in rows for name in metric_values(row))))
    speeds = [name for name in names if name.endswith(_SPEEDS) and not name.startswith("val")]
    rates = [name for name in names if _is_rate(name)]
    told = [name for name in names if not is_bookkeeping(name) and name not in rates]
    if best is not None and best.metric in told:  # what the star is about must be on screen
        told.remove(best.metric)
        told.insert(min(1, len(told)), best.metric)
    return [
        *(Column(name, _width(name, 9), True) for name in told),
        *(Column(name, _width(name, 8), False) for name in (*rates, *speeds)),
    ]


def _is_rate(name: str) -> bool:
    base = split_metric(name)[1].lower()
    return base in ("lr", "learning_rate") or base.startswith(("lr/", "lr-", "lr_"))


def _width(name: str, at_least: int) -> int:
    return max(at_least, min(14, len(from_file(_shown(name)))))


def _shown(name: str) -> str:
    """Return a column's title: of speeds the split is left out, as is what every one has."""
    base = split_metric(name)[1]
    if base in _SPEEDS and split_metric(name)[0] == "train":
        return base.removesuffix("_per_s") + "/s"
    return name


def _size(column: Column, sized: bool) -> int:
    if not column.changes:
        return column.width + 1
    return column.width + 2 + CHANGE_WIDTH * sized


def _fitting(columns: Sequence[Column], room: int, sized: bool) -> list[Column]:
    """Return the columns that fit, one at least."""
    shown: list[Column] = []
    for column in columns:
        room -= _size(column, sized)
        if room < 0 and shown:
            break
        shown.append(column)
    return shown


def _furthest(columns: Sequence[Column], room: int, sized: bool) -> int:
    """Return from which column on all the others fit: further, there is nothing to see."""
    at = len(columns)
    while at and (room := room - _size(columns[at - 1], sized)) >= 0:
        at -= 1
    return min(at, max(0, len(columns) - 1))


def _title(column: Column, sized: bool) -> str:
    name = shorten(from_file(_shown(column.name)), column.width, keep_end=True)
    title = " " + fit(name, column.width, right=True)
    return title + " " * (_size(column, sized) - len(title))


def _row(
    rows: Sequence[Mapping[str, Any]],
    at: int,
    columns: Sequence[Column],
    best_epoch: int | None,
    *,
    sized: bool,
) -> Line:
    row = rows[at]
    epoch = integer(row, "epoch")
    is_best = epoch is not None and epoch == best_epoch
    role = "best" if is_best else ""
    values = metric_values(row)
    number = NOTHING if epoch is None else str(epoch)
    start = f"{'★' if is_best else ' '}{number:>6}"
    spans = [Span(start + fit(duration(values.get("duration_s")), 8, right=True), role)]
    earlier = _Earlier(rows, at)
    for column in columns:
        value = values.get(column.name)
        spans.append(Span(" " + fit(_value(column, value), column.width, right=True), role))
        if column.changes:
            spans.append(_change(column, value, earlier, sized=sized))
    return line(*spans)


def _value(column: Column, value: float | None) -> str:
    is_speed = value is not None and column.name.endswith(_SPEEDS)
    return short_count(value) if is_speed and value is not None else metric(value)


class _Earlier:
    """The values of the epochs before one, looked up as far back as they are asked for."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], at: int) -> None:
        self._rows = rows
        self._places = range(at - 1, max(-1, at - 1 - LOOK_BACK), -1)
        self._known: dict[int, dict[str, float]] = {}

    def value(self, name: str) -> float | None:
        """Return the newest earlier value of a metric."""
        for place in self._places:
            if place not in self._known:
                self._known[place] = metric_values(self._rows[place])
            value = self._known[place].get(name)
            if value is not None:
                return value
        return None


def _change(column: Column, value: float | None, earlier: _Earlier, *, sized: bool) -> Span:
    """Return by how much a value went up or down; blanks of the same width where it did not."""
    width = 1 + CHANGE_WIDTH * sized
    before = earlier.value(column.name) if value is not None else None
    if value is None or before is None or not math.isfinite(value - before) or value == before:
        return Span(" " * width)
    by = f"{abs(value - before):.2g}" if sized else ""
    change = fit(("▲" if value > before else "▼") + by, width)
    if not is_judged(column.name):
        return Span(change, "dim")
    is_better = (value < before) == (direction_of(column.name) == "min")
    return Span(change, "good" if is_better else "warn")
