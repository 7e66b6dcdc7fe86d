"""The view of all runs: order, columns, groups, marks and the filter, by their keys."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runstore.sources import NATIVE, RunRef
from runstore.state.run_state import RunState
from tests.ui.test_app import monitor, press, shown, text_of
from tests.ui.test_listing import log, write
from tui.entry import Entry
from tui.renderables import run_columns, run_table
from tui.renderables.facts import facts_of
from tui.renderables.text import plain
from tui.screens.columns import ColumnChoice
from tui.screens.main import MainScreen
from tui.widgets.header import HeaderLine
from tui.widgets.hints import HintLine
from tui.widgets.run_list import RunList
from tui.widgets.tabs import TabLine

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor


def sweep(root: Path) -> None:
    """Write two runs each of two learning rates, and one that failed; `run5` is the newest."""
    for number, (lr, loss) in enumerate([(0.1, 0.4), (0.1, 0.6), (0.2, 0.1), (0.2, 0.3)], 1):
        params = {"lr": lr, "seed": number, "opt": "adamw"}
        write(root, number, params, val__loss=loss, val__accuracy=1 - loss)
    write(root, 5, {"lr": 9}, status="failed", val__loss=float("nan"))


def rows(screen: MainScreen) -> list[str]:
    """Return what the list shows below its titles, blank lines left out."""
    return [row for row in text_of(screen.query_one(RunList)).splitlines()[1:] if row.strip()]


def names(screen: MainScreen) -> list[str]:
    return [word for row in rows(screen) for word in row.split() if word.startswith("run")]


def title(screen: MainScreen) -> str:
    return text_of(screen.query_one(RunList)).splitlines()[0]


async def until(screen: MainScreen, condition: Callable[[], bool]) -> bool:
    """Let the screen go on until something is so."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        await screen.pilot.pause(0.05)  # type: ignore[attr-defined]
        screen.tick()
    return condition()


