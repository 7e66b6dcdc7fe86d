"""Whole runs as one JSON document, and rows of a table as JSON lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import IO, Any

import orjson

from runstore.export.rows import Rows, Written
from runstore.files.paths import Stream
from runstore.files.records import (
    NONFINITE_KEY,
    JsonObject,
    escape_controls,
    nonfinite_name,
    without_surrogates,
)
from runstore.runs.reader import read_whole, visible_rows
from runstore.runs.summary import full_summary
from runstore.sources import RunRef

_STREAMS: tuple[Stream, ...] = ("metrics", "reports")


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


def write_json_lines(rows: Rows, out: IO[bytes]) -> Written:
    """Write each row as an object on a line of its own, `run` first.

    NaN and infinities are null, with their words in `_nonfinite` as in docs/format.md: runstore
    reads such a file as it reads its own.
    """
    count = 0
    for row in rows:
        out.write(escape_controls(orjson.dumps(_noted(row), option=orjson.OPT_APPEND_NEWLINE)))
        count += 1
    return Written(count)


def _noted(row: JsonObject) -> JsonObject:
    """Return a row with null in place of NaN and infinities, and the side note."""
    notes = {
        key: nonfinite_name(value)
        for key, value in row.items()
        if type(value) is float and not math.isfinite(value)
    }
    return {**row, **dict.fromkeys(notes), NONFINITE_KEY: notes} if notes else row


def _json(value: Any) -> bytes:
    # A directory's name need not be UTF-8, and then orjson refuses it.
    return escape_controls(orjson.dumps(without_surrogates(value)))
