"""Files that shrink, vanish, come back or are replaced: no row is missed and none comes twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.files.tail import Tail
from runstore.sources.native import NativeReader
from tests.unit.state.test_state import observable, settle

NAMES = ("events-0001.jsonl", "metrics-0001.jsonl", "epochs-0001.jsonl", "metrics-0002.jsonl")
OPERATIONS = (
    "append",
    "append",
    "tear",
    "truncate",
    "replace",
    "rewrite",
    "copy",
    "delete",
    "hole",
)


class Growing:
    """A file to which everything happens that happens to files; each row is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.serial = 0

    def rows(self, count: int) -> bytes:
        return b"".join(self.row() for _ in range(count))

    def row(self) -> bytes:
        self.serial += 1
        row: dict[str, Any] = {"step": self.serial, "epoch": self.serial, "time": self.serial}
        if self.path.name.startswith("events"):
            row = {"event": "note", "time": self.serial, "message": f"m{self.serial}"}
        return json.dumps(row | {"a": self.serial / 7}).encode() + b"\n"

    def content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def put(self, data: bytes) -> None:
        """Put another file in its place, as rsync does."""
        beside = self.path.with_name(".beside")
        beside.write_bytes(data)
        beside.replace(self.path)

    def do(self, operation: str, number: int) -> None:
        before = self.content()
        match operation:
            case "append":
                with self.path.open("ab") as file:
                    file.write(self.rows(number % 5))
            case "tear":
                with self.path.open("ab") as file:
                    file.write(self.row()[: number % 20])
            case "truncate" if before:
                with self.path.open("r+b") as file:
                    file.truncate(number % (len(before) + 1))
            case "replace":
                self.put(self.rows(number % 9))
            case "rewrite":
                self.path.write_bytes(self.rows(number % 9))
            case "copy":
                self.put(before + self.rows(number % 3))
            case "delete":
                self.path.unlink(missing_ok=True)
            case "hole" if before:
                # An NFS client sees the size first, then the data.
                with self.path.open("ab") as file:
                    file.truncate(len(before) + number % 300)
                self.path.write_bytes(before + self.rows(3))


STEPS = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 4000), st.booleans()), max_size=25
)


def lines_of(path: Path) -> list[bytes]:
    tail, lines, more = Tail(path, patient=False), [], True
    while more:
        chunk = tail.poll()
        lines += chunk.lines
        more = chunk.more
    return lines


@settings(max_examples=300)
@given(steps=STEPS, budget=st.integers(1, 400))
def test_tail_ends_with_the_lines_of_the_file_whatever_happened_to_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]], budget: int
) -> None:
    file = Growing(tmp_path_factory.mktemp("tail") / "metrics-0001.jsonl")
    tail = Tail(file.path, patient=False)
    seen: list[bytes] = []

    def poll() -> None:
        nonlocal seen
        more = True
        while more:
            chunk = tail.poll(budget)
            seen = ([] if chunk.restarted else seen) + chunk.lines
            more = chunk.more

    for operation, number, looks in steps:
        file.do(operation, number)
        if looks and file.path.exists():
            poll()
    if not file.path.exists():
        file.do("append", 1)
    poll()
    assert seen == lines_of(file.path)


@settings(max_examples=150)
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), STEPS), max_size=6), data=st.data())
def test_reader_ends_where_a_fresh_one_does_whatever_happened_to_the_files(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, list[tuple[str, int, bool]]]],
    data: st.DataObject,
) -> None:
    run = tmp_path_factory.mktemp("run")
    files = {name: Growing(run / name) for name in NAMES}
    follower = NativeReader(run, patient=False)
    for name, operations in steps:
        for operation, number, looks in operations:
            files[name].do(operation, number)
            if looks:
                glances = data.draw(st.booleans())
                _ = follower.glance() if glances else follower.poll(number + 1)
    settle(follower, 200)
    fresh = NativeReader(run, patient=False)
    settle(fresh)
    seen, expected = observable(follower.state), observable(fresh.state)
    assert {key: value for key, value in seen.items() if value != expected[key]} == {}


@pytest.mark.parametrize("patient", [True, False])
def test_zeros_of_more_than_a_line_become_rows_when_the_data_comes(
    tmp_path: Path, patient: bool
) -> None:
    """A reader on NFS may see megabytes of them before the writer's data."""
    file = Growing(tmp_path / "metrics-0001.jsonl")
    first, rest = file.rows(3), file.rows(40_000)
    file.path.write_bytes(first + b"\0" * len(rest))
    tail = Tail(file.path, patient=patient)
    assert tail.poll().lines == first.splitlines()
    for _ in range(3):
        tail.poll()
    file.path.write_bytes(first + rest)
    lines: list[bytes] = []
    more = True
    while more:
        chunk = tail.poll()
        lines += chunk.lines
        more = chunk.more
    if patient:
        assert lines == rest.splitlines()
