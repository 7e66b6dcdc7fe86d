"""Growing files: whole lines, once each, whatever a writer, a copy tool or a crash does to them."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.cursor import AT_REST_S, FIRST_BYTES, GUARD_BYTES, ZERO_RETRIES
from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.tail import Chunk, Tail


class Follower:
    """Polls a tail as a reader does, and keeps what it would show."""

    def __init__(self, path: Path, *, limit: int | None = None, patient: bool = True) -> None:
        self.tail = Tail(path, limit=limit, patient=patient)
        self.lines: list[bytes] = []
        self.numbers: list[int] = []
        self.ends: list[int] = []
        self.oversized = 0
        self.restarts = 0

    def take(self, chunk: Chunk) -> None:
        if chunk.restarted:
            self.restarts += 1
            self.lines, self.numbers, self.ends, self.oversized = [], [], [], 0
        self.lines += chunk.lines
        self.numbers += [chunk.line_number + index for index in range(len(chunk.lines))]
        self.ends += chunk.ends()
        self.oversized += chunk.oversized

    def poll(self, budget: int = 1 << 20) -> None:
        more = True
        while more:
            chunk = self.tail.poll(budget)
            more = chunk.more
            self.take(chunk)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


LINES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\0", b"")))


@given(lines=LINES, data=st.data())
def test_result_does_not_depend_on_where_the_bytes_are_cut_or_on_the_budget(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("tail") / "m.jsonl"
    content = b"".join(line + b"\n" for line in lines) + data.draw(st.sampled_from([b"", b"torn"]))
    follower = Follower(path)
    follower.poll()
    rest = content
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        append(path, rest[:size])
        rest = rest[size:]
        follower.poll(data.draw(st.integers(1, 100)))
    assert follower.lines == lines
    assert follower.numbers == list(range(1, len(lines) + 1))
    assert [content[:end].count(b"\n") for end in follower.ends] == follower.numbers
    assert follower.restarts == 0


def test_torn_last_line_is_kept_for_the_next_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    follower = Follower(path)
    append(path, b'{"step":1}\n{"st')
    follower.poll()
    assert follower.lines == [b'{"step":1}']
    append(path, b'ep":2}\n')
    follower.poll()
    assert follower.lines == [b'{"step":1}', b'{"step":2}']


def test_missing_file_has_no_lines_and_is_read_when_it_comes(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "m.jsonl")
    follower.poll()
    append(tmp_path / "m.jsonl", b"a\n")
    follower.poll()
    assert follower.lines == [b"a"]


def test_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    append(path, b"a\nb")
    follower = Follower(path)
    follower.poll()
    assert follower.tail.poll() == Chunk()


@pytest.mark.parametrize(
    "other",
    [b"x\ny\n", b"x\n" * 3, b"x\n" * 4000, b"a\nb\nX\n"],
    ids=["shorter", "same size", "longer", "last line changed"],
)
def test_replaced_file_is_read_from_its_beginning(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "m.jsonl"
    append(path, b"a\nb\nc\n")
    follower = Follower(path)
    follower.poll()
    beside = tmp_path / "beside"
    beside.write_bytes(other)
    beside.replace(path)
    follower.poll()
    assert follower.restarts == 1
    assert follower.lines == other.splitlines()


def test_copy_with_another_inode_and_the_same_beginning_is_the_same_file(tmp_path: Path) -> None:
    """What rsync does without --inplace."""
    path = tmp_path / "m.jsonl"
    append(path, b"a\nb\n")
    follower = Follower(path)
    follower.poll()
    beside = tmp_path / "beside"
    beside.write_bytes(b"a\nb\nc\n")
    beside.replace(path)
    follower.poll()
    assert follower.lines == [b"a", b"b", b"c"]
    assert follower.restarts == 0


def test_change_far_behind_the_end_but_in_the_first_line_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    tail = b"z" * GUARD_BYTES + b"\n"
    append(path, b"first\n" + tail)
    follower = Follower(path)
    follower.poll()
    path.write_bytes(b"other\n" + tail + b"new\n")
    follower.poll()
    assert follower.restarts == 1
    assert follower.lines[0] == b"other"


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink", "loop", "socket", "dangling"])
def test_special_file_is_a_problem_not_a_hang(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.jsonl"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "symlink":
            (tmp_path / "target").write_bytes(b"secret\n")
            path.symlink_to(tmp_path / "target")
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "socket":
            monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes at most
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("m.jsonl")
    chunk = Tail(path).poll()
    assert chunk.lines == []
    assert chunk.problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    append(path, b"a\n")
    path.chmod(0)
    assert Tail(path).poll().problem == "permission denied"


def test_line_over_one_mebibyte_is_passed_over_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    follower = Follower(path)
    append(path, b"a\n" + b"x" * (3 * MAX_LINE_BYTES))
    follower.poll()
    append(path, b"x" * MAX_LINE_BYTES)
    follower.poll()
    append(path, b"xxx\nb\n")
    follower.poll()
    assert follower.lines == [b"a", b"b"]
    assert follower.numbers == [1, 3]
    assert follower.oversized == 1


def test_line_of_one_mebibyte_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    longest = b"x" * (MAX_LINE_BYTES - 1)
    append(path, longest + b"\n" + longest + b"\n")
    follower = Follower(path)
    follower.poll(1000)
    assert follower.lines == [longest, longest]
    assert follower.oversized == 0


def test_zeros_at_a_growing_end_are_read_again_and_become_rows(tmp_path: Path) -> None:
    """An NFS client sees the new size before the data."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n" + b"\0\0\0\nc\n")
    follower = Follower(path)
    follower.poll()
    assert follower.lines == [b"a"]
    path.write_bytes(b"a\nbbb\nc\n")
    follower.poll()
    assert follower.lines == [b"a", b"bbb", b"c"]


