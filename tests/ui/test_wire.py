"""The diff against what Textual itself would write, as a terminal shows both."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

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

from tui.sequences import change_pen, move_cursor
from tui.wire import ACK_TIMEOUT_S, MOST_PENS, AckGate, FrameDiff

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

WIDTH, HEIGHT = 40, 8
STYLES = [
    None,
    Style(bold=True),
    Style(color="#ff8800"),
    Style(color="red", bgcolor="#102030"),
    Style(reverse=True),
    Style(bold=True, underline=True, color="#ff8800"),
    Style(dim=True, italic=True, color="bright_black", bgcolor="#102030"),
    Style(strike=True, color="color(200)", bgcolor="white"),
    Style(color="default", bgcolor="default"),
]
TEXTS = ["loss 0.31", "░▏█⣿─", "日本語", "e\u0301te", "ok", "  ", "▶ running", "x" * 30]


def screen_of(data: str) -> list[list[pyte.screens.Char]]:
    screen = pyte.Screen(WIDTH, HEIGHT)
    # Unlike terminals, pyte wraps before a combining mark that belongs to the last column.
    data = normalize("NFC", re.sub(r"\x1b\[\?\d+[a-z]", "", data))
    pyte.Stream(screen).feed(data)
    return [[as_seen(screen.buffer[y][x]) for x in range(WIDTH)] for y in range(HEIGHT)]


def as_seen(cell: pyte.screens.Char) -> pyte.screens.Char:
    """Return a cell without what nobody sees of a blank."""
    hidden = cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough)
    return cell._replace(fg="default", bold=False, italics=False, blink=False) if hidden else cell


def drawn(seed: int, frames: int) -> Iterator[tuple[str, str]]:
    """Yield what Textual writes up to each of some frames, and what we write."""
    rng = random.Random(seed)
    console = Console(color_system="truecolor", force_terminal=True, width=WIDTH, height=HEIGHT)
    diff = FrameDiff(WIDTH, HEIGHT)
    stock, ours = "", ""
    rows = [random_strip(rng) for _ in range(HEIGHT)]
    layout = LayoutUpdate([[strip] for strip in rows], Region(0, 0, WIDTH, HEIGHT))
    for frame in range(frames):
        changed = sorted(rng.sample(range(HEIGHT), 3)) if frame else list(range(HEIGHT))
        update: ChopsUpdate | LayoutUpdate = layout
        if frame:
            for y in changed:
                rows[y] = random_strip(rng)
            chops = [{0: strip} for strip in rows]
            update = ChopsUpdate(chops, [(y, 0, WIDTH) for y in changed], [[WIDTH]] * HEIGHT)
        stock += update.render_segments(console)
        for y in changed:
            diff.put(y, 0, rows[y], ColorSystem.TRUECOLOR, 0, WIDTH)
        ours += diff.encode()
        yield stock, ours


def random_strip(rng: random.Random) -> Strip:
    pieces = [Segment(rng.choice(TEXTS), rng.choice(STYLES)) for _ in range(6)]
    return Strip(pieces).adjust_cell_length(WIDTH)


@pytest.mark.parametrize("seed", range(16))
def test_terminal_shows_the_same_as_with_textuals_own_output(seed: int) -> None:
    for stock, ours in drawn(seed, frames=12):
        assert screen_of(ours) == screen_of(stock)
        assert len(ours) < len(stock)


@pytest.mark.parametrize("colors", [MOST_PENS - 1, MOST_PENS + 1])
def test_picture_shows_the_same_as_with_textuals_own_output(colors: int) -> None:
    console = Console(color_system="truecolor", force_terminal=True, width=WIDTH, height=HEIGHT)
    styles = [Style(color=f"#00{n:04x}", bgcolor=f"#ff{n:04x}") for n in range(colors)]
    cells = [Segment("▀", styles[n % colors]) for n in range(WIDTH * HEIGHT)]
    rows = [Strip(cells[y * WIDTH : (y + 1) * WIDTH]) for y in range(HEIGHT)]
    diff = FrameDiff(WIDTH, HEIGHT)
    for y, row in enumerate(rows):
        diff.put(y, 0, row, ColorSystem.TRUECOLOR, 0, WIDTH)
    layout = LayoutUpdate([[row] for row in rows], Region(0, 0, WIDTH, HEIGHT))
    assert screen_of(diff.encode()) == screen_of(layout.render_segments(console))


def test_colours_that_alternate_are_set_once_each() -> None:
    diff = FrameDiff(WIDTH, HEIGHT)
    diff.encode()
    for y in range(HEIGHT):
        style = Style(color="#123456" if y % 2 else "#654321")
        diff.put(y, 3, [Segment("loss", style)], ColorSystem.TRUECOLOR, 0, WIDTH)
    assert diff.encode().count("38;2;") == 2


@pytest.mark.needs_tool("tmux")
def test_tmux_shows_the_same_as_with_textuals_own_output(
    tmp_path: Path,
    tool: Callable[[str], str],
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    socket = f"runstore-wire-{os.getpid()}"

    def tmux(*arguments: str) -> str:
        command = [tool("tmux"), "-u", "-L", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    def shown(name: str, data: str) -> list[list[pyte.screens.Char]]:
        (tmp_path / name).write_bytes(data.encode())
        # The line below says that all was read.
        last = f"\\033[{HEIGHT + 1}HEND"
        command = f"printf '\\033[?1049h'; cat {tmp_path / name}; printf '{last}'; read x"
        tmux("new-session", "-d", "-s", name, "-x", f"{WIDTH}", "-y", f"{HEIGHT + 2}", command)
        wait_until(lambda: "END" in tmux("capture-pane", "-p", "-t", name))
        lines = tmux("capture-pane", "-p", "-e", "-N", "-t", name).split("\n")
        return screen_of("\r\n".join(lines[:HEIGHT]))

    try:
        for seed in range(3):
            stock, ours = list(drawn(seed, frames=12))[-1]
            assert shown(f"ours{seed}", ours) == shown(f"stock{seed}", stock)
    finally:
        subprocess.run([tool("tmux"), "-L", socket, "kill-server"], check=False)


@given(st.sampled_from(STYLES), st.sampled_from(STYLES))
def test_colours_change_as_if_they_were_set_anew(old: Style | None, new: Style | None) -> None:
    before, after = (
        Strip.render_ansi(style, ColorSystem.TRUECOLOR) if style else "" for style in (old, new)
    )
    change = change_pen(before, after)
    assert len(change) <= len(f"\x1b[0;{after}m")
    shown = screen_of(f"\x1b[0;{before}ma{change}b")
    assert shown == screen_of(f"\x1b[0;{before}ma\x1b[0;{after}mb")


POSITIONS = st.tuples(st.integers(0, WIDTH - 2), st.integers(0, HEIGHT - 1))


@given(POSITIONS, POSITIONS, st.booleans(), st.booleans())
def test_cursor_goes_where_it_is_sent(
    place: tuple[int, int], to: tuple[int, int], knows_x: bool, knows_y: bool
) -> None:
    (x, y), (to_x, to_y) = place, to
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    stream.feed(f"\x1b[{y + 1};{x + 1}H")
    stream.feed(move_cursor(x if knows_x else None, y if knows_y else -1, to_x, to_y))
    assert (screen.cursor.x, screen.cursor.y) == to


def test_row_behind_a_full_one_is_found() -> None:
    diff = FrameDiff(WIDTH, HEIGHT)
    for y in range(HEIGHT):
        diff.put(y, 0, [Segment(str(y) * WIDTH)], ColorSystem.TRUECOLOR, 0, WIDTH)
    frame = diff.encode()
    assert [row[-1].data for row in screen_of(frame)] == [str(y) for y in range(HEIGHT)]
    assert len(frame) < (WIDTH + 3) * HEIGHT


def test_character_of_doubtful_width_displaces_nothing_behind_it() -> None:
    diff = FrameDiff(WIDTH, 1)
    diff.put(0, 0, [Segment("▶" + "." * 20 + "x")], ColorSystem.TRUECOLOR, 0, WIDTH)
    diff.encode()
    diff.put(0, 0, [Segment("●" + "." * 20 + "y")], ColorSystem.TRUECOLOR, 0, WIDTH)
    assert diff.encode() == "\x1b[H●\x1b[1;22Hy"


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
