"""Growing logs in the framing of LevelDB: whole records, once each; what damage costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.cursor import AT_REST_S, ZERO_RETRIES
from runstore.files.limits import LINES_AT_ONCE
from runstore.files.record_tail import RECORD_BYTES
from runstore.sources.leveldb_log import ZEROS, BlockTail
from tests.wandb_log import BLOCK, FIRST, FULL, HEADER, LAST, MIDDLE, chunk, framed

CHECKSUM = "a record whose checksum is not that of its data"
PART = "a record of which a part is missing"
UNWANTED = b"U"
"""Records in several chunks that begin so are wanted by nobody."""


class Follower:
    def __init__(self, path: Path, *, patient: bool = True) -> None:
        self.tail = BlockTail(
            path, HEADER, wants=lambda first: first[:1] != UNWANTED, patient=patient
        )
        self.found: list[tuple[int, bytes]] = []
        self.damaged: list[tuple[int, str]] = []
        self.restarts = 0

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.found]

    def poll(self, budget: int = 1 << 20) -> None:
        more = True
        while more:
            records = self.tail.poll(budget)
            more = records.more
            if records.restarted:
                self.restarts += 1
                self.found.clear()
            self.found += zip(records.numbers, records.payloads, strict=True)
            self.damaged += records.damaged


def read(path: Path) -> Follower:
    follower = Follower(path, patient=False)
    follower.poll()
    return follower


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "run-a.wandb"


def sized(*sizes: int) -> list[bytes]:
    return [bytes([1 + n % 60]) * size for n, size in enumerate(sizes)]


# Around the sizes at which a record just fits, leaves room for an empty chunk, or for padding.
SIZES = st.one_of(
    st.integers(0, 50), st.integers(BLOCK - 40, BLOCK + 10), st.integers(3 * BLOCK - 60, 3 * BLOCK)
)


@given(sizes=st.lists(SIZES, max_size=4), data=st.data())
def test_result_does_not_depend_on_where_the_file_was_cut_or_on_the_budget(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "run-a.wandb"
    whole = framed(sized(*sizes))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=5))
    budget = data.draw(st.integers(1, 3 * BLOCK))
    follower = Follower(path)
    follower.poll(budget)
    for start, end in pairwise(sorted({0, *cuts, len(whole)})):
        with path.open("ab") as file:
            file.write(whole[start:end])
        follower.poll(budget)
    assert follower.found == list(enumerate(sized(*sizes), 1))
    assert (follower.damaged, follower.restarts) == ([], 0)
    assert not follower.tail.is_torn


def test_result_does_not_depend_on_the_byte_at_which_a_short_file_was_cut(log: Path) -> None:
    whole = framed([b"a", b"", b"bcd"])
    for end in range(len(whole)):
        log.unlink(missing_ok=True)
        follower = Follower(log)
        for part in (whole[:end], whole):
            log.write_bytes(part)
            follower.poll()
        assert follower.payloads == [b"a", b"", b"bcd"]
        assert (follower.damaged, follower.restarts) == ([], 0)


def test_each_place_where_a_record_can_meet_the_end_of_a_block(log: Path) -> None:
    """With room for seven bytes, a record begins with a chunk that is empty."""
    for left in range(16):
        log.write_bytes(framed([b"a" * (BLOCK - len(HEADER) - 7 - left), b"b" * 20]))
        assert [len(payload) for payload in read(log).payloads] == [BLOCK - 14 - left, 20]


def test_only_new_bytes_are_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, sizes = os.pread, list[int]()

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        found = pread(descriptor, size, offset)
        sizes.append(len(found))
        return found

    log.write_bytes(framed(sized(*[1000] * 200)))
    follower = Follower(log)
    follower.poll()
    monkeypatch.setattr(os, "pread", counted)
    with log.open("ab") as file:
        file.write(framed([b"new"], offset=log.stat().st_size))
    follower.poll()
    assert follower.payloads[-1] == b"new"
    # What proves that the file is the same, twice, and the new record.
    assert sum(sizes) < 2 * (4096 + 256) + 100


@pytest.mark.parametrize("at", [BLOCK - 1, BLOCK, 2 * BLOCK])
def test_record_that_goes_on_in_a_block_to_come_is_not_torn(log: Path, at: int) -> None:
    whole = framed(sized(*[3000] * 40))
    log.write_bytes(whole[:at])
    follower = Follower(log)
    follower.poll()
    assert follower.tail.is_torn == (at % BLOCK > 0)
    log.write_bytes(whole)
    follower.poll()
    assert follower.payloads == sized(*[3000] * 40)
    assert follower.restarts == 0


def test_unwanted_record_is_passed_over_and_has_a_number(log: Path) -> None:
    log.write_bytes(framed([b"a", UNWANTED * (5 * BLOCK), b"b", b"c" * BLOCK]))
    assert read(log).found == [(1, b"a"), (3, b"b"), (4, b"c" * BLOCK)]


def flip(log: Path, at: int) -> None:
    content = bytearray(log.read_bytes())
    content[at] ^= 0x55
    log.write_bytes(content)


def test_damage_costs_the_rest_of_its_block(log: Path) -> None:
    records = [b"%05d" % n * 20 for n in range(2000)]
    log.write_bytes(framed(records))
    flip(log, BLOCK + 20_000)
    follower = read(log)
    assert [why for _, why in follower.damaged] == [CHECKSUM]
    (place,) = (place for place, _ in follower.damaged)
    assert BLOCK + 20_000 - 107 < place <= BLOCK + 20_000
    lost = len(records) - len(follower.payloads)
    # Those of 12 KiB, and the one that goes on into the next block.
    assert 110 <= lost <= 122
    first_lost = next(n for n, record in enumerate(records) if record != follower.payloads[n])
    assert follower.payloads == records[:first_lost] + records[first_lost + lost :]


@given(at=st.integers(7, 6 * BLOCK), data=st.data())
def test_flipped_byte_never_makes_a_record_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, at: int, data: st.DataObject
) -> None:
    log = tmp_path_factory.mktemp("log") / "run-a.wandb"
    records = sized(*data.draw(st.lists(st.integers(500, 3 * BLOCK), min_size=4, max_size=8)))
    log.write_bytes(framed(records))
    flip(log, at % log.stat().st_size or 7)
    follower = read(log)
    left = iter(records)
    assert all(payload in left for payload in follower.payloads)
    # A length may come to say that the rest of the file is the beginning of one record.
    is_told = follower.damaged or follower.tail.is_torn
    assert len(follower.payloads) == len(records) or is_told
    numbers = [number for number, _ in follower.found]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ((MIDDLE, LAST, FULL), 1),
        ((FIRST, FULL), 1),
        ((FIRST, FIRST, LAST), 1),
        ((FULL, LAST, FULL), 2),
        ((FIRST, MIDDLE, FULL, FULL), 2),
    ],
)
def test_part_without_the_others_is_damage_once(
    log: Path, kinds: tuple[int, ...], kept: int
) -> None:
    log.write_bytes(HEADER + b"".join(chunk(kind, b"x") for kind in kinds))
    follower = read(log)
    assert [why for _, why in follower.damaged] == [PART]
    assert len(follower.payloads) == kept


def test_damage_to_many_blocks_on_end_is_told_once(log: Path) -> None:
    records = [b"%05d" % n * 20 for n in range(3000)]
    content = bytearray(framed(records))
    content[2 * BLOCK : 7 * BLOCK] = b"\x55" * (5 * BLOCK)
    log.write_bytes(content)
    follower = read(log)
    assert [why for _, why in follower.damaged] == ["no record"]
    assert follower.payloads[-1] == records[-1]


def test_other_file_is_refused_once_and_costs_nothing(log: Path) -> None:
    log.write_bytes(b"PK\x03\x04" * 100_000)
    follower = Follower(log)
    for _ in range(3):
        follower.poll()
    assert follower.damaged == [(0, "not a log of this kind: it begins with something else")]
    assert follower.tail.offset == 0
    log.write_bytes(framed([b"a"]))
    follower.poll()
    assert follower.payloads == [b"a"]


@pytest.mark.parametrize("size", range(7))
def test_half_a_header_waits(log: Path, size: int) -> None:
    log.write_bytes(HEADER[:size])
    follower = Follower(log)
    follower.poll()
    assert (follower.found, follower.damaged) == ([], [])
    log.write_bytes(framed([b"a"]))
    follower.poll()
    assert follower.payloads == [b"a"]


def test_zeros_may_still_become_records(log: Path) -> None:
    """An NFS client sees the size before the data."""
    whole = framed(sized(*[1000] * 100))
    log.write_bytes(whole[:BLOCK] + bytes(len(whole) - BLOCK))
    follower = Follower(log)
    for _ in range(3):
        follower.poll()
    assert (len(follower.found), follower.damaged) == (32, [])
    log.write_bytes(whole)
    follower.poll()
    assert follower.payloads == sized(*[1000] * 100)


@pytest.mark.parametrize("is_patient", [True, False])
def test_zeros_that_stay_are_damage(log: Path, is_patient: bool) -> None:
    records = sized(*[1000] * 200)
    content = bytearray(framed(records))
    content[BLOCK : 3 * BLOCK] = bytes(2 * BLOCK)
    log.write_bytes(content)
    follower = Follower(log, patient=is_patient)
    for _ in range(ZERO_RETRIES + 2 if is_patient else 1):
        follower.poll()
    assert [why for _, why in follower.damaged] == [ZEROS]
    assert follower.payloads[-1] == records[-1]
    # A block and a half less than all.
    assert 130 < len(follower.payloads) < 140


def test_zeros_in_a_file_at_rest_are_damage_at_once(log: Path) -> None:
    log.write_bytes(framed([b"a"]) + bytes(100))
    modified = log.stat().st_mtime - 2 * AT_REST_S
    os.utime(log, (modified, modified))
    follower = Follower(log)
    follower.poll()
    assert follower.damaged == [(15, ZEROS)]


def test_hole_of_many_gigabytes_is_not_read(log: Path) -> None:
    log.write_bytes(framed([b"a"]))
    with log.open("r+b") as file:
        file.seek(40 << 30)
        file.write(framed([b"b"], offset=40 << 30))
    looks = 0
    follower = Follower(log, patient=False)
    while follower.payloads[-1:] != [b"b"]:
        records = follower.tail.poll()
        follower.found += zip(records.numbers, records.payloads, strict=True)
        looks += 1
    assert looks < 5


def test_file_may_go_on_behind_damage_at_its_end(log: Path) -> None:
    log.write_bytes(framed([b"a" * 100]))
    flip(log, 50)
    follower = Follower(log)
    follower.poll()
    assert len(follower.damaged) == 1
    with log.open("ab") as file:
        file.write(framed([b"b" * BLOCK, b"c" * 100], offset=log.stat().st_size))
        follower.poll()
    follower.poll()
    assert follower.payloads == [b"c" * 100]
    assert follower.restarts == 0


def test_record_that_is_too_long_for_memory_is_passed_over(log: Path) -> None:
    pieces = RECORD_BYTES // BLOCK + 2
    body = b"x" * (BLOCK - 7)
    with log.open("wb") as file:
        file.write(HEADER + chunk(FULL, b"a" * (BLOCK - len(HEADER) - 7)) + chunk(FIRST, body))
        for _ in range(pieces):
            file.write(chunk(MIDDLE, body))
        file.write(chunk(LAST, b"") + chunk(FULL, b"b"))
    follower = read(log)
    assert follower.payloads[1:] == [b"b"]
    assert [why for _, why in follower.damaged] == [f"a record over {RECORD_BYTES:,} bytes"]


def test_many_tiny_records_come_in_several_looks(log: Path) -> None:
    log.write_bytes(framed([b""] * 50_000))
    follower = Follower(log)
    first = follower.tail.poll()
    assert len(first.payloads) == LINES_AT_ONCE
    assert first.more
    follower.poll()
    assert len(first.payloads) + len(follower.found) == 50_000


@pytest.mark.parametrize("change", ["shorter", "other", "anew"])
def test_replaced_file_is_read_from_its_beginning(log: Path, change: str) -> None:
    log.write_bytes(framed([b"a" * 5000, b"b" * 5000]))
    follower = Follower(log)
    follower.poll()
    contents: dict[str, Callable[[], bytes]] = {
        "shorter": lambda: framed([b"c"]),
        "other": lambda: framed([b"d" * 5000, b"e" * 5000, b"c"]),
        "anew": lambda: framed([b"c" * 9000]),
    }
    log.write_bytes(contents[change]())
    follower.poll()
    assert follower.restarts == 1
    assert follower.payloads[-1][-1:] == b"c"


@pytest.mark.parametrize("back", [0, 100, BLOCK, 5 * BLOCK])
def test_jump_gives_the_last_records_unnumbered_and_reads_on(log: Path, back: int) -> None:
    records = [b"%05d" % n * 20 for n in range(3000)]
    log.write_bytes(framed(records[:-1]))
    follower = Follower(log)
    follower.tail.poll(BLOCK)
    found = follower.tail.jump(back)
    assert found.payloads == records[-1 - len(found.payloads) : -1]
    assert set(found.numbers) == {0}
    assert (found.damaged, found.more) == ([], False)
    assert back // 107 <= len(found.payloads) <= (back + BLOCK) // 107 + 1
    log.write_bytes(framed(records))
    assert follower.tail.poll().payloads == records[-1:]


def test_jump_in_a_short_file_reads_on(log: Path) -> None:
    log.write_bytes(framed(sized(10, 20)))
    tail = Follower(log).tail
    assert tail.jump(BLOCK).numbers == [1, 2]
    assert tail.jump(BLOCK).payloads == []


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_what_is_no_file_is_a_problem(log: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(log)
    elif kind == "directory":
        log.mkdir()
    else:
        log.symlink_to("elsewhere")
    assert "not a regular file" in str(Follower(log).tail.poll().problem)
