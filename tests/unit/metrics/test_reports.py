"""Classification reports are scikit-learn's, number for number."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report as sklearn_report
from sklearn.metrics import confusion_matrix

from runstore.files.records import encode
from runstore.metrics import reports
from runstore.metrics.reports import ReportOptions
from runstore.train.classification import Classification

LABELS = st.integers(1, 6).flatmap(
    lambda k: st.lists(
        st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=60
    )
)


def plain(report: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {k: float(v) for k, v in value.items()} if isinstance(value, dict) else float(value)
        for key, value in report.items()
    }


def stream(pairs: list[tuple[int, int]], batch: int, **options: Any) -> reports.Report:
    counts = Classification(ReportOptions(**options))
    for start in range(0, len(pairs), batch):
        true, predicted = zip(*pairs[start : start + batch], strict=True)
        counts.add(np.array(predicted), np.array(true))
    return counts.report()


@settings(max_examples=40)
@given(LABELS, st.integers(1, 20))
def test_streamed_report_equals_sklearns_on_the_full_lists(
    pairs: list[tuple[int, int]], batch: int
) -> None:
    true, predicted = zip(*pairs, strict=True)
    expected = sklearn_report(true, predicted, output_dict=True, zero_division=0)
    report = stream(pairs, batch)
    assert report.report == plain(expected)
    matrix = confusion_matrix(true, predicted, labels=range(6))
    assert {(t, p): c for t, p, c in report.confusion or []} == {
        (t, p): int(matrix[t, p]) for t in range(6) for p in range(6) if matrix[t, p]
    }
    assert report.accuracy == np.mean(np.array(true) == np.array(predicted))


@settings(max_examples=20)
@given(LABELS)
def test_named_classes_are_all_reported(pairs: list[tuple[int, int]]) -> None:
    names = list("abcdef")
    true, predicted = zip(*pairs, strict=True)
    expected = sklearn_report(
        true, predicted, labels=range(6), target_names=names, output_dict=True, zero_division=0
    )
    report = stream(pairs, 7, target_names=names)
    assert report.report == plain(expected)
    assert report.labels == names


def test_subset_of_labels_is_reported_as_sklearn_does() -> None:
    pairs = [(0, 0), (1, 1), (2, 1), (2, 2)]
    true, predicted = zip(*pairs, strict=True)
    expected = sklearn_report(true, predicted, labels=[1, 2], output_dict=True, zero_division=0)
    report = stream(pairs, 2, labels=[1, 2])
    assert report.report == plain(expected)
    assert report.labels == ["1", "2"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_scores_are_classified_by_their_largest(dtype: torch.dtype) -> None:
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2]], dtype=dtype, requires_grad=True)
    counts = Classification()
    counts.add(scores, torch.tensor([1, 1]))
    assert counts.report().confusion == [[1, 0, 1], [1, 1, 1]]


def test_ignored_targets_are_left_out() -> None:
    counts = Classification()
    counts.add(torch.tensor([0, 1, 1]), torch.tensor([-100, 1, -100]))
    assert counts.report().confusion == [[1, 1, 1]]


def test_classes_that_come_late_make_room() -> None:
    counts = Classification()
    counts.add([0], [0])
    counts.add([5], [4])
    assert counts.report().confusion == [[0, 0, 1], [4, 5, 1]]


def test_column_of_classes_is_taken() -> None:
    counts = Classification()
    counts.add(torch.tensor([[1], [0]]), torch.tensor([[1], [1]]))
    assert counts.report().confusion == [[1, 0, 1], [1, 1, 1]]


def test_nothing_tracked_has_no_report() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Classification().report()
    with pytest.raises(ValueError, match="no samples"):
        reports.classification_report(np.zeros((2, 2), dtype=np.int64), ReportOptions())


def test_largest_cells_are_kept_and_accuracy_is_that_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "MAX_CELLS", 2)
    counts = np.array([[9, 1, 0], [0, 2, 3], [1, 0, 4]], dtype=np.int64)
    report = reports.classification_report(counts, ReportOptions())
    assert report.confusion == [[0, 0, 9], [2, 2, 4]]
    assert report.headline()["accuracy"] == 15 / 20


NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@settings(max_examples=60)
@given(
    LABELS,
    st.one_of(st.none(), st.lists(NAMES, min_size=6, max_size=6, unique=True)),
    st.sampled_from([0, 1, math.nan]),
    st.one_of(st.none(), st.lists(st.integers(0, 7), min_size=1, unique=True)),
)
def test_text_of_a_stored_row_is_what_sklearn_prints(
    pairs: list[tuple[int, int]],
    names: list[str] | None,
    zero_division: float,
    labels: list[int] | None,
) -> None:
    true, predicted = zip(*pairs, strict=True)
    # Without a single hit scikit-learn prints supports as 1.0: its sums are floats then.
    assume(any(t == p for t, p in pairs))
    if names is not None:
        labels = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = sklearn_report(
            true,
            predicted,
            labels=range(6) if names else labels,
            target_names=names,
            zero_division=zero_division,
        )
    options = {"target_names": names, "labels": labels, "zero_division": zero_division}
    row = json.loads(encode(stream(pairs, 7, **options).to_record()))
    assert "\n".join([*reports.text_report(row), ""]) == expected


@pytest.mark.parametrize("report", [None, [], "x", 3, {"a": None}, {"a": {"precision": "x"}}])
def test_what_is_no_report_is_no_table(report: Any) -> None:
    assert isinstance(reports.text_report({"report": report}), list)


@pytest.mark.parametrize(
    ("options", "classes"),
    [({}, [1, 2, 3]), ({"labels": [2, 0]}, [2, 0]), ({"target_names": list("wxyz")}, [0, 1, 2, 3])],
)
def test_row_says_which_class_each_label_names(options: dict[str, Any], classes: list[int]) -> None:
    report = stream([(1, 1), (2, 3), (3, 3)], 2, **options)
    assert report.classes == classes
    assert len(report.labels) == len(classes)


def test_row_of_many_classes_fits_a_line() -> None:
    counts = np.ones((400, 400), dtype=np.int64)
    counts[7, 9] = 10_000
    names = [f"a class with the rather long name {n}" for n in range(400)]
    report = reports.classification_report(counts, ReportOptions(names))
    assert len(encode({"step": 1, "epoch": 1, "split": "val", **report.to_record()})) <= 1 << 20
    assert report.confusion is not None
    assert [7, 9, 10_000] in report.confusion
    assert len(report.confusion) > 10_000
