"""Calls that may never come back."""

from __future__ import annotations

import threading

import pytest

from runstore.patience import Patience


def test_what_comes_to_its_end_is_done_in_turn() -> None:
    patience, done = Patience(), list[int]()
    assert all(patience.do(lambda number=number: done.append(number)) for number in range(5))  # type: ignore[misc]
    assert done == [0, 1, 2, 3, 4]
    patience.end()


def test_what_is_raised_is_raised_here() -> None:
    patience = Patience()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        patience.do(fail)
    assert patience.do(lambda: None)
    patience.end()


def test_one_that_hangs_is_left_and_the_next_is_done() -> None:
    patience, gate = Patience(answer_s=0.1), threading.Event()
    assert not patience.do(gate.wait)
    done: list[bool] = []
    patience._answer_s = 30.0
    assert patience.do(lambda: done.append(True))
    assert done == [True]
    gate.set()
    patience.end()
