"""What `make faults-lab` makes of its trials; the trials themselves need virtual machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.lab.acks import AckFile, Loss, loss, read_acks
from tests.faults.lab.inside.rows import bad_files
from tests.faults.lab.scenarios import SCENARIOS, Scenario, Trial
from tests.faults.lab.table import HEADINGS, Row, markdown, plain

NONE_LOST = Scenario("kill-ext4", "kill -9", "ext4", lambda bench: Trial(0, 0))
SOME_LOST = replace(NONE_LOST, allowed_s=3.0)


def test_acknowledgements_are_read_back_without_a_half_record(tmp_path: Path) -> None:
    path = tmp_path / "acks"
    file = AckFile(path)
    for step in range(5):
        file.tell(step)
    with path.open("ab") as cut_off:
        cut_off.write(b"half")
    acks = read_acks(path)
    assert list(acks) == [0, 1, 2, 3, 4]
    assert sorted(acks.values()) == list(acks.values())


def test_the_age_of_a_loss_is_that_of_its_oldest_row() -> None:
    acks = {step: 100.0 + step for step in range(10)}
    assert loss(acks, set(range(7))) == Loss(10, 3, 2.0)
    assert loss(acks, set(acks) - {4}) == Loss(10, 1, 5.0)
    assert loss(acks, set(acks)) == Loss(10, 0, None)


@pytest.mark.parametrize(
    "trial",
    [
        Trial(100, 1, 0.0),
        Trial(100, 0, problems=("judged finished, expected crashed",)),
        Trial(0, 0),
    ],
    ids=["one row lost", "judged wrongly", "nothing tried"],
)
def test_one_bad_trial_among_good_ones_breaks_the_promise(trial: Trial) -> None:
    row = Row(NONE_LOST, [Trial(100, 0), trial, Trial(100, 0)])
    assert len(row.problems) == 1
    assert row.cells()[-1] == "BROKEN"


def test_young_rows_may_be_lost_where_that_is_promised() -> None:
    assert not Row(SOME_LOST, [Trial(100, 50, 2.9)]).problems
    assert Row(SOME_LOST, [Trial(100, 1, 3.1)]).problems


def test_a_figure_above_its_bound_breaks_the_promise() -> None:
    timed = replace(NONE_LOST, measures="log() took {:.3f} s at most", most=0.1)
    assert not Row(timed, [Trial(100, 0, figure=0.09)]).problems
    row = Row(timed, [Trial(100, 0, figure=0.09), Trial(100, 0, figure=0.11)])
    assert row.problems == ["log() took 0.110 s at most; 0.1 allowed"]


def test_a_control_that_keeps_the_promise_is_a_fault_of_the_lab() -> None:
    control = replace(SOME_LOST, control=True)
    assert Row(control, [Trial(100, 20, 2.0)]).problems
    assert not Row(control, [Trial(100, 20, 2.0), Trial(100, 90, 9.0)]).problems


def test_both_tables_have_a_line_for_each_scenario() -> None:
    rows = [Row(scenario, [Trial(10, 0)]) for scenario in SCENARIOS]
    assert len(plain(rows).splitlines()) == len(SCENARIOS) + 1
    lines = markdown(rows).splitlines()
    assert len(lines) == len(SCENARIOS) + 2
    assert {line.count("|") for line in lines} == {len(HEADINGS) + 1}


def test_scenarios_can_be_told_apart_by_name() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_what_other_tools_refuse_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text('{"step":1}\n{"step":2}\n')
    (tmp_path / "torn.jsonl").write_text('{"step":1}\n{"st')
    (tmp_path / "zeros.jsonl").write_text('{"step":1}\n\0\0\0\n')
    assert bad_files(tmp_path) == [
        "torn.jsonl ends inside a line",
        "zeros.jsonl:2 is no JSON object",
    ]
