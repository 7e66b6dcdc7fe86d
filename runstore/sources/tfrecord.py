"""Finds the records in a TFRecord file, the framing of TensorBoard's event files.

A record is its length (8 bytes), the checksum of those, the data, and the checksum of the data; all
little-endian (tensorflow/core/lib/io/record_writer.h). The checksum is CRC-32C, masked as there.

No length is believed without its checksum. Those of the data are looked at where something may be
wrong: they would cost more than all else, and TensorBoard's server does not look at them either.
Wrong may be what lies at the end of a page, which a file server may not have sent yet, and what
lies in front of bytes that are no record.
"""

from __future__ import annotations

import re
import struct
from typing import Protocol

from runstore.files.record_tail import Frames
from runstore.sources.stretches import (
    FOOTER_BYTES,
    HEADER_BYTES,
    PAGE_BYTES,
    Stretch,
    find_stretch,
)

CHECKED_BYTES = 512
"""Longer data holds no single number, and is not checked: that takes 0.1 µs a byte."""
SEARCHED_BYTES = 1 << 20
"""How far the next record is looked for behind what is none."""
LENGTHS_KEPT = 1 << 14
KNOWN_LENGTHS: dict[bytes, int] = {}
"""Headers whose checksum was found right, and the lengths in them: logs have few."""
LOOK_AGAIN_BYTES = 1 << 10
"""So far behind a place where no stretch was found one is looked for again; twice as far each
time."""
WRONG_DATA = "a record with a wrong checksum"
NO_RECORD = "no record"
_READ, _SKIPPED, _WAITS = "read", "skipped", "waits"

_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
# The header of a record below 16 MiB, and the first byte of an event: of its time, step or kind.
_CANDIDATE = re.compile(rb"(?s)(?=(.{3}\0{5}.{4})[\x09\x10\x1a\x2a])")
_HEADER = struct.Struct("<QI")


def _table() -> list[int]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


class Skip(Protocol):
    """Tells by its beginning whether a long record can be passed over without reading it."""

    def __call__(self, data: bytes, start: int, length: int) -> bool | None:
        """Return None where more has to be there than what is in `data` from `start` on."""


class RecordSplit:
    """Splits the bytes of a file into records (a `record_tail.Split`)."""

    def __init__(self, *, long_bytes: int, peek_bytes: int, skip: Skip) -> None:
        """Ask `skip` about records over `long_bytes`; `peek_bytes` of one have to be enough."""
        self._long_bytes, self._peek_bytes, self._skip = long_bytes, peek_bytes, skip

    def __call__(self, data: bytes, offset: int, end: int) -> Frames:
        """Return the whole records in `data`: the data of each, and behind it its checksum."""
        frames = Frames(needed=HEADER_BYTES)
        add, lengths, long_bytes = frames.payloads.append, KNOWN_LENGTHS, self._long_bytes
        at, size, stop = 0, len(data), end - offset
        stretches, turn, page = _Stretches(data, offset), 0, _next_page(offset, 0)
        while size - at >= HEADER_BYTES:
            if at >= turn:
                stretch, turn = stretches.take(at)
                if stretch is not None:
                    add(stretch)
                    at += len(stretch)
                    frames.has_several, page = True, _next_page(offset, at)
                    continue
            header = data[at : at + HEADER_BYTES]
            length = lengths.get(header, -1)
            if length < 0 and (length := checked_length(header)) < 0:
                return _not_a_record(frames, data, at, stop)
            behind = at + HEADER_BYTES + length + FOOTER_BYTES
            if length > long_bytes:
                fate = self._fate(frames, data, at, behind, stop)
                if fate == _WAITS:
                    break
                if fate == _SKIPPED:
                    at = behind
                    continue
            if behind > size:
                frames.needed = behind - at
                break
            if behind >= page or behind == stop:
                page = _next_page(offset, behind)
                if not _is_right(data, at, behind):
                    frames.consumed, frames.resume, frames.damage = at, behind, WRONG_DATA
                    return frames
            add(data[at + HEADER_BYTES : behind])
            at = behind
        frames.consumed = at
        return frames

    def _fate(self, frames: Frames, data: bytes, at: int, behind: int, stop: int) -> str:
        """Tell what becomes of a long record, and note what is needed where it has to wait."""
        start = at + HEADER_BYTES
        skip = self._skip(data, start, behind - FOOTER_BYTES - start)
        if skip is None:
            frames.needed = HEADER_BYTES + self._peek_bytes
            return _WAITS
        if not skip:
            return _READ
        if behind > stop:
            frames.needed, frames.passes_over = behind - at, True
            return _WAITS
        frames.skipped.append(len(frames.payloads))
        return _SKIPPED


