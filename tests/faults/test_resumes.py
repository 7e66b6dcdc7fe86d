"""Several kills and resumes of one run: what counts in the end, and what is kept beside it."""

from __future__ import annotations

import signal

import pytest

import runstore
from tests.faults.harness import RUN, Lab, Scenario
from tests.faults.invariants import superseded, violations

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("strace")]

TRAIN = Scenario("train")


def test_three_kills_leave_each_step_once_and_the_rest_retrievable(lab: Lab) -> None:
    """Killed at steps 8, 9 and 8, each time after the checkpoint at step 6."""
    outcome = lab.run(TRAIN, options=("8",))
    for step in ("9", "8", ""):
        assert outcome.status == -signal.SIGKILL
        outcome = lab.again(TRAIN, outcome, *filter(None, [step]))
    assert outcome.status == 0
    assert violations(outcome) == []
    data = runstore.load(outcome.root / RUN)
    rows = [row for row in data.metrics() if "i" in row]
    assert [row["i"] for row in rows] == list(range(1, 11))
    assert [row["step"] for row in data.metrics()] == sorted(r["step"] for r in data.metrics())
    assert data.state.attempt == 4
    # The newest attempt's word counts; the others' is still there.
    newest = {line["i"]: line["time"] for line in rows}
    older = [row for row in superseded(data, "metrics") if "i" in row]
    assert sorted(row["i"] for row in older) == [7, 7, 7, 8, 8, 8, 9]
    assert all(row["time"] < newest[row["i"]] for row in older)
