from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.renderables.axes import Window
from tui.renderables.bars import ENDED, bar
from tui.renderables.braille import PATTERNS, compose, draw
from tui.renderables.chart import Curve, chart, plot_width
from tui.renderables.scale import round_ticks, value_scale
from tui.renderables.text import Line, Span, line_width, plain

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
    lines = chart([curve([math.sin(i / 9) for i in range(100)])], Window(0, 1000), WIDTH, HEIGHT)
    assert len(lines) == HEIGHT
    assert max(map(line_width, lines)) <= WIDTH


def test_falling_curve_goes_from_top_left_to_bottom_right() -> None:
    columns = plot_width(WIDTH) * 2
    values = [1 - i / columns for i in range(columns)]
    rows = dots(chart([curve(values)], Window(0, 100), WIDTH, HEIGHT))
    firsts = [min(i for i, c in enumerate(row) if "\u2801" <= c <= "\u28ff") for row in rows]
    assert len(rows) == HEIGHT - 3
    assert firsts == sorted(firsts)


def test_spike_of_one_column_reaches_the_top() -> None:
    values = [0.0] * 50
    values[25] = 1.0
    lines = chart([curve(values)], Window(0, 100), WIDTH, HEIGHT)
    assert any("\u2801" <= char <= "\u28ff" for char in plain(lines[1]))


def test_single_point_is_visible_and_labelled() -> None:
    lines = chart([curve([5.0])], Window(7, 7), WIDTH, HEIGHT)
    assert dots(lines)
    assert any("5.0" in plain(row) for row in lines)


def test_constant_curve_lies_in_the_middle() -> None:
    lines = chart([curve([3e-4] * 80)], Window(0, 80), WIDTH, HEIGHT)
    rows = [i for i, row in enumerate(lines) if plain(row) in dots(lines)]
    assert len(rows) == 1
    assert abs(rows[0] - HEIGHT // 2) <= 1


def test_gap_is_bridged_and_curve_without_values_is_named() -> None:
    gappy = [math.nan if i % 10 else i / 60 for i in range(60)]
    empty = curve([], label="val/loss")
    lines = chart([curve(gappy), empty], Window(0, 60), WIDTH, HEIGHT)
    assert "val/loss" in plain(lines[0])
    assert sum(len(row) for row in dots(lines)) > 0


def test_range_beyond_floats_is_drawn() -> None:
    assert dots(chart([curve([-1.7e308, 1.7e308])], Window(0, 1), WIDTH, HEIGHT))


def test_constant_beside_the_largest_float_is_drawn() -> None:
    assert dots(chart([curve([1.634266486238469e308])], Window(0, 1), WIDTH, HEIGHT))
    assert dots(chart([curve([-1.7976931348623157e308] * 5)], Window(0, 1), WIDTH, HEIGHT))


def test_chart_of_nan_says_so() -> None:
    assert "no finite value" in plain(chart([curve([])], Window(0, 1), WIDTH, HEIGHT)[0])


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=False), max_size=60),
    st.integers(0, 90),
    st.integers(0, 20),
)
def test_any_values_fit_any_box(values: list[float], width: int, height: int) -> None:
    lines = chart([curve(values, width=width)], Window(0, 100), width, height)
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


def test_curves_that_share_a_cell_keep_the_dots_of_each_other() -> None:
    first, second = [1 << 0, 0], [0, 1 << 3]
    (row,) = compose([("curve0", first), ("curve1", second)], [], {}, {}, 1, 1)
    assert row == (Span(chr(0x2800 + 0x01 + 0x80), "curve1"),)
    (row,) = compose([("curve0", [7, 0]), ("curve1", [0, 1])], [], {}, {}, 1, 1)
    assert row[0].role == "curve0"


def test_what_is_dimmed_is_not_mixed_into_a_curve() -> None:
    (row,) = compose([("curve0", [1, 0])], [("dim", [2, 2])], {}, {}, 1, 1)
    assert row == (Span(chr(0x2801), "curve0"),)


def test_dotted_line_keeps_every_value_that_stands_out() -> None:
    layer = [0] * 40
    points = [(x, 0, 7 if x == 17 else 0) for x in range(40)]
    draw(layer, points, (), PATTERNS[1])
    assert layer[17] == 0xFF
    assert sum(1 for rows in layer if rows) == 11


@pytest.mark.parametrize(("low", "high"), [(1e-30, 1e30), (1e-5, 1.0), (0.3, 0.4), (1.0, 30.0)])
def test_logarithmic_labels_are_round_and_inside(low: float, high: float) -> None:
    scale = value_scale([low, high], 6, log=True)
    assert scale is not None
    assert 2 <= len(scale.ticks) <= 9
    assert all(low <= tick <= high * (1 + 1e-9) for tick in scale.ticks)
    assert scale.rows([low, high], 40) == [39, 0]
