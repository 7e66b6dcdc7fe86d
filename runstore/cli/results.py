"""Rows of a query: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import click
import orjson

from runstore.cli.output import print_json_array, print_lines, print_rows, table
from runstore.export.cells import csv_cell
from runstore.files.records import NONFINITE_KEY, nonfinite_name, without_surrogates
from runstore.numbers import NOTHING
from runstore.sql.database import Answer
from runstore.sql.rows import unique_names

TABLE_ROWS = 10_000
"""Rows of a table: nobody reads more, and all are kept to align them."""
_INT64 = range(-(2**63), 2**64)
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "BIGNUM")


def print_table(answer: Answer) -> bool:
    """Print the first rows as a table; tell whether there are more."""
    rows = list(islice(answer.rows, TABLE_ROWS))
    right = [at for at, kind in enumerate(answer.types) if is_number(kind)]
    print_lines(table([answer.columns, *([cell(v) for v in row] for row in rows)], right=right))
    return next(answer.rows, None) is not None


def print_objects(answer: Answer) -> None:
    """Print an array of objects."""
    print_json_array(objects(answer))


def print_object_lines(answer: Answer) -> None:
    """Print an object a line."""
    print_rows(orjson.dumps(without_surrogates(row)) for row in objects(answer))


def print_csv(answer: Answer) -> None:
    """Print a line of names, and a line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines: Iterable[Sequence[Any]] = (answer.columns, *())
    for line in _chained(lines, answer.rows):
        writer.writerow([csv_cell(_in_json(value)) for value in line])
        if text.tell() > 1 << 16:
            click.echo(text.getvalue(), nl=False)
            text.seek(0)
            text.truncate()
    click.echo(text.getvalue(), nl=False)


def _chained(first: Iterable[Sequence[Any]], rest: Iterable[Sequence[Any]]) -> Iterator[Any]:
    yield from first
    yield from rest


def objects(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield each row as an object; NaN and infinities as in a row of a run (docs/format.md)."""
    names = list(_unique(answer.columns))
    is_json = [kind == "JSON" for kind in answer.types]
    for row in answer.rows:
        notes: dict[str, str] = {}
        found: dict[str, Any] = {}
        for name, value, parsed in zip(names, row, is_json, strict=True):
            if isinstance(value, float) and not math.isfinite(value):
                notes[name] = nonfinite_name(value)
            found[name] = _finite(_parsed(value) if parsed else _in_json(value))
        yield {**found, NONFINITE_KEY: notes} if notes else found


def _unique(columns: Sequence[str]) -> Iterator[str]:
    """Yield names for keys: two columns may have the same."""
    seen: set[str] = set()
    for column in columns:
        (name,) = unique_names([column], taken=seen).values()
        seen.add(name)
        yield name


def _parsed(value: Any) -> Any:
    try:
        return orjson.loads(value)
    except (orjson.JSONDecodeError, TypeError):
        return value


def _in_json(value: Any) -> Any:
    """Return a value of DuckDB's as JSON has it: what it does not know is a text."""
    match value:
        case bool() | float() | str() | None:
            return value
        case int():
            return value if value in _INT64 else str(value)
        case Decimal():
            return float(value)
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): _in_json(one) for key, one in value.items()}
        case list() | tuple():
            return [_in_json(one) for one in value]
    return str(value)


def _finite(value: Any) -> Any:
    """Return a value with null in the place of what JSON has no word for."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(one) for key, one in value.items()}
        case list():
            return [_finite(one) for one in value]
    return value


def is_number(kind: str) -> bool:
    """Tell whether a type of DuckDB's is one of numbers."""
    return "[" not in kind and "(" not in kind.replace("DECIMAL(", "") and _is_word(kind)


def _is_word(kind: str) -> bool:
    return any(word in kind for word in _NUMBERS)


def cell(value: Any) -> str:
    """Return a value as people read it: six digits of a long number, `NOTHING` for NULL."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return _short(value)
    plain = _in_json(value)
    if isinstance(plain, str):
        return plain
    return orjson.dumps(without_surrogates(_finite(plain))).decode()


def _short(value: float) -> str:
    text = repr(value)
    if len(text) <= 10 or not math.isfinite(value):
        return text
    # A time in seconds since 1970 is nothing without its last digits.
    return f"{value:.3f}" if 1e5 <= abs(value) < 1e15 else f"{value:.6g}"
