"""Rows that are written for DuckDB: of other tools' runs, and of the tables `runs` and `params`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from runstore.files.records import (
    without_surrogates,
)

_WORDS = ("nan", "inf", "-inf")
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view."""

    name: str
    type: str
    """As SQL has it."""
    key: str
    """The key of the lines that it is read from."""


def encode(row: Mapping[str, Any]) -> bytes:
    """Return a row as one line."""
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # A directory's name need not be UTF-8, and then orjson refuses it.
        return orjson.dumps(without_surrogates(row), option=orjson.OPT_APPEND_NEWLINE)


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return each name with the column that it gets: SQL takes `LR` and `lr` for the same.

    The second of such names gets `_2` behind, and so does one that is `taken`.
    """
    used = {name.lower() for name in taken}
    found: dict[str, str] = {}
    for name in names:
        column, count = name, 1
        while column.lower() in used:
            count += 1
            column = f"{name}_{count}"
        used.add(column.lower())
        found[name] = column
    return found


def params_table(runs: Mapping[str, Mapping[str, Any]]) -> tuple[list[Column], Iterator[bytes]]:
    """Return the columns of `params`, and its lines.

    Args:
        runs: name of a run to its parameters, flat.
    """
    values: dict[str, list[Any]] = {}
    for params in runs.values():
        for name, value in params.items():
            if is_param(name):
                values.setdefault(name, []).append(value)
    types = {name: sql_type(found) for name, found in values.items()}
    names = unique_names(types, taken=["run"])
    columns = [Column("run", "VARCHAR", "run")]
    columns += [Column(names[name], kind, names[name]) for name, kind in types.items()]

    def line(run: str, params: Mapping[str, Any]) -> bytes:
        own = {names[n]: _typed(value, types[n]) for n, value in params.items() if n in names}
        return encode({"run": run, **own})

    return columns, (line(run, params) for run, params in runs.items())


def is_param(name: str) -> bool:
    """Tell whether a parameter's name can be a column."""
    return name != "" and "\0" not in name


def sql_type(values: Iterable[Any]) -> str:
    """Return the narrowest of BOOLEAN, BIGINT, DOUBLE and VARCHAR that holds all values."""
    kinds = {_kind(value) for value in values if value is not None}
    if kinds in ({"BOOLEAN"}, {"BIGINT"}):
        return kinds.pop()
    # Floats that are not finite are words in run.json (docs/format.md).
    is_number = kinds <= {"BIGINT", "DOUBLE", "word"} and kinds != {"word"}
    return "DOUBLE" if kinds and is_number else "VARCHAR"


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "BOOLEAN"
        case int():
            return "BIGINT" if value in INT64 else "DOUBLE"
        case float():
            return "DOUBLE"
        case str() if value in _WORDS:
            return "word"
    return "VARCHAR"


def _typed(value: Any, kind: str) -> Any:
    if kind != "VARCHAR" or value is None or isinstance(value, str):
        return value
    return orjson.dumps(without_surrogates(value)).decode()


RUNS_COLUMNS = [
    Column(name, kind, name)
    for name, kind in {
        "run": "VARCHAR",
        "id": "VARCHAR",
        "name": "VARCHAR",
        "path": "VARCHAR",
        "source": "VARCHAR",
        "status": "VARCHAR",
        "reason": "VARCHAR",
        "degraded": "VARCHAR",
        "created": "DOUBLE",
        "duration_s": "DOUBLE",
        "attempt": "BIGINT",
        "epoch": "BIGINT",
        "epochs": "BIGINT",
        "step": "BIGINT",
        "tags": "VARCHAR[]",
        "best_epoch": "BIGINT",
        "best_metric": "VARCHAR",
        "best_value": "DOUBLE",
        "last": "MAP(VARCHAR, DOUBLE)",
    }.items()
]
