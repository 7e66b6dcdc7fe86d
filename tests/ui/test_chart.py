from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.renderables.bars import ENDED, bar
from tui.renderables.chart import Curve, chart, plot_width, round_ticks
from tui.renderables.text import Line, line_width, plain

WIDTH, HEIGHT = 60, 14


def curve(values: Sequence[float], *, width: int = WIDTH, label: str = "train/loss") -> Curve:
    """Return a curve of one value per dot column, gaps to the right of the last one."""
    columns = [*values, *([math.nan] * (plot_width(width) * 2))][: plot_width(width) * 2]
    return Curve(label, "curve0", columns, columns, columns[0])


def dots(lines: Sequence[Line]) -> list[str]:
    """Return the rows of the plot that hold a dot."""
    texts = [plain(row) for row in lines]
    return [text for text in texts if any("\u2801" <= char <= "\u28ff" for char in text)]


def test_chart_fills_its_height_and_no_line_is_too_long() -> None:
    lines = chart([curve([math.sin(i / 9) for i in range(100)])], 0, 1000, WIDTH, HEIGHT)
    assert len(lines) == HEIGHT
    assert max(map(line_width, lines)) <= WIDTH


def test_falling_curve_goes_from_top_left_to_bottom_right() -> None:
    columns = plot_width(WIDTH) * 2
    values = [1 - i / columns for i in range(columns)]
    rows = dots(chart([curve(values)], 0, 100, WIDTH, HEIGHT))
    firsts = [min(i for i, c in enumerate(row) if "\u2801" <= c <= "\u28ff") for row in rows]
    assert len(rows) == HEIGHT - 3
    assert firsts == sorted(firsts)


def test_spike_of_one_column_reaches_the_top() -> None:
    values = [0.0] * 50
    values[25] = 1.0
    lines = chart([curve(values)], 0, 100, WIDTH, HEIGHT)
    assert any("\u2801" <= char <= "\u28ff" for char in plain(lines[1]))


def test_single_point_is_visible_and_labelled() -> None:
    lines = chart([curve([5.0])], 7, 7, WIDTH, HEIGHT)
    assert dots(lines)
    assert any("5.0" in plain(row) for row in lines)


def test_constant_curve_lies_in_the_middle() -> None:
    lines = chart([curve([3e-4] * 80)], 0, 80, WIDTH, HEIGHT)
    rows = [i for i, row in enumerate(lines) if plain(row) in dots(lines)]
    assert len(rows) == 1
    assert abs(rows[0] - HEIGHT // 2) <= 1


def test_gap_is_bridged_and_curve_without_values_is_named() -> None:
    gappy = [math.nan if i % 10 else i / 60 for i in range(60)]
    empty = curve([], label="val/loss")
    lines = chart([curve(gappy), empty], 0, 60, WIDTH, HEIGHT)
    assert "val/loss" in plain(lines[0])
    assert sum(len(row) for row in dots(lines)) > 0


def test_range_beyond_floats_is_drawn() -> None:
    assert dots(chart([curve([-1.7e308, 1.7e308])], 0, 1, WIDTH, HEIGHT))


def test_constant_beside_the_largest_float_is_drawn() -> None:
    assert dots(chart([curve([1.634266486238469e308])], 0, 1, WIDTH, HEIGHT))
    assert dots(chart([curve([-1.7976931348623157e308] * 5)], 0, 1, WIDTH, HEIGHT))


def test_chart_of_nan_says_so() -> None:
    assert "no finite value" in plain(chart([curve([])], 0, 1, WIDTH, HEIGHT)[0])


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=False), max_size=60),
    st.integers(0, 90),
    st.integers(0, 20),
)
def test_any_values_fit_any_box(values: list[float], width: int, height: int) -> None:
    lines = chart([curve(values, width=width)], 0, 100, width, height)
    assert len(lines) <= max(1, height)
    assert all(line_width(row) <= max(width, 21) for row in lines)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e9), st.integers(2, 12))
def test_ticks_are_inside_the_range_and_few(low: float, size: float, wanted: int) -> None:
    ticks = round_ticks(low, low + size, wanted)
    assert len(ticks) <= wanted + 2
    assert all(low - size * 1e-6 <= tick <= low + size * (1 + 1e-6) for tick in ticks)


@pytest.mark.parametrize("fraction", [None, math.nan, -1, 0, 0.333, 0.5, 1, 7])
def test_bar_has_its_width_whatever_the_fraction(fraction: float | None) -> None:
    assert line_width(bar(fraction, 10)) == 10


def test_bar_of_an_ended_run_is_a_line_that_touches_no_other_row() -> None:
    assert plain(bar(0.5, 6, ENDED)) == "━━━───"
    assert plain(bar(None, 6, ENDED)) == "──────"
    assert plain(bar(1, 6, ENDED)) == "━━━━━━"


def test_bar_grows_by_eighths() -> None:
    assert [plain(bar(i / 16, 2)).rstrip("░") for i in (0, 1, 8, 9, 16)] == [
        "",
        "▏",
        "█",
        "█▏",
        "██",
    ]
