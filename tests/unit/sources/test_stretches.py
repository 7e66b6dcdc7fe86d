"""Stretches of events that repeat: what they say is what the events say one by one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.sources.event_log import EventLog
from runstore.sources.log_files import ForeignRow, ForeignRows
from runstore.sources.stretches import FEWEST_ROWS, PAGE_BYTES, Stretch
from runstore.sources.tfrecord import RecordSplit, masked_crc32c
from tests.event_files import BEGUN, NAME

TAGS = ("train/loss", "lr", "val/loss", "a")
NO_TOGETHER = 40
"""So few bytes are read at once that nothing can be taken together."""


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def record(step: int, tag: str, value: float, time: float | None = None) -> bytes:
    """An event as SummaryWriter writes it; tensorboard's own classes take too long for so many."""
    named = b"\x0a" + varint(len(tag)) + tag.encode() + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + varint(len(named)) + named
    at = BEGUN + step if time is None else time
    event = b"\x09" + struct.pack("<d", at) + (b"\x10" + varint(step) if step else b"")
    return framed(event + b"\x2a" + varint(len(summary)) + summary)


def framed(event: bytes) -> bytes:
    header = struct.pack("<Q", len(event))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (header, event)]
    return header + checksums[0] + event + checksums[1]


Part = tuple[int, int, int, list[str]]
"""First step, how far apart, how many, tags."""

PARTS: st.SearchStrategy[list[Part]] = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 100, 127, 128, 16_000, 2_097_100, 1 << 28, (1 << 62)]),
        st.sampled_from([1, 1, 1, 3, 0, -1]),
        st.integers(1, 60),
        st.lists(st.sampled_from(TAGS), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=5,
)


def written(parts: list[Part]) -> list[bytes]:
    return [
        record(max(0, first + place * apart), tag, place / 3)
        for first, apart, count, tags in parts
        for place in range(count)
        for tag in tags
    ]


def read(path: Path, budget: int = 1 << 20) -> tuple[list[ForeignRow], list[tuple[int, str]]]:
    """Return the rows of a file one by one, and what is damaged in it."""
    log, rows, bad, more = EventLog(path, path.name, "", False), list[ForeignRow](), [], True
    while more:
        batch = log.poll(budget)
        rows += batch.each_row()
        bad += [(found.offset, found.reason) for found in batch.bad]
        more = batch.more
    return rows, bad


def facts(rows: list[ForeignRow]) -> list[tuple[int, str, dict[str, float]]]:
    return [(found.number, found.stream, dict(sorted(found.row.items()))) for found in rows]


@settings(max_examples=80)
@given(parts=PARTS, budget=st.integers(200, 6000))
def test_rows_are_those_that_the_events_are_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, parts: list[Part], budget: int
) -> None:
    path = tmp_path_factory.mktemp("run") / NAME
    path.write_bytes(b"".join(written(parts)))
    together, one_by_one = read(path, budget), read(path, NO_TOGETHER)
    assert facts(together[0]) == facts(one_by_one[0])
    assert together[1] == one_by_one[1] == []


@settings(max_examples=80)
@given(parts=PARTS, data=st.data())
def test_damage_hides_as_much_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, parts: list[Part], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("run") / NAME
    whole = bytearray(b"".join(written(parts)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    together, one_by_one = read(path), read(path, NO_TOGETHER)
    assert facts(together[0]) == facts(one_by_one[0])
    assert together[1] == one_by_one[1]


def stretches(data: bytes, offset: int = 0) -> list[Stretch]:
    split = RecordSplit(long_bytes=1 << 20, peek_bytes=1, skip=lambda *_: True)
    return [
        found
        for found in split(data, offset, offset + len(data)).payloads
        if isinstance(found, Stretch)
    ]


def test_nearly_all_of_a_usual_log_is_taken_together() -> None:
    data = b"".join(record(n, tag, n) for n in range(1, 20_001) for tag in ("loss", "lr"))
    found = stretches(data)
    assert sum(stretch.records for stretch in found) > 39_000
    assert [stretch.row.step_bytes for stretch in found] == [1, 2, 3]


def test_further_metric_now_and_then_does_not_keep_the_rest_apart() -> None:
    data = b"".join(
        record(n, tag, n)
        for n in range(1000, 5000)
        for tag in ("loss", "lr", *(["val/loss"] if n % 50 == 0 else []))
    )
    assert sum(stretch.records for stretch in stretches(data)) > 7000


def test_columns_are_the_numbers() -> None:
    data = b"".join(record(n, tag, n / 2) for n in range(200, 260) for tag in ("loss", "lr"))
    stretches(data)  # the lengths of these records may be new to this process
    (found,) = stretches(data)
    times, (losses, rates) = found.columns()
    assert found.steps == list(range(201, 259))
    assert list(times) == [BEGUN + step for step in found.steps]
    assert list(losses) == list(rates) == [step / 2 for step in found.steps]
    assert [len(tag) for tag in found.tags()] == [len("loss") + 7, len("lr") + 7]
    assert len(list(found.payloads())) == found.records == 2 * 58


def test_few_rows_are_left_as_they_are() -> None:
    for count in range(FEWEST_ROWS + 2):
        assert not stretches(b"".join(record(n, "a", n) for n in range(1, count + 1)))
    assert stretches(b"".join(record(n, "a", n) for n in range(1, FEWEST_ROWS + 3)))


@pytest.mark.parametrize("start", range(PAGE_BYTES - 90, PAGE_BYTES, 5))
def test_hole_at_the_end_of_a_page_ends_a_stretch(start: int) -> None:
    """Also one that leaves all but a value in place."""
    data = bytearray(b"".join(record(n, "loss", n / 3) for n in range(200, 600)))
    data[start:PAGE_BYTES] = bytes(PAGE_BYTES - start)
    (first, *_) = stretches(bytes(data))
    assert first.steps[-1] < 200 + start // 41
    moved = stretches(bytes(data), 500)
    assert moved[0].steps[-1] >= first.steps[-1]


def test_time_that_is_no_moment_is_left_out_of_its_row_alone(tmp_path: Path) -> None:
    times = [float("nan") if n == 50 else -1.0 if n == 60 else BEGUN for n in range(100)]
    data = b"".join(record(n, "a", n, time) for n, time in enumerate(times))
    (tmp_path / NAME).write_bytes(data)
    rows, _ = read(tmp_path / NAME)
    assert [n for n, found in enumerate(rows) if "time" not in found.row] == [50, 60]


def test_same_metric_by_two_tags_is_one_value_of_each_row(tmp_path: Path) -> None:
    """`val_loss` is `val/loss` here; the later one counts."""
    data = b"".join(record(n, tag, n) for n in range(1, 100) for tag in ("val_loss", "val/loss"))
    (tmp_path / NAME).write_bytes(data)
    rows, _ = read(tmp_path / NAME)
    assert [found.row["val/loss"] for found in rows] == list(range(1, 100))


def test_rows_that_were_found_as_columns_are_handed_over_as_such(tmp_path: Path) -> None:
    data = b"".join(record(n, "a", n) for n in range(1, 1000))
    (tmp_path / NAME).write_bytes(data)
    batch = EventLog(tmp_path / NAME, NAME, "", False).poll()
    assert sum(isinstance(found, ForeignRows) for found in batch.rows) == 2
    assert len(batch.rows) < 60
