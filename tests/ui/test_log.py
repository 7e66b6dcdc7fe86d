"""The view Log: rows, moves, the pane."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from runstore.files.text_search import Needle
from runstore.state.attempt_facts import Attempt
from tests.ui.test_app import monitor, press, shown, write_plain
from tui.log_reading import LogReading, Shape
from tui.renderables.log import EventTexts, row_line, shown_text, text_rows
from tui.renderables.text import line_width, plain

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor
    from tui.screens.main import MainScreen

MIDNIGHT = 1_795_000_000.0


# ---- rows ---


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"\x1b[31;1mred\x1b[0m \x1b]0;title\x07x", "red x"),
        (b"  0%\r 50%\r100%", "100%"),
        (b"windows\r", "windows"),
        (b"caf\xe9 \xff", "caf� �"),
        ("日本".encode(), "日本"),
        (b"a\tb", "a       b"),
        (b"bell\x07 nul\x00 \xc2\x9b31m", r"bell\x07 nul\x00 "),
        ("a\u202eb".encode(), r"a\u202eb"),
        (b"", ""),
    ],
)
def test_line_is_shown_safe_and_as_a_terminal_would_leave_it(data: bytes, text: str) -> None:
    assert shown_text(data) == text


@pytest.mark.parametrize("text", ["", "short", "x" * 95, "日本語" * 20, "é" * 41])
@pytest.mark.parametrize("pan", [0, 7])
def test_no_row_is_wider_than_the_screen_and_wrapping_loses_nothing(text: str, pan: int) -> None:
    cut = text_rows(text, 20, wrap=False, pan=pan, needle=None)
    assert len(cut) == 1 and line_width(row_line(cut[0])) <= 20
    wrapped = text_rows(text, 20, wrap=True, pan=0, needle=None)
    assert "".join(row.text for row in wrapped) == text
    assert all(line_width(row_line(row)) <= 20 for row in wrapped)


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("slurmstepd: error: Detected 1 oom_kill event", "bad"),
        ("train.py: error: unrecognized arguments: --lrr", "bad"),
        ("ERROR 12", "bad"),
        ("torch.OutOfMemoryError: CUDA out of memory", "bad"),
        ("srun: warning: can't run 1 processes on 2 nodes", "warn"),
        ("UserWarning: lr_scheduler.step() before optimizer.step()", "warn"),
        ("epoch 3  error: 0.12", ""),
        ("error:  -1e-3", ""),
        ("val_error: 0.3  mean error .5", ""),
        ("no warning: 3", ""),
    ],
)
def test_line_that_names_an_error_or_a_warning_is_coloured(text: str, role: str) -> None:
    [row] = text_rows(text, 80, wrap=False, pan=0, needle=None)
    assert row.role == role


def test_cut_line_says_so_and_hits_are_marked_where_they_are() -> None:
    text = "abc " * 10 + "Needle" + " xyz" * 10
    [row] = text_rows(text, 30, wrap=False, pan=30, needle=Needle("needle"))
    assert row.text.startswith("…") and row.text.endswith("…")
    assert [row.text[a:b] for a, b in row.marks] == ["Needle"]
    wrapped = text_rows(text, 43, wrap=True, pan=0, needle=Needle("needle"))
    assert [row.text[a:b] for row in wrapped for a, b in row.marks] == ["Nee", "dle"]


def test_events_stand_in_the_order_of_their_attempts_with_dates_where_they_change() -> None:
    first, second = Attempt(1), Attempt(2)
    first.events.extend(
        [
            {"event": "open", "time": MIDNIGHT},
            {"event": "warning", "time": MIDNIGHT + 172_800, "message": "bad\x1b[2J"},
        ]
    )
    second.events.append({"event": "open", "time": MIDNIGHT + 5})
    texts = EventTexts()
    texts.take({1: first})
    assert len(texts.lines) == 3 and "───" in texts.lines[1].text
    assert r"bad\x1b[2J" in texts.lines[2].text
    texts.take({2: second, 1: first})
    kinds = [line.text.split()[2] for line in texts.lines if "───" not in line.text]
    numbers = [line.text.split()[1] for line in texts.lines if "───" not in line.text]
    assert (kinds, numbers) == (["open", "warning", "open"], ["1", "1", "2"])


@pytest.mark.timeout(60)
def test_line_with_very_many_hits_is_wrapped_in_no_time() -> None:
    text = "00 " * 40_000
    rows = text_rows(text, 10, wrap=True, pan=0, needle=Needle("0"))
    assert sum(len(row.marks) for row in rows) == 80_000


@pytest.mark.parametrize("time", [None, "now", [1], True, float("nan"), 1e300, -1e11, 10**400])
def test_event_with_any_time_has_a_line(time: object) -> None:
    attempt = Attempt(1)
    attempt.events.append({"event": "odd", "time": time, "list": [1], "off": False, "step": 0})
    texts = EventTexts()
    texts.take({1: attempt})
    [line] = texts.lines
    assert line.text.endswith("odd          step=0")


# ---- moves ---


def reading_of(run_dir: Path, height: int = 10, width: int = 40, wrap: bool = False) -> LogReading:
    reading = LogReading(run_dir)
    reading.reshape(Shape(width, height, wrap))
    settle(reading)
    return reading


def settle(reading: LogReading) -> list[str]:
    """Read until there is nothing more, and return what is on screen."""
    while reading.read():
        pass
    return [plain(row_line(row)) for row in reading.page.rows]


def write_lines(run_dir: Path, count: int) -> Path:
    path = run_dir / "output.log"
    path.write_text("".join(f"line {n}\n" for n in range(1, count + 1)))
    return path


def test_end_is_followed_until_scrolled_up_and_again_at_the_end(tmp_path: Path) -> None:
    path = write_lines(tmp_path, 100)
    reading = reading_of(tmp_path)
    assert settle(reading)[-1] == "line 100"
    reading.move(-1)
    assert settle(reading)[-1] == "line 99" and not reading.page.follows
    with path.open("a") as file:
        file.write("line 101\n")
    assert settle(reading)[-1] == "line 99"
    reading.move(1000)
    assert settle(reading)[-1] == "line 101" and not reading.page.follows
    reading.follow(True)
    with path.open("a") as file:
        file.write("line 102\n")
    assert settle(reading)[-1] == "line 102"
    assert (reading.page.number, reading.page.lines) == (93, 102)


def test_top_and_pages_are_reached_in_wrapped_lines(tmp_path: Path) -> None:
    (tmp_path / "output.log").write_text("".join(f"{n:04d}" * 25 + "\n" for n in range(50)))
    reading = reading_of(tmp_path, wrap=True)
    reading.go_to_top()
    assert settle(reading)[:3] == ["0000" * 10, "0000" * 10, "0000" * 5]
    reading.move(4)
    assert settle(reading)[0] == "0001" * 10
    reading.move(-3)
    assert settle(reading)[:2] == ["0000" * 10, "0000" * 5]
    reading.move(-100)
    assert settle(reading)[0] == "0000" * 10


def test_search_goes_from_hit_to_hit_and_brings_it_into_view(tmp_path: Path) -> None:
    lines = [f"line {n}" for n in range(1000)]
    lines[300], lines[700] = "x" * 200 + " Needle here", "a needle"
    (tmp_path / "output.log").write_text("\n".join(lines))
    reading = reading_of(tmp_path)
    reading.search("NEEDLE")
    assert "a needle" in settle(reading)  # the newest first: it has just gone by
    hits = reading.page.hits
    assert hits is not None and (hits.number, hits.count) == (2, 2)
    reading.next_hit(-1)
    assert any("Needle here" in row for row in settle(reading))  # far right in a line that is cut
    [found] = [row for row in reading.page.rows if row.is_found]
    assert [found.text[a:b] for a, b in found.marks] == ["Needle"]
    reading.next_hit(-1)
    assert any("a needle" in row for row in settle(reading))
    reading.search("no such words")
    settle(reading)
    assert reading.page.hits is not None and reading.page.hits.count == 0


def test_hit_in_a_wrapped_line_is_marked_in_its_row(tmp_path: Path) -> None:
    (tmp_path / "output.log").write_text(
        "begin\n" + "日本" * 200 + "needle" + "." * 2000 + "\nend\n"
    )
    reading = reading_of(tmp_path, wrap=True)
    reading.search("needle")
    settle(reading)
    [found] = [row for row in reading.page.rows if row.is_found]
    assert "needle" in found.text


def test_search_goes_on_in_another_run_without_a_jump(tmp_path: Path) -> None:
    write_lines(tmp_path, 100)
    reading = reading_of(tmp_path)
    reading.search("line 5", stay=True)
    assert settle(reading)[-1].strip() == "line 100" and reading.page.follows
    assert reading.page.hits is not None and reading.page.hits.count == 11
    reading.next_hit(-1)
    assert any("line 59" in row for row in settle(reading))


def test_truncated_and_vanished_output_leaves_a_page_that_can_be_drawn(tmp_path: Path) -> None:
    path = write_lines(tmp_path, 1000)
    reading = reading_of(tmp_path)
    reading.move(-100)
    settle(reading)
    path.write_text("new\n")
    assert settle(reading) == ["new"]
    path.unlink()
    assert settle(reading) == [] and not reading.page.is_there


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_output_without_permission_says_so(tmp_path: Path) -> None:
    write_lines(tmp_path, 3).chmod(0)
    reading = reading_of(tmp_path)
    assert "permission denied" in reading.page.problem


# ---- the pane ---


async def until_shown(screen: MainScreen, *texts: str) -> str:
    """Wait until all texts are on screen: the pane reads in a thread beside."""
    for _ in range(400):
        screen.tick()
        await screen.pilot.pause(0.02)  # type: ignore[attr-defined]
        if all(text in shown(screen) for text in texts):
            break
    text = shown(screen)
    assert all(wanted in text for wanted in texts), text
    return text


async def test_view_shows_events_and_output_apart_and_o_changes_that(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    (run / "events-0001.jsonl").write_text(json.dumps({"event": "open", "time": 1.79e9}) + "\n")
    write_lines(run, 100)
    async with monitor(tmp_path) as screen:
        await press(screen, "6")
        await until_shown(screen, "open", "line 100", "following", "100 lines")
        await press(screen, "o")
        text = await until_shown(screen, "Log · output ·")
        assert " open" not in text
        await press(screen, "o")
        text = await until_shown(screen, "Log · events", " open")
        assert "line 100" not in text


async def test_typed_search_keeps_letters_that_are_keys(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    (run / "output.log").write_text("".join(f"row {n}\n" for n in range(500)) + "goof\n" * 3)
    async with monitor(tmp_path) as screen:
        await press(screen, "6")
        await until_shown(screen, "goof")
        await press(screen, "slash", *"row 12", "enter")
        await until_shown(screen, "▸ row 129", "hit 11 of 11 'row 12'")
        await press(screen, "N")
        await until_shown(screen, "▸ row 128")
        await press(screen, "escape")
        text = await until_shown(screen, "row 128")
        assert "▸" not in text and screen.session.view == "log"
        await press(screen, "G")
        await until_shown(screen, "following", "goof")


async def test_without_output_the_pane_says_what_would_keep_it(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    (run / "events-0001.jsonl").write_text(json.dumps({"event": "open", "time": 1.79e9}) + "\n")
    async with monitor(tmp_path, size=(60, 15)) as screen:
        await press(screen, "6")
        await until_shown(screen, "runstore exec", " open")


async def test_file_that_a_script_prints_into_is_named(tmp_path: Path) -> None:
    for number, files in ((1, {"stdout": "/jobs/1.out"}), (2, {})):
        opened = {"event": "open", "time": 1.79e9, **files}
        run = write_plain(tmp_path, number)
        (run / "events-0001.jsonl").write_text(json.dumps(opened) + "\n")
    async with monitor(tmp_path, size=(80, 24)) as screen:
        await press(screen, "6")
        await until_shown(screen, "no output.log: it prints into /jobs/1.out")
        await press(screen, "J")
        await until_shown(screen, "no output.log: `runstore exec")


async def test_output_that_is_empty_is_not_said_to_be_missing(tmp_path: Path) -> None:
    run = write_plain(tmp_path, 1)
    async with monitor(tmp_path, size=(60, 15)) as screen:
        await press(screen, "6")
        await until_shown(screen, "no output.log")
        (run / "output.log").touch()
        await until_shown(screen, "output.log is empty: nothing was printed")
        (run / "output.log").write_text("hello\n")
        await until_shown(screen, "hello", "1 line")


def test_output_grows_on_screen_and_is_searched_in_a_terminal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    with runstore.init(root=tmp_path, name="loud") as run:
        run.log({"loss": 1.0}, step=1)
    output = run.path / "output.log"
    output.write_bytes(b"".join(b"\x1b]0;owned\x07line %d\n" % n for n in range(1, 2001)))
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("✓ finished", "? help"))
    terminal.press("6")
    assert wait_until(terminal.shows("line 2000", "following", "2,000 lines"))
    with output.open("a") as file:
        file.write("line 2001\n")
    assert wait_until(terminal.shows("line 2001"))
    terminal.press("g")
    assert wait_until(terminal.shows("line 1–", "of 2,001"))
    terminal.press("/LINE 150\r")
    assert wait_until(terminal.shows("▸ line 150", "hit 1 of 11"))
    terminal.press("n")
    assert wait_until(terminal.shows("▸ line 1500", "hit 2 of 11"))
    terminal.press("G")
    assert wait_until(terminal.shows("line 2001", "following"))
    assert b"\x1b]0;" not in terminal.output


@pytest.mark.parametrize("view", ["6", "7"])
async def test_run_that_is_removed_while_shown_gives_way_to_the_next(
    tmp_path: Path, view: str
) -> None:
    run, other = write_plain(tmp_path, 1), write_plain(tmp_path, 2)
    write_lines(run, 10)
    (other / "output.log").write_text("of the other\n")
    for path in (run, other):
        (path / "system-0001.jsonl").write_text('{"time":1.79e9,"cpu/percent":37.0}\n')
    async with monitor(tmp_path) as screen:
        await press(screen, view)
        await until_shown(screen, "line 10" if view == "6" else "cpu 37 %")
        shutil.rmtree(run)
        screen.watcher.rescan()
        await until_shown(screen, "1 run ", "of the other" if view == "6" else "cpu 37 %")
