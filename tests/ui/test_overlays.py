"""The palette, the searchable help and the copy menu."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import runstore
from tests.ui.test_app import monitor, press, text_of, write_plain
from tui.commands import key_choices
from tui.keymap import KEYS
from tui.renderables.choices import Choice, matching
from tui.renderables.copies import MOST_BYTES, Copy, text_lines
from tui.renderables.text import plain
from tui.screens.copy import CopiedScreen
from tui.screens.main import MainScreen
from tui.screens.overlay import OverlayScreen
from tui.views import NAMES

if TYPE_CHECKING:
    import pytest


def box(screen: MainScreen) -> str:
    """Return what the overlay shows."""
    overlay = screen.app.screen
    assert isinstance(overlay, OverlayScreen)
    return text_of(overlay.box)


def names(choices: list[Choice]) -> list[str]:
    return [choice.does for choice in choices]


# ---- what matches ------------------------------------------------------------------------------


def test_words_match_anywhere_and_what_begins_with_them_comes_first() -> None:
    choices = [Choice("next metric", "m"), Choice("metric below", group="sort"), Choice("quit")]
    assert names(matching(choices, "")) == ["next metric", "metric below", "quit"]
    assert names(matching(choices, "METR")) == ["metric below", "next metric"]
    assert names(matching(choices, "metric sort")) == ["metric below"]


def test_letters_in_order_match_when_no_word_does() -> None:
    choices = [Choice("confusion matrix"), Choice("charts")]
    assert names(matching(choices, "cfmx")) == ["confusion matrix"]
    assert matching(choices, "xyz") == []


def test_every_key_is_offered_in_every_view_the_own_ones_first() -> None:
    for view in NAMES:
        offered = key_choices(view)
        assert [choice.does for choice in offered if choice.key == "0"] == [
            key.does for key in KEYS if key.shown == "0" and view in key.views
        ] + [key.does for key in KEYS if key.shown == "0" and view not in key.views]
        assert len(offered) == len(KEYS)
        groups = [choice.group for choice in offered]
        assert sorted(groups, key=lambda group: (group != view, group != "everywhere")) == groups


# ---- help --------------------------------------------------------------------------------------


async def test_run_that_is_called_so_comes_before_commands_that_have_the_letters(
    tmp_path: Path,
) -> None:
    write_plain(tmp_path, 1)
    noisy = write_plain(tmp_path, 2)
    (noisy / "run.json").write_text(json.dumps({"id": noisy.name, "name": "noisy"}))
    async with monitor(tmp_path) as screen:
        await press(screen, "colon", *"nois", "enter")
        assert screen.selected is not None
        assert screen.selected.ref.path == noisy
        await press(screen, "colon", *"Samples", "enter")
        assert screen.session.view == "samples"


async def test_help_has_the_keys_of_all_views_and_typing_searches_them(tmp_path: Path) -> None:
    async with monitor(tmp_path, size=(100, 200)) as screen:
        await press(screen, "question_mark")
        assert all(key.does in box(screen) for key in KEYS)
        await press(screen, *"draw q")
        assert "> draw q" in box(screen)
        assert "no key does that" in box(screen)
        await press(screen, "backspace", "backspace")
        assert "draw the whole screen again" in box(screen)
        assert "next run" not in box(screen)
        await press(screen, "escape")
        assert screen.app.screen is screen


async def test_long_help_scrolls_in_a_low_terminal(tmp_path: Path) -> None:
    async with monitor(tmp_path, size=(60, 15)) as screen:
        await press(screen, "question_mark")
        assert "more" in box(screen)
        await press(screen, "end")
        assert "more" not in box(screen).splitlines()[0]
        await press(screen, "question_mark")
        assert screen.app.screen is screen


async def test_two_keys_at_once_close_an_overlay_once(tmp_path: Path) -> None:
    async with monitor(tmp_path) as screen:
        await press(screen, "question_mark")
        keys = screen.app.screen
        assert isinstance(keys, OverlayScreen)
        keys.press("escape", None)
        keys.press("escape", None)
        await press(screen)
        assert screen.app.screen is screen


async def test_ctrl_c_quits_from_an_overlay_too(tmp_path: Path) -> None:
    async with monitor(tmp_path) as screen:
        await press(screen, "colon", "ctrl+c")
        assert not screen.app.is_running or screen.app._exit


# ---- palette -----------------------------------------------------------------------------------


async def test_palette_does_what_is_chosen_and_shows_its_key(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "colon", *"compare the")
        assert box(screen).splitlines()[2].split()[-2] == "c"
        await press(screen, "enter")
        assert screen.session.view == "compare"


async def test_palette_goes_to_the_view_that_has_the_key(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "2", "ctrl+p", *"next metric", "enter")
        assert screen.session.view in ("runs", "charts")
        assert screen.app.screen is screen


async def test_palette_takes_a_click(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "colon", *"metrics; the")
        pilot = screen.pilot  # type: ignore[attr-defined]
        await pilot.click("#overlay", offset=(10, 2))
        await pilot.pause()
        assert screen.session.view == "charts"
        await press(screen, "question_mark")
        await pilot.click("#overlay", offset=(10, 5))
        await pilot.pause()
        assert isinstance(screen.app.screen, OverlayScreen)


async def test_palette_sets_a_theme(tmp_path: Path) -> None:
    async with monitor(tmp_path) as screen:
        await press(screen, "colon", *"theme light", "enter")
        assert screen.app.theme == "runstore-light"


async def test_palette_finds_a_run_also_behind_a_filter(tmp_path: Path) -> None:
    for number in range(40):
        write_plain(tmp_path, number, rows=1)
    async with monitor(tmp_path) as screen:
        await press(screen, "slash", *"run1", "enter", "colon", *"run37", "enter")
        assert screen.selected is not None
        assert "run37" in screen.selected.key
        assert screen.filter.text == ""


async def test_keys_that_are_typed_ahead_all_count(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    write_plain(tmp_path, 2)
    async with monitor(tmp_path) as screen:
        await press(screen, "space", "space")
        assert len(screen.session.marks) == 2
        await press(screen, "colon", *"all marks", "enter", "y")
        assert screen.session.marks == []
        assert "Copy of" in box(screen)


# ---- copying -----------------------------------------------------------------------------------


async def test_what_is_copied_is_shown_and_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runstore.init({"lr": 0.5}, root=tmp_path, name="digits") as run:
        run.log({"loss": float("nan")}, step=3)
    async with monitor(tmp_path) as screen:
        await press(screen, "y", "4")
        assert box(screen).splitlines()[1:4] == ["{", '  "lr": 0.5', "}"]
        assert json.loads(screen.app.clipboard) == {"lr": 0.5}
        await press(screen, "q", "y", "down", "down", "enter")
        assert screen.app.clipboard == f"runstore resume {run.path}"
        await press(screen, "escape", "y", "5")
        newest = json.loads(screen.app.clipboard)
        assert newest == {
            "step": 3,
            "epoch": None,
            "loss": None,
            "_nonfinite": {"loss": "nan"},
        }


async def test_run_of_another_tool_has_no_resume_command(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "y")
        assert "params as JSON" in box(screen)
        assert ("resume" in box(screen)) == (screen.catalog.entries[0].ref.source.name == "native")


async def test_text_that_is_too_long_for_a_clipboard_is_only_shown(tmp_path: Path) -> None:
    async with monitor(tmp_path) as screen:
        screen.app.push_screen(CopiedScreen(Copy("params", "x" * (MOST_BYTES + 1))))
        await press(screen)
        assert "too long (54 KiB)" in box(screen)
        assert screen.app.clipboard == ""


def test_long_lines_are_cut_into_whole_ones() -> None:
    assert [plain(row) for row in text_lines("abcdef\n\n日本x", 4)] == [
        "abcd",
        "ef",
        "",
        "日本",
        "x",
    ]


def test_limit_keeps_the_sequence_below_what_terminals_take() -> None:
    assert len(base64.b64encode(b"x" * MOST_BYTES)) < 75_000
