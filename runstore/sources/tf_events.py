"""What is in one of TensorBoard's events, as far as it is read here.

The messages are those of tensorflow/core/util/event.proto, framework/summary.proto and
framework/tensor.proto. What is no scalar is passed over without copying it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from runstore.files.limits import METRICS_PER_RUN, TEXT_CHARS
from runstore.files.record_tail import RECORD_BYTES
from runstore.files.records import RecordError
from runstore.sources.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    fields,
    floating,
    signed,
    text,
    varint,
)

SCALARS, HPARAMS = "scalars", "hparams"
HPARAMS_TAG = "_hparams_/"
PEEK_BYTES = 4096
"""So much of an event tells whether it holds scalars."""

_START, _SCALAR_CLASS = 1, 1
_IN_CONTENT = {
    1: "f", 2: "d", 3: "i", 4: "B", 5: "h", 6: "b", 9: "q", 10: "?", 17: "H", 19: "e", 22: "I",
    23: "Q",
}  # fmt: skip
"""How a number of a type (framework/types.proto) lies in `tensor_content`."""
_BFLOAT16 = 14


@dataclass(slots=True)
class Value:
    """One value of a summary."""

    tag: str = ""
    number: float | None = None
    """None where it is not a single number."""
    plugin: str = ""
    """The plugin that shows it; nothing where that was said with an earlier value of the tag."""
    content: bytes = b""
    """What the plugin of hyperparameters is told."""
    float_at: int = 0
    """Where the number lies in the event as a `float`; 0 where it is something else."""


@dataclass(slots=True)
class Event:
    """One record of an event file."""

    time: float = 0.0
    """Unix seconds, as they were written."""
    step: int = 0
    opens: bool = False
    """It tells the version of the file, as the first one does."""
    starts: bool = False
    """A session goes on at `step`."""
    values: list[Value] = field(default_factory=list)
    """Numbers and hyperparameters; others are left out."""


def read_event(data: bytes, end: int) -> Event:
    """Return what is in `data[:end]`.

    Raises:
        RecordError: it is no event.
    """
    event = Event()
    for found in fields(data, 0, end):
        match found.number, found.kind:
            case (1, 1):
                event.time = floating(data, found) or 0.0
            case (2, 0):
                event.step = signed(found.value)
            case (3, 2):
                event.opens = True
            case (5, 2):
                event.values += _values(data, found)
            case (7, 2):
                event.starts = _number_in(data, found, 1) == _START
    return event


def can_skip(data: bytes, start: int, length: int) -> bool | None:
    """Tell of a long event whether it holds no scalars (a `tfrecord.Skip`)."""
    if length > RECORD_BYTES - PEEK_BYTES:
        return True
    if len(data) - start < PEEK_BYTES:
        return None
    try:
        for found in fields(data, start, start + length):
            if found.number > 2:
                return found.number != 5 or _is_one_value(data, found)
    except (IndexError, RecordError):
        pass
    # Who reads it will see what is wrong.
    return False


def _is_one_value(data: bytes, summary: Field) -> bool:
    """Tell whether a long summary is a single image, histogram or text."""
    value = next(fields(data, summary.start, summary.end))
    tag = next(fields(data, value.start, value.end))
    is_hparams = data.startswith(HPARAMS_TAG.encode(), tag.start)
    return value.end == summary.end and not is_hparams


def _values(data: bytes, summary: Field) -> Iterator[Value]:
    found = (
        f for f in fields(data, summary.start, summary.end) if (f.number, f.kind) == (1, BYTES)
    )
    for place in islice(found, METRICS_PER_RUN):
        value = _value(data, place)
        if value.number is not None or value.content:
            yield value


def _value(data: bytes, place: Field) -> Value:
    value = Value()
    for found in fields(data, place.start, place.end):
        match found.number, found.kind:
            case (1, 2):
                value.tag = text(data, found, TEXT_CHARS)
            case (2, 5):
                value.number, value.float_at = floating(data, found), found.start
            case (8, 2):
                value.number, value.float_at = _in_tensor(data, found)
            case (9, 2):
                _take_metadata(data, found, value)
    return value


def _take_metadata(data: bytes, metadata: Field, value: Value) -> None:
    for found in fields(data, metadata.start, metadata.end):
        if (found.number, found.kind) == (4, VARINT) and not value.plugin:
            value.plugin = SCALARS if found.value == _SCALAR_CLASS else ""
        if (found.number, found.kind) != (1, BYTES):
            continue
        for part in fields(data, found.start, found.end):
            if (part.number, part.kind) == (1, BYTES):
                value.plugin = text(data, part, TEXT_CHARS)
            elif (part.number, part.kind) == (2, BYTES) and value.tag.startswith(HPARAMS_TAG):
                value.content = data[part.start : part.end]


def _in_tensor(data: bytes, tensor: Field) -> tuple[float | None, int]:
    """Return the number in a tensor without dimensions, and where it lies as a `float`, or 0."""
    dtype, number, place = 0, None, 0
    for found in fields(data, tensor.start, tensor.end):
        if (found.number, found.kind) == (1, VARINT):
            dtype = found.value
        elif (found.number, found.kind) == (2, BYTES):
            if any(part.number == 2 for part in fields(data, found.start, found.end)):
                return None, 0
        elif found.number == 4:
            number = _in_content(dtype, data[found.start : found.end])
            place = found.start if dtype == 1 else 0
        elif found.number > 4:
            number = _in_list(dtype, data, found)
            place = found.start if found.number == 5 else 0
    return number, place if number is not None else 0


def _in_content(dtype: int, raw: bytes) -> float | None:
    if dtype == _BFLOAT16 and len(raw) == 2:
        return _bfloat16(int.from_bytes(raw, "little"))
    layout = _IN_CONTENT.get(dtype, "0s")
    is_one = len(raw) == struct.calcsize(f"<{layout}") > 0
    return float(struct.unpack(f"<{layout}", raw)[0]) if is_one else None


def _in_list(dtype: int, data: bytes, found: Field) -> float | None:
    """Return the first number of a list, which is packed into bytes or stands by itself."""
    is_packed = found.kind == BYTES and found.end > found.start
    match found.number:
        case 5:
            kind, size = FIXED32, 4
        case 6:
            kind, size = FIXED64, 8
        case 7 | 10 | 11 | 13 | 16 | 17:
            if not is_packed and found.kind != VARINT:
                return None
            bits = varint(data, found.start, found.end)[0] if is_packed else found.value
            return _from_bits(found.number, dtype, bits)
        case _:
            return None
    if is_packed and found.end - found.start >= size:
        found = found._replace(kind=kind)
    return floating(data, found) if found.kind == kind else None


def _from_bits(number: int, dtype: int, bits: int) -> float:
    if number == 13:
        half = struct.pack("<H", bits & 0xFFFF)
        return _bfloat16(bits) if dtype == _BFLOAT16 else float(struct.unpack("<e", half)[0])
    return float(signed(bits) if number in (7, 10) else bits)


def _bfloat16(bits: int) -> float:
    """Return a number of which these are the upper half of a `float`'s bits."""
    return float(struct.unpack("<f", struct.pack("<I", (bits & 0xFFFF) << 16))[0])


def _number_in(data: bytes, message: Field, number: int) -> int:
    """Return a number that a message tells, or 0."""
    told = (f.value for f in fields(data, message.start, message.end) if f.number == number)
    return next(told, 0)
