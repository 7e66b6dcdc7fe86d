"""When the screen looks for new rows."""

from __future__ import annotations

import pytest

from tui.tempo import BURST, EVERY_S, Tempo


def looks(tempo: Tempo, start_s: float, seconds: float) -> int:
    """Look ten times a second, find something each time, and count."""
    count = 0
    for tick in range(round(seconds * 10)):
        if tempo.may_look(start_s + tick / 10):
            tempo.found()
            count += 1
    return count


def test_rows_without_end_are_shown_twice_a_second() -> None:
    tempo = Tempo()
    looks(tempo, 100.0, 5.0)
    assert looks(tempo, 105.0, 10.0) == pytest.approx(10 / EVERY_S, abs=1)


def test_what_is_read_first_is_shown_at_once() -> None:
    assert looks(Tempo(), 100.0, BURST / 10) == BURST


def test_rows_that_come_seldom_never_wait() -> None:
    tempo = Tempo()
    looks(tempo, 100.0, 10.0)
    for second in range(111, 120):
        assert tempo.may_look(float(second))
        tempo.found()


def test_key_is_answered_while_rows_come() -> None:
    tempo = Tempo()
    while tempo.may_look(100.0):
        tempo.found()
    tempo.hurry()
    assert tempo.may_look(100.0)


def test_looking_costs_nothing_where_nothing_is_found() -> None:
    tempo = Tempo()
    assert all(tempo.may_look(100.0 + tick / 1000) for tick in range(1000))
