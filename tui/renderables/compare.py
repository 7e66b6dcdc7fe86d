"""Runs side by side: a line for each fact, parameter and metric, a column for each run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runstore.export.comparison_table import shown_params
from runstore.numbers import NOTHING, count, duration, metric, of_total
from runstore.runs.comparison import MISSING, Compared, Comparison
from runstore.tables.columns import text_of

from .facts import GLYPHS, STATUS_ROLES
from .text import LazyLines, Line, Span, fit, from_file, line, shorten, width_of
from .told_apart import told_apart

COLUMN = 18
"""Cells of a run's column, where more runs are compared than fit."""
WIDEST = 36
"""Enough for `B lr=0.0003,batch_size=128,seed=10`."""
GAP = 1
BEST_MARK = "★"
_LABEL = 24
_VALUE = 9
_STAR = 4
"""Cells for ` ★51`."""
Cell = Callable[[int], Span]


class PatchFacts(Protocol):
    """What is known of the uncommitted changes that a run was started with."""

    @property
    def size_bytes(self) -> int:
        """0 where there are none."""

    @property
    def digest(self) -> str:
        """Equal for equal ones."""

    @property
    def problem(self) -> str:
        """Why they cannot be read; empty when they can."""


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in a run's column, besides parameters and metrics."""

    letter: str
    """Of a mark; empty for a run without one."""
    commit: str
    dirty: bool | None
    untracked: int
    """Files that git does not know, which are in no patch."""
    patch: PatchFacts | None
    """None while it is being read."""
    reading: bool
    """What was best may change yet."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A line: its label, and what stands in each column."""

    label: str
    cell: Cell | None = None
    """None for a heading."""
    role: str = ""
    metric: str = ""
    """Of a line of best values."""


class CompareTable:
    """The table, from one column on; its lines are made when they are looked at.

    The first run keeps its column: all differences are to it.
    """

    def __init__(
        self,
        comparison: Comparison,
        columns: Sequence[Column],
        *,
        all_params: bool,
        width: int,
        first: int = 1,
        cursor: int = 1,
    ) -> None:
        """Lay the columns out.

        Args:
            comparison: The runs.
            columns: What else is known of each.
            all_params: Show also parameters in which no run differs.
            width: Cells.
            first: The run in the second column; another one where the cursor is not in sight.
            cursor: The run whose patch is compared with that of the first.
        """
        self._comparison, self._columns = comparison, columns
        self._runs = comparison.runs
        self._cursor = cursor
        self._winners: dict[str, Compared | None] = {}
        self._differing = set(comparison.differing)
        self._params = shown_params(comparison, all_params)
        self._rows = [*self._facts(), *self._parameters(all_params), *self._metrics()]
        longest = max(
            width_of(from_file(row.label)) + _STAR * bool(row.metric)
            for row in self._rows
            if row.cell
        )
        self._label = max(8, min(longest, _LABEL, width - 2 * (COLUMN + GAP)))
        fitting = max(1, (width - self._label) // (COLUMN + GAP))
        others = max(1, fitting - 1)
        names, ids = [from_file(run.name) for run in self._runs], _ids(self._runs)
        # Where all have a column, what is left over goes to their names.
        wanted = max((width_of(f"A {name}") for name in names), default=0)
        spare = (width - self._label) // max(1, min(fitting, len(self._runs))) - GAP
        self._column = max(COLUMN, min(wanted, WIDEST, spare))
        self._names = told_apart(names, self._column - 2)
        self._ids = told_apart(ids, self._column - 1)
        last = max(1, len(self._runs) - others)
        self.first = min(last, max(min(first, cursor), cursor - others + 1, 1))
        """The run in the second column."""
        self.shown = [0, *range(self.first, min(len(self._runs), self.first + others))]
        """Places of the runs that have a column."""

    @property
    def sorted_by(self) -> str:
        """The metric by which the best run is first; empty where none was asked for."""
        return self._comparison.sort.metric if self._comparison.sort else ""

    @property
    def where(self) -> str:
        """Which columns are shown, if not all."""
        if len(self.shown) >= len(self._runs):
            return ""
        first, last = self.shown[1] + 1, self.shown[-1] + 1
        shown = f"{first}–{last}" if last > first else f"{first}"
        return f"1 and {shown} of {len(self._runs)}"

    def label(self, run: Compared) -> str:
        """Return what the head calls a run of the table: letter and name, or else its id."""
        at = next(at for at, known in enumerate(self._runs) if known.path == run.path)
        letter, name = self._columns[at].letter, self._names[at]
        if not letter and (not name or self._names.count(name) > 1):
            return self._ids[at]
        return f"{letter} {name}".strip()

    @property
    def head(self) -> list[Line]:
        """Two lines: letters and names, and what tells namesakes apart."""
        names, ids = [Span(" " * self._label)], [Span(" " * self._label)]
        for at in self.shown:
            letter = self._columns[at].letter
            role = f"curve{ord(letter) - ord('A')}" if letter else "head"
            mark = "▸" if at == self._cursor and len(self._runs) > 1 else " "
            name = f"{letter} {self._names[at]}".strip()
            names += [Span(mark, "key"), Span(fit(name, self._column), role)]
            ids += [Span(" "), Span(fit(self._ids[at], self._column), "dim")]
        return [tuple(names), tuple(ids)]

    @property
    def lines(self) -> Sequence[Line]:
        """A line for each fact, parameter and metric."""
        return LazyLines(len(self._rows), lambda at: self._line(self._rows[at]))

    def _line(self, row: _Row) -> Line:
        if row.cell is None:
            return line(Span(row.label, row.role))
        label = row.label + (self._elsewhere(row.metric) if row.metric else "")
        label = fit(shorten(from_file(label), self._label, keep_end=True), self._label)
        spans = [Span(label, row.role)]
        for at in self.shown:
            found = row.cell(at)
            spans += [Span(" "), Span(fit(found.text, self._column), found.role)]
        return tuple(spans)

    def _elsewhere(self, name: str) -> str:
        """Return which run has the best value, where its column is not in sight."""
        winner = self._winner(name)
        at = next((at for at, run in enumerate(self._runs) if run is winner), None)
        if at is None or at in self.shown:
            return ""
        return f" {BEST_MARK}{self._columns[at].letter or at + 1}"

    # ---- facts ---------------------------------------------------------------------------------

    def _facts(self) -> list[_Row]:
        runs, columns = self._runs, self._columns
        return [
            _Row("status", lambda at: _status(runs[at].status), "head"),
            _Row("epoch", lambda at: Span(of_total(runs[at].epoch, runs[at].epochs)), "head"),
            _Row("step", lambda at: Span(count(runs[at].step)), "head"),
            _Row("duration", lambda at: Span(duration(runs[at].duration_s)), "head"),
            _Row("commit", self._commit, "head"),
            _Row("tree", lambda at: _tree(columns[at].dirty, columns[at].untracked), "head"),
            _Row("patch", self._patch, "head"),
        ]

    def _commit(self, at: int) -> Span:
        commit, first = self._columns[at].commit, self._columns[0].commit
        if not commit:
            return Span(NOTHING, "dim")
        shown = from_file(commit)[:10]
        if at == 0:
            return Span(shown)
        return Span(f"{shown} same", "dim") if commit == first else Span(f"{shown} ≠", "warn")

    def _patch(self, at: int) -> Span:
        patch, first = self._columns[at].patch, self._columns[0].patch
        if patch is None:
            return Span("reading …", "dim")
        if patch.problem:
            return Span(from_file(patch.problem), "warn")
        size = f"{patch.size_bytes / 1024:,.1f} KiB" if patch.size_bytes else "none"
        if at == 0:
            return Span(size)
        if first is None or first.problem or (not patch.size_bytes and not first.size_bytes):
            return Span(size, "dim")
        if patch.digest == first.digest:
            return Span("same", "dim")
        return Span(f"differs, {size}" if patch.size_bytes else "differs: none", "warn")

    # ---- parameters ----------------------------------------------------------------------------

    def _parameters(self, all_params: bool) -> list[_Row]:
        total, differing = len(self._comparison.params), len(self._differing)
        if not total:
            told = "Parameters: none"
        elif differing:
            told = f"Parameters: {differing} of {total} differ"
        else:
            told = f"Parameters: none of {total} differs"
        if total > differing:
            told += "; a shows those that differ" if all_params else "; a shows all"
        return [_Row(""), _Row(told, role="title"), *map(self._parameter, self._params)]

    def _parameter(self, name: str) -> _Row:
        role = "" if name in self._differing else "dim"

        def cell(at: int) -> Span:
            params = self._runs[at].params
            if name not in params:
                return Span(MISSING, "dim")
            return Span(from_file(text_of(params[name])), "value" if not role else "dim")

        return _Row(name, cell, role)

    # ---- metrics -------------------------------------------------------------------------------

    def _metrics(self) -> list[_Row]:
        names = self._comparison.metrics
        if not names:
            return [_Row(""), _Row("Metrics: none", role="title")]
        told = f"Metrics: last, then best ({BEST_MARK} of all); ± to the first run"
        rows = [_Row(""), _Row(told, role="title")]
        for name in names:
            end = "low" if self._comparison.direction(name) == "min" else "high"
            rows.append(_Row(name, self._last_of(name)))
            if self._comparison.is_judged(name):
                rows.append(_Row(f"  best ({end})", self._best_of(name), metric=name))
        return rows

    def _last_of(self, name: str) -> Cell:
        return lambda at: _measured(
            self._runs[at].last.get(name), self._runs[0].last.get(name), at, " ", ""
        )

    def _best_of(self, name: str) -> Cell:
        direction = self._comparison.direction(name)

        def cell(at: int) -> Span:
            run = self._runs[at]
            best_of = self._comparison.best_of
            value, first = (best_of(one, name, direction) for one in (run, self._runs[0]))
            if value is None and self._columns[at].reading:
                return Span("reading …", "dim")
            is_best = self._winner(name) is run
            mark, role = (BEST_MARK, "best") if is_best else (" ", "value")
            return _measured(value, first, at, mark, role)

        return cell

    def _winner(self, name: str) -> Compared | None:
        """Return the run with the best value; remembered, for each of many columns asks."""
        if name not in self._winners:
            self._winners[name] = self._comparison.winner(name)
        return self._winners[name]


def _ids(runs: Sequence[Compared]) -> list[str]:
    """Return the id of each run, or the path of those that have one id: copies of a run."""
    counts = Counter(run.id for run in runs)
    return [from_file(run.path if counts[run.id] > 1 else run.id) for run in runs]


def _status(word: str) -> Span:
    return Span(f"{GLYPHS.get(word, '?')} {word}", STATUS_ROLES.get(word, ""))


def _tree(dirty: bool | None, untracked: int) -> Span:
    if dirty is None:
        return Span(NOTHING, "dim")
    told = f"dirty, {untracked:,} untracked" if untracked > 0 else "dirty"
    return Span(told, "warn") if dirty else Span("clean", "dim")


def _measured(value: float | None, first: float | None, at: int, mark: str, role: str) -> Span:
    """Return a value, the mark of the best, and the difference to the first run."""
    text = f"{metric(value)}{mark}".ljust(_VALUE + 1)
    if at and value is not None and first is not None and math.isfinite(value - first):
        text += _difference(value - first)
    return Span(text, role)


def _difference(by: float) -> str:
    return "=" if by == 0 else f"{'+' if by > 0 else '-'}{metric(abs(by))}"
