"""Where the charts of a grid are. Pure arithmetic of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .text import Line, Span, fit_line

MIN_CELL_WIDTH = 34
MIN_CELL_HEIGHT = 9
BEST_SHAPE = 4.0
"""Cells across for each line: a character is about twice as high as it is wide."""


class Grid(NamedTuple):
    """A grid of charts; cells are apart by one column."""

    columns: int
    rows: int
    """That are in sight."""
    cell_width: int
    cell_height: int

    @property
    def in_sight(self) -> int:
        """How many charts are in sight."""
        return self.columns * self.rows

    def cell_at(self, x: int, y: int) -> int:
        """Return the number of the chart at a place inside the grid, from its top left."""
        column = min(self.columns - 1, max(0, x) // (self.cell_width + 1))
        return min(self.rows - 1, max(0, y) // self.cell_height) * self.columns + column


def grid_for(count: int, width: int, height: int) -> Grid:
    """Return a grid for some charts: as many as fit, and no smaller than they must be.

    Args:
        count: Charts, at least 1.
        width: Cells.
        height: Lines.
    """
    most_columns = max(1, (width + 1) // (MIN_CELL_WIDTH + 1))
    most_rows = max(1, height // MIN_CELL_HEIGHT)
    grids = [
        _grid(columns, rows, width, height)
        for columns in range(1, most_columns + 1)
        if (rows := -(-count // columns)) <= most_rows
    ]
    if not grids:
        return _grid(most_columns, most_rows, width, height)
    return min(
        grids, key=lambda grid: abs(math.log(grid.cell_width / grid.cell_height / BEST_SHAPE))
    )


def _grid(columns: int, rows: int, width: int, height: int) -> Grid:
    return Grid(columns, rows, max(1, (width + 1) // columns - 1), max(1, height // rows))


def beside(cells: Sequence[Sequence[Line]], grid: Grid) -> list[Line]:
    """Return the lines of charts that stand in the places of a grid, row by row."""
    out: list[Line] = []
    for start in range(0, len(cells), grid.columns):
        row = cells[start : start + grid.columns]
        for y in range(grid.cell_height):
            spans: list[Span] = []
            for cell in row:
                if spans:
                    spans.append(Span(" "))
                spans += fit_line(cell[y] if y < len(cell) else (), grid.cell_width)
            out.append(tuple(spans))
    return out
