"""Every system call on a run's files fails once, and from then on, with every error."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import runstore
from tests.faults.harness import CALLS, ERRORS, SCENARIOS, Fault, Lab, Outcome, Scenario
from tests.faults.invariants import violations
from tests.faults.sample import Sample

TRAIN = Scenario("train")
RESUME = Scenario("resume", killed_at=8, torn=True)
GRID = Scenario("grid", SCENARIOS / "grid.py")
IMAGES = Scenario("images", SCENARIOS / "images.py", below="/samples")
WHEN = {"once": "{}", "from then on": "{}+", "ten times": "{}..{}"}

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("strace", "jq")]


def modes(error: str) -> tuple[str, ...]:
    """A call that a signal interrupts is made again: without end it would be made for ever."""
    return ("once", "ten times") if error == "EINTR" else ("once", "from then on")


CASES = [(call, error, mode) for call in CALLS for error in ERRORS for mode in modes(error)]
CASES += [("openat", error, mode) for error in ("EMFILE", "ENFILE") for mode in modes(error)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("call", "error", "mode"), CASES)
@pytest.mark.parametrize(
    "scenario", [TRAIN, RESUME, GRID, IMAGES], ids=lambda scenario: scenario.name
)
def test_whatever_fails_training_goes_on_and_the_files_tell_the_truth(
    lab: Lab, sample: Sample, scenario: Scenario, call: str, error: str, mode: str
) -> None:
    check_all(lab, sample, scenario, Fault(call, error, WHEN[mode]))


PAIRS = [
    Fault("fdatasync", "EIO", "{}", also=Fault("openat", "ENOSPC", "12+")),
    Fault("fdatasync", "EIO", "{}", also=Fault("ftruncate", "EIO", "1+")),
    Fault("fdatasync", "EIO", "{}", also=Fault("write", "EIO", "20..30")),
    Fault("write", "ENOSPC", "{}..{}", also=Fault("unlink", "EIO", "1+")),
    Fault("write", "EIO", "{}..{}", also=Fault("fdatasync", "EIO", "1+")),
    Fault("openat", "ESTALE", "{}..{}", also=Fault("write", "ESTALE", "10..20")),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_faults_that_come_together_lose_no_more(lab: Lab, sample: Sample, pair: Fault) -> None:
    check_all(lab, sample, TRAIN, pair)


def check_all(lab: Lab, sample: Sample, scenario: Scenario, fault: Fault) -> None:
    """Fail with all that is wrong after the fault at each N."""
    found: list[str] = []
    numbers = sample.numbers(f"{scenario.name} {fault}")
    for now, outcome in lab.until_nothing_fails(scenario, fault, numbers):
        told = f"{scenario.name} {now} ({outcome.what_failed})"
        found += [f"{told}: {text}" for text in violations(outcome)]
        if scenario is not GRID and outcome.status != 0:
            found += [f"{told}, then again: {text}" for text in goes_on(lab, scenario, outcome)]
    assert not found, "\n".join([f"{len(found)} violations", *found])


def goes_on(lab: Lab, scenario: Scenario, outcome: Outcome) -> Iterator[str]:
    """Start the script again, with nothing failing, and yield what is wrong then."""
    again = lab.again(scenario, outcome)
    yield from violations(again)
    words = [runstore.load(run_dir).status for run_dir in again.runs]
    if again.status != 0 or words != ["finished"]:
        yield f"exit status {again.status}, {words}: {again.output}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scenario", [TRAIN, RESUME, IMAGES], ids=lambda scenario: scenario.name)
def test_killed_at_any_call_the_next_attempt_has_every_row(
    lab: Lab, sample: Sample, scenario: Scenario, call: str
) -> None:
    numbers = sample.numbers(f"{scenario.name} {call} SIGKILL")
    kill = Fault(call, "SIGKILL", "{}")
    found: list[str] = []
    for fault, outcome in lab.until_nothing_fails(scenario, kill, numbers):
        told = f"{scenario.name} {fault}"
        assert outcome.status == -signal.SIGKILL
        found += [f"{told}: {text}" for text in violations(outcome) if "I1" not in text]
        found += [f"{told}, then again: {text}" for text in goes_on(lab, scenario, outcome)]
    assert not found, "\n".join([f"{len(found)} violations", *found])


@pytest.mark.parametrize(
    "scenario", [TRAIN, RESUME, GRID, IMAGES], ids=lambda scenario: scenario.name
)
def test_without_a_fault_everything_is_there(lab: Lab, scenario: Scenario) -> None:
    outcome = lab.run(scenario)
    assert violations(outcome) == []
    assert outcome.status == 0
