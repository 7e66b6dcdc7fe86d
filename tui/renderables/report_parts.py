"""Table, confusion matrix and most confused pairs of a report: what of them there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .class_report import ClassReport, ScoreColumns
from .confusion import HeatMap, Look, PairList
from .report_table import Choice, ScoreTable, in_order
from .text import EMPTY, LazyLines, Line, Span, fit_line, line

GAP = 3
"""Cells between two parts that stand side by side."""
PARTS = ("table", "matrix", "pairs")
_LEAST_WIDTH = {"table": 60, "matrix": 20, "pairs": 34}
"""Below it a part does not stand beside another one."""
_LEAST_PAIRS = 4
"""Lines below which the pairs do not stand alone below the others."""
_NO_MATRIX = (
    "no confusion matrix in this report:",
    "reports of very many classes have none,",
    "nor those of several classes per sample",
)


_NO_CLASSES = (
    "no scores of classes in this row of the file:",
    "it may be damaged; i shows the files as they are",
)


class Part(NamedTuple):
    """A table that stands beside others: its head keeps still while its lines are scrolled."""

    name: str
    width: int
    head: Line
    lines: Sequence[Line]


class PartMaker:
    """Makes the parts of one report."""

    def __init__(
        self,
        report: ClassReport,
        history: Sequence[ScoreColumns],
        choice: Choice,
        look: Look,
        column: int,
    ) -> None:
        """Show a report.

        Args:
            report: What is shown.
            history: The scores up to it, for trends; oldest first.
            choice: How the table and the order of classes are to be.
            look: How the matrix is to look.
            column: The first column of the matrix, as far as there are enough.
        """
        self._report, self._history = report, history
        self._choice, self._look = choice, look
        self.column = column
        """The first column of the matrix that was made."""
        self.columns = 1
        """How many of them there was room for."""

    def rows_of_parts(self, first: str, width: int, height: int) -> list[list[Part]]:
        """Return the parts in rows: those of a row stand beside each other, each part once.

        Args:
            first: The part that has the room that it wants; it may be too long for it.
            width: Cells.
            height: Lines, the heads included. Parts below others are there only where all of the
                upper ones is seen.
        """
        at = PARTS.index(first)
        names = [*PARTS[at:], *PARTS[:at]]
        rows: list[list[Part]] = []
        while names:
            row = self._row(names, width, height if rows else None)
            if not row:
                break
            rows.append(row)
            height -= 2 + max(len(part.lines) for part in row)  # its head, and a blank line
            there = {part.name for part in row}
            names = [name for name in names if name not in there]
        return rows

    def _row(self, names: Sequence[str], width: int, height: int | None) -> list[Part]:
        """Return the parts of the upper row, or those that fit into `height` below it."""
        parts: list[Part] = []
        for name in names:
            room = width - sum(part.width + GAP for part in parts)
            is_first = not parts and height is None
            if not is_first and room < _LEAST_WIDTH[name]:
                continue
            part = self._part(name, room, is_first)
            if part is None or not (is_first or _fits(part, room, height)):
                continue
            if part.name == "pairs" and (parts or height is not None):
                longest = max((len(other.lines) for other in parts), default=(height or 0) - 1)
                part = part._replace(lines=_first(part.lines, max(longest, _LEAST_PAIRS)))
            parts.append(part)
        return parts

    def _part(self, name: str, room: int, is_first: bool) -> Part | None:
        report = self._report
        if not report.labels:
            told = [line(Span(text, "dim")) for text in _NO_CLASSES]
            return Part(name, room, EMPTY, told) if is_first else None
        if name == "table":
            table = ScoreTable(report, self._history, self._choice, room)
            return Part(name, table.width, table.head, table.lines)
        if report.matrix is None:
            told = [line(Span(text, "dim")) for text in _NO_MATRIX]
            return Part(name, room, EMPTY, told) if is_first else None
        if name == "pairs":
            pairs = PairList(report, report.matrix, room, self._choice.is_found)
            return Part(name, pairs.width, pairs.head, pairs.lines)
        order = in_order(report, self._choice)
        heat = HeatMap(report, report.matrix, order, self._look, room, self.column)
        if not is_first and heat.whole_width > room:
            return None
        self.column, self.columns = heat.first, len(heat.columns)
        return Part(name, heat.width, heat.head, heat.lines)


def _fits(part: Part, width: int, height: int | None) -> bool:
    """Tell whether a part has room; of the pairs, the first few will do."""
    if height is None or part.width > width:
        return part.width <= width
    return height > (_LEAST_PAIRS if part.name == "pairs" else len(part.lines))


def _first(lines: Sequence[Line], count: int) -> Sequence[Line]:
    """Return the first lines, which are made when they are looked at."""
    return LazyLines(min(count, len(lines)), lines.__getitem__)


def beside(parts: Sequence[Part]) -> tuple[Line, Sequence[Line]]:
    """Return head and lines of some parts side by side; the lines are made when looked at."""

    def make(at: int) -> Line:
        rows = [part.lines[at] if at < len(part.lines) else EMPTY for part in parts]
        return _joined(rows, parts)

    length = max(len(part.lines) for part in parts)
    return _joined([part.head for part in parts], parts), LazyLines(length, make)


def _joined(rows: Sequence[Line], parts: Sequence[Part]) -> Line:
    spans: list[Span] = []
    for row, part in zip(rows, parts, strict=True):
        spans += row if part is parts[-1] else fit_line(row, part.width + GAP)
    return tuple(spans)
