"""Curves of any length in bounded memory, with their ends and extremes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.state.series import BREAKS, BUCKETS, Series, merge_columns, trace

FINITE = st.floats(-1e300, 1e300)
POINTS = st.lists(st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf])), max_size=300)


def series_of(values: list[float], repeat: int = 1) -> Series:
    series = Series()
    for x in range(len(values) * repeat):
        series.add(float(x), values[x // repeat])
    return series


def finite(values: list[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


@given(POINTS, st.integers(1, 50), st.integers(1, 200))
def test_drawing_keeps_extremes_and_ends(values: list[float], repeat: int, width: int) -> None:
    """`repeat` makes it longer than there are buckets, so that neighbours have merged."""
    series = series_of(values, repeat)
    columns = series.columns(width)
    assert len(columns.xs) == len(columns.lows) == len(columns.highs) == width
    numbers = finite(values)
    lows, highs = finite(columns.lows), finite(columns.highs)
    assert bool(lows) == bool(numbers)
    if numbers:
        assert (min(lows), max(highs)) == (min(numbers), max(numbers)) == series.y_range
        assert lows[0] <= numbers[0] <= highs[0]
        assert lows[-1] <= numbers[-1] <= highs[-1]
        assert (columns.x_min, columns.x_max) == (0.0, float(len(values) * repeat - 1))


@given(POINTS)
def test_every_drawn_value_was_logged(values: list[float]) -> None:
    columns = series_of(values, 30).columns(80)
    assert {*finite(columns.lows), *finite(columns.highs)} <= {*finite(values)}


@given(st.lists(POINTS, max_size=8), st.sampled_from([4, 7, 64]))
def test_points_that_are_added_at_once_are_those_added_one_by_one(
    parts: list[list[float]], buckets: int
) -> None:
    one_by_one, at_once = Series(buckets), Series(buckets)
    x = 0
    for part in parts:
        xs = [float(x + place) for place in range(len(part))]
        x += len(part)
        at_once.extend(xs, part)
        for point in zip(xs, part, strict=True):
            one_by_one.add(*point)
    assert told(at_once) == told(one_by_one)


def told(series: Series) -> str:
    """All that a series is, as text: NaN is not equal to itself."""
    return repr([getattr(series, name) for name in Series.__slots__])


def test_one_spike_among_ten_million_steps_is_still_there() -> None:
    series = Series()
    for step in range(100_000):
        series.add(step * 100.0, 1.0)
    series.add(1e7, 99.0)
    for step in range(100_000):
        series.add(1e7 + step, 1.0)
    assert max(finite(series.columns(60).highs)) == 99.0
    assert series.count == 200_001


def test_memory_does_not_grow_with_length() -> None:
    series = Series()
    for step in range(50 * BUCKETS):
        series.add(float(step), float(step))
    assert len(series._lows) <= BUCKETS


def test_nonfinite_values_leave_a_gap_and_are_counted() -> None:
    series = series_of([1.0, math.nan, math.inf, 4.0])
    assert series.nonfinite == 2
    columns = series.columns(4)
    assert [math.isnan(low) for low in columns.lows] == [False, True, True, False]
    assert columns.highs[3] == 4.0
    assert series.last == (3.0, 4.0)


def test_curve_of_nothing_has_columns_without_values() -> None:
    columns = merge_columns([], 5)
    assert all(math.isnan(low) for low in columns.lows)
    assert Series().x_range is None
    assert series_of([math.nan]).y_range is None


@pytest.mark.parametrize("width", [1, 2])
def test_single_point_is_drawn(width: int) -> None:
    columns = series_of([7.0]).columns(width)
    assert finite(columns.lows) == [7.0]


@given(st.lists(FINITE, min_size=2, max_size=60), st.data())
def test_pieces_are_drawn_as_their_union(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    first, second = Series(), Series()
    for x, y in enumerate(values):
        (first if x < cut else second).add(float(x), y)
    together = merge_columns([first, second], 20)
    assert together == series_of(values).columns(20)


def test_zoom_shows_only_what_lies_inside() -> None:
    series = series_of([0.0, 10.0, 20.0, 30.0])
    columns = series.columns(10, 1.0, 2.0)
    assert {*finite(columns.lows)} == {10.0, 20.0}


def test_steps_that_go_back_stay_inside_the_chart() -> None:
    series = Series()
    for x in (5.0, 3.0, 8.0, 1.0):
        series.add(x, x)
    columns = series.columns(8)
    assert (columns.x_min, columns.x_max) == (1.0, 8.0)
    assert (min(finite(columns.lows)), max(finite(columns.highs))) == (1.0, 8.0)


@given(POINTS, st.integers(1, 30))
def test_trace_has_the_finite_points_in_order_and_where_the_others_were(
    values: list[float], repeat: int
) -> None:
    found = trace([series_of(values, repeat)])
    assert list(found.xs) == sorted(found.xs)
    assert len(found.xs) == len(found.lows) == len(found.highs)
    numbers = finite(values)
    assert bool(found.lows) == bool(numbers)
    if numbers:
        assert (min(found.lows), max(found.highs)) == (min(numbers), max(numbers))
    lost = {x for x in range(len(values) * repeat) if not math.isfinite(values[x // repeat])}
    assert all(any(low <= x <= high for low, high in found.breaks) for x in lost)
    assert found.nonfinite == len(lost)


def test_stretches_of_nan_are_kept_apart_and_not_too_many_of_them() -> None:
    few = series_of([1.0, math.nan, math.inf, 1.0, math.nan, 1.0])
    assert few.breaks == [(1.0, 2.0), (4.0, 4.0)]
    many = series_of([1.0, math.nan] * 1000)
    assert len(many.breaks) == BREAKS
    assert few.cut(2.0) is False
    assert few.breaks == [(1.0, 2.0)]


def test_trace_of_rows_out_of_order_is_in_order() -> None:
    later, earlier = Series(), Series()
    for x in (5.0, 4.0, 6.0):
        later.add(x, x)
    for x in (1.0, 2.0):
        earlier.add(x, x)
    found = trace([later, earlier])
    assert list(found.xs) == list(found.lows) == [1.0, 2.0, 4.0, 5.0, 6.0]
    assert found.is_exact


def test_corners_of_a_clock_grow_and_are_few() -> None:
    clock = Series(16)
    for step in range(10_000):
        clock.add(float(step), 1.7e9 + step * 0.5)
    corners = list(clock.corners())
    assert corners == sorted(corners)
    assert len(corners) <= 34
    assert all(time == 1.7e9 + step * 0.5 for step, time in corners)
