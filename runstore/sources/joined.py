"""One table of several: the rows of one step or epoch, each in a file of its own, as one row.

The files are read side by side, some rows of each at a time, so a run of hundreds of long files
needs little memory.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from runstore.files.cursor import READ_BYTES
from runstore.files.records import RESERVED_KEYS, JsonObject, with_nonfinite
from runstore.sources.reading import RowLine, row_line

AHEAD_BYTES = 16 << 20
AHEAD_BYTES_AT_LEAST = 64 << 10
"""What is read ahead of all files, and of each: smaller pieces would cost more than the rows."""

Place = Callable[[JsonObject], float | None]
"""Returns where a row belongs: rows of the same place become one."""


def joined(tables: Iterable[Iterator[RowLine]], place: Place) -> Iterator[RowLine]:
    """Yield the rows of some tables as one table, in the order of their places.

    Rows that count and stand in order become part of a joined row, which names the file of its
    first part. What is void, damaged, or out of order passes, just before the row behind which it
    stood. Of several values that a file has of a metric at a place the last one holds; where
    another file has another value of it, its row stays one of its own. `time` is the latest.

    Args:
        tables: rows in which NaN and infinities are floats or noted; a `line` that is there is kept
            where nothing is joined to it.
        place: where a row belongs.
    """
    placed = (_placed(table, place) for table in tables)
    merged = heapq.merge(*placed, key=lambda found: found[0])
    for _, group in groupby(merged, key=lambda found: found[0]):
        whole: _Joined | None = None
        for _, is_part, line in group:
            if not is_part:
                yield _written(line)
            elif whole is None or not whole.take(line):
                if whole is not None:
                    yield whole.line()
                whole = _Joined(line)
        if whole is not None:
            yield whole.line()


def read_ahead(files: int) -> int:
    """Return how many bytes of each of some files are read at once while they are joined."""
    return min(READ_BYTES, max(AHEAD_BYTES_AT_LEAST, AHEAD_BYTES // max(1, files)))


class _Joined:
    """A row of several parts."""

    def __init__(self, first: RowLine) -> None:
        self._first, self._is_alone = first, True
        self._row = dict(with_nonfinite(first.row or {}))
        self._file_of = dict.fromkeys(self._row, first.file)

    def take(self, line: RowLine) -> bool:
        """Add a part, unless that would cost the value of another file; tell whether it did."""
        part, row, file = with_nonfinite(line.row or {}), self._row, line.file
        for name, value in part.items():
            is_other = self._file_of.get(name, file) != file and name not in RESERVED_KEYS
            if is_other and row[name] != value:
                return False
        time = row.get("time")
        row.update(part)
        if time is not None and time > part.get("time", -math.inf):
            row["time"] = time
        self._file_of.update(dict.fromkeys(part, file))
        self._is_alone = False
        return True

    def line(self) -> RowLine:
        first = self._first
        if self._is_alone:
            return _written(first)
        return row_line(first.file, first.number, self._row, False)


def _written(line: RowLine) -> RowLine:
    if line.row is None or line.line:
        return line
    return row_line(line.file, line.number, line.row, line.superseded)


def _placed(table: Iterator[RowLine], place: Place) -> Iterator[tuple[float, bool, RowLine]]:
    """Yield each row with its place, which never goes back, and whether it is part of a row."""
    last = -math.inf
    for line in table:
        at = None if line.row is None or line.superseded else place(line.row)
        is_part = at is not None and at >= last
        last = at if at is not None and is_part else last
        yield last, is_part, line
