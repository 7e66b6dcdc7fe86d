"""A directory with a table of rows: a CSV whose header names a step or an epoch.

`progress.csv` of Stable-Baselines3, `results.csv` of Ultralytics, Keras' `CSVLogger` and what
people write by hand. Other tables, such as data sets, have no such column and are passed over.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from runstore.files.records import BYTE_ORDER_MARK, RecordError
from runstore.files.regular import first_bytes
from runstore.sources.columns import Columns, is_log_header
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import CSV
from runstore.sources.log_files import Batch, ForeignRow
from runstore.sources.rows_file import RowsFile, RowsLayout

NAME = CSV.name
EVIDENCE = "a table of rows, no process on record"
HEADER_BYTES = 64 << 10
"""A longer header is none; …"""
USUAL_HEADER_BYTES = 1 << 10
"""… most are shorter than that: a root is searched again and again, and may hold a thousand."""
SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",\t;"


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """A table makes the directory a run when its header names a step or an epoch."""
    return any(_is_log(directory, name) for name in names)


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, RowsLayout(NAME, EVIDENCE, _is_log, CsvFile), patient=patient)


def _is_log(directory: Path, name: str) -> bool:
    if not name.endswith(SUFFIXES):
        return False
    for size_bytes in (USUAL_HEADER_BYTES, HEADER_BYTES):
        line, newline, _ = first_bytes(directory / name, size_bytes).partition(b"\n")
        if newline:
            return _is_header(line)
    return False


def _is_header(line: bytes) -> bool:
    try:
        return is_log_header(Table(line).names)
    except RecordError:
        return False


class CsvFile(RowsFile):
    """One table that grows; also one that is written anew when a column is added."""

    _table: Table | None = None

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        if self._table is None or number == 1:
            table = Table(line)
            self._take_header(table)
            batch.rows += map(_warning, table.repeated())
            return
        cells = self._table.cells(line)
        if cells == self._table.names or not line.strip():
            # Appending loggers begin with the header again.
            return
        if len(cells) != len(self._table.names):
            if is_log_header(cells):
                self._take_header(Table(line))
                return
            raise RecordError(f"{len(cells)} cells, the header has {len(self._table.names)}")
        record = dict(zip(self._table.names, cells, strict=True))
        self._add(record, number, batch, len(line))

    def _take_header(self, table: Table) -> None:
        self._table, self._columns = table, Columns(paired=table.names)


def _warning(column: str) -> ForeignRow:
    message = f"the table has more than one column {column!r}; the last one is read"
    return ForeignRow("events", {"event": "warning", "message": message}, 1, 0)


class Table:
    """The header of a table, and how its lines are split."""

    def __init__(self, line: bytes) -> None:
        text = _text(line)
        self._delimiter = max(DELIMITERS, key=text.count)
        self.names = self.cells(line)

    def repeated(self) -> list[str]:
        """Return the names that several columns have."""
        return [name for name, count in Counter(self.names).items() if name and count > 1]

    def cells(self, line: bytes) -> list[str]:
        """Return the cells of a line; one that goes on behind it is torn in two."""
        try:
            return next(csv.reader([_text(line)], delimiter=self._delimiter), [])
        except csv.Error as error:
            raise RecordError(f"not CSV: {error}") from None


def _text(line: bytes) -> str:
    return line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r").decode("utf-8", "replace")