def _next_page(offset: int, at: int) -> int:
    """Return where, in bytes that lie at an offset, the page ends that one of them is in."""
    return at + PAGE_BYTES - (offset + at) % PAGE_BYTES


class _Stretches:
    """The stretches in some bytes of a file, one after the other."""

    def __init__(self, data: bytes, offset: int) -> None:
        """Look in `data`, which lies at an offset of the file."""
        self._data, self._offset = data, offset
        self._found: Stretch | None = None
        self._again_bytes = LOOK_AGAIN_BYTES

    def take(self, at: int) -> tuple[Stretch | None, int]:
        """Return the stretch that begins at a record, or look for the next; and when to ask again.

        A stretch that was found is asked for where it begins.
        """
        found, self._found = self._found, None
        if found is not None:
            self._again_bytes = LOOK_AGAIN_BYTES
            # Behind it there is often a step with one more metric.
            return found, at + len(found) + found.row.size
        further = find_stretch(self._data, at, self._offset, KNOWN_LENGTHS, _is_right)
        if further is not None:
            begin, self._found = further
            return None, begin
        self._again_bytes *= 2
        return None, at + self._again_bytes // 2


def _not_a_record(frames: Frames, data: bytes, at: int, stop: int) -> Frames:
    """Say what is wrong at a place, and where the next record is."""
    frames.damage, frames.needed = NO_RECORD, 0
    if frames.payloads and frames.skipped[-1:] != [len(frames.payloads)]:
        start = at - len(frames.payloads[-1]) - HEADER_BYTES
        if not _is_right(data, start, at):
            # What is missing here began in the record before.
            at, frames.damage = start, WRONG_DATA
            del frames.payloads[-1]
    frames.consumed = at
    further = next_record(data, at + 1)
    if further is not None:
        frames.resume = further
    elif len(data) < stop and len(data) - at < SEARCHED_BYTES:
        frames.damage, frames.needed = "", min(SEARCHED_BYTES, stop - at)
    return frames


def next_record(data: bytes, start: int = 0) -> int | None:
    """Return where in some bytes of a file the next record begins (a `record_tail.Resync`)."""
    for found in _CANDIDATE.finditer(data, start):
        if checked_length(found[1]) >= 0:
            return found.start()
    return None


def checked_length(header: bytes) -> int:
    """Return the length that a header of 12 bytes tells, or -1 where its checksum is wrong."""
    length, checksum = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != checksum:
        return -1
    if len(KNOWN_LENGTHS) < LENGTHS_KEPT:
        KNOWN_LENGTHS[header] = length
    return int(length)


def _is_right(data: bytes, at: int, behind: int) -> bool:
    """Tell whether the data of a record is what its checksum says; of long data True."""
    start, end = at + HEADER_BYTES, behind - FOOTER_BYTES
    return end - start > CHECKED_BYTES or is_right(data[start:end], data[end:behind])


def is_right(payload: bytes, checksum: bytes) -> bool:
    """Tell whether data has this checksum, in the four bytes behind it."""
    return masked_crc32c(payload) == int.from_bytes(checksum, "little")


def masked_crc32c(data: bytes) -> int:
    """Return the checksum of some bytes, as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF
