from __future__ import annotations

from runstore.run.step_counting import StepCounting


def counted(counting: StepCounting, *steppers: int) -> list[bool]:
    return [counting.note_step(number) for number in steppers]


def two() -> StepCounting:
    counting = StepCounting()
    for number in range(2):
        counting.note_added(number)
    return counting


def test_the_first_of_several_counts() -> None:
    assert counted(two(), 0, 1, 0, 1) == [True, False, True, False]


def test_one_that_is_made_later_counts_once_the_first_is_over() -> None:
    counting = two()
    assert counted(counting, 0, 0) == [True, True]
    counting.note_added(2)
    assert counted(counting, 2, 2) == [True, True]


def test_no_phase_is_over_when_the_first_steps_again() -> None:
    counting = two()
    counted(counting, 0)
    counting.note_added(2)
    assert counted(counting, 2, 0, 2, 0) == [True, True, False, True]


def test_a_resumed_run_counts_on() -> None:
    counting = two()
    counted(counting, 0)
    resumed = StepCounting()
    resumed.load_state(counting.state())
    resumed.note_added(1)
    resumed.go_on()
    resumed.note_added(2)
    assert counted(resumed, 1, 2) == [False, True]
