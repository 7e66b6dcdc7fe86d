from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tui.side_reader import IDLE_S, MOST_STUCK, SILENT_S, SideReader

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """Counts its reads; has more to read at once for the first few."""

    every_s = 0.001

    def __init__(self, more: int = 0) -> None:
        self.reads = 0
        self._more = more

    def read(self) -> bool:
        self.reads += 1
        return self.reads < self._more


class Hanging:
    """Waits for a file server."""

    every_s = 0.001

    def __init__(self) -> None:
        self.is_in = threading.Event()
        self.answers = threading.Event()

    def read(self) -> bool:
        self.is_in.set()
        self.answers.wait()
        return False


class Failing:
    every_s = 0.001

    def read(self) -> bool:
        raise ValueError("broken")


def test_what_is_asked_for_is_read_and_what_nobody_asks_for_is_not(wait_until: WaitUntil) -> None:
    clock = Clock()
    reader, reading = SideReader(clock), Counting(more=5)
    reader.ask(reading)
    wait_until(lambda: reading.reads > 5)
    clock.now = IDLE_S + 1
    wait_until(lambda: not reader.is_running)
    before = reading.reads
    reader.ask(reading)
    wait_until(lambda: reading.reads > before)


def test_read_that_hangs_is_told_and_does_not_keep_others_from_being_read(
    wait_until: WaitUntil,
) -> None:
    clock = Clock()
    reader, hanging, other = SideReader(clock), Hanging(), Counting()
    reader.ask(hanging)
    wait_until(hanging.is_in.is_set)
    clock.now = SILENT_S + 0.5
    reader.ask(hanging)
    told = [reader.is_silent]
    reader.ask(other)
    wait_until(lambda: other.reads > 0)
    told.append(reader.is_silent)
    assert told == [True, False]
    hanging.answers.set()
    before = other.reads
    wait_until(lambda: other.reads > before)


def test_threads_that_wait_are_few_and_come_back(wait_until: WaitUntil) -> None:
    clock = Clock()
    reader = SideReader(clock)
    hanging = [Hanging() for _ in range(MOST_STUCK)]
    for one in hanging:
        reader.ask(one)
        wait_until(one.is_in.is_set)
        clock.now += SILENT_S + 0.5
    other = Counting()
    reader.ask(other)
    assert reader.is_silent and other.reads == 0
    for one in hanging:
        one.answers.set()

    def is_read() -> bool:
        reader.ask(other)
        return other.reads > 0

    wait_until(is_read)


def test_error_of_a_read_is_told_until_one_succeeds(wait_until: WaitUntil) -> None:
    reader = SideReader()
    reader.ask(Failing())
    wait_until(lambda: reader.problem == "ValueError: broken")
    reader.ask(Counting())
    wait_until(lambda: reader.problem == "")
