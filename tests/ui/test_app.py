"""The app through Textual's own pilot: what needs the inside, not a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.events import Paste

from tui.app import MonitorApp
from tui.entry import RunView
from tui.keymap import EVERYDAY, KEYS, by_view, everyday
from tui.renderables.text import Line
from tui.screens.main import MainScreen
from tui.screens.main_keys import MainKeys
from tui.views import NAMES
from tui.widgets.lines import LinesWidget
from tui.widgets.log_pane import LogPane
from tui.widgets.panes import ChartPane
from tui.widgets.run_list import RunList
from tui.widgets.samples_pane import SamplesPane
from tui.widgets.system_pane import SystemPane
from tui.widgets.view_panes import make_pane


def write_plain(root: Path, number: int, rows: int = 3) -> Path:
    """Write a run of plain JSON lines; a higher number is an older run."""
    path = root / f"20260101-00{59 - number // 60:02d}{59 - number % 60:02d}-run{number}-aaaaaa"
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"id": path.name, "name": f"run{number}"}))
    lines = [{"step": step, "train/loss": 1 / step, "lr": 0.1} for step in range(1, rows + 1)]
    (path / "metrics-0001.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@asynccontextmanager
async def monitor(root: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[MainScreen]:
    app = MonitorApp([root])
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, MainScreen)
        deadline = time.monotonic() + 20
        while not screen.is_read and time.monotonic() < deadline:
            await pilot.pause(0.05)
        screen.tick()
        await pilot.pause(0.1)
        screen.pilot = pilot  # type: ignore[attr-defined]
        yield screen


async def press(screen: MainScreen, *keys: str) -> None:
    pilot = screen.pilot  # type: ignore[attr-defined]
    await pilot.press(*keys)
    await pilot.pause()


def text_of(widget: LinesWidget) -> str:
    """Return what a widget shows."""
    return "\n".join(
        "".join(segment.text for segment in widget.render_line(y)).rstrip()
        for y in range(widget.size.height)
    )


def shown(screen: MainScreen) -> str:
    """Return what all widgets show."""
    return "\n".join(text_of(widget) for widget in screen.query(LinesWidget))


async def test_cursor_stays_on_its_run_when_another_one_starts(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_plain(tmp_path, number)
    async with monitor(tmp_path) as screen:
        await press(screen, "j")
        assert screen.selected is not None and "run2" in screen.selected.key
        screen.watcher.stop()  # the catalog is scanned by one thread
        write_plain(tmp_path, 0)
        screen.catalog.scan()
        screen.catalog.glance(screen.catalog.entries[0])
        screen.tick()
        assert "run2" in screen.selected.key
        assert "run0" in text_of(screen.query_one("#runs", RunList))


async def test_pane_shows_the_run_of_the_tool_that_a_folder_is_of_now(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.csv").write_text("epoch,step,loss\n0,1,0.125\n")
    async with monitor(tmp_path, (120, 30)) as screen:
        assert "source: csv" in shown(screen)
        (tmp_path / "a" / "hparams.yaml").write_text("lr: 0.25\n")
        deadline = time.monotonic() + 20
        while "lr=0.25" not in shown(screen) and time.monotonic() < deadline:
            await screen.pilot.pause(0.05)  # type: ignore[attr-defined]
        text = shown(screen)
        assert "source: lightning" in text
        assert "lr=0.25" in text


async def test_keys_move_through_a_list_longer_than_the_screen(tmp_path: Path) -> None:
    for number in range(100):
        write_plain(tmp_path, number, rows=1)
    async with monitor(tmp_path) as screen:
        runs = screen.query_one("#runs", RunList)
        await press(screen, "G")
        assert "run99" in text_of(runs)
        await press(screen, "g")
        assert "run0 " in text_of(runs)
        await press(screen, "pagedown")
        assert screen.selected is not None and "run0" not in screen.selected.key.split("-")


async def test_only_visible_runs_are_read_before_the_first_paint(tmp_path: Path) -> None:
    for number in range(60):
        write_plain(tmp_path, number, rows=1)
    app = MonitorApp([tmp_path])
    async with app.run_test(size=(80, 24)):
        app.watcher.stop()
        shown = text_of(app.screen.query_one("#runs", RunList)).splitlines()[1:]
    assert len(shown) >= 8
    assert all("1.0000" in row for row in shown)


async def test_error_in_a_pane_stays_in_that_pane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path, 1)

    def fail(self: ChartPane, view: RunView, width: int, height: int) -> list[Line]:
        raise ValueError("broken\x1b[31m")

    monkeypatch.setattr(ChartPane, "content", fail)
    async with monitor(tmp_path, size=(160, 45)) as screen:
        assert "pane error" in text_of(screen.query_one("#chart", ChartPane))
        assert r"ValueError: broken\x1b[31m" in text_of(screen.query_one("#chart", ChartPane))
        assert "last step" in text_of(screen.query_one("#progress", LinesWidget))


async def test_error_of_a_key_is_told_and_the_monitor_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path, 1)

    def fail(*_: object) -> bool:
        raise ValueError("broken\x1b[31m")

    monkeypatch.setattr(LogPane, "action_wrap", fail)
    monkeypatch.setattr(SamplesPane, "press", fail)
    monkeypatch.setattr(SystemPane, "show", fail)
    async with monitor(tmp_path) as screen:
        for keys in (("6", "w"), ("8", "t"), ("7",)):
            await press(screen, *keys)
            screen.tick()
            assert r"error: ValueError: broken\x1b[31m" in shown(screen)
        await press(screen, "1")
        assert "run1" in shown(screen)


async def test_metric_key_goes_round_all_metrics(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path, size=(160, 45)) as screen:
        chart = screen.query_one("#chart", ChartPane)
        selected = screen.selected
        assert selected is not None
        while screen.catalog.follow(selected):
            pass
        chart.redraw()
        assert "loss 1/2" in text_of(chart)
        await press(screen, "m")
        assert "lr 2/2" in text_of(chart)
        await press(screen, "m")
        assert "loss 1/2" in text_of(chart)


async def test_pause_holds_the_screen_and_reading_goes_on(tmp_path: Path) -> None:
    path = write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        runs = screen.query_one("#runs", RunList)
        await press(screen, "p")
        with (path / "metrics-0001.jsonl").open("a") as file:
            file.write('{"step":4,"train/loss":0.0625}\n')
        entry = screen.catalog.entries[0]
        screen.catalog.glance(entry)
        screen.tick()
        assert "0.0625" not in text_of(runs)
        assert "PAUSED" in text_of(screen.query_one("#header", LinesWidget))
        await press(screen, "p")
        assert "0.0625" in text_of(runs)


async def test_opened_run_has_the_screen_and_escape_gives_it_back(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "enter")
        assert not screen.query_one("#runs").display
        assert screen.query_one("#run").size.height == 21
        await press(screen, "escape")
        assert screen.query_one("#runs").display


async def test_tab_reaches_every_pane_and_the_list_in_a_wide_terminal(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path, size=(160, 45)) as screen:
        seen = []
        for _ in range(5):
            await press(screen, "tab")
            seen.append(screen.focused.id if screen.focused else None)
        assert seen == ["epochs", "events", "progress", "chart", "runs"]


async def test_filter_takes_letters_that_are_keys_elsewhere(tmp_path: Path) -> None:
    for number in (1, 2):
        write_plain(tmp_path, number)
    async with monitor(tmp_path) as screen:
        await press(screen, "slash", "q", "p", "backspace", "backspace", *"run2", "enter")
        assert [entry.ref.name.split("-")[2] for entry in screen.listing.runs] == ["run2"]
        assert not screen.paused
        await press(screen, "escape")
        assert len(screen.listing.runs) == 2


async def test_lines_are_pasted_as_words(tmp_path: Path) -> None:
    async with monitor(tmp_path) as screen:
        for key in ("slash", "colon"):
            await press(screen, key)
            top = screen.app.screen
            top.post_message(Paste("two\nwords\n"))
            await screen.pilot.pause()  # type: ignore[attr-defined]
            screen.tick()
            assert "two words▏" in "\n".join(text_of(w) for w in top.query(LinesWidget))
            await press(screen, "escape")


async def test_view_without_a_run_says_so(tmp_path: Path) -> None:
    async with monitor(tmp_path, size=(60, 15)) as screen:
        for view in "245678":
            await press(screen, view)
            text = shown(screen)
            assert "no run is chosen" in text
            assert "leaves all" in text  # the end of the sentence, in a narrow terminal too


async def test_what_ends_typing_is_told_in_the_words_of_the_pane(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        for keys, told in (
            (("slash",), "Enter keeps   Esc drops"),
            (("6", "slash"), "Enter searches   Esc drops"),
            (("5", "e"), "Enter writes   Esc drops"),
        ):
            await press(screen, *keys, *"two words")
            screen.tick()
            assert told in shown(screen)
            assert "two words" in shown(screen)
            await press(screen, "ctrl+w")
            screen.tick()
            assert "two▏" in shown(screen)
            await press(screen, "escape")


@pytest.mark.parametrize("size", [(60, 15), (80, 24)])
async def test_what_a_view_says_of_having_nothing_fits(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    write_plain(tmp_path, 1)
    write_plain(tmp_path, 2)
    async with monitor(tmp_path, size=size) as screen:
        ends = {
            "4": "it appears here",
            "5": "marks runs",
            "6": "command prints",
            "7": "every ten seconds",
            "8": "are shown too",
        }
        for view, end in ends.items():
            await press(screen, view)
            deadline = time.monotonic() + 20
            while end.split()[-1] not in shown(screen) and time.monotonic() < deadline:
                await screen.pilot.pause(0.05)  # type: ignore[attr-defined]
            assert end in " ".join(shown(screen).split())


def chosen(screen: MainScreen) -> str:
    """Return the key of the chosen run; empty where none is."""
    return "" if screen.selected is None else screen.selected.key


async def look_again(screen: MainScreen) -> None:
    """Scan, and draw what was found."""
    screen.catalog.scan()
    screen.tick()
    for _ in range(2):
        await screen.pilot.pause()  # type: ignore[attr-defined]


async def test_cursor_is_found_again_when_the_list_was_empty_or_the_root_away(
    tmp_path: Path,
) -> None:
    root = tmp_path / "runs"
    for number in range(1, 4):
        write_plain(root, number)
    async with monitor(root) as screen:
        await press(screen, "j", "slash", *"nothing", "escape")
        assert "run2" in chosen(screen)
        screen.watcher.stop()  # the catalog is scanned by one thread
        root.rename(tmp_path / "away")
        await look_again(screen)
        assert "run2" in chosen(screen)
        (tmp_path / "away").rename(root)
        await look_again(screen)
        assert "run2" in chosen(screen)


async def test_click_on_a_tab_shows_its_view(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        pilot = screen.pilot  # type: ignore[attr-defined]
        await pilot.click("#tabs", offset=(18, 0))
        await pilot.pause()
        assert screen.session.view == "charts"
        await pilot.click("#tabs", offset=(2, 0))
        await pilot.pause()
        assert screen.session.view == "runs"


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light", "nord"])
async def test_other_themes_can_be_drawn(tmp_path: Path, theme: str) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path, size=(160, 45)) as screen:
        screen.app.theme = theme
        await press(screen, "2", "j")
        assert "pane error" not in screen.app.export_screenshot()


def test_every_key_is_in_the_table_and_none_means_two_things() -> None:
    for view in ("", *NAMES):
        here = [key for key in KEYS if (view in key.views if view else not key.views)]
        names = [name for key in here for name in key.keys.split(",")]
        assert len(names) == len(set(names))
    tables = by_view()
    assert list(tables) == ["everywhere", *NAMES]
    for key in KEYS:
        assert all(f"| {key.does} |" in tables[view] for view in key.views or ("everywhere",))
    # Two lines above the keys: a name that no key has any more would make the table shorter.
    assert len(everyday().splitlines()) == 2 + len(EVERYDAY)


async def test_every_key_of_the_map_has_an_action(tmp_path: Path) -> None:
    async with monitor(tmp_path) as screen:
        for key in KEYS:
            name = key.action.partition("(")[0]
            of_list = hasattr(MainKeys, f"action_{name}") and key.views == ("runs",)
            views = () if of_list else key.views
            panes = [make_pane("chart" if view == "runs" else view) for view in views]
            for place in (*panes, *(() if panes else (screen,))):
                found = hasattr(place, f"action_{name}") or hasattr(screen.app, f"action_{name}")
                assert found, (name, place)


async def test_timers_that_outlive_the_list_do_nothing(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await screen.query_one("#runs").remove()
        screen.tick()
        screen.tick_slowly()
        assert screen.is_running and not screen.query("#runs")
