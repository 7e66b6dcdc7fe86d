"""What the bell rings for: what happens while somebody watches, and not too often."""

from __future__ import annotations

from dataclasses import dataclass

from tui.bell import EVERY_S, TOLD_S, Bell


@dataclass
class Seen:
    """A run as the catalog has it."""

    key: str
    word: str = "running"
    is_nan: bool = False
    glanced: bool = True

    @property
    def name(self) -> str:
        return self.key


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_run_that_ends_while_it_is_watched_is_news_once() -> None:
    bell, run = Bell(Clock()), Seen("a\x1b")
    assert bell.notice([run]) == []
    run.word = "failed"
    assert bell.notice([run]) == [r"a\x1b failed"]
    assert bell.notice([run]) == []


def test_run_that_had_ended_before_or_is_not_read_yet_is_no_news() -> None:
    bell = Bell(Clock())
    old, unread = Seen("old", "crashed", is_nan=True), Seen("new", "unknown", glanced=False)
    assert bell.notice([old, unread]) == []
    unread.glanced, unread.word = True, "finished"
    assert bell.notice([old, unread]) == []


def test_loss_that_becomes_nan_is_news_and_a_stall_is_not() -> None:
    bell, run = Bell(Clock()), Seen("a")
    bell.notice([run])
    run.word = "stalled"
    assert bell.notice([run]) == []
    run.is_nan = True
    assert bell.notice([run]) == ["a nan"]
    run.word = "failed"
    assert bell.notice([run]) == ["a failed"]


def test_bell_rings_once_a_second_at_most_and_the_header_tells_for_a_minute() -> None:
    clock = Clock()
    bell = Bell(clock)
    assert not bell.rings([])
    assert bell.rings(["a failed", "b failed"])
    assert bell.told == "a failed and 1 more"
    assert not bell.rings(["c finished"])
    assert bell.told == "c finished"
    clock.now += EVERY_S
    assert bell.rings(["d finished"])
    clock.now += TOLD_S
    assert bell.told == ""
