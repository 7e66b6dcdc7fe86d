r"""One line of a run's files: encode and decode (docs/format.md).

A metric row is one JSON object on one line, in UTF-8, at most 1 MiB:

    {"step":1200,"epoch":3,"time":1795206504.854,"train/loss":0.31,"lr":0.001}

Values are JSON floats, always: a column that begins with integers makes polars fail and DuckDB
round. Not-a-number and the infinities are not JSON; they become `null` plus a side note, the only
form that jq, json, orjson, polars, DuckDB and pyarrow all accept without changing the column's
type:

    {"step":7,"time":…,"train/loss":null,"_nonfinite":{"train/loss":"nan"}}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from runstore.errors import FormatError
from runstore.files.limits import DOCUMENT_CONTAINERS, EVENT_FIELDS, MAX_LINE_BYTES, TEXT_CHARS

FORMAT = 1
"""The format that this version writes, and the newest that it reads."""

RESERVED_KEYS = frozenset({"step", "epoch", "time"})
MAX_INT = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly."""

NONFINITE_KEY = "_nonfinite"
_NONFINITE_NAMES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

# JSON leaves these characters raw inside strings, and `cat` of a log would hand them to the
# terminal: DEL, C1, and the bidi and line-separator controls.
_RAW_CONTROL = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ufeff]")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

JsonObject = dict[str, Any]
"""A JSON object: strings, numbers, booleans, None, lists and further objects by their keys."""


class RecordError(ValueError):
    """A line or a document that is not a record, with the reason in a few words."""

    line = 0
    """Where in a document, from 1; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a record."""

    file: str
    line: int
    """From 1; 0 when reading began in the middle of the file."""
    offset: int
    reason: str

    @property
    def place(self) -> str:
        """`metrics-0001.jsonl:812`."""
        return f"{self.file}:{self.line}" if self.line else f"{self.file}@{self.offset}"


def encode(record: Mapping[str, Any]) -> bytes:
    """Return `record` as one line of JSON with its newline.

    Raises:
        RecordError: it is not JSON (a type orjson does not know), or longer than 1 MiB.
    """
    try:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError) as error:
        line = _encode_leniently(record, error)
    line = escape_controls(line)
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"the line has {len(line):,} bytes, the most is {MAX_LINE_BYTES:,}")
    return line


def _encode_leniently(record: Mapping[str, Any], error: Exception) -> bytes:
    """Encode once more with lone surrogates replaced; they are the usual cause."""
    try:
        return orjson.dumps(
            without_surrogates(record),
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
        )
    except (TypeError, ValueError, RecursionError):
        raise RecordError(str(error)) from None


