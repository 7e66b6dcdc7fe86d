"""The diff against what Textual itself would write, as a terminal shows both."""

from __future__ import annotations

import random
import re

import pyte
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tui.wire import ACK_TIMEOUT_S, AckGate, FrameDiff

WIDTH, HEIGHT = 40, 8
STYLES = [
    None,
    Style(bold=True),
    Style(color="#ff8800"),
    Style(color="red", bgcolor="#102030"),
    Style(reverse=True),
]
TEXTS = ["loss 0.31", "░▏█⣿─", "日本語", "e\u0301te", "ok", "  ", "▶ running", "x" * 30]


def screen_of(data: str) -> list[list[pyte.screens.Char]]:
    screen = pyte.Screen(WIDTH, HEIGHT)
    pyte.Stream(screen).feed(re.sub(r"\x1b\[\?\d+[a-z]", "", data))
    return [[screen.buffer[y][x] for x in range(WIDTH)] for y in range(HEIGHT)]


def random_strip(rng: random.Random) -> Strip:
    pieces = [Segment(rng.choice(TEXTS), rng.choice(STYLES)) for _ in range(6)]
    return Strip(pieces).adjust_cell_length(WIDTH)


@pytest.mark.parametrize("seed", range(8))
def test_terminal_shows_the_same_as_with_textuals_own_output(seed: int) -> None:
    rng = random.Random(seed)
    console = Console(color_system="truecolor", force_terminal=True, width=WIDTH, height=HEIGHT)
    diff = FrameDiff(WIDTH, HEIGHT)
    stock, ours = "", ""
    rows = [random_strip(rng) for _ in range(HEIGHT)]
    layout = LayoutUpdate([[strip] for strip in rows], Region(0, 0, WIDTH, HEIGHT))
    for frame in range(12):
        if frame:
            changed = rng.sample(range(HEIGHT), 3)
            for y in changed:
                rows[y] = random_strip(rng)
            chops = [{0: strip} for strip in rows]
            update = ChopsUpdate(
                chops, [(y, 0, WIDTH) for y in sorted(changed)], [[WIDTH]] * HEIGHT
            )
            stock += update.render_segments(console)
            for y in changed:
                diff.put(y, 0, rows[y], ColorSystem.TRUECOLOR, 0, WIDTH)
        else:
            stock += layout.render_segments(console)
            for y, strip in enumerate(rows):
                diff.put(y, 0, strip, ColorSystem.TRUECOLOR, 0, WIDTH)
        ours += diff.encode()
        assert screen_of(ours) == screen_of(stock)


def test_changed_digit_costs_a_few_bytes() -> None:
    diff = FrameDiff(80, 24)
    for y in range(24):
        diff.put(y, 0, [Segment("row " + "x" * 70)], ColorSystem.TRUECOLOR, 0, 80)
    assert len(diff.encode()) > 24 * 70
    diff.put(3, 0, [Segment("row " + "x" * 69 + "y")], ColorSystem.TRUECOLOR, 0, 80)
    assert len(diff.encode()) < 16


def test_unchanged_frame_costs_nothing() -> None:
    diff = FrameDiff(20, 2)
    diff.encode()
    diff.put(0, 0, [Segment(" " * 20)], ColorSystem.TRUECOLOR, 0, 20)
    assert diff.encode() == ""


def test_forgetting_sends_everything_again() -> None:
    diff = FrameDiff(20, 2)
    first = diff.encode()
    diff.forget()
    assert diff.encode() == first


@given(st.integers(-3, 30), st.integers(0, 25), st.integers(0, 25), st.sampled_from(TEXTS))
@example(23, 1, 24, "e\u0301te")
def test_only_the_columns_that_were_asked_for_change(x: int, x1: int, x2: int, text: str) -> None:
    diff = FrameDiff(24, 1)
    diff.put(0, 0, [Segment("." * 24)], ColorSystem.TRUECOLOR, 0, 24)
    diff.put(0, x, [Segment(text)], ColorSystem.TRUECOLOR, x1, x2)
    screen = pyte.Screen(24, 1)
    # Unlike terminals, pyte wraps before a combining mark that belongs to the last column.
    screen.reset_mode(7, private=True)
    pyte.Stream(screen).feed(diff.encode())
    shown = screen.display[0]
    assert all(shown[i] == "." for i in range(min(x1, len(shown))))


def test_nothing_waits_for_a_terminal_that_never_answered() -> None:
    gate = AckGate()
    gate.asked(10.0)
    assert gate.wait_s(10.1) == 0.0


def test_frame_waits_for_the_answer_to_the_one_before() -> None:
    gate = AckGate()
    gate.asked(10.0)
    gate.answered(10.3)
    assert gate.round_trip_s == pytest.approx(0.3)
    assert gate.wait_s(10.4) == 0.0
    gate.asked(10.4)
    assert gate.wait_s(10.9) == pytest.approx(ACK_TIMEOUT_S - 0.5)
    gate.answered(11.0)
    assert gate.wait_s(11.0) == 0.0


def test_lost_answer_slows_down_but_does_not_stop() -> None:
    gate = AckGate()
    gate.asked(0.0)
    gate.answered(0.1)
    gate.asked(1.0)
    assert gate.wait_s(1.0 + ACK_TIMEOUT_S) == 0.0
