"""Rows whose values come later keep their order, whatever comes or fails to come."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.writer.late_rows import LateRows


class Arrival:
    """A copy whose values are there when the test says so."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)
        self.is_there = False
        self.error: Exception | None = None

    def poll(self) -> list[float] | None:
        if self.error is not None:
            raise self.error
        return self.values if self.is_there else None


class Queue(LateRows):
    """Rows, and what was done and lost."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.done: list[Any] = []
        super().__init__(self.lost.append)


def test_action_waits_behind_values_that_have_not_come() -> None:
    queue, copy = Queue(), Arrival(1.0)
    queue.put(copy, queue.done.append)
    queue.do(lambda: queue.done.append("behind"))
    assert queue.done == []
    copy.is_there = True
    queue.look()
    assert queue.done == [[1.0], "behind"]


@given(st.lists(st.booleans(), max_size=12), st.data())
def test_order_is_that_of_the_calls(kinds: list[bool], data: st.DataObject) -> None:
    queue = Queue()
    copies = [Arrival(float(index)) for index in range(len(kinds))]
    for index, is_late in enumerate(kinds):
        if is_late:
            queue.put(copies[index], lambda values: queue.done.extend(values or []))
        else:
            queue.do(lambda index=index: queue.done.append(float(index)))  # type: ignore[misc]
    for index in data.draw(st.permutations(range(len(kinds)))):
        copies[index].is_there = True
        queue.look()
        assert queue.done == sorted(queue.done)
    assert queue.done == [float(index) for index in range(len(kinds))]


def test_change_is_told_so_that_others_need_not_ask() -> None:
    queue, copy, told = Queue(), Arrival(1.0), list[bool]()
    queue.on_change = told.append
    queue.put(copy, queue.done.append)
    assert told[-1]
    copy.is_there = True
    queue.look()
    assert not told[-1]


def test_fault_of_the_device_costs_only_what_it_held() -> None:
    queue, broken, good = Queue(), Arrival(1.0), Arrival(2.0)
    queue.put(broken, queue.done.append)
    queue.put(good, queue.done.append)
    broken.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    good.is_there = True
    assert queue.settle(1.0)
    assert queue.done == [None, [2.0]]
    (lost,) = queue.lost
    assert lost == (
        "rows are lost, their values did not come "
        "(RuntimeError: CUDA error: an illegal memory access was encountered)"
    )


def test_what_does_not_come_in_time_is_given_up_and_the_rest_is_done() -> None:
    queue, never, there = Queue(), Arrival(1.0), Arrival(2.0)
    queue.put(never, queue.done.append)
    queue.put(there, queue.done.append)
    queue.do(lambda: queue.done.append("behind"))
    there.is_there = True
    begun = time.monotonic()
    queue.give_up(0.05)
    assert time.monotonic() - begun < 20
    assert queue.done == [None, [2.0], "behind"]
    assert ["TimeoutError" in lost for lost in queue.lost] == [True]


def test_settle_waits_for_what_another_thread_brings() -> None:
    queue, copy = Queue(), Arrival(1.0)
    queue.put(copy, queue.done.append)
    threading.Timer(0.05, lambda: setattr(copy, "is_there", True)).start()
    assert queue.settle(5.0)
    assert queue.done == [[1.0]]


def test_handler_that_logs_and_settles_in_the_middle_neither_hangs_nor_changes_the_order() -> None:
    queue, copy = Queue(), Arrival(1.0)

    def interrupted(values: list[float] | None) -> None:
        # What a signal handler does while this thread is inside.
        queue.do(lambda: queue.done.append("from the handler"))
        assert not queue.settle()
        queue.done.append(values)

    queue.put(copy, interrupted)
    copy.is_there = True
    queue.look()
    assert queue.done == [[1.0], "from the handler"]


def test_error_of_an_action_reaches_nobody_and_is_told() -> None:
    queue = Queue()
    queue.do(lambda: [][0])
    queue.do(lambda: queue.done.append("next"))
    assert queue.done == ["next"]
    assert ["IndexError" in lost for lost in queue.lost] == [True]


def test_forked_child_starts_with_nothing() -> None:
    queue = Queue()
    queue.put(Arrival(1.0), queue.done.append)
    queue.forget_in_child()
    assert len(queue) == 0
    assert queue.settle()


@pytest.mark.parametrize("count", [3])
def test_queue_is_bounded(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstore.writer.late_rows.MOST_WAITING", count)
    queue = Queue()
    copies = [Arrival(float(index)) for index in range(count + 1)]
    for copy in copies[:-1]:
        queue.put(copy, queue.done.append)

    def arrive() -> None:
        for copy in copies:
            copy.is_there = True

    threading.Timer(0.05, arrive).start()
    queue.put(copies[-1], queue.done.append)
    assert queue.settle(5.0)
    assert queue.done == [[0.0], [1.0], [2.0], [3.0]]
