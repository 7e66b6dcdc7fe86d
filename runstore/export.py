"""Runs as one table (CSV) or one document (JSON)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal

import orjson

from runstore.reader import read_whole, visible_rows, with_nonfinite
from runstore.records import JsonObject, escape_controls
from runstore.sources import RunRef
from runstore.summary import full_summary
from runstore.text import printable

Table = Literal["metrics", "epochs"]
FIRST_COLUMNS = ("run", "step", "epoch", "time")
CELL_CHARS = 32_767
"""As many as a cell of a spreadsheet holds."""
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(refs: Sequence[RunRef], table: Table, out: IO[str]) -> int:
    """Write the rows of some runs as one wide table, a column per metric; return their number.

    NaN and infinities are `nan`, `inf` and `-inf`; a value that a row lacks is an empty cell.
    """
    columns = list(dict.fromkeys([*FIRST_COLUMNS, *_columns(refs, table)]))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    count = 0
    for ref in refs:
        for row in _rows(ref, table):
            row["run"] = ref.name
            writer.writerow([_cell(row.get(column)) for column in columns])
            count += 1
    return count


def _columns(refs: Sequence[RunRef], table: Table) -> Iterator[str]:
    """Yield every key in order of appearance: one pass, since a late metric is normal."""
    for ref in refs:
        for row in _rows(ref, table):
            yield from row


def _rows(ref: RunRef, table: Table) -> Iterator[JsonObject]:
    for line in visible_rows(ref, table):
        if line.row is not None:
            yield with_nonfinite(line.row)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        text = printable(value, limit=CELL_CHARS)
        return f"'{text}" if text.startswith(_FORMULA) else text
    return str(value) if isinstance(value, int) else escape_controls(orjson.dumps(value)).decode()


def as_document(refs: Sequence[RunRef]) -> list[JsonObject]:
    """Return runs as JSON objects: what `show --json` prints, with `metrics` and `reports`."""
    return [_whole(ref) for ref in refs]


def _whole(ref: RunRef) -> JsonObject:
    return {
        **full_summary(read_whole(ref).state),
        "metrics": [line.row for line in visible_rows(ref, "metrics")],
        "reports": [line.row for line in visible_rows(ref, "reports")],
    }
