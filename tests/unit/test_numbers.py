"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.numbers import (
    age,
    clock,
    duration,
    exact,
    metric,
    of_total,
    percent,
    rate,
    short_count,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.31, "0.3100"),
        (12, "12.00"),
        (12.3456, "12.35"),
        (1234.5, "1234.50"),
        (3e-04, "3.0e-04"),
        (0.0, "0.00"),
        (-0.5, "-0.5000"),
        (12345678.0, "1.23e+07"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (None, "–"),
        ("0.3", "–"),
        (True, "–"),
    ],
)
def test_metric_reads_as_people_expect(value: object, shown: str) -> None:
    assert metric(value) == shown


@given(st.floats(-1e300, 1e300))
def test_metric_is_short_and_close_to_the_value(value: float) -> None:
    shown = metric(value)
    assert len(shown) <= 10
    assert float(shown) == pytest.approx(value, rel=0.06, abs=1e-320)


@given(st.floats(min_value=1e-3, max_value=1e5))
def test_exact_keeps_at_least_two_decimals_and_four_digits(value: float) -> None:
    shown = exact(value)
    assert len(shown.partition(".")[2]) >= 2
    assert float(shown) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "0.4s"),
        (41, "41s"),
        (59.7, "01:00"),
        (161, "02:41"),
        (3599.6, "1h00m"),
        (18720, "5h12m"),
        (400_000, "4d15h"),
        (None, "–"),
        (math.nan, "–"),
        (-1, "–"),
    ],
)
def test_duration_takes_the_unit_that_fits(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(412.3, "412"), (41.23, "41.2"), (0.412, "0.41"), (0.02, "50s/it"), (None, "–"), (0, "–")],
)
def test_rate_turns_into_seconds_per_iteration_when_slow(value: float | None, shown: str) -> None:
    assert rate(value) == shown


def test_percent_is_not_a_hundred_before_the_end() -> None:
    assert [percent(x) for x in (0, 0.29, 0.999, 1)] == ["0%", "29%", "99%", "100%"]


def test_steps_on_an_axis_are_short() -> None:
    assert [short_count(x) for x in (0, 950, 18300, 1.2e6, 3.4e9)] == [
        "0",
        "950",
        "18.3k",
        "1.2M",
        "3.4G",
    ]


def test_age_has_one_unit() -> None:
    assert [age(x) for x in (-5, 3, 300, 7200, 200_000)] == [
        "0s ago",
        "3s ago",
        "5m ago",
        "2h ago",
        "2d ago",
    ]


@pytest.mark.parametrize("time", [1e300, math.nan, "soon", None, True])
def test_a_damaged_time_is_shown_in_eight_cells(time: object) -> None:
    assert len(clock(time)) == 8


@pytest.mark.parametrize(
    ("done", "total", "text"), [(7, 30, "7/30"), (7, None, "7"), (None, 30, "–"), (0, 3, "0/3")]
)
def test_position_says_what_is_known(done: int | None, total: int | None, text: str) -> None:
    assert of_total(done, total) == text
