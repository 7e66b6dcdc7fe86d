"""Writes `.wandb` files of any length for tests, byte for byte as W&B does.

`unit/sources/test_wandb.py` proves that on files of the real library: their records, taken out and
framed again, give the same bytes; their rows, written again, the same records.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32 << 10
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def framed(records: Iterable[bytes], offset: int = 0) -> bytes:
    """Return records as the file has them from an offset on; at 0 behind the header."""
    found = bytearray(b"" if offset else HEADER)
    for record in records:
        rest, is_first = record, True
        while is_first or rest:
            room = BLOCK - (offset + len(found)) % BLOCK
            if room < 7:
                found += bytes(room)
                room = BLOCK
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (FIRST if rest else FULL) if is_first else (MIDDLE if rest else LAST)
            found += chunk(kind, piece)
            is_first = False
    return bytes(found)


def chunk(kind: int, data: bytes) -> bytes:
    return struct.pack("<IHB", zlib.crc32(bytes([kind]) + data), len(data), kind) + data


def field(number: int, value: bytes | str | int) -> bytes:
    """Return a field of a message: bytes and texts with their length, or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def record(number: int, kind: int, message: bytes) -> bytes:
    return field(1, number) + field(kind, message)


def history(number: int, values: Mapping[str, str]) -> bytes:
    """Return a record of a row, whose values are JSON, as wandb 0.31 writes it."""
    items = b"".join(field(1, field(2, key) + field(16, value)) for key, value in values.items())
    step = int(values.get("_step", 0))
    return record(number, 2, items + field(2, field(1, step) if step else b""))


def row(step: int, /, **metrics: float | str) -> bytes:
    """Return a record of a row of the call `step`."""
    values = {**metrics, "_timestamp": 1.79e9 + step, "_step": step}
    return history(step + 1, {key: json.dumps(value) for key, value in values.items()})


def rows(count: int, **more: str) -> list[bytes]:
    """Return records of so many rows with a `loss` that tells the step."""
    return [row(step, loss=step / 8, **more) for step in range(count)]


def config(**values: object) -> bytes:
    """Return a record that sets parameters."""
    update = (field(1, field(1, key) + field(16, json.dumps(v))) for key, v in values.items())
    return record(1, 5, b"".join(update))


def ended(code: int) -> bytes:
    """Return the record of an exit."""
    return record(1, 18, field(1, code % (1 << 64)) if code else b"")