def test_zeros_that_stay_are_given_up_and_do_not_hide_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n\0\0\nc\n")
    follower = Follower(path)
    for _ in range(ZERO_RETRIES + 1):
        follower.poll()
    assert follower.lines == [b"a", b"\0\0", b"c"]


def test_zeros_in_a_file_at_rest_hold_nothing_back(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n\0\0\nc\n")
    os.utime(path, times=(time.time(), time.time() - AT_REST_S - 60))
    follower = Follower(path)
    follower.poll()
    assert follower.lines == [b"a", b"\0\0", b"c"]


def test_reader_that_looks_once_does_not_wait_for_zeros(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n\0\0\nc\n")
    follower = Follower(path, patient=False)
    follower.poll()
    assert follower.lines == [b"a", b"\0\0", b"c"]


@given(size=st.integers(0, 40))
def test_nothing_behind_the_limit_is_read(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "m.jsonl"
    path.write_bytes(b"0123\n" * 8)
    follower = Follower(path, limit=size)
    follower.poll(7)
    assert follower.lines == [b"0123"] * (size // 5)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=50), st.integers(1, 600))
def test_jump_returns_the_last_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, widths: list[int], back: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "m.jsonl"
    lines = [b"x" * width for width in widths]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    chunk = Tail(path).jump(back)
    count = len(chunk.lines)
    assert chunk.lines == lines[len(lines) - count :]
    shown = sum(len(line) + 1 for line in chunk.lines)
    longest_line = max(widths) + 1
    assert min(path.stat().st_size, back) - longest_line < shown <= max(back, longest_line)
    assert count >= 1


def test_jump_finds_a_last_line_that_is_longer(tmp_path: Path) -> None:
    """A row of some hundred metrics is longer than what a list reads of a file."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n" * 100 + b"x" * 50_000 + b"\n")
    tail = Tail(path)
    assert tail.jump(8192).lines == [b"x" * 50_000]
    append(path, b"b\n")
    assert tail.jump(8192).lines == [b"b"]


def test_jump_goes_on_where_it_was_when_little_came(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n" * 100)
    tail = Tail(path)
    assert tail.jump(10).lines == [b"a"] * 5
    append(path, b"b\nc")
    assert tail.jump(10).lines == [b"b"]
    append(path, b"\n")
    assert tail.jump(10).lines == [b"c"]


@pytest.fixture
def read_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of how many bytes each call was asked for."""
    pread, sizes = os.pread, list[int]()

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    return sizes


def test_jump_in_a_file_that_did_not_change_reads_nothing(
    tmp_path: Path, read_sizes: list[int]
) -> None:
    """The monitor glances at a run of another tool several times a second."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n" * 100)
    tail = Tail(path)
    tail.jump(10)
    read_sizes.clear()
    assert tail.jump(10) == Chunk()
    assert read_sizes == []
    append(path, b"b\n")
    assert tail.jump(10).lines == [b"b"]
    assert read_sizes != []


def test_reading_on_compares_what_was_read_and_reads_nothing_twice(
    tmp_path: Path, read_sizes: list[int]
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"a\n" * 10_000)
    tail = Tail(path)
    tail.poll()
    for new in (b"b\n", b"c\n" * 5000, b"d\n"):
        append(path, new)
        read_sizes.clear()
        assert b"\n".join(tail.poll().lines) == new[:-1]
        assert sum(read_sizes) == GUARD_BYTES + FIRST_BYTES + len(new)


def test_jump_in_a_file_that_was_written_anew_and_is_longer_begins_again(tmp_path: Path) -> None:
    """Some loggers write the whole table anew when a column is added."""
    path = tmp_path / "m.csv"
    path.write_bytes(b"step,loss\n1,2\n")
    tail = Tail(path)
    tail.poll()
    path.write_bytes(b"loss,new,step\n" + b"2,,1\n" * 100)
    chunk = tail.jump(10)
    assert chunk.restarted
    assert (chunk.line_number, chunk.lines[0], len(chunk.lines)) == (1, b"loss,new,step", 101)
