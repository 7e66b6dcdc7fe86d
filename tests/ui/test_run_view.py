"""The view of one run, its notes and requests, driven by keys."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from runstore.runs.notes import read_notes
from tests.ui.test_app import monitor, press, shown, text_of, write_plain
from tui.screens.confirm import ConfirmScreen
from tui.screens.main import MainScreen
from tui.widgets.lines import LinesWidget
from tui.widgets.run_pane import RunPane

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor

TRAINING = """
import sys, time, runstore
with runstore.init(root=sys.argv[1], name="live") as run:
    for epoch in run.epochs(1000):
        for _ in run.train(range(20)):
            run.track(loss=1 / epoch, n=8)
            time.sleep(0.02)
        for _ in run.val(range(2)):
            run.track(loss=2 / epoch, n=8)
"""


def write_run(root: Path, epochs: int = 12, name: str = "digits") -> Path:
    with runstore.init({"lr": 0.01}, root=root, name=name) as run:
        for epoch in run.epochs(epochs):
            for _ in run.train(range(2)):
                run.track(loss=1 / epoch, n=8)
            for _ in run.val(range(2)):
                run.track(loss=2 / epoch, **{f"metric{n}": float(n) for n in range(9)}, n=8)
    return run.path


@pytest.fixture
def training(tmp_path: Path, wait_until: WaitUntil) -> Iterator[subprocess.Popen[bytes]]:
    """Start a training below `tmp_path/runs`."""
    root = tmp_path / "runs"
    process = subprocess.Popen([sys.executable, "-c", TRAINING, root], stderr=subprocess.DEVNULL)
    wait_until(lambda: list(root.glob("*/metrics-0001.jsonl")), 60, what="the training")
    yield process
    process.kill()
    process.wait()


async def until(screen: MainScreen, text: str, *, gone: bool = False) -> str:
    """Wait until the screen shows a text, or no longer does, and return all that it shows."""
    for _ in range(400):
        screen.tick()
        if (text in shown(screen)) != gone:
            break
        await screen.pilot.pause(0.05)  # type: ignore[attr-defined]
    assert (text in shown(screen)) != gone, shown(screen)
    return shown(screen)


def bells(output: bytearray) -> int:
    """Return how often the terminal was rung; other sequences end with that byte too."""
    return re.sub(rb"\x1b\][^\x07]*\x07", b"", output).count(b"\x07")


def pane_of(screen: MainScreen) -> str:
    return text_of(screen.query_one("#run", RunPane))


async def test_narrow_page_has_titles_that_a_key_goes_through(tmp_path: Path) -> None:
    write_run(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "2")
        await until(screen, "Epochs 12")
        assert "[Status]" in pane_of(screen)
        await press(screen, "s")
        assert "[Epochs 12]" in pane_of(screen)
        await press(screen, "s", "s", "s")
        assert "[Notes]" in pane_of(screen) and "n adds one" in pane_of(screen)
        await press(screen, "s")
        assert "[Status]" in pane_of(screen)
        await press(screen, "S")
        assert "[Notes]" in pane_of(screen)


async def test_head_of_the_epochs_stays_while_they_are_scrolled(tmp_path: Path) -> None:
    write_run(tmp_path, epochs=60)
    async with monitor(tmp_path) as screen:
        await press(screen, "2")
        await until(screen, "Epochs 60")
        await press(screen, "s", "pagedown")
        lines = pane_of(screen).splitlines()
        assert "[Epochs 60]" in lines[1]
        assert lines[2].split()[:3] == ["EPOCH", "TIME", "train/loss"]


async def test_columns_of_the_epochs_scroll_sideways_and_begin_anew_with_another_run(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, name="a")
    write_run(tmp_path, name="b")
    async with monitor(tmp_path) as screen:
        await press(screen, "2", "s")
        await until(screen, "EPOCH")
        assert "val/metric8" not in pane_of(screen)
        await press(screen, *["l"] * 30)
        assert "samples/s" in pane_of(screen) and "train/loss" not in pane_of(screen)
        await press(screen, "left")
        assert "samples/s" not in pane_of(screen)
        await press(screen, "J", "s")
        await until(screen, "train/loss")


async def test_wide_page_has_everything_at_once(tmp_path: Path) -> None:
    write_run(tmp_path)
    async with monitor(tmp_path, (160, 45)) as screen:
        await press(screen, "2")
        await until(screen, "Epochs 12")
        text = pane_of(screen)
        assert all(word in text for word in ("Attempts 1", "Warnings", "Notes", "EPOCH", "lr=0.01"))
        assert "─ end" not in text and "more" not in text


async def test_note_is_typed_saved_and_shown(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "2", "n", *"lr too high", "x", "backspace", "question_mark", "q")
        hints = text_of(screen.query_one("#hints", LinesWidget))
        assert "note: lr too high?q▏" in hints and "Esc drops" in hints
        await press(screen, "enter")
        await until(screen, "noted: notes/")
        assert [note.text for note in read_notes(path).notes] == ["lr too high?q"]
        await press(screen, "G")
        await until(screen, "lr too high?q")
        assert "Notes 1" in pane_of(screen)


async def test_section_that_a_key_went_to_stays_in_sight_while_it_grows(tmp_path: Path) -> None:
    write_run(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "2")
        await until(screen, "Epochs 12")
        await press(screen, "S")
        for word in ("one", "two", "three"):
            await press(screen, "n", *f"note {word}", "enter")
            await until(screen, f"  note {word}")
        assert "[Notes 3]" in pane_of(screen) and "  note one" in pane_of(screen)
        await press(screen, "pageup")
        assert "[Notes 3]" not in pane_of(screen)


async def test_note_is_begun_at_the_list_too_and_is_about_one_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        with runstore.init({"seed": seed}, root=tmp_path, name=f"s{seed}") as run:
            run.log({"train/loss": 1.0}, step=1)
    async with monitor(tmp_path) as screen:
        await press(screen, "t", "n")
        assert "a note is about one run" in shown(screen) and screen.session.view == "runs"
        await press(screen, "t", "t", "j", "n", *"quit", "enter")
        await until(screen, "noted: notes/")
        assert screen.session.view == "run"
        await press(screen, "escape", *"/zzz", "enter", "n")
        assert "no run is chosen" in shown(screen)
    first = next(tmp_path.glob("*-s0-*"))
    assert [note.text for note in read_notes(first).notes] == ["quit"]


async def test_note_that_is_dropped_or_empty_leaves_nothing(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "2", "n", *"oh no", "escape", "n", "enter", "n", "space", "enter")
        await press(screen, "n", *"oh", "ctrl+c")  # a reflex, which does not end the monitor here
        assert screen.session.view == "run"
        assert "note:" not in text_of(screen.query_one("#hints", LinesWidget))
    assert not (path / "notes").exists()


async def test_note_on_a_run_of_another_tool_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "metrics.csv").write_text("epoch,step,loss\n0,1,0.125\n")
    async with monitor(tmp_path) as screen:
        await press(screen, "2", "n", *"hello", "enter")
        await until(screen, "a run of csv; a note is kept only")
        assert "note: hello▏" in shown(screen)
        await press(screen, "escape")
        assert "hello▏" not in shown(screen)
    assert [file.name for file in path.iterdir()] == ["metrics.csv"]


async def test_words_that_cannot_be_written_stay_in_the_prompt_with_the_reason(
    tmp_path: Path,
) -> None:
    path = write_run(tmp_path)
    (path / "notes").symlink_to(tmp_path)
    async with monitor(tmp_path, (60, 15)) as screen:
        await press(screen, "2", "n", *"hello world", "enter")
        await until(screen, "not written: a symbolic")
        assert "note: hello world▏" in shown(screen)
        await press(screen, "exclamation_mark")
        assert "note: hello world!▏" in shown(screen)
        assert "Enter saves" in shown(screen)
        (path / "notes").unlink()
        await press(screen, "enter")
        await until(screen, "noted: notes/")
        assert [note.text for note in read_notes(path).notes] == ["hello world!"]
        assert "hello world!▏" not in shown(screen)


async def test_words_that_were_not_written_name_their_run_where_another_is_chosen(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, name="second")
    first = write_run(tmp_path, name="first")
    (first / "notes").write_text("in the way")
    async with monitor(tmp_path, (120, 30)) as screen:
        await press(screen, "2", "n", *"one", "enter")
        await until(screen, "note: one▏")
        await press(screen, "shift+tab", "down")
        await until(screen, "note on first: one▏")
        (first / "notes").unlink()
        await press(screen, "enter")
        await until(screen, "noted: notes/")
        assert [note.text for note in read_notes(first).notes] == ["one"]


async def test_note_of_somebody_else_appears_without_a_key(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    async with monitor(tmp_path, (160, 45)) as screen:
        await press(screen, "2")
        await until(screen, "n adds one")
        (path / "notes").mkdir()
        (path / "notes" / "x.json").write_text('{"time": 1.0, "text": "from\\u001b afar"}')
        await until(screen, r"from\x1b afar")


@pytest.mark.parametrize("key", ["E", "W"])
async def test_ended_run_and_run_of_another_tool_are_not_asked(tmp_path: Path, key: str) -> None:
    path = write_run(tmp_path)
    async with monitor(tmp_path, (160, 45)) as screen:
        await press(screen, key)
        assert screen.app.screen is screen
        await until(screen, "digits: it is finished: only a live run takes requests")
    assert list((path / "requests").iterdir()) == []
    shutil.rmtree(path)
    write_plain(tmp_path, 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "metrics.csv").write_text("epoch,step,loss\n0,1,0.125\n")
    async with monitor(tmp_path / "b", (160, 45)) as screen:
        await press(screen, key)
        await until(screen, "it is a run of csv")


async def test_live_run_is_asked_only_after_a_yes_and_stops(
    tmp_path: Path, training: subprocess.Popen[bytes]
) -> None:
    async with monitor(tmp_path / "runs", (160, 45)) as screen:
        await press(screen, "2")
        await until(screen, "▶ running")
        (path,) = (tmp_path / "runs").iterdir()
        for no in ("n", "escape", "q"):
            await press(screen, "E")
            asked = screen.app.screen
            assert isinstance(asked, ConfirmScreen)
            text = text_of(asked.query_one("#question", LinesWidget))
            assert "Ask this run to stop?" in text and "live" in text
            assert "writes a checkpoint and ends as interrupted" in text
            await press(screen, "enter", "j", no)
            assert screen.app.screen is screen
        assert list((path / "requests").iterdir()) == []
        await press(screen, "E", "y")
        await until(screen, "asked to stop")
        await until(screen, "stopped by a request")
        text = await until(screen, ": taken")
        assert "✓ asked to stop" in text
    assert training.wait(30) == 0
    assert list((path / "requests").iterdir()) == []


async def test_request_that_a_stopped_process_does_not_take_is_told_as_waiting(
    tmp_path: Path, training: subprocess.Popen[bytes]
) -> None:
    async with monitor(tmp_path / "runs", (160, 45)) as screen:
        await until(screen, "▶ running")
        training.send_signal(signal.SIGSTOP)
        await press(screen, "2", "W", "y")
        await until(screen, "ago, not taken yet")
        training.send_signal(signal.SIGCONT)
        await until(screen, "✓ asked for a checkpoint")
        assert training.poll() is None


async def test_bell_is_off_until_its_key_and_rings_for_what_ends_then(
    tmp_path: Path, training: subprocess.Popen[bytes]
) -> None:
    async with monitor(tmp_path / "runs", (160, 45)) as screen:
        before = screen.bell
        await until(screen, "▶ running")
        await press(screen, "B")
        assert (before, screen.bell) == (False, True)
        training.kill()
        header = await until(screen, "live crashed")
        assert "live crashed" in header.splitlines()[0]


def test_run_is_read_noted_and_stopped_in_a_real_terminal(
    tmp_path: Path,
    training: subprocess.Popen[bytes],
    start_monitor: StartMonitor,
    wait_until: WaitUntil,
) -> None:
    terminal = start_monitor(tmp_path / "runs")
    wait_until(terminal.shows("1 run ", "▶ running"), 30)
    terminal.press("2")
    wait_until(terminal.shows("[Status]", "Attempts 1", "train", "run"), 30)
    terminal.press("n")
    wait_until(terminal.shows("note:", "Esc drops"))
    terminal.press("stopped it: no progress\r")
    wait_until(terminal.shows("Notes 1"), 30)
    terminal.press("B")
    wait_until(terminal.shows("bell on"))
    rung = bells(terminal.output)
    terminal.press("E")
    wait_until(terminal.shows("Ask this run to stop?", "y yes"))
    terminal.press("y")
    wait_until(terminal.shows("■ interrupted", "asked to stop", "taken"), 30)
    wait_until(terminal.shows("live interrupted"), 30)
    assert bells(terminal.output) == rung + 1
    assert training.wait(30) == 0
    terminal.press("G")
    assert wait_until(terminal.shows("stopped it: no progress"))