def without_surrogates(value: Any) -> Any:
    r"""Return `value` with lone surrogates in its strings written out as `\udcff`.

    They come from file names and arguments that are not UTF-8, and no UTF-8 file can hold them.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {without_surrogates(str(k)): without_surrogates(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_surrogates(v) for v in value]
    return value


def escape_controls(json_text: bytes) -> bytes:
    r"""Return JSON with the characters that a terminal obeys (DEL, C1, bidi) as `\u` escapes.

    A reader sees the same document. orjson escapes C0, ESC among it, by itself.
    """
    if json_text.isascii() and b"\x7f" not in json_text:
        return json_text
    return _RAW_CONTROL.sub(_escape, json_text.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def split_nonfinite(values: Mapping[str, float]) -> JsonObject:
    """Return `values` as they are written: null for NaN and infinities, and the side note."""
    row: JsonObject = {}
    notes: dict[str, str] = {}
    for key, value in values.items():
        if math.isfinite(value):
            row[key] = value
        else:
            row[key] = None
            notes[key] = nonfinite_name(value)
    if notes:
        row[NONFINITE_KEY] = notes
    return row


def nonfinite_name(value: float) -> str:
    """Return `nan`, `inf` or `-inf`."""
    return "nan" if value != value else "inf" if value > 0 else "-inf"


def decode(line: bytes, *, limit: int = MAX_LINE_BYTES) -> JsonObject:
    """Return the object on one line, or of one document of up to `limit` bytes.

    Raises:
        RecordError: not JSON, not an object, too long, or nested too deeply.
    """
    if len(line) > limit:
        raise RecordError(f"{len(line):,} bytes long, the most is {limit:,}")
    if line.startswith(BYTE_ORDER_MARK):
        # Some editors put it in front of a file; it means nothing in UTF-8.
        line = line[len(BYTE_ORDER_MARK) :]
    try:
        record = orjson.loads(line)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise RecordError(_why_not_json(line, error)) from None
    if not isinstance(record, dict):
        raise RecordError(f"a JSON {type(record).__name__}, expected an object")
    return record


def decode_document(data: bytes, limit: int) -> JsonObject:
    """Return the object in a document of up to `limit` bytes.

    Raises:
        RecordError: not JSON, not an object, too long, nested too deeply, or of too many objects.
    """
    # In strings they count too: what is that full of them is no document either.
    if data.count(b"[") + data.count(b"{") > DOCUMENT_CONTAINERS:
        raise RecordError(f"more than {DOCUMENT_CONTAINERS:,} objects and arrays")
    return decode(data, limit=limit)


def _why_not_json(line: bytes, error: Exception) -> str:
    if not line.strip():
        return "an empty line"
    if not line.strip(b"\0"):
        return "NUL bytes only (a file system lost the data behind them)"
    return f"not JSON: {str(error).split(': line', 1)[0]}"


def metric_values(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a row by name, with NaN and infinities put back.

    Reserved keys, names that begin with `_`, and values that are not numbers are left out.
    """
    notes = record.get(NONFINITE_KEY)
    values: dict[str, float] = {}
    for key, value in record.items():
        if key in RESERVED_KEYS or key.startswith("_"):
            continue
        if type(value) is float:
            values[key] = value
        elif type(value) is int:
            values[key] = int_as_float(value)
        elif value is None and isinstance(notes, dict) and notes.get(key) in _NONFINITE_NAMES:
            values[key] = _NONFINITE_NAMES[notes[key]]
    return values


def with_nonfinite(row: JsonObject) -> JsonObject:
    """Return a row with NaN and infinities as floats, and without the side note."""
    if NONFINITE_KEY not in row:
        return row
    values = metric_values(row)
    return {k: values.get(k, v) for k, v in row.items() if k != NONFINITE_KEY}


def int_as_float(value: int) -> float:
    """Return an integer of any size as a float, infinite where there is none so large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def integer(record: Mapping[str, Any], key: str) -> int | None:
    """Return an integer field of a record, or None when it is missing, huge, or something else."""
    return whole(record.get(key))


def whole(value: Any) -> int | None:
    """Return an integer, also one that is written as a float; None for anything else."""
    if type(value) is float and value.is_integer() and abs(value) <= 2.0**63:
        return int(value)
    return value if type(value) is int else None


def number(record: Mapping[str, Any], key: str) -> float | None:
    """Return a numeric field of a record as a float, or None when it is missing."""
    value = record.get(key)
    return int_as_float(value) if type(value) is int else value if type(value) is float else None


def flat(record: JsonObject) -> JsonObject:
    """Return a record to keep: no lists or objects, no long texts, not too many fields."""
    return {
        key[:TEXT_CHARS]: value[:TEXT_CHARS] if isinstance(value, str) else value
        for key, value in list(record.items())[:EVENT_FIELDS]
        if not isinstance(value, (list, dict))
    }


def check_format(path: Path, document: JsonObject) -> None:
    """Refuse a document that a newer version wrote.

    Raises:
        FormatError: its format is newer than the one that this version reads.
    """
    found = integer(document, "format")
    if found is not None and found > FORMAT:
        raise FormatError(
            f"{path}: written in format {found}, this runstore reads up to {FORMAT}; "
            "upgrade with: pip install -U runstore"
        )
