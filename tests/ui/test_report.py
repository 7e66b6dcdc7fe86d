"""The confusion matrix beside a classification report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runstore.files.paths import StreamFile
from runstore.state.run_state import RunState
from tui.renderables.report import report
from tui.renderables.text import plain

TRIPLES = [[0, 1, 7], [1, 1, 10], [1, 2, 11], [2, 0, 12], [2, 2, 13], [3, 3, 14]]


def matrix(**fields: Any) -> list[list[str]]:
    """Return the cells of the matrix as it is drawn, row by row, each with its name."""
    scores = {"precision": 1.0, "recall": 1.0, "f1-score": 1.0, "support": 1.0}
    entries = {str(label): scores for label in fields["labels"]}
    row = {"split": "val", "report": entries, "confusion": TRIPLES, **fields}
    state = RunState(Path("run"))
    state.apply(StreamFile(1, 0, "reports"), row)
    lines = [plain(line) for line in report(state, 120)]
    head = next((i for i, line in enumerate(lines) if "true\\as" in line), None)
    if head is None:
        return []
    at = lines[head].index("true\\as")
    return [line[at:].split() for line in lines[head + 1 :]]


def test_rows_are_the_classes_from_0_when_the_report_does_not_tell_them() -> None:
    assert matrix(labels=["a", "b"]) == [["a", "·", "7"], ["b", "·", "10"]]


def test_classes_that_begin_at_1_are_in_their_own_rows() -> None:
    assert matrix(labels=["1", "2", "3"], classes=[1, 2, 3]) == [
        ["1", "10", "11", "·"],
        ["2", "·", "13", "·"],
        ["3", "·", "·", "14"],
    ]


def test_chosen_classes_are_in_the_chosen_order_without_the_others() -> None:
    assert matrix(labels=["two", "zero"], classes=[2, 0]) == [
        ["two", "13", "12"],
        ["zero", "·", "·"],
    ]


def test_report_of_too_many_classes_for_a_matrix_has_none() -> None:
    assert matrix(labels=["a", "b"], confusion=None) == []


@pytest.mark.parametrize("classes", [[1], "12", [1, 1], [1, None], {}])
def test_matrix_is_not_drawn_where_its_rows_are_not_known(classes: object) -> None:
    assert matrix(labels=["a", "b"], classes=classes) == []
