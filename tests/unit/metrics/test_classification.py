"""Counts of classes: on the host and on an accelerator, of few classes and of many."""

from __future__ import annotations

import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report as sklearn_report

import runstore
from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.records import encode
from runstore.metrics import values
from runstore.metrics.reports import ReportOptions
from runstore.train import class_counts, host_copy
from runstore.train.class_counts import ClassCounts
from runstore.train.classification import Classification

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60)
LABELS = st.one_of(st.none(), st.lists(st.integers(-2, 12), min_size=1, max_size=10, unique=True))
ZERO = st.sampled_from([0, 1, math.nan])


@pytest.fixture
def as_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the CPU play the accelerator."""
    monkeypatch.setattr(values, "LATE_DEVICES", frozenset({"cpu"}))


def as_text(report: dict[str, Any]) -> str:
    """Every bit of every number, and NaN equal to NaN."""
    flat = {
        key: {k: float(v).hex() for k, v in value.items()}
        if isinstance(value, dict)
        else float(value).hex()
        for key, value in report.items()
    }
    return json.dumps(flat)


def expected_report(true: Any, predicted: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        report: dict[str, Any] = sklearn_report(true, predicted, output_dict=True, **options)
    return report


def rows_of(run: runstore.Run, name: str) -> list[dict[str, Any]]:
    lines = (run.path / f"{name}-0001.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def stream(counts: Classification, pairs: Any, size: int = 7) -> Classification:
    for start in range(0, len(pairs), size):
        true, predicted = np.array(pairs[start : start + size]).T
        counts.add(torch.tensor(predicted), torch.tensor(true))
    return counts


@settings(max_examples=80)
@given(PAIRS, LABELS, ZERO, st.booleans())
def test_report_of_pairs_and_of_classes_is_sklearns_bit_for_bit(
    pairs: list[tuple[int, int]], labels: list[int] | None, zero: float, few: bool
) -> None:
    options = ReportOptions(labels=labels, zero_division=zero)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_counts, "MATRIX_CLASSES", 1000 if few else 0)
        report = stream(Classification(options), pairs).report()
    true, predicted = zip(*pairs, strict=True)
    expected = expected_report(true, predicted, labels=labels, zero_division=zero)
    assert as_text(report.report) == as_text(expected)
    assert (report.confusion is not None) == few
    assert report.accuracy == np.mean(np.array(true) == np.array(predicted))


@settings(max_examples=6)
@given(st.sampled_from([300, 1000, 1001, 3000]), st.integers(0, 2**32 - 1), ZERO)
def test_report_of_many_classes_is_sklearns_bit_for_bit(k: int, seed: int, zero: float) -> None:
    rng = np.random.default_rng(seed)
    true = np.minimum(rng.zipf(1.3, 5000), k) - 1
    predicted = np.where(rng.random(5000) < 0.7, true, rng.integers(0, k, 5000))
    names = [f"class {index}" for index in range(k)]
    counts = Classification(ReportOptions(names, zero_division=zero))
    stream(counts, np.stack([true, predicted]).T, 1024)
    expected = expected_report(
        true, predicted, labels=range(k), target_names=names, zero_division=zero
    )
    assert as_text(counts.report().report) == as_text(expected)


@pytest.mark.usefixtures("as_device")
def test_device_counts_what_the_host_counts() -> None:
    scores = torch.randn(200, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(0, 9, (200,), generator=torch.Generator().manual_seed(1))
    targets[::5] = -100
    device = Classification()
    device.add(scores, targets)
    kept = targets != -100
    expected = expected_report(targets[kept], scores.argmax(1)[kept], zero_division=0)
    assert as_text(device.report().report) == as_text(expected)
    assert device.outside == 0


@pytest.mark.usefixtures("as_device")
@pytest.mark.parametrize("most", [1000, 0])
def test_device_leaves_out_and_counts_classes_that_the_scores_lack(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_counts, "MATRIX_CLASSES", most)
    counts = Classification()
    counts.add(torch.eye(3), torch.tensor([0, 3, -100]))
    counts.add(torch.eye(3), torch.tensor([-1, 1, 2]))
    assert counts.outside == 2
    assert counts.report().report["macro avg"]["support"] == 3


@pytest.mark.usefixtures("as_device")
def test_device_counts_when_it_is_known_how_many_classes_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Event:
        is_set = False

        def query(self) -> bool:
            return self.is_set

    event = Event()
    monkeypatch.setattr(host_copy, "_event_behind", lambda device: event)
    counts = Classification()
    for cls in (1, 5, 2):
        counts.add(torch.tensor([cls, 0]), torch.tensor([cls, -100]))
    event.is_set = True
    assert counts.report().confusion == [[1, 1, 1], [2, 2, 1], [5, 5, 1]]


def test_matrix_that_grows_beyond_a_thousand_classes_becomes_counts_of_classes() -> None:
    pairs = [(0, 1), (1, 1), (1499, 3), (3, 1499), (1499, 1499)]
    report = stream(Classification(), pairs, 2).report()
    assert report.confusion is None
    true, predicted = zip(*pairs, strict=True)
    assert as_text(report.report) == as_text(expected_report(true, predicted, zero_division=0))


def test_class_far_beyond_is_refused_before_it_takes_the_memory() -> None:
    with pytest.raises(ValueError, match=r"^predictions have class 1000000000, expected at most"):
        Classification().add(torch.tensor([10**9]), torch.tensor([0]))


def test_fifty_thousand_classes_fit_a_row_without_those_of_small_support() -> None:
    k = 50_000
    true = np.concatenate([np.arange(k), np.zeros(9, dtype=np.int64)])
    report = stream(Classification(), np.stack([true, true]).T, k + 9).report()
    row = {"step": 1, "epoch": 1, "split": "val", **report.to_record()}
    assert len(encode(row)) <= MAX_LINE_BYTES
    assert report.omitted == k - len(report.labels)
    assert report.labels[0] == "0"
    assert report.report["macro avg"]["support"] == k + 9


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        (torch.rand(4), torch.tensor([0, 1, 0, 1]), r"^predictions are float32 \[4\], expected"),
        (torch.rand(4, 1), torch.ones(4).long(), r"^predictions are float32 \[4, 1\], expected"),
        ([0, 1], [0], r"^predictions are int64 \[2\] and targets are int64 \[1\], expected scores"),
        (torch.rand(4, 3), torch.ones(4), r"^targets are float32 \[4\], expected integer classes"),
        (
            torch.rand(4, 3),
            torch.ones(4, 3).long(),
            r"^predictions are float32 \[4, 3\] and targets are int64 \[4, 3\], expected",
        ),
        (torch.tensor([0, -2]), torch.tensor([0, 1]), "^predictions have class -2, expected 0 to"),
        (torch.rand(2, 3), torch.tensor([0, -1]), "^targets have class -1, expected 0 to k - 1"),
        (["cat"], [0], r"^predictions: expected numbers .* got list \['cat'\]"),
        ([0], ["cat"], r"^targets: expected numbers .* got list \['cat'\]"),
        ([0, 1], [[0], [0, 1]], "^targets: expected numbers"),
    ],
)
def test_what_is_wrong_is_said_of_the_argument(
    predictions: Any, targets: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as found:
        Classification().add(predictions, targets)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["cat"]}, r"^labels is \['cat'\], expected a list of integer classes"),
        ({"labels": 3}, "^labels is 3, expected"),
        ({"target_names": "cat"}, "^target_names is 'cat', expected a list of names"),
        ({"target_names": 3}, "^target_names is 3, expected"),
        ({"zero_division": "warn"}, "^zero_division is 'warn', expected 0, 1 or nan"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classification(ReportOptions(**options))


@pytest.mark.parametrize("zero", [2, -1, 0.5])
def test_other_zero_divisions_are_refused(zero: float) -> None:
    with pytest.raises(ValueError, match="zero_division"):
        Classification(ReportOptions(zero_division=zero))


@settings(max_examples=40)
@given(PAIRS, PAIRS, st.booleans(), st.booleans())
def test_counts_loaded_in_the_middle_go_on_exactly(
    before: list[tuple[int, int]], after: list[tuple[int, int]], few: bool, on_device: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_counts, "MATRIX_CLASSES", 1000 if few else 4)
        if on_device:
            patch.setattr(values, "LATE_DEVICES", frozenset({"cpu"}))
        options = ReportOptions(zero_division=1)
        whole = stream(stream(Classification(options), before), after)
        file = io.BytesIO()
        torch.save(stream(Classification(options), before).state_dict(), file)
        file.seek(0)
        second = Classification()
        second.load_state_dict(torch.load(file, weights_only=True))
        assert stream(second, after).report() == whole.report()


def test_state_of_nothing_is_nothing() -> None:
    counts = Classification()
    counts.load_state_dict(Classification(ReportOptions(["a"])).state_dict())
    with pytest.raises(ValueError, match="no samples"):
        counts.report()


@pytest.mark.parametrize("pairs", [True, False])
def test_grown_counts_keep_what_was_left_out(pairs: bool) -> None:
    counts = ClassCounts(2)
    counts.add(torch.tensor([0, 1, 1]), torch.tensor([0, 7, -100]))
    grown = counts.grown(5, pairs=pairs)
    assert grown.outside == 1
    assert grown.per_class().tolist() == [[1, 0, 0, 0, 0]] * 3


def test_row_of_an_undefined_score_is_json(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.val([0]):
            run.track_classification([0, 0], [0, 1], zero_division=math.nan)
    (row,) = rows_of(run, "reports")
    assert row["report"]["1"]["precision"] is None
    assert row["report"]["1"]["recall"] == 0.0


@pytest.mark.usefixtures("as_device")
def test_samples_left_out_on_the_device_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.val([0]):
            run.track_classification(torch.eye(2), torch.tensor([0, 5]))
    assert "val: 1 samples of classes that the scores lack are left out" in caplog.text
