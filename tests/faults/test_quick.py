"""A few faults of each kind in `make test`; `make faults` tries them all."""

from __future__ import annotations

import pytest

from tests.faults.harness import Fault, Lab, Scenario
from tests.faults.invariants import violations

FAULTS = [
    Fault("write", "SIGKILL", "9"),
    Fault("write", "ENOSPC", "5"),
    Fault("write", "ENOSPC", "7+"),
    Fault("fdatasync", "EIO", "2"),
    Fault("fdatasync", "EIO", "1+"),
    Fault("openat", "EDQUOT", "10"),
    Fault("rename", "EROFS", "2"),
    Fault("flock", "ESTALE", "1"),
]


@pytest.mark.needs_tool("strace", "jq")
def test_no_fault_stops_the_training_or_makes_the_files_lie(lab: Lab) -> None:
    """One test for all: what takes the time is the process that the cases are forked from."""
    scenario = Scenario("train")
    found = []
    for fault in FAULTS:
        outcome = lab.run(scenario, fault)
        assert outcome.injected, f"{fault} met no call"
        texts = violations(outcome)
        if outcome.status < 0:
            again = lab.again(scenario, outcome)
            texts = [text for text in texts if "I1" not in text] + violations(again)
        found += [f"{fault} ({outcome.what_failed}): {text}" for text in texts]
    assert found == []
