"""Growing files of records: whole ones, once each, wherever the file was cut while it grew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.cursor import ZERO_RETRIES
from runstore.files.record_tail import RECORD_BYTES, Frames, RecordTail

HEADER = 4
SKIPPED = b"S"
"""Records that begin so are passed over unread."""


def framed(payload: bytes) -> bytes:
    """A format for the tests: `R`, three bytes of length, the payload."""
    return b"R" + len(payload).to_bytes(3, "big") + payload


def split(data: bytes, offset: int, end: int) -> Frames:
    frames = Frames()
    left_in_file = end - offset
    while frames.consumed + HEADER <= len(data):
        at = frames.consumed
        if data[at : at + 1] != b"R":
            frames.damage = "no R"
            found = data.find(b"R", at + 1)
            frames.resume = max(0, found)
            return frames
        size = HEADER + int.from_bytes(data[at + 1 : at + HEADER], "big")
        is_skipped = data[at + HEADER : at + HEADER + 1] == SKIPPED
        if at + size > (left_in_file if is_skipped else len(data)):
            frames.needed = size
            return frames
        if is_skipped:
            frames.skipped.append(len(frames.payloads))
        else:
            frames.payloads.append(data[at + HEADER : at + size])
        frames.consumed += size
    return frames


class Follower:
    def __init__(self, path: Path, *, patient: bool = True) -> None:
        self.tail = RecordTail(path, split=split, patient=patient)
        self.found: list[tuple[int, bytes]] = []
        self.damaged: list[tuple[int, str]] = []

    def poll(self, budget: int = 1 << 20) -> None:
        more = True
        while more:
            records = self.tail.poll(budget)
            more = records.more
            if records.restarted:
                self.found.clear()
            self.found += zip(records.numbers, records.payloads, strict=True)
            self.damaged += records.damaged


PAYLOADS = st.lists(st.binary(max_size=60).map(lambda data: data.replace(b"R", b"")), max_size=20)


@given(payloads=PAYLOADS, data=st.data())
def test_result_does_not_depend_on_where_the_file_was_cut_or_on_the_budget(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("records") / "log"
    rest = b"".join(map(framed, payloads))
    follower = Follower(path)
    follower.poll()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        with path.open("ab") as file:
            file.write(rest[:size])
        rest = rest[size:]
        follower.poll(data.draw(st.integers(1, 100)))
    numbered = enumerate(payloads, 1)
    assert follower.found == [(n, p) for n, p in numbered if not p.startswith(SKIPPED)]
    assert not follower.damaged
    assert not follower.tail.unfinished


def test_half_a_record_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + framed(b"two")[:-1])
    follower = Follower(path)
    follower.poll()
    assert follower.found == [(1, b"one")]
    assert follower.tail.unfinished
    path.write_bytes(framed(b"one") + framed(b"two"))
    follower.poll()
    assert follower.found == [(1, b"one"), (2, b"two")]
    assert not follower.tail.unfinished


def test_replaced_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + framed(b"two"))
    follower = Follower(path)
    follower.poll()
    path.write_bytes(framed(b"uno") + framed(b"due") + framed(b"tre"))
    follower.poll()
    assert [payload for _, payload in follower.found] == [b"uno", b"due", b"tre"]


def test_long_record_is_passed_over_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    image = SKIPPED + bytes(10_000_000)
    path.write_bytes(framed(b"one") + framed(image) + framed(b"two"))
    tail = RecordTail(path, split=split)
    first = tail.poll(100)
    second = tail.poll(100)
    assert [*first.payloads, *second.payloads] == [b"one", b"two"]
    assert [*first.numbers, *second.numbers] == [1, 3]


def test_damage_is_placed_and_reading_goes_on_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + b"garbage" + framed(b"two"))
    follower = Follower(path)
    follower.poll()
    assert [payload for _, payload in follower.found] == [b"one", b"two"]
    assert follower.damaged == [(len(framed(b"one")), "no R")]


def test_damage_without_an_end_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + b"garbage")
    follower = Follower(path)
    for _ in range(3):
        follower.poll()
        with path.open("ab") as file:
            file.write(b"more")
    assert len(follower.damaged) == 1
    assert not follower.tail.unfinished


def test_zeros_at_a_growing_end_may_become_a_record(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + bytes(20))
    follower = Follower(path)
    for _ in range(3):
        follower.poll()
    assert not follower.damaged
    path.write_bytes(framed(b"one") + framed(b"two") + framed(b"three"))
    follower.poll()
    assert [payload for _, payload in follower.found] == [b"one", b"two", b"three"]


def test_zeros_that_stay_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + bytes(20))
    follower = Follower(path)
    for _ in range(ZERO_RETRIES + 2):
        follower.poll()
    assert len(follower.damaged) == 1
    impatient = Follower(path, patient=False)
    impatient.poll()
    assert len(impatient.damaged) == 1


def test_numbers_stay_while_damage_in_front_of_a_record_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + bytes(12) + framed(b"three"))
    follower = Follower(path)
    for _ in range(5):
        follower.poll()
    assert follower.found == [(1, b"one")]
    path.write_bytes(framed(b"one") + framed(b"two\0\0\0\0\0") + framed(b"three"))
    follower.poll()
    assert follower.found[-1] == (3, b"three")


def test_zeros_at_the_very_end_are_waited_for_however_few(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(framed(b"one") + bytes(2))
    follower = Follower(path)
    follower.poll()
    path.write_bytes(framed(b"one") + framed(b"two"))
    follower.poll()
    assert (follower.found, follower.damaged) == ([(1, b"one"), (2, b"two")], [])


def test_huge_record_that_is_passed_over_is_waited_for_and_not_read(tmp_path: Path) -> None:
    """A graph of some hundred MiB that is being written."""

    def passes(data: bytes, offset: int, end: int) -> Frames:
        if data.startswith(b"R"):
            return Frames(payloads=[data[:1]], consumed=1)
        if end - offset < 2 * RECORD_BYTES:
            return Frames(needed=2 * RECORD_BYTES, passes_over=True)
        return Frames(skipped=[0], consumed=2 * RECORD_BYTES)

    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    tail = RecordTail(path, split=passes)
    first = tail.poll()
    assert (first.damaged, first.more, tail.unfinished) == ([], False, True)
    with path.open("ab") as file:
        file.truncate(2 * RECORD_BYTES)
        file.seek(2 * RECORD_BYTES)
        file.write(b"R")
    more = True
    found: list[tuple[int, bytes]] = []
    while more:
        records = tail.poll(100)
        more = records.more
        found += zip(records.numbers, records.payloads, strict=True)
    assert found == [(2, b"R")]


def test_record_that_claims_to_be_huge_is_damage(tmp_path: Path) -> None:
    def claims(data: bytes, offset: int, end: int) -> Frames:
        return Frames(needed=RECORD_BYTES + 1)

    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    tail = RecordTail(path, split=claims)
    found = tail.poll()
    assert [reason for _, reason in found.damaged] == [f"a record of {RECORD_BYTES + 1:,} bytes"]
    assert not found.more


def test_jump_goes_to_a_record_near_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(framed(b"%05d" % number) for number in range(1000)))
    tail = RecordTail(path, split=split)
    tail.poll(90)
    found = tail.jump(50, lambda data: data.find(b"R"))
    assert found.payloads[-1] == b"00999"
    assert set(found.numbers) == {0}
    assert len(found.payloads) <= 6
