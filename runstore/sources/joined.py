"""One table of several: the rows of one step, each in a file of its own, as one row.

The files are read side by side, some rows of each at a time, so a run of hundreds of long files
needs little memory.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from runstore.records import JsonObject
from runstore.sources.reading import RowLine, row_line

Place = Callable[[JsonObject], float | None]
"""Returns where a row belongs: rows of the same place become one."""


def joined(tables: Iterable[Iterator[RowLine]], place: Place) -> Iterator[RowLine]:
    """Yield the rows of some tables as one table, in the order of their places.

    Rows that count and stand in order become part of a joined row, which names the file of its
    first part. What is void, damaged, or out of order passes, just before the row behind which it
    stood. Of several values of a metric at a place the last one holds; `time` is the latest.

    Args:
        tables: rows in which NaN and infinities are floats; their `line` is not looked at.
        place: where a row belongs.
    """
    placed = (_placed(table, place) for table in tables)
    merged = heapq.merge(*placed, key=lambda found: found[0])
    for _, group in groupby(merged, key=lambda found: found[0]):
        first: RowLine | None = None
        row: JsonObject = {}
        for _, is_part, line in group:
            if line.row is None:
                yield line
            elif is_part:
                first = first or line
                _add(row, line.row)
            else:
                yield row_line(line.file, line.number, line.row, line.superseded)
        if first is not None:
            yield row_line(first.file, first.number, row, False)


def _placed(table: Iterator[RowLine], place: Place) -> Iterator[tuple[float, bool, RowLine]]:
    """Yield each row with its place, which never goes back, and whether it is part of a row."""
    last = -math.inf
    for line in table:
        at = None if line.row is None or line.superseded else place(line.row)
        is_part = at is not None and at >= last
        last = at if at is not None and is_part else last
        yield last, is_part, line


def _add(row: JsonObject, part: JsonObject) -> None:
    time = row.get("time")
    row.update(part)
    if time is not None and time > part.get("time", -math.inf):
        row["time"] = time
