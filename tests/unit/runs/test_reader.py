"""`runstore.load`: one run, read once."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

import runstore
from runstore.errors import RunNotFoundError
from runstore.files.records import with_nonfinite


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with runstore.init({"lr": 0.1}, root=tmp_path / "runs", name="digits") as run:
        for _ in run.epochs(2):
            for loss in run.train([1.0, math.nan]):
                run.track(loss=loss)
    return run.path


def test_run_is_loaded_by_path_id_prefix_and_latest(run_dir: Path) -> None:
    root = run_dir.parent
    for path in (run_dir, str(run_dir)):
        assert runstore.load(path).id == run_dir.name
    for wanted in (run_dir.name, run_dir.name[:12], "latest"):
        assert runstore.load(wanted, root=root).path == run_dir


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        runstore.load(tmp_path / "nothing")


def test_loaded_run_has_rows_status_and_params(run_dir: Path) -> None:
    data = runstore.load(run_dir)
    assert (data.status, data.params) == ("finished", {"lr": 0.1})
    assert [row["epoch"] for row in data.epochs()] == [1, 2]
    losses = [row["train/loss"] for row in data.metrics()]
    assert losses[0] == losses[2] == 1.0
    assert math.isnan(losses[1])
    assert data.reports() == []
    assert repr(data) == f"<runstore run {run_dir.name} finished, epoch 2/2, step 4>"


def test_data_frame_without_pandas_says_what_to_install(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        runstore.load(run_dir).to_pandas()


def test_side_note_is_folded_into_the_values() -> None:
    row = {"step": 1, "a": None, "b": None, "c": 1.5, "_nonfinite": {"a": "-inf"}}
    assert with_nonfinite(row) == {"step": 1, "a": -math.inf, "b": None, "c": 1.5}
    assert with_nonfinite({"a": 1.0}) == {"a": 1.0}
