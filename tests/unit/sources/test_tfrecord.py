"""Records of event files: found, checked where it matters, and found again behind damage."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as reference

from runstore.files.record_tail import Frames
from runstore.sources.stretches import HEADER_BYTES, PAGE_BYTES
from runstore.sources.tfrecord import (
    CHECKED_BYTES,
    NO_RECORD,
    WRONG_DATA,
    RecordSplit,
    masked_crc32c,
    next_record,
)

LONG_BYTES, PEEK_BYTES = 2000, 10
IMAGE = b"\x09image"
"""Long records that begin so are passed over."""


def skip(data: bytes, start: int, length: int) -> bool | None:
    if len(data) - start < PEEK_BYTES:
        return None
    return data.startswith(IMAGE, start)


split = RecordSplit(long_bytes=LONG_BYTES, peek_bytes=PEEK_BYTES, skip=skip)


def record(payload: bytes) -> bytes:
    header = struct.pack("<Q", len(payload))
    checksums = [struct.pack("<I", reference(part)) for part in (header, payload)]
    return header + checksums[0] + payload + checksums[1]


def whole(data: bytes) -> Frames:
    return split(data, 0, len(data))


def payloads(frames: Frames) -> list[bytes]:
    return [found[:-4] for found in frames.payloads]


def scalars(count: int, size: int = 40) -> list[bytes]:
    return [b"\x09" + bytes([n % 256]) * size for n in range(count)]


@given(st.binary(max_size=300))
def test_checksum_is_that_of_tensorboard(data: bytes) -> None:
    assert masked_crc32c(data) == reference(data)


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_records_are_those_that_were_written(written: list[bytes]) -> None:
    frames = whole(b"".join(map(record, written)))
    assert payloads(frames) == written
    assert (frames.consumed, frames.damage) == (sum(len(p) + 16 for p in written), "")


@pytest.mark.parametrize("size", range(95))
def test_record_that_is_not_all_there_waits(size: int) -> None:
    first, second = map(record, scalars(2, size=30))
    frames = whole((first + second)[:size])
    assert frames.consumed == size // 47 * 47
    assert (len(frames.payloads), frames.damage) == (size // 47, "")
    assert frames.needed == (47 if size % 47 >= HEADER_BYTES else HEADER_BYTES)


def test_wrong_length_is_never_believed() -> None:
    good = record(scalars(1)[0])
    for place in range(HEADER_BYTES):
        for bit in range(8):
            wrong = bytearray(good)
            wrong[place] ^= 1 << bit
            frames = whole(good + bytes(wrong) + good)
            assert payloads(frames) == scalars(1)
            assert (frames.damage, frames.resume) == (NO_RECORD, 2 * len(good))


def test_next_record_is_found_in_the_middle_of_a_file() -> None:
    data = b"".join(map(record, scalars(50)))
    size = len(data) // 50
    for start in range(1, 2 * size):
        found = next_record(data[start:])
        assert found is not None
        assert (start + found) % size == 0
    assert next_record(os.urandom(100_000)) is None
    assert next_record(bytes(100_000)) is None


def test_long_record_that_holds_no_scalar_is_passed_over_unread() -> None:
    image = record(IMAGE + bytes(50_000))
    small, data = record(b"\x09small"), record(b"\x09small") + image
    end = len(data)
    known = split(data[: len(small) + HEADER_BYTES + PEEK_BYTES], 0, end)
    assert (known.consumed, known.skipped, known.needed) == (end, [1], HEADER_BYTES)
    growing = split(data[:5000], 0, 5000)
    assert (growing.consumed, growing.needed, growing.passes_over) == (len(small), len(image), True)
    unknown = split(data[: len(small) + HEADER_BYTES + 1], 0, end)
    assert (unknown.consumed, unknown.needed) == (len(small), HEADER_BYTES + PEEK_BYTES)


def test_long_record_with_scalars_is_read() -> None:
    data = record(b"\x09" + bytes(50_000))
    assert split(data[:5000], 0, len(data)).needed == len(data)
    assert len(whole(data).payloads) == 1


def with_hole(written: Sequence[bytes], start: int, end: int) -> bytes:
    """Records of which some bytes are zeros, as a page that a file server has not sent yet."""
    data = b"".join(map(record, written))
    return data[:start] + bytes(end - start) + data[end:]


@pytest.mark.parametrize("start", range(3000, 3120, 7))
def test_record_with_a_hole_up_to_the_end_of_a_page_is_not_taken_for_whole(start: int) -> None:
    written = [b"\x09" + b"x" * 39 for _ in range(200)]
    frames = whole(with_hole(written, start, PAGE_BYTES))
    assert payloads(frames) == written[: start // 56]
    assert frames.consumed == start // 56 * 56
    assert frames.damage in (NO_RECORD, WRONG_DATA)
    assert frames.resume % 56 == 0
    assert frames.resume in range(frames.consumed, PAGE_BYTES + 56)


@pytest.mark.parametrize("start", range(1, 56))
def test_record_with_a_hole_up_to_the_end_of_the_file_is_not_taken_for_whole(start: int) -> None:
    written = [b"\x09" + b"x" * 39 for _ in range(3)]
    frames = whole(with_hole(written, 112 + start, 168))
    assert (payloads(frames), frames.consumed) == (written[:2], 112)
    assert frames.damage


def test_large_record_is_not_checked_for_what_nobody_reads() -> None:
    data = bytearray(record(b"\x09" + bytes(CHECKED_BYTES)))
    data[-1] ^= 1
    assert len(whole(bytes(data)).payloads) == 1


def test_search_behind_damage_ends() -> None:
    """Or a disk image under the name of an event file would be read to its end."""
    garbage = record(b"\x09a") + b"\x01" * (3 << 20)
    first = split(garbage[: 1 << 18], 0, len(garbage))
    assert (first.damage, first.needed) == ("", 1 << 20)
    second = split(garbage[first.consumed : first.consumed + (1 << 20)], 18, len(garbage))
    assert (second.damage, second.resume) == (NO_RECORD, 0)
