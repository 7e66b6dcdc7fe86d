"""A confusion matrix as a heat map of which only the visible part is made, and its worst pairs.

A cell says what it is in three ways: its number, its background or a shade character, and on the
diagonal a stroke before the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runstore.numbers import count

from .class_report import LONGEST_NAME, ClassReport, Matrix, Pair
from .text import LazyLines, Line, Span, fit, from_file, line, shorten, width_of

LEVELS = 6
"""Of a shade; 0 is an empty cell."""
DIAGONAL = "╲"
EMPTY_CELL = "·"
_SHADES = " ░░▒▒▓█"
_LABEL = 18
_WIDEST_CELL = 7
CORNER = "true ↓ as →"


@dataclass(frozen=True, slots=True)
class Look:
    """How the user wants to see the matrix."""

    shares: bool = False
    """Percent of the true class, instead of counts."""
    shades: bool = False
    """Shade characters, where backgrounds cannot be told apart."""


class HeatMap:
    """The matrix of one report from one column on."""

    def __init__(
        self,
        report: ClassReport,
        matrix: Matrix,
        order: Sequence[int],
        look: Look,
        room: int,
        first: int = 0,
    ) -> None:
        """Lay the columns out.

        Args:
            report: Whose matrix it is.
            matrix: What is shown of it.
            order: Places of the classes, as rows and columns are to follow each other.
            look: How.
            room: Cells.
            first: The first column to show; less where the last ones would leave room.
        """
        self._matrix, self._order, self._look = matrix, order, look
        self._names = [from_file(report.labels[at]) for at in order]
        self._numbers = [str(report.classes[at]) for at in order]
        self._largest = max((max(row.values(), default=0) for row in matrix.cells), default=0)
        digits = 3 if look.shares else len(str(self._largest))
        longest = max(map(width_of, self._names))
        by_number = max(map(len, self._numbers))
        self._label = max(len(CORNER), min(_LABEL, longest + by_number + 1))
        fixed = 1 + look.shades
        per_cell = (room - self._label) // matrix.size - fixed
        self._by_name = longest <= max(min(per_cell, _WIDEST_CELL), digits)
        self._digits = max(digits, longest if self._by_name else by_number)
        self._cell = self._digits + fixed
        fitting = max(1, (room - self._label) // self._cell)
        self.first = max(0, min(first, matrix.size - fitting))
        """The first column that is shown."""
        self.columns = range(self.first, min(matrix.size, self.first + fitting))
        """Those that are shown."""
        self.whole_width = self._label + matrix.size * self._cell
        """Cells of all columns."""
        self.width = self._label + len(self.columns) * self._cell
        """Cells of those that are shown."""

    @property
    def head(self) -> Line:
        """The names or numbers of the columns."""
        heads = self._names if self._by_name else self._numbers
        tail = " " * self._look.shades
        cells = (
            " " + fit(shorten(heads[at], self._digits), self._digits, right=True) + tail
            for at in self.columns
        )
        return (Span(fit(CORNER, self._label), "dim"), Span("".join(cells), "head"))

    @property
    def lines(self) -> Sequence[Line]:
        """A line for each true class."""
        return LazyLines(self._matrix.size, self._row)

    def _row(self, row: int) -> Line:
        return line(
            Span(fit(shorten(self._row_name(row), self._label - 1, keep_end=True), self._label)),
            *(self._drawn(row, column) for column in self.columns),
        )

    def _row_name(self, row: int) -> str:
        name = self._names[row]
        return name if self._by_name else f"{self._numbers[row]} {name}"

    def _drawn(self, row: int, column: int) -> Span:
        true, predicted = self._order[row], self._order[column]
        share = self._matrix.share(true, predicted)
        number = self._matrix.count(true, predicted)
        hit = row == column
        level = _level(share if self._look.shares else number / max(1, self._largest))
        text = _percent(share) if self._look.shares else str(number)
        text = (text if number else EMPTY_CELL).rjust(self._digits)
        tail = _SHADES[level] if self._look.shades else ""
        role = f"{'hit' if hit else 'heat'}{level}" if level else "faint"
        return Span(f"{DIAGONAL if hit else ' '}{text}{tail}", role)


def _level(part: float) -> int:
    """Return the shade of a part of the largest: by its root, for a few errors are many."""
    return 0 if part <= 0 else min(LEVELS, 1 + math.floor(math.sqrt(min(part, 1.0)) * LEVELS))


def _percent(share: float) -> str:
    """Return a share as a whole percentage; `<1` for one that is not nothing, 100 for all."""
    if 0 < share < 0.01:
        return "<1"
    return "99" if 0.99 < share < 1 else f"{share * 100:.0f}"


class PairList:
    """The pairs of classes that are confused most."""

    def __init__(
        self,
        report: ClassReport,
        matrix: Matrix,
        room: int,
        is_found: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """Lay the columns out in `room` cells; pairs with a class that `is_found` come first."""
        self._is_found = is_found
        self._report, self._matrix = report, matrix
        longest = max((width_of(from_file(name)) for name in report.labels), default=1)
        self._name = max(9, min(longest, LONGEST_NAME, (room - 20) // 2))
        self.width = 2 * self._name + 20
        """Cells."""

    @property
    def head(self) -> Line:
        """The names of the columns."""
        names = fit("true", self._name) + "   " + fit("taken for", self._name)
        return (Span(f"{names} {'count':>8} {'share':>7}", "head"),)

    @property
    def lines(self) -> Sequence[Line]:
        """A line for each pair, the most samples first."""
        pairs = self._report.confused
        if not pairs:
            return [line(Span("no class was taken for another one", "good"))]
        order = sorted(pairs, key=lambda pair: not any(map(self._is_found, self._names(pair))))
        return LazyLines(len(order), lambda at: self._row(order[at]))

    def _names(self, pair: Pair) -> tuple[str, str]:
        return self._report.labels[pair.true], self._report.labels[pair.predicted]

    def _row(self, pair: Pair) -> Line:
        true, taken = map(from_file, self._names(pair))
        share = self._matrix.share(pair.true, pair.predicted)
        return line(
            fit(shorten(true, self._name, keep_end=True), self._name),
            Span(" → ", "dim"),
            fit(shorten(taken, self._name, keep_end=True), self._name),
            Span(f" {count(pair.samples):>8}", "value"),
            Span(f" {share * 100:6.1f}%", "dim"),
        )
