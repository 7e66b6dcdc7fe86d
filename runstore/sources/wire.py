"""Reads the wire format of protocol buffers: the few messages that logs are made of.

https://protobuf.dev/programming-guides/encoding: a message is a sequence of fields, each with its
number and one of five kinds of values. Nothing is copied and nothing nested is entered unless
asked for, so an image beside a number costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from runstore.files.records import RecordError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10
_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")
_INT64, _UINT64 = 1 << 63, 1 << 64


class Field(NamedTuple):
    """One field of a message."""

    number: int
    kind: int
    value: int
    """That of a varint, from 0 to 2**64 - 1; 0 for other kinds."""
    start: int
    """Where the value lies in the data; of bytes, texts and messages without their length."""
    end: int


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """Yield the fields of the message in `data[start:end]`, in the order in which they lie there.

    Raises:
        RecordError: it is no message.
    """
    stop = len(data) if end is None else end
    at = start
    while at < stop:
        key, at = varint(data, at, stop)
        kind, value, begin = key & 7, 0, at
        if kind == VARINT:
            value, at = varint(data, at, stop)
        elif kind == FIXED64:
            at += 8
        elif kind == BYTES:
            size, begin = varint(data, at, stop)
            at = begin + size
        elif kind == FIXED32:
            at += 4
        else:
            raise RecordError(f"no protocol buffer: a field of kind {kind}")
        if at > stop or not key >> 3:
            raise RecordError("no protocol buffer: a field that ends behind it")
        yield Field(key >> 3, kind, value, begin, at)


def varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """Return the number that is written at a place, and the place behind it.

    Raises:
        RecordError: there is none.
    """
    value = shift = 0
    for place in range(at, min(stop, at + _VARINT_BYTES)):
        byte = data[place]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (_UINT64 - 1), place + 1
        shift += 7
    raise RecordError("no protocol buffer: a number without an end")


def signed(value: int) -> int:
    """Return the `int32` or `int64` that a varint stands for."""
    return value - _UINT64 if value >= _INT64 else value


def text(data: bytes, field: Field, limit: int) -> str:
    """Return a text of at most `limit` bytes; what is not UTF-8 in it is replaced."""
    return data[field.start : min(field.end, field.start + limit)].decode("utf-8", "replace")


def floating(data: bytes, field: Field) -> float | None:
    """Return a `double` or `float`; None where the field holds neither."""
    if field.kind == FIXED64:
        return float(_DOUBLE.unpack_from(data, field.start)[0])
    return float(_FLOAT.unpack_from(data, field.start)[0]) if field.kind == FIXED32 else None
