"""Lines of a run's files as they are: the newest, the damaged, and those of a step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from runstore.files.records import BadLine
from tui.raw_lines import MOST_BYTES, RawReading, lines_of_step, newest

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor


def write_rows(file: Path, steps: range, **values: float) -> None:
    rows = (json.dumps({"step": step, "train/loss": 1 / step, **values}) for step in steps)
    file.write_text("".join(f"{row}\n" for row in rows))


def read(path: Path, bad: tuple[BadLine, ...] = (), step: float | None = None) -> RawReading:
    reading = RawReading(path, bad, step)
    assert not reading.read()
    return reading


def places(reading: RawReading) -> list[str]:
    assert reading.lines is not None
    return [line.place for line in reading.lines]


def test_newest_lines_come_first_and_a_torn_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "metrics-0001.jsonl"
    file.write_bytes(b'{"step":1}\n{"step":2}\n\xff\x1b[2J\n{"ste')
    torn, last, before, first = newest(file)
    assert (torn.text, torn.problem) == ('{"ste', "not whole")
    assert last.place == "metrics-0001.jsonl  last line"
    assert last.text == "\\xff\x1b[2J"
    assert [before.text, first.text] == ['{"step":2}', '{"step":1}']


def test_directory_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    """Also one without permission; root, as whom tests may run, has it for all."""
    (line,) = read(tmp_path / "gone").lines or []
    assert (line.place, line.problem) == ("gone", "No such file or directory")


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_file_without_a_line_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "metrics-0001.jsonl"
    file.write_bytes(content)
    assert [line.text for line in newest(file) if line.text] == []


def test_long_line_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "reports-0001.jsonl"
    file.write_bytes(b"x" * (10 * MOST_BYTES) + b"\n")
    (line,) = newest(file)
    assert "…" in line.text and len(line.text) < 2 * MOST_BYTES


def test_what_is_no_regular_file_is_told_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics-0001.jsonl")
    reading = read(tmp_path)
    assert reading.lines is not None
    assert [line.problem for line in reading.lines] == ["not a regular file"]


@pytest.mark.parametrize("step", [1, 2, 777, 19_999, 20_000])
def test_step_is_found_in_a_long_file(tmp_path: Path, step: int) -> None:
    file = tmp_path / "metrics-0001.jsonl"
    write_rows(file, range(1, 20_001), lr=0.1)
    (found,) = lines_of_step(file, step)
    assert json.loads(found)["step"] == step


def test_step_between_two_rows_is_that_of_the_next_and_behind_the_last_the_last(
    tmp_path: Path,
) -> None:
    file = tmp_path / "metrics-0001.jsonl"
    write_rows(file, range(10, 20_000, 10))
    assert [json.loads(line)["step"] for line in lines_of_step(file, 15_001)] == [15_010]
    assert [json.loads(line)["step"] for line in lines_of_step(file, 10**9)] == [19_990]
    assert lines_of_step(file, 9) == []


def test_rows_of_a_step_are_those_of_the_newest_attempt_that_has_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "metrics-0001.jsonl", range(1, 100), lr=1)
    write_rows(tmp_path / "metrics-0002.jsonl", range(50, 150), lr=2)
    assert places(read(tmp_path, step=60))[0] == "metrics-0002.jsonl  at step 60"
    assert places(read(tmp_path, step=40))[0] == "metrics-0001.jsonl  at step 40"


def test_damaged_lines_are_first_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "metrics-0001.jsonl").write_bytes(b'{"step":1}\noops\n{"step":2}\n')
    bad = BadLine("metrics-0001.jsonl", 2, 11, "not JSON")
    gone = BadLine("metrics-0007.jsonl", 1, 0, "not JSON")
    lines = read(tmp_path, (bad, gone)).lines
    assert lines is not None
    assert (lines[0].place, lines[0].text, lines[0].problem) == (
        "metrics-0001.jsonl:2, byte 11",
        "oops",
        "not JSON",
    )
    assert lines[1].problem == "not JSON; No such file or directory"


def test_i_shows_damaged_lines_and_a_typed_step_in_a_terminal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    with runstore.init(root=tmp_path, name="live", resume="never") as run:
        for step in range(1, 3001):
            run.log({"train/loss": step / 7}, step=step)
        with (run.path / "metrics-0001.jsonl").open("ab") as file:
            file.write(b"\x1b]0;title\x07 damaged\n")
        terminal = start_monitor(tmp_path)
        wait_until(terminal.shows("▶ running", "? help"))
        terminal.press("2")
        wait_until(terminal.shows("1 bad line"))
        terminal.press("i")
        wait_until(terminal.shows("Lines of live", "\\x1b]0;title\\x07 damaged", "not JSON"))
        terminal.press("1200")
        wait_until(terminal.shows("at step 1,200", '{"step":1200'))
        terminal.press("\x15")
        run.log({"train/loss": 99.0}, step=3001)
        wait_until(terminal.shows('{"step":3001'))
        terminal.press("\x1b")
        wait_until(lambda: not terminal.shows("Lines of live")())
        terminal.press("q")
        assert terminal.process.wait(30) == 0
