"""Keys with values in W&B's messages: rows of the history, configuration, summary, statistics.

The messages are those of `wandb/proto/wandb_internal_pb2.py` of wandb 0.31. A value is JSON in a
text, `NaN` and `Infinity` included. A nested value (`log({"a": {"b": 1}})`) is an item with a path
of keys; before 0.18 it is an object. Both are `a.b` here, as W&B calls them. What is no number
(texts, truth values, lists), and what is within an image, a histogram or a table, is no metric.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from runstore.files.limits import EXPORT_COLUMNS, MAX_LINE_BYTES, METRICS_PER_RUN, TEXT_CHARS
from runstore.files.records import number
from runstore.sources.wire import BYTES, Field, fields, floating, text

Keys = tuple[str, ...]
"""The keys that lead to a value."""
Value = bytes | float | None
"""JSON, or a number."""

NESTED_KEY = 2
MOST_PARTS = 100_000
"""Of one message; a record may have millions of two bytes each."""
MOST_NESTED = 16
SHORTEST = 7
"""So many bytes an item with a number has at least."""
MEDIA = "_type"
"""The key that an image, a histogram or a table has inside, beside sizes and other numbers."""
_QUOTED = {b'"NaN"': math.nan, b'"Infinity"': math.inf, b'"-Infinity"': -math.inf}
_NUMERIC = frozenset(b"-0123456789NI")
_LONG = 128
"""Lengths below this are one byte."""
_KEY_TAG, _NESTED_TAG = 0x0A, 0x12
_VALUE_TAGS = [b"\x82\x01" + bytes([length]) for length in range(_LONG)]
"""How `value_json` begins, by its length."""


class Item(NamedTuple):
    """A key with its value."""

    keys: Keys
    value: Value
    has_path: bool = False
    """It is a path of keys, though perhaps of one."""


class Numbers:
    """Reads the numbers in many messages of items, most of which have the same keys."""

    def __init__(self) -> None:
        """Know no key."""
        self._names: dict[bytes, str] = {}
        """The bytes in front of a value to the one key that they say."""

    def read(
        self, data: bytes, message: Field, field_number: int, *, only_keys: bool = False
    ) -> dict[str, float]:
        """Return the numbers among a message's items, by their names; of very many the first.

        Args:
            data: a record.
            message: where the message lies in it.
            field_number: of the items.
            only_keys: leave out items that have a path of keys.

        Raises:
            RecordError: it is damaged.
        """
        values: dict[str, float] = {}
        others: list[Item] = []
        at, end, tag, names = message.start, message.end, field_number << 3 | BYTES, self._names
        for _ in range(MOST_PARTS):
            if end - at < SHORTEST:
                break
            # The usual item is told by a few bytes; to take all its fields apart takes ten times
            # as long, and there may be a million of them.
            if data[at] == tag and data[at + 1] < _LONG and data[at + 3] < _LONG:
                stop, value = at + 2 + data[at + 1], at + 4 + data[at + 3]
                if only_keys and data[at + 2] == _NESTED_TAG and stop <= end:
                    at = stop
                    continue
                name = names.get(data[at + 2 : value]) if value + 2 < stop <= end else None
                if name is not None and data[value : value + 3] == _VALUE_TAGS[stop - value - 3]:
                    written, at = data[value + 3 : stop], stop
                    try:
                        values[name] = float(written)
                    except ValueError:
                        others.append(Item((name,), written))
                    continue
            at = self._read_slowly(data, at, end, tag, only_keys, others)
        return values | _numbers(others) if others else values

    def _read_slowly(
        self, data: bytes, at: int, end: int, tag: int, only_keys: bool, others: list[Item]
    ) -> int:
        """Read any field; return where it ends."""
        field = next(fields(data, at, end))
        if field.number != tag >> 3:
            return field.end
        item = _item(data, field)
        if not (item.has_path and only_keys):
            others.append(item)
        if len(item.keys) == 1 and len(self._names) < METRICS_PER_RUN:
            begin, size = data[field.start], data[field.start + 1]
            if begin in (_KEY_TAG, _NESTED_TAG) and size < _LONG:
                self._names[data[field.start : field.start + 2 + size]] = item.keys[0]
        return field.end


def items(data: bytes, message: Field, field_number: int) -> Iterator[Item]:
    """Yield a message's items, which are its fields `field_number`.

    Raises:
        RecordError: it is damaged.
    """
    return (_item(data, field) for field in parts(data, message) if field.number == field_number)


def parts(data: bytes, message: Field) -> Iterator[Field]:
    """Yield the fields of a message, the first ones of very many.

    Raises:
        RecordError: it is damaged.
    """
    return islice(fields(data, message.start, message.end), MOST_PARTS)


def _item(data: bytes, item: Field) -> Item:
    keys: Keys = ()
    value: Value = None
    has_path = False
    for part in parts(data, item):
        match part.number:
            case 1 | 2 if len(keys) < MOST_NESTED:  # key, nested_key
                keys = (*keys, text(data, part, TEXT_CHARS))
                has_path = part.number == NESTED_KEY
            case 16 | 8:  # value_json, json
                value = data[part.start : part.end]
            case 6:  # number
                value = floating(data, part)
            case 5:  # integer, in zigzag
                value = float((part.value >> 1) ^ -(part.value & 1))
    return Item(keys, value, has_path)


def _numbers(found: Iterable[Item]) -> dict[str, float]:
    """Return the numbers among some items, but not those inside of media."""
    values: dict[Keys, float] = {}
    media: set[Keys] = set()
    for keys, value, _ in found:
        known = _as_number(value)
        if known is not None:
            values[keys] = known
        elif keys[-1:] == (MEDIA,):
            media.add(keys[:-1])
        elif isinstance(value, bytes) and value.startswith(b"{"):
            values.update(_within(keys, _object(value)))
        if len(values) >= EXPORT_COLUMNS:
            break
    return {
        ".".join(keys): value
        for keys, value in values.items()
        if not any(keys[:length] in media for length in range(1, len(keys)))
    }


def _as_number(value: Value) -> float | None:
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
