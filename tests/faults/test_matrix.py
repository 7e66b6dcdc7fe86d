"""Every system call on a run's files fails once, and from then on, with every error."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Sample
from tests.faults.harness import CALLS, ERRORS, SCENARIOS, Lab, Scenario
from tests.faults.invariants import violations

TRAIN = Scenario("train")
RESUME = Scenario("resume", killed_at=8)
GRID = Scenario("grid", SCENARIOS / "grid.py")
WHEN = {"once": "{}", "from then on": "{}+", "ten times": "{}..{}"}

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("strace", "jq")]


def modes(error: str) -> tuple[str, ...]:
    """A call that a signal interrupts is made again: without end it would be made for ever."""
    return ("once", "ten times") if error == "EINTR" else ("once", "from then on")


CASES = [(call, error, mode) for call in CALLS for error in ERRORS for mode in modes(error)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("call", "error", "mode"), CASES)
@pytest.mark.parametrize("scenario", [TRAIN, RESUME, GRID], ids=lambda scenario: scenario.name)
def test_whatever_fails_training_goes_on_and_the_files_tell_the_truth(
    lab: Lab, sample: Sample, scenario: Scenario, call: str, error: str, mode: str
) -> None:
    numbers = sample.numbers(f"{scenario.name} {call} {error} {mode}")
    found = [
        f"{scenario.name} {fault} ({outcome.what_failed}): {text}"
        for fault, outcome in lab.until_nothing_fails(scenario, call, error, WHEN[mode], numbers)
        for text in violations(outcome)
    ]
    assert not found, "\n".join([f"{len(found)} violations", *found])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scenario", [TRAIN, RESUME, GRID], ids=lambda scenario: scenario.name)
def test_without_a_fault_everything_is_there(lab: Lab, scenario: Scenario) -> None:
    outcome = lab.run(scenario)
    assert violations(outcome) == []
    assert outcome.status == 0