async def test_s_sorts_by_the_next_column_and_S_from_the_other_end(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        assert names(screen) == ["run5", "run4", "run3", "run2", "run1"]
        await press(screen, "s", "s")
        assert "RUN▲" in title(screen)
        assert names(screen) == ["run1", "run2", "run3", "run4", "run5"]
        await press(screen, "S")
        assert "RUN▼" in title(screen)
        assert names(screen) == ["run5", "run4", "run3", "run2", "run1"]
        for _ in range(20):
            await press(screen, "s")
            if screen.session.sort == "val/loss":
                break
        assert "val/loss▲" in title(screen)
        assert names(screen) == ["run3", "run4", "run1", "run2", "run5"]


async def test_click_on_a_title_sorts_by_it_then_the_other_way_then_not(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        x = title(screen).index("val/loss")
        arrows = []
        for _ in range(3):
            await screen.pilot.click("#runs", offset=(x, 0))  # type: ignore[attr-defined]
            await press(screen)
            arrows.append("".join(char for char in title(screen) if char in "▲▼"))
        assert arrows == ["▲", "▼", ""]
        assert names(screen) == ["run5", "run4", "run3", "run2", "run1"]


async def test_cursor_keeps_its_run_when_live_values_change_the_order(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        screen.session.sort = "val/loss"
        screen.list_again()
        await press(screen, "g")
        assert screen.selected is not None
        assert screen.selected.name == "run3"
        log(Path(screen.selected.key), val__loss=0.5)
        screen.catalog.glance(screen.selected)
        assert await until(screen, lambda: names(screen)[2] == "run3")
        assert names(screen) == ["run4", "run1", "run3", "run2", "run5"]
        assert screen.selected.name == "run3"
        assert screen.runs_list.chosen is screen.selected


async def test_other_order_at_the_top_of_the_list_shows_its_first_run(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        await press(screen, "s", "s")
        assert screen.selected is not None
        assert screen.selected.name == "run1"


async def test_order_by_a_column_that_is_not_shown_is_told_in_the_hint_line(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        hints = screen.query_one(HintLine)
        await press(screen, "S")
        assert "oldest first" in text_of(hints)
        screen.session.sort = "params.lr"
        screen.list_again()
        await press(screen)
        assert "sort: lr ▼" in text_of(hints)


async def test_filter_on_a_metric_follows_its_value(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        await press(screen, "slash", *"val/loss<0.2", "enter")
        assert names(screen) == ["run3"]
        entry = next(e for e in screen.catalog.entries if e.name == "run1")
        log(Path(entry.key), val__loss=0.05)
        screen.catalog.glance(entry)
        assert await until(screen, lambda: names(screen) == ["run3", "run1"])
        assert "2 of 5 runs  ✓ 2 finished" in shown(screen)


async def test_hint_line_tells_what_the_filter_lacks_and_what_tab_offers(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (100, 24)) as screen:
        hints = screen.query_one(HintLine)
        await press(screen, "slash", *"opt=adamw lr>")
        assert "a value is missing after lr>" in text_of(hints)
        assert len(names(screen)) == 4
        await press(screen, *"=1e-1 val/", "tab")
        assert "val/loss  val/accuracy" in text_of(hints)
        await press(screen, *"a", "tab", *">0.8", "enter")
        assert names(screen) == ["run3"]
        assert "filter: opt=adamw lr>=1e-1 val/accuracy>0.8" in text_of(hints)
        assert screen.session.filter == "opt=adamw lr>=1e-1 val/accuracy>0.8"


async def test_e_lists_errors_alone_and_escape_all_again(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "e")
        assert names(screen) == ["run5"]
        await press(screen, "slash", *"nowhere", "enter")
        assert "no run failed, crashed or has a NaN and matches 'nowhere'" in shown(screen)
        await press(screen, "escape")
        assert len(names(screen)) == 5


async def test_marks_of_a_range_of_all_and_of_none(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "j", "space", "j", "v")
        assert [row[:1] for row in rows(screen)] == [" ", "A", "B", "C", " "]
        await press(screen, "U", "slash", *"opt=adamw", "enter", "A")
        assert [row[:1] for row in rows(screen)] == ["A", "B", "C", "D"]
        await press(screen, "U", "g", "v")
        assert [row[:1] for row in rows(screen)] == ["A", " ", " ", " "]


async def test_t_puts_runs_with_other_seeds_into_one_row(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (120, 24)) as screen:
        await press(screen, "t")
        failed, better, worse = rows(screen)
        assert "failed" in failed
        assert "▸ n=2 ✓2" in better
        assert "0.2000±0.1414" in better
        assert "lr=0.1" in worse
        assert "0.5000±0.1414" in worse
        await press(screen, "j", "enter")
        assert names(screen)[1:4] == ["run", "run4", "run3"]
        assert "run4 seed=4" in rows(screen)[2]
        await press(screen, "space")
        assert [row[:1] for row in rows(screen)] == [
            " ",
            "A",
            "A",
            "A",
            " ",
        ]  # one line of the charts
        await press(screen, "k", "space")
        assert not screen.session.marks
        await press(screen, "k", "enter")
        assert len(rows(screen)) == 3
        await press(screen, "t", "t")
        assert len(rows(screen)) == 5


async def test_cursor_in_a_group_goes_to_its_row_when_runs_are_grouped(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "G", "t")
        assert screen.runs_list.chosen_row is screen.listing.rows[2]
        await press(screen, "t", "t")
        assert screen.runs_list.chosen_row in screen.listing.rows[3:]


async def test_t_again_puts_the_runs_of_a_folder_into_one_row(tmp_path: Path) -> None:
    write(tmp_path, 1)
    sweep(tmp_path / "sweeps" / "lr")
    async with monitor(tmp_path, (100, 24)) as screen:
        await press(screen, "t", "t")
        assert any("n=5 ✗1✓4" in row and "sweeps/lr/" in row for row in rows(screen))
        assert len(rows(screen)) == 2
        await press(screen, "enter")
        opened = rows(screen)
        assert "▾ n=5" in opened[0] and len(opened) == 7
        assert opened[1].index("run") == opened[0].index("sweeps") + run_columns.INDENT


def test_list_that_is_not_on_screen_yet_does_not_say_which_rows_are() -> None:
    runs = RunList()
    runs.rows = [Entry(RunRef(f"root/run{number}", NATIVE)) for number in range(100)]
    assert runs.place == ""


async def test_t_says_what_a_row_stands_for_and_why_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, 1, {"lr": 1})
    write(tmp_path, 2, {"lr": 2})
    async with monitor(tmp_path, (120, 24)) as screen:
        await press(screen, "t")
        assert "no two runs differ in their seed alone" in text_of(screen.query_one(HintLine))
        await press(screen, "t")
        assert "all runs lie in the root" in text_of(screen.query_one(HintLine))
        assert len(rows(screen)) == 2
        await press(screen, "t")
        assert "no groups" in text_of(screen.query_one(HintLine))


async def test_run_that_is_gone_to_by_name_is_shown_in_its_folder(tmp_path: Path) -> None:
    write(tmp_path, 1)
    deep = write(tmp_path / "sweeps" / "lr", 2)
    async with monitor(tmp_path, (100, 24)) as screen:
        await press(screen, "t", "t")
        assert not any("run2" in row for row in rows(screen))
        screen.go_to_run(str(deep))
        assert screen.runs_list.chosen is not None
        assert screen.runs_list.chosen.key == str(deep)
        assert "run2" in rows(screen)[1]


async def test_columns_are_chosen_by_typing_a_part_of_their_names(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        await press(screen, "o", *"acc", "space", "ctrl+u", *".lr", "space")
        choice = screen.app.screen.query_one(ColumnChoice)
        assert "2 params.lr" in text_of(choice)
        await press(screen, "enter")
        assert screen.session.columns == ["val/accuracy", "params.lr"]
        assert title(screen).rstrip("→").split()[-2:] == ["val/accuracy", "lr"]
        assert rows(screen)[1].split()[-2:] == ["0.7000", "0.2"]
        await press(screen, "o", "down", "space", "escape")
        assert screen.session.columns == ["val/accuracy", "params.lr"]
        await press(screen, "o", "space", "enter")
        assert screen.session.columns == []


async def test_columns_that_do_not_fit_are_reached_sideways(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    log(path, **{f"metric{number}": float(number) for number in range(10, 30)})
    async with monitor(tmp_path) as screen:
        assert "metric29" not in title(screen)
        assert title(screen).endswith("→")
        for _ in range(40):
            await press(screen, "l")
        assert "metric29" in title(screen)
        assert "29.00" in rows(screen)[0]
        assert "run1" in rows(screen)[0]
        for _ in range(40):
            await press(screen, "h")
        assert "EPOCH" in title(screen)


async def test_list_beside_a_view_shows_mark_glyph_name_and_what_is_sorted_by(
    tmp_path: Path,
) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path, (110, 24)) as screen:
        screen.session.sort = "val/accuracy"
        await press(screen, "space", "3")
        screen.list_again()
        assert "val/accuracy▼" in title(screen)
        assert rows(screen)[0].startswith(" ✓ run3")
        assert rows(screen)[-1].startswith("A✗!run5")


def test_time_left_is_marked_where_the_run_needs_longer(tmp_path: Path) -> None:
    facts = replace(facts_of(RunState(tmp_path)), word="running", eta_s=600.0, job_end=1300.0)
    columns = run_columns.plan_columns(80, ["loss"], [facts])
    assert "LEFT" in plain(run_table.header(columns))
    short = run_table.row(facts, columns, now_s=1000.0)
    assert [span.role for span in short if "05:00!" in span.text] == ["bad"]
    enough = run_table.row(facts, columns, now_s=600.0)
    assert [span.role for span in enough if "11:40" in span.text] == [""]
    over = run_table.row(facts, columns, now_s=2000.0)
    assert "0.0s!" in plain(over)


def test_runs_are_filtered_grouped_and_sorted_in_a_terminal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    sweep(tmp_path)
    terminal = start_monitor(tmp_path, columns=100, rows=24)
    wait_until(terminal.shows("5 runs", "run1", "0.4000"))
    terminal.press("/val/loss<0.5 lr>=0.1\r")
    assert wait_until(terminal.shows("3 of 5 runs", "filter: val/loss<0.5 lr>=0.1"))
    terminal.press("\x1b")
    assert wait_until(terminal.shows("5 runs", "run5"))
    terminal.press("t")
    assert wait_until(terminal.shows("▸ n=2 ✓2", "0.2000±0.1414"))
    terminal.press("\x1b[B\r")
    assert wait_until(terminal.shows("▾ n=2", "run3"))
    terminal.press("ttss")
    assert wait_until(terminal.shows("RUN▲"))
    terminal.press("o.lr \r")
    assert wait_until(terminal.shows("  lr"))


async def test_hints_are_whole_and_what_is_said_leaves_the_filter_its_own(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        hints = screen.query_one(HintLine)
        assert text_of(hints).endswith("Tab pane")
        assert "metric" not in text_of(hints)  # there is no chart
        await press(screen, "B")
        assert "bell on" in text_of(hints)
        assert not text_of(hints).partition("   bell on")[0].endswith(("…", " s"))
        await press(screen, "slash", *"lr>")
        assert "a value is missing after lr>" in text_of(hints)


async def test_a_view_without_the_list_says_which_run_it_is_of(tmp_path: Path) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        header = screen.query_one(HeaderLine)
        await press(screen, "space")
        assert "run5" not in text_of(header)
        for number in "2345678":
            await press(screen, number)
            assert "✓ run4" in text_of(header)
        await press(screen, "K")
        assert "A✗ run5" in text_of(header)
        await press(screen, "escape")
        assert "run5" not in text_of(header)


async def test_views_keep_their_titles_where_a_run_is_marked_and_are_clicked(
    tmp_path: Path,
) -> None:
    sweep(tmp_path)
    async with monitor(tmp_path) as screen:
        tabs = screen.query_one(TabLine)
        await press(screen, "space")
        assert "8 Samples •1" in " ".join(text_of(tabs).split())
        await screen.pilot.click(TabLine, offset=(text_of(tabs).index("Log"), 0))  # type: ignore[attr-defined]
        assert screen.session.view == "log"
    async with monitor(tmp_path, (60, 15)) as screen:
        tabs = screen.query_one(TabLine)
        await press(screen, "space")
        assert "1 marked" in text_of(tabs)
        await screen.pilot.click(TabLine, offset=(text_of(tabs).index("6"), 0))  # type: ignore[attr-defined]
        assert screen.session.view == "log"
