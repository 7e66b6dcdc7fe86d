"""Runs as one table (CSV) or one document (JSON)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal, NamedTuple

import orjson

from runstore.limits import EXPORT_COLUMNS
from runstore.paths import Stream
from runstore.reader import read_whole, visible_rows, with_nonfinite
from runstore.records import JsonObject, escape_controls, without_surrogates
from runstore.sources import RunRef
from runstore.summary import full_summary
from runstore.text import printable
from runstore.watching import Watch, unwatched

Table = Literal["metrics", "epochs"]
_STREAMS: tuple[Stream, ...] = ("metrics", "reports")
FIRST_COLUMNS = ("run", "step", "epoch", "time")
CELL_CHARS = 32_767
"""As many as a cell of a spreadsheet holds."""
# A spreadsheet takes a cell that begins with one of these for a formula, some also behind blanks,
# and some take their wide forms of East Asian keyboards.
_FORMULA = re.compile("\\s*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r]")


class Written(NamedTuple):
    """What a CSV holds, and what it does not."""

    rows: int
    columns_left_out: bool
    """There were more metrics than a table has columns."""


def write_csv(
    refs: Sequence[RunRef], table: Table, out: IO[str], watch: Watch = unwatched
) -> Written:
    """Write the rows of some runs as one wide table, a column per metric.

    NaN and infinities are `nan`, `inf` and `-inf`; a value that a row lacks is an empty cell.
    `watch` sees how far that is.
    """
    columns, left_out = _columns(refs, table, watch)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    places = {column: place for place, column in enumerate(columns)}
    count = 0
    for ref in refs:
        for row in watch(_rows(ref, table), "writing rows"):
            row["run"] = ref.name
            cells = [""] * len(columns)
            for key, value in row.items():
                if key in places:
                    cells[places[key]] = _cell(value)
            writer.writerow(cells)
            count += 1
    return Written(count, left_out)


def _columns(refs: Sequence[RunRef], table: Table, watch: Watch) -> tuple[list[str], bool]:
    """Return every key in order of appearance, and whether there were more than columns.

    One pass over all rows, since a late metric is normal.
    """
    columns = dict.fromkeys(FIRST_COLUMNS)
    for ref in refs:
        for row in watch(_rows(ref, table), "looking for columns"):
            columns.update(dict.fromkeys(row))
            if len(columns) > EXPORT_COLUMNS:
                return list(columns)[:EXPORT_COLUMNS], True
    return list(columns), False


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
        return f"'{text}" if _FORMULA.match(value) else text
    return str(value) if isinstance(value, int) else escape_controls(orjson.dumps(value)).decode()


def write_json(refs: Sequence[RunRef], out: IO[bytes], watch: Watch = unwatched) -> None:
    """Write runs as an array of objects: what `show --json` prints, with `metrics` and `reports`.

    A row at a time: a long run need not fit into memory. `watch` sees how far that is.
    """
    out.write(b"[")
    for at, ref in enumerate(refs):
        out.write(b",\n " if at else b"\n ")
        summary = _json(full_summary(read_whole(ref, watch).state))
        out.write(summary[:-1])
        for stream in _STREAMS:
            out.write(b',\n  "%s": [' % stream.encode())
            for number, line in enumerate(watch(visible_rows(ref, stream), "writing rows")):
                out.write((b",\n   " if number else b"\n   ") + _json(line.row))
            out.write(b"]")
        out.write(b"}")
    out.write(b"\n]\n")


def _json(value: Any) -> bytes:
    # A directory's name need not be UTF-8, and then orjson refuses it.
    return escape_controls(orjson.dumps(without_surrogates(value)))
