"""Keys with values in W&B's messages: rows of the history, configuration, summary, statistics.

The messages are those of `wandb/proto/wandb_internal_pb2.py` of wandb 0.31. A value is JSON in a
text, `NaN` and `Infinity` included. A nested value (`log({"a": {"b": 1}})`) is an item with a path
of keys; before 0.18 it is an object. Both are `a.b` here, as W&B calls them. What is no number
(texts, truth values, lists), and what is within an image, a histogram or a table, is no metric.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from runstore.limits import EXPORT_COLUMNS, MAX_LINE_BYTES, METRICS_PER_RUN, TEXT_CHARS
from runstore.records import number
from runstore.sources.wire import BYTES, Field, fields, floating, text

Keys = tuple[str, ...]
"""The keys that lead to a value."""
Value = bytes | float | None
"""JSON, or a number."""

KEY, NESTED_KEY = 1, 2
MOST_PARTS = 100_000
"""Of one message; a record may have millions of two bytes each."""
MOST_NESTED = 16
MEDIA = "_type"
"""The key that an image, a histogram or a table has inside, beside sizes and other numbers."""
_QUOTED = {b'"NaN"': math.nan, b'"Infinity"': math.inf, b'"-Infinity"': -math.inf}
_NUMERIC = frozenset(b"-0123456789NI")
_LONG = 128
"""Lengths below this are one byte."""
_KEY_TAG, _NESTED_TAG, _VALUE_TAG = 0x0A, 0x12, b"\x82\x01"


class Items:
    """Reads the items of many messages, most of which have the same keys."""

    def __init__(self) -> None:
        """Know no key."""
        self._paths: dict[bytes, Keys] = {}
        """The bytes in front of a value to the path that they say."""

    def read(
        self, data: bytes, message: Field, field_number: int, *, only_keys: bool = False
    ) -> Iterator[tuple[Keys, Value]]:
        """Yield paths and values of a message's items, which are its fields `field_number`.

        With `only_keys` those that have a `key` and no path.

        Raises:
            RecordError: it is damaged.
        """
        at, end, tag, paths = message.start, message.end, field_number << 3 | BYTES, self._paths
        for _ in range(MOST_PARTS):
            if at >= end:
                return
            # The usual item is told by a few bytes; to take all its fields apart takes ten times
            # as long, and there may be a million of them.
            if end - at > 6 and data[at] == tag and data[at + 1] < _LONG and data[at + 3] < _LONG:
                stop, value = at + 2 + data[at + 1], at + 4 + data[at + 3]
                if only_keys and data[at + 2] == _NESTED_TAG and value <= stop <= end:
                    at = stop
                    continue
                if value + 3 <= stop <= end and data[value : value + 2] == _VALUE_TAG:
                    path = paths.get(data[at + 2 : value]) or self._learn(data[at + 2 : value])
                    if path and value + 3 + data[value + 2] == stop:
                        yield path, data[value + 3 : stop]
                        at = stop
                        continue
            field = next(fields(data, at, end))
            at = field.end
            if field.number == field_number:
                has_path, path, found = _item(data, field)
                if not (has_path and only_keys):
                    yield path, found

    def _learn(self, written: bytes) -> Keys:
        if written[0] not in (_KEY_TAG, _NESTED_TAG):
            return ()
        path = (written[2 : 2 + TEXT_CHARS].decode("utf-8", "replace"),)
        if len(self._paths) < METRICS_PER_RUN:
            self._paths[written] = path
        return path


def parts(data: bytes, message: Field) -> Iterator[Field]:
    """Yield the fields of a message, the first ones of very many.

    Raises:
        RecordError: it is damaged.
    """
    return islice(fields(data, message.start, message.end), MOST_PARTS)


def _item(data: bytes, item: Field) -> tuple[bool, Keys, Value]:
    path: Keys = ()
    value: Value = None
    has_path = False
    for part in parts(data, item):
        match part.number:
            case 1 | 2 if len(path) < MOST_NESTED:  # key, nested_key
                path = (*path, text(data, part, TEXT_CHARS))
                has_path = part.number == NESTED_KEY
            case 16 | 8:  # value_json, json
                value = data[part.start : part.end]
            case 6:  # number
                value = floating(data, part)
            case 5:  # integer, in zigzag
                value = float((part.value >> 1) ^ -(part.value & 1))
    return has_path, path, value


def numbers(items: Iterator[tuple[Keys, Value]]) -> dict[str, float]:
    """Return those of some items that are numbers, by their names; of very many the first."""
    values: dict[str, float] = {}
    nested: dict[Keys, float] = {}
    media: set[Keys] = set()
    for path, value in items:
        found = as_number(value)
        if found is None:
            if path[-1:] == (MEDIA,):
                media.add(path[:-1])
            elif isinstance(value, bytes) and value.startswith(b"{"):
                nested.update(_within(path, _object(value)))
        elif len(path) == 1:
            values[path[0]] = found
        else:
            nested[path] = found
        if len(values) + len(nested) >= EXPORT_COLUMNS:
            break
    for path, found in nested.items():
        if not any(path[:length] in media for length in range(1, len(path))):
            values[".".join(path)] = found
    return values


def as_number(value: Value) -> float | None:
    """Return a value as a number; None where it is something else."""
    if not isinstance(value, bytes):
        return value
    if not value or value[0] not in _NUMERIC:
        return _QUOTED.get(value)
    try:
        return float(value)
    except ValueError:
        return None


def _object(value: bytes) -> Mapping[str, Any]:
    """Return a JSON object; nothing for one that is damaged, too long or nested too deeply."""
    try:
        found = json.loads(value) if len(value) <= MAX_LINE_BYTES else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _within(path: Keys, inner: Mapping[str, Any]) -> Iterator[tuple[Keys, float]]:
    """Yield the numbers in an object, with their paths."""
    if MEDIA in inner or len(path) >= MOST_NESTED:
        return
    for key, value in inner.items():
        place = (*path, key[:TEXT_CHARS])
        if isinstance(value, dict):
            yield from _within(place, value)
        elif (found := number(inner, key)) is not None:
            yield place, found
