"""What is typed behind `--grid` and `--zip`, made into sets of hyperparameters."""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from runstore.errors import SweepError
from runstore.sweeps.grids import Params

MOST_CELLS = 10_000
"""Cells of a sweep: each is a directory, and all of them are in one document."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RANGE = re.compile(r"([+-]?[0-9]{1,15})\.\.([+-]?[0-9]{1,15})(?:\.\.([+-]?[0-9]{1,15}))?")
_CLOSING = {"[": "]", "{": "}", "(": ")"}

Axis = list[Params]
"""Sets of which each cell has one: of one name, or of several that go together."""


def grid_axis(text: str) -> Axis:
    """Return the axis that `lr=1e-3,1e-4` is.

    Raises:
        SweepError: it has no name or no values.
    """
    name, values = _named_values(text)
    return [{name: value} for value in values]


def zip_axis(texts: Sequence[str]) -> Axis:
    """Return the axis of names whose values go together: `["a=1,2", "b=3,4"]` are two sets.

    Raises:
        SweepError: a name comes twice, or has another number of values than the others.
    """
    columns: dict[str, list[Any]] = {}
    for text in texts:
        name, values = _named_values(text)
        if name in columns:
            raise SweepError(f"{name} is given twice; give each name once")
        columns[name] = values
    return zipped(columns)


def zipped(columns: Mapping[str, Sequence[Any]]) -> Axis:
    """Return the sets of columns that go together.

    Raises:
        SweepError: they are not equally long.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise SweepError(f"values that are zipped must be equally many: {told}")
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def cells_of(axes: Iterable[Axis]) -> list[Params]:
    """Return the Cartesian product of axes, the last of which varies fastest.

    Raises:
        SweepError: a name is in two axes, or there would be more cells than a sweep may have.
    """
    axes = list(axes)
    names = [name for axis in axes for name in axis[0]]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{name} is given twice; give each name once")
    count = math.prod(len(axis) for axis in axes)
    if count > MOST_CELLS:
        raise SweepError(f"that makes {count:,} cells; a sweep has at most {MOST_CELLS:,}")
    return [{key: value for one in parts for key, value in one.items()} for parts in product(*axes)]


def _named_values(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if not equals:
        raise SweepError(f"{text!r} is no NAME=VALUE,…, such as lr=1e-3,1e-4")
    check_name(name)
    return name, values_of(name, values)


def check_name(name: str) -> None:
    """Refuse a name that could not stand in a placeholder.

    Raises:
        SweepError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise SweepError(
            f"{name!r} is no name of a parameter: a letter or _, then letters, digits, _ . -"
        )


def values_of(name: str, text: str) -> list[Any]:
    """Return the values of `1e-3,1e-4` or `0..9`, each typed as TOML, or a text.

    Raises:
        SweepError: there is none, or an empty one.
    """
    values: list[Any] = []
    for piece in _split(text):
        if not piece:
            raise SweepError(f"{name}={text} has an empty value; an empty text is written ''")
        values += expanded(name, piece) or [_typed(piece)]
    return values


def expanded(name: str, text: str) -> list[int]:
    """Return the integers of a range `a..b` or `a..b..step`, both ends included; else nothing.

    Raises:
        SweepError: the step is 0, or has the wrong sign, or there would be too many.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        return []
    first, last = int(found[1]), int(found[2])
    step = int(found[3]) if found[3] else (1 if last >= first else -1)
    if step == 0 or (last - first) * step < 0:
        raise SweepError(f"{name}={text}: a step of {step} does not lead from {first} to {last}")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    if len(numbers) > MOST_CELLS:
        raise SweepError(f"{name}={text} are {len(numbers):,} values; at most {MOST_CELLS:,}")
    return list(numbers)


def _split(text: str) -> list[str]:
    """Split at commas, but not inside of brackets and quotes."""
    pieces, closing, quote, start = [], "", "", 0
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[index - 1] != "\\" else quote
        elif char in "\"'" and (closing or not text[start:index].strip()):
            quote = char
        elif char in _CLOSING:
            closing += _CLOSING[char]
        elif closing and char == closing[-1]:
            closing = closing[:-1]
        elif char == "," and not closing:
            pieces.append(text[start:index].strip())
            start = index + 1
    return [*pieces, text[start:].strip()]


def _typed(text: str) -> Any:
    """Return a TOML value; what is none is a text without its quotes being needed."""
    try:
        document = tomllib.loads(f"value = {text}")
        # Where it has a comment the bracket is one too: `12#3` is a text, and not 12.
        tomllib.loads(f"value = [{text}]")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    # `1\nother = 2` is a document of two values.
    return plain(document["value"], text) if document.keys() == {"value"} else text


def plain(value: Any, text: str | None = None) -> Any:
    """Return a value of TOML as JSON has it: dates, and what is no finite number, as texts."""
    if isinstance(value, (datetime.date, datetime.time)):
        return text if text is not None else value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return text if text is not None else str(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
