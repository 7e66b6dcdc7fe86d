"""The Charts view: keys and the mouse, through Textual's pilot and in a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.test_app import monitor, press, text_of
from tui.renderables.overlay import Settings
from tui.screens.main import MainScreen
from tui.session import Session
from tui.widgets.charts_pane import ChartsPane, chosen, keep
from tui.widgets.hints import HintLine
from tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor


def write_curves(root: Path, number: int, rows: int = 40) -> Path:
    """Write a run with some charts; a higher number is a newer run, and has larger losses."""
    path = root / f"20260101-0000{number:02d}-run{number}-aaaaaa"
    path.mkdir(parents=True)
    about = {"id": path.name, "name": f"run{number}", "params": {"lr": number / 10}}
    (path / "run.json").write_text(json.dumps(about))
    lines = [
        {
            "step": step,
            "train/loss": number + 1 / step,
            "val/loss": number + 2 / step,
            **{f"layer{k}/norm": float(k * step) for k in range(6)},
        }
        for step in range(1, rows + 1)
    ]
    (path / "metrics-0001.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def read_all(screen: MainScreen) -> ChartsPane:
    """Read the histories of all runs, and return the pane."""
    screen.watcher.stop()
    for entry in screen.catalog.entries:
        while screen.catalog.follow(entry):
            pass
    pane = screen.query_one("#charts", ChartsPane)
    pane.show(screen.scene_now())
    await press(screen)
    return pane


async def test_grid_shows_what_fits_and_enter_shows_one_alone(tmp_path: Path) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "3")
        pane = await read_all(screen)
        assert "loss 1 of 7" in text_of(pane)
        assert text_of(pane).count("step") == 5  # of four charts, and in the title
        await press(screen, "right", "j")
        assert "layer2/norm 4 of 7" in text_of(pane)
        await press(screen, "enter")
        assert text_of(pane).count("┤") > 6
        assert "layer1/norm" not in text_of(pane)
        await press(screen, "m")
        assert "layer3/norm 5 of 7" in text_of(pane)
        await press(screen, "escape")
        assert "layer1/norm" in text_of(pane) or "layer5/norm" in text_of(pane)
        assert screen.session.view == "charts"
        await press(screen, "escape")
        assert screen.session.view == "runs"


def test_charts_that_come_back_on_screen_are_of_what_was_marked_meanwhile(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    for number in (1, 2):
        write_curves(tmp_path, number)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("2 runs", "? help"))
    terminal.press("3")
    wait_until(terminal.shows("train 2.0250"))
    terminal.press("1")
    wait_until(terminal.shows("─ Progress"))
    terminal.press("A3")
    wait_until(terminal.shows("A run2", "B run1"))
    terminal.press("1")
    wait_until(terminal.shows("─ Progress"))
    terminal.press("Uj3")
    wait_until(terminal.shows("train 1.0250"))
    terminal.press("q")
    assert terminal.process.wait(30) == 0


async def test_enter_in_a_chart_alone_gives_it_the_whole_screen(tmp_path: Path) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path, (120, 30)) as screen:
        await press(screen, "3")
        pane = await read_all(screen)
        await press(screen, "enter", "enter")
        assert pane.size.width == 120
        await press(screen, "escape", "escape")
        assert pane.size.width < 120
        assert screen.session.view == "charts"


async def test_marked_runs_and_the_chosen_one_are_drawn_together(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_curves(tmp_path, number)
    async with monitor(tmp_path) as screen:
        await press(screen, "space")
        await press(screen, "space")
        await press(screen, "3")
        pane = await read_all(screen)
        await press(screen, "enter")
        text = text_of(pane)
        assert "A run3 3.0250" in text
        assert "B run2 2.0250" in text
        assert "▸● run1 1.0250" in text
        await press(screen, "left")
        assert "step 40   A 3.0250 ··3.0500   B 2.0250 ··2.0500" in text_of(pane)
        await press(screen, "escape")
        assert "step 40  " not in text_of(pane)
        assert pane.board.is_single


async def test_groups_have_a_letter_each_and_all_their_runs_count(tmp_path: Path) -> None:
    for number in range(15):
        path = write_curves(tmp_path, number)
        about = json.loads((path / "run.json").read_text())
        about |= {"name": "net", "params": {"lr": 1 + number // 5, "seed": number % 5}}
        (path / "run.json").write_text(json.dumps(about))
    async with monitor(tmp_path, (120, 30)) as screen:
        await press(screen, "A", "3")
        pane = await read_all(screen)
        assert "7 marked not drawn" in text_of(pane)
        assert "H net" in text_of(pane)
        await press(screen, "1", "t", "3")
        await read_all(screen)
        text = text_of(pane)
        assert "not drawn" not in text
        assert all(f"{letter} net ×5" in text for letter in "ABC"), text
        await press(screen, "enter")
        # The newest run has the letter A: of the losses 10 to 14 mean and deviation are known.
        assert "A net ×5 lr=3 12.03 ±1.5811" in text_of(pane)
        listed = [line[:3] for line in text_of(screen.runs_list).splitlines()[1:4]]
        assert listed == ["A▸ ", "B▸ ", "C▸ "]
        await press(screen, "5")
        assert "A net" not in text_of(screen.query_one("#compare", LinesWidget))


async def test_every_key_of_the_charts_does_what_the_title_says(tmp_path: Path) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path, (120, 30)) as screen:
        await press(screen, "3")
        pane = await read_all(screen)
        await press(screen, "enter")
        for keys, told in (
            (["x"], "loss log"),
            (["X"], "x: step (log)"),
            (["X", "right_square_bracket"], "smoothed 0.5"),
            (["left_square_bracket", "o"], "outliers shown"),
            (["plus", "plus"], "zoom ×2.78"),
            (["0", "t"], "x: epoch"),
            (["t"], "x: time since start"),
        ):
            await press(screen, *keys)
            assert told in text_of(pane), keys
        assert "smoothed" not in text_of(pane)
        assert "no times known" in text_of(pane)


def test_axes_and_smoothing_of_a_session_are_those_of_the_charts_and_back() -> None:
    session = Session(axis="epoch", log_x=True, log_y=["lr"], smoothing=0.9, robust=False)
    again = Session()
    keep(chosen(session), again)
    assert again == session
    assert chosen(Session(axis="moon", smoothing=0.33)) == Settings()


def test_charts_are_drawn_as_they_were_left(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_curves(tmp_path, 1)
    first = start_monitor(tmp_path)
    wait_until(first.shows("run1", "? help"))
    first.press("3")
    wait_until(first.shows("Charts · loss 1 of 7"))
    first.press("x]]Xo")
    told = ("x: step (log)", "smoothed 0.8", "outliers shown")
    wait_until(first.shows(*told))
    first.press("q")
    first.finish(30)
    again = start_monitor(tmp_path)
    wait_until(again.shows("Charts · loss 1 of 7", *told))
    again.press("q")
    again.finish(30)


async def test_metric_is_found_by_a_part_of_its_name(tmp_path: Path) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "3")
        pane = await read_all(screen)
        await press(screen, "slash", *"layer3")
        assert "layer3/norm 1 of 1" in text_of(pane)
        assert "layer3" in text_of(screen.query_one("#hints", HintLine))
        await press(screen, "enter", "x")
        assert "layer3/norm log" in text_of(pane)
        await press(screen, "escape")
        assert "layer3/norm 5 of 7" in text_of(pane)


@pytest.mark.parametrize("width", [60, 80])
async def test_last_line_names_the_key_that_ends_a_zoom_while_there_is_one(
    tmp_path: Path, width: int
) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path, (width, 24)) as screen:
        hints = screen.query_one("#hints", HintLine)
        await press(screen, "3")
        await read_all(screen)
        assert "+ zoom" in text_of(hints) and "no zoom" not in text_of(hints)
        await press(screen, "plus")
        assert "0 no zoom" in text_of(hints)
        await press(screen, "0")
        assert "no zoom" not in text_of(hints)


async def test_mouse_chooses_opens_points_and_zooms(tmp_path: Path) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        pilot = screen.pilot  # type: ignore[attr-defined]
        await press(screen, "3")
        pane = await read_all(screen)
        await pilot.click("#charts", offset=(60, 5))
        assert "layer0/norm 2 of 7" in text_of(pane)
        await pilot.click("#charts", offset=(60, 5))
        assert pane.board.is_single
        await pilot.click("#charts", offset=(40, 5))
        assert "step 1" in text_of(pane).splitlines()[-1]
        await pilot.mouse_down("#charts", offset=(30, 5))
        await pilot.mouse_up("#charts", offset=(50, 5))
        assert "zoom ×3" in text_of(pane)


async def test_cursor_in_the_grid_shows_the_values_of_all_charts_at_one_step(
    tmp_path: Path,
) -> None:
    write_curves(tmp_path, 1)
    newest = ("train 1.0250", "layer1/norm  40.00")
    async with monitor(tmp_path, size=(160, 45)) as screen:
        pilot = screen.pilot  # type: ignore[attr-defined]
        await press(screen, "3")
        pane = await read_all(screen)
        assert all(value in text_of(pane) for value in newest), text_of(pane)
        await press(screen, "H", "H", "H")
        assert "at step" in text_of(pane)
        assert not any(value in text_of(pane) for value in newest)
        await press(screen, "escape")
        assert all(value in text_of(pane) for value in newest)
        await pilot.mouse_down("#charts", offset=(60, 5), button=3)
        assert "at step" in text_of(pane) and not pane.board.is_single
        assert not any(value in text_of(pane) for value in newest)


async def test_right_button_ends_no_drag_whose_end_was_elsewhere(tmp_path: Path) -> None:
    write_curves(tmp_path, 1)
    async with monitor(tmp_path, size=(160, 45)) as screen:
        pilot = screen.pilot  # type: ignore[attr-defined]
        await press(screen, "3")
        pane = await read_all(screen)
        await pilot.mouse_down("#charts", offset=(40, 5))
        await pilot.mouse_up("#hints")
        await pilot.mouse_down("#charts", offset=(60, 5), button=3)
        await pilot.mouse_up("#charts", offset=(60, 5))
        assert "at step" in text_of(pane)
        assert "zoom ×" not in text_of(pane)


def test_what_is_typed_ahead_behind_a_key_that_opens_something_is_for_that(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    for number in (1, 2):
        write_curves(tmp_path, number)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("2 runs", "run1", "run2"))
    terminal.press("3")
    wait_until(terminal.shows("loss 1 of 7"))
    terminal.press("/xlayer2\x15layer3")  # each of these letters means something here
    assert wait_until(terminal.shows("layer3/norm 1 of 1", "only layer3"))
    terminal.press("\r\x1b")
    wait_until(terminal.shows("layer3/norm 5 of 7"))
    terminal.press("2")
    wait_until(terminal.shows("[Status]"))
    terminal.press("nquit\r")
    assert wait_until(terminal.shows("noted:", "Notes 1"))
    terminal.press("\x1b")
    wait_until(terminal.shows("STATUS"))
    terminal.press("olayer3")
    assert wait_until(terminal.shows("Space chooses", "find layer3"))


def test_charts_of_marked_runs_in_a_terminal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    for number in (1, 2):
        write_curves(tmp_path, number)
    terminal = start_monitor(tmp_path, columns=100, rows=30)
    wait_until(terminal.shows("2 runs", "run1", "run2"))
    terminal.press(" ")
    wait_until(terminal.shows("1 marked"))
    terminal.press("3")
    assert wait_until(terminal.shows("A run2", "▸● run1", "loss 1 of 7"))
    terminal.press("\r")
    assert wait_until(terminal.shows("A run2 2.0250", "▸● run1 1.0250"))
    terminal.press("\x1b[D")
    assert wait_until(terminal.shows("step 40   A 2.0250 ··2.0500   ● 1.0250 ··1.0500"))
    terminal.press("]++")
    assert wait_until(terminal.shows("smoothed 0.5", "zoom ×2.78"))
    terminal.press("\x1b")
    wait_until(lambda: not terminal.shows("step 40   A")())
    terminal.press("\x1b")
    assert wait_until(terminal.shows("layer0/norm"))
