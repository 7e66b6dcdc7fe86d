"""Runs as one table (CSV) or one document (JSON)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal, NamedTuple

import orjson

from runstore.csv_cells import csv_cell
from runstore.limits import EXPORT_COLUMNS
from runstore.paths import Stream
from runstore.reader import read_whole, visible_rows, with_nonfinite
from runstore.records import JsonObject, escape_controls, without_surrogates
from runstore.sources import RunRef
from runstore.summary import full_summary

Table = Literal["metrics", "epochs"]
_STREAMS: tuple[Stream, ...] = ("metrics", "reports")
FIRST_COLUMNS = ("run", "step", "epoch", "time")


class Written(NamedTuple):
    """What a CSV holds, and what it does not."""

    rows: int
    columns_left_out: bool
    """There were more metrics than a table has columns."""


def write_csv(refs: Sequence[RunRef], table: Table, out: IO[str]) -> Written:
    """Write the rows of some runs as one wide table, a column per metric.

    NaN and infinities are `nan`, `inf` and `-inf`; a value that a row lacks is an empty cell.
    """
    columns, left_out = _columns(refs, table)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_cell(column) for column in columns])
    places = {column: place for place, column in enumerate(columns)}
    count = 0
    for ref in refs:
        for row in _rows(ref, table):
            row["run"] = ref.name
            cells = [""] * len(columns)
            for key, value in row.items():
                if key in places:
                    cells[places[key]] = csv_cell(value)
            writer.writerow(cells)
            count += 1
    return Written(count, left_out)


def _columns(refs: Sequence[RunRef], table: Table) -> tuple[list[str], bool]:
    """Return every key in order of appearance, and whether there were more than columns.

    One pass over all rows, since a late metric is normal.
    """
    columns = dict.fromkeys(FIRST_COLUMNS)
    for ref in refs:
        for row in _rows(ref, table):
            columns.update(dict.fromkeys(row))
            if len(columns) > EXPORT_COLUMNS:
                return list(columns)[:EXPORT_COLUMNS], True
    return list(columns), False


def _rows(ref: RunRef, table: Table) -> Iterator[JsonObject]:
    for line in visible_rows(ref, table):
        if line.row is not None:
            yield with_nonfinite(line.row)


def write_json(refs: Sequence[RunRef], out: IO[bytes]) -> None:
    """Write runs as an array of objects: what `show --json` prints, with `metrics` and `reports`.

    A row at a time: a long run need not fit into memory.
    """
    out.write(b"[")
    for at, ref in enumerate(refs):
        out.write(b",\n " if at else b"\n ")
        summary = _json(full_summary(read_whole(ref).state))
        out.write(summary[:-1])
        for stream in _STREAMS:
            out.write(b',\n  "%s": [' % stream.encode())
            for number, line in enumerate(visible_rows(ref, stream)):
                out.write((b",\n   " if number else b"\n   ") + _json(line.row))
            out.write(b"]")
        out.write(b"}")
    out.write(b"\n]\n")


def _json(value: Any) -> bytes:
    # A directory's name need not be UTF-8, and then orjson refuses it.
    return escape_controls(orjson.dumps(without_surrogates(value)))
