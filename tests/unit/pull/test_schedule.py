"""Running runs are pulled often, the others now and then, and no file server is asked too much."""

from __future__ import annotations

import pytest

from runstore.pull import Brought
from runstore.pull.schedule import LIVE_S, NAMES_S, QUIET_S, WHOLE_S, Schedule, folder_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def brought(*files: str, looked_at: int = 10) -> Brought:
    return Brought(frozenset(files), looked_at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(clock: Clock) -> Schedule:
    """Of a host where no look at the names tells anything."""
    schedule = Schedule(clock)
    schedule.saw([], 0, again=False)
    return schedule


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("sweep/run/metrics-0001.jsonl", "sweep/run"),
        ("run/checkpoints/manifest.jsonl", "run"),
        ("run/samples/a/step-1.png", "run"),
        ("mlruns/0/abc/metrics/train/loss", "mlruns/0/abc"),
        ("run.json", "run.json"),
        ("checkpoints/manifest.jsonl", "checkpoints/manifest.jsonl"),
    ],
)
def test_folder_of_a_run_is_found_from_its_files(file: str, folder: str) -> None:
    assert folder_of(file) == folder


def test_everything_is_pulled_first_and_then_only_what_runs(
    schedule: Schedule, clock: Clock
) -> None:
    assert schedule.due() == ("whole", 0)
    files = brought("old/events-0001.jsonl", "new/progress.json")
    schedule.came("whole", files, {"old/events-0001.jsonl": 100.0, "new/progress.json": 9000.0})
    assert schedule.live == ["new"]
    assert schedule.due() == ("live", LIVE_S)
    clock.now += LIVE_S
    assert schedule.due() == ("live", 0)
    schedule.came("live", brought("new/progress.json"), {})
    assert schedule.due() == ("live", LIVE_S)


def test_others_are_looked_at_every_minute(schedule: Schedule, clock: Clock) -> None:
    schedule.came("whole", brought("a/progress.json"), {"a/progress.json": 1.0})
    for _ in range(11):
        clock.now += LIVE_S
        assert schedule.due().kind == "live"
        schedule.came("live", brought("a/progress.json"), {})
    clock.now += LIVE_S
    assert schedule.due() == ("whole", 0)
    assert WHOLE_S == 12 * LIVE_S


def test_run_that_does_not_change_any_more_is_left_to_the_whole_pulls(
    schedule: Schedule, clock: Clock
) -> None:
    schedule.came("whole", brought("a/x", "b/x"), {"a/x": 1.0, "b/x": 1.0})
    clock.now += QUIET_S + 1
    schedule.came("live", brought("b/x"), {})
    assert schedule.live == ["b"]


def test_large_root_is_asked_for_a_hundred_names_a_second_at_most(
    schedule: Schedule, clock: Clock
) -> None:
    schedule.came("whole", brought("a/x", looked_at=100_000), {"a/x": 1.0})
    schedule.came("live", brought("a/x", looked_at=2_000), {})
    assert schedule.due() == ("live", 20)
    clock.now += 900
    assert schedule.due().kind == "live"
    schedule.came("live", brought("a/x", looked_at=2_000), {})
    clock.now += 100
    schedule.came("live", brought("a/x", looked_at=2_000), {})
    assert schedule.due() == ("whole", 0)


def test_tries_become_rarer_while_a_host_is_away_and_a_key_hurries_them(
    schedule: Schedule, clock: Clock
) -> None:
    assert [schedule.failed() for _ in range(8)] == [10, 20, 40, 80, 160, 300, 300, 300]
    assert schedule.due() == ("whole", 300)
    schedule.hurry()
    assert schedule.due() == ("whole", 0)
    schedule.came("whole", brought(), {})
    assert schedule.failed() == 10


# ---- names ---------------------------------------------------------------------------------------


def test_names_are_looked_at_before_all_and_then_every_ten_seconds(clock: Clock) -> None:
    schedule = Schedule(clock)
    assert schedule.due() == ("names", 0)
    schedule.saw([], 3)
    assert schedule.due() == ("whole", 0)
    schedule.came("whole", brought(), {})
    assert schedule.due() == ("names", NAMES_S)
    schedule.saw([], 30_000)
    assert schedule.due() == ("names", 30)


def test_what_is_new_is_pulled_at_once_and_again_until_it_has_files(
    schedule: Schedule, clock: Clock
) -> None:
    schedule.came("whole", brought(), {})
    clock.now += 1
    schedule.saw(["sweep"], 1)
    assert schedule.due() == ("live", 0)
    assert schedule.live == ["sweep"]
    schedule.came("live", brought(), {})
    assert schedule.due() == ("live", LIVE_S)
    schedule.came("live", brought("sweep/a/run.json"), {})
    assert schedule.live == ["sweep", "sweep/a"]
    assert schedule.folders == {"", "sweep"}
    clock.now += QUIET_S + 1
    schedule.came("live", brought("sweep/a/progress.json"), {})
    assert schedule.live == ["sweep/a"]


def test_names_of_a_host_that_fails_wait_for_a_whole_pull(clock: Clock) -> None:
    """They would tell that all is well, although nothing can be pulled."""
    schedule = Schedule(clock)
    wait_s = schedule.failed()
    assert schedule.due() == ("whole", wait_s)
