"""Errors of a regression are scikit-learn's on the full lists, also far from zero."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import runstore
from runstore import RunManager
from runstore.metrics import values
from runstore.train.regression import Regression

PAIRS = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=60)
OFFSETS = st.sampled_from([0.0, 1.0, -1e4, 1e8])


def rows_of(run: runstore.Run, name: str) -> list[dict[str, Any]]:
    lines = (run.path / f"{name}-0001.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def stream(regression: Regression, pairs: Any, size: int) -> Regression:
    for start in range(0, len(pairs), size):
        predicted, target = np.array(pairs[start : start + size]).T
        regression.add(torch.tensor(predicted), torch.tensor(target))
    return regression


@settings(max_examples=150)
@given(PAIRS, OFFSETS, st.integers(1, 20), st.booleans())
def test_streamed_errors_are_sklearns_on_the_full_lists(
    pairs: list[tuple[float, float]], offset: float, size: int, on_device: bool
) -> None:
    shifted = np.array(pairs) + offset
    predicted, target = shifted.T
    assume(np.var(target) > 1e-9)
    with pytest.MonkeyPatch.context() as patch:
        if on_device:
            patch.setattr(values, "LATE_DEVICES", frozenset({"cpu"}))
        found = stream(Regression(), shifted, size).values()
    assert found["mse"] == pytest.approx(mean_squared_error(target, predicted), rel=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(target, predicted), rel=1e-12)
    # What remains of it is the rounding of the mean, which the list has too.
    assert found["r2"] == pytest.approx(r2_score(target, predicted), rel=1e-6, abs=1e-6)


def test_r2_keeps_its_digits_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(1e8, 1.0, 10_000)
    predicted = target + rng.normal(0.0, 0.1, 10_000)
    found = stream(Regression(), np.stack([predicted, target]).T, 64).values()
    assert found["r2"] == pytest.approx(r2_score(target, predicted), rel=1e-12)


@settings(max_examples=60)
@given(PAIRS, PAIRS)
def test_sums_loaded_in_the_middle_go_on_exactly(
    before: list[tuple[float, float]], after: list[tuple[float, float]]
) -> None:
    whole = stream(stream(Regression(), before, 7), after, 7)
    file = io.BytesIO()
    torch.save(stream(Regression(), before, 7).state_dict(), file)
    file.seek(0)
    second = Regression()
    second.load_state_dict(torch.load(file, weights_only=True))
    assert stream(second, after, 7).state_dict() == whole.state_dict()


@given(PAIRS, PAIRS)
def test_sums_of_processes_are_those_of_one(
    one: list[tuple[float, float]], other: list[tuple[float, float]]
) -> None:
    together = stream(Regression(), [*one, *other], 7)
    assume(np.var([target for _, target in [*one, *other]]) > 1e-9)
    states = [stream(Regression(), part, 7).state_dict() for part in (one, other)]
    found = Regression()
    found.reduce([*states, Regression().state_dict()])
    assert found.values() == pytest.approx(together.values(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ([1.0, 1.0], [1.0, 1.0], 1.0),
        ([1.0, 2.0], [1.0, 1.0], 0.0),
        ([3.0], [1.0], math.nan),
    ],
)
def test_r2_of_what_does_not_vary_is_sklearns(
    predicted: list[float], target: list[float], expected: float
) -> None:
    regression = Regression()
    regression.add(predicted, target)
    assert regression.values()["r2"] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_any_shape_and_type_is_flattened(dtype: torch.dtype) -> None:
    regression = Regression()
    regression.add(
        torch.ones(2, 3, 1, dtype=dtype, requires_grad=dtype.is_floating_point),
        torch.arange(6).to(dtype).reshape(3, 2),
    )
    assert regression.values()["mse"] == (1 + 0 + 1 + 4 + 9 + 16) / 6


def test_plain_floats_keep_their_digits() -> None:
    regression = Regression()
    regression.add([0.1, 0.2], [0.0, 0.0])
    assert regression.values()["mae"] == pytest.approx(0.15, rel=1e-15)


def test_pairs_that_are_not_finite_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.val([0]):
            run.track_regression([math.nan, 1.0, 2.0, 5.0], [1.0, 1.0, math.inf, 3.0])
    (row,) = rows_of(run, "metrics")
    assert row["val/mse"] == 2.0
    assert "val: 2 pairs that are not finite are left out" in caplog.text


def test_numbers_of_elements_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"predictions are float64 \[2\] and targets .* \[3\]"):
        Regression().add([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        ("half", [0.5], "^predictions: expected numbers .* got str 'half'"),
        ([0.5], [None], r"^targets: expected numbers .* got list \[None\]"),
        ([0.5], torch.tensor([1j]), r"^targets are complex64 \[1\], expected real numbers"),
    ],
)
def test_what_is_wrong_is_said_of_the_argument(
    predictions: Any, targets: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Regression().add(predictions, targets)


def test_errors_are_in_the_rows_of_the_split_and_the_epoch(tmp_path: Path) -> None:
    manager = RunManager(tmp_path)
    run = manager.begin_run()
    manager.begin_epoch()
    for split in ("train", "val"):
        manager.begin_split(split)
        manager.track_regression(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        manager.track(mae=7.0)
        manager.end_split()
    row = manager.end_epoch()
    manager.end_run()
    assert (row["train/mse"], row["val/mse"], row["val/r2"]) == (2.0, 2.0, 1 - 4.0 / 4.5)
    assert row["val/mae"] == 7.0  # what was tracked by this name itself comes first
    rows = rows_of(run, "metrics")
    assert [r["val/mse"] for r in rows if "val/mse" in r] == [2.0]
    assert not [r for r in rows if "train/mse" in r]


def test_nothing_finite_has_no_errors() -> None:
    regression = Regression()
    regression.add([math.nan], [1.0])
    assert regression.values() == {}
    regression.add([2.0, 3.0], [1.0, 5.0])
    assert regression.values()["mse"] == 2.5
