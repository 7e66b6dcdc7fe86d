"""Runs as data frames: what was logged is what pandas and polars hold, with their own words."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import runstore
from runstore.errors import FormatError, MissingPackageError, RunStoreError

Rows = list[dict[str, Any]]
AsRows = Callable[[runstore.RunData, str], Rows]


def from_polars(frame: pl.DataFrame) -> Rows:
    """Return a frame as rows without what is missing."""
    return [{k: v for k, v in row.items() if v is not None} for row in frame.to_dicts()]


def from_pandas(frame: pd.DataFrame) -> Rows:
    """Return a frame as rows without what is missing, for which pandas also has NaN."""
    return [
        {k: v for k, v in row.items() if not pd.isna(v)} for row in frame.to_dict(orient="records")
    ]


def without_nan(rows: Rows) -> Rows:
    return [{k: v for k, v in row.items() if not (type(v) is float and v != v)} for row in rows]


def same(rows: Rows) -> list[list[tuple[str, str]]]:
    """Return rows as texts that tell 1 from 1.0, and one NaN from none."""
    return [sorted((key, repr(value)) for key, value in row.items()) for row in rows]


@pytest.fixture
def run(tmp_path: Path) -> runstore.RunData:
    """A run with a metric that comes late, NaN, infinities, and rows without an epoch."""
    with runstore.init({"lr": 0.1}, root=tmp_path / "runs", name="frames") as run:
        run.log({"lr": 0.1}, step=0)
        for epoch in run.epochs(2):
            for loss in run.train([1 / 3, math.nan, math.inf]):
                run.track(loss=loss)
            for _ in run.val([0]):
                run.track(loss=-math.inf if epoch == 2 else 0.25)
        run.log({"late": 5e-324}, step=9)
    return runstore.load(run.path)


@pytest.mark.parametrize("stream", ["metrics", "epochs"])
def test_frames_hold_the_rows(run: runstore.RunData, stream: str) -> None:
    rows = run.metrics() if stream == "metrics" else run.epochs()
    assert same(from_polars(run.to_polars(stream))) == same(rows)  # type: ignore[arg-type]
    frame = run.to_pandas(stream)  # type: ignore[arg-type]
    assert same(from_pandas(frame)) == same(without_nan(rows))


def test_types_are_those_of_the_columns_and_not_of_the_values(run: runstore.RunData) -> None:
    frame, other = run.to_pandas(), run.to_polars()
    assert list(frame) == other.columns
    assert list(frame)[:5] == ["step", "epoch", "time", "lr", "train/loss"]
    assert (frame["step"].dtype, frame["epoch"].dtype) == ("int64", "Int64")
    assert {str(frame[name].dtype) for name in list(frame)[2:]} == {"float64"}
    assert other.dtypes == [pl.Int64, pl.Int64] + [pl.Float64] * (len(other.columns) - 2)
    late = other["late"].to_list()
    assert late == [None] * (len(late) - 1) + [5e-324]
    assert math.isnan(other["train/loss"].to_list()[2])


def test_epochs_of_every_row_are_plain_integers(run: runstore.RunData) -> None:
    assert run.to_pandas("epochs")["epoch"].dtype == "int64"


def test_empty_run_has_the_columns_of_any_run(tmp_path: Path) -> None:
    runstore.init(root=tmp_path, name="empty").finish()
    run = runstore.load("empty", root=tmp_path)
    assert list(run.to_pandas().columns) == ["step", "epoch", "time"]
    assert run.to_polars().schema == {"step": pl.Int64, "epoch": pl.Int64, "time": pl.Float64}
    assert run.to_pandas("reports").shape == (0, 9)


def test_chosen_metrics(run: runstore.RunData) -> None:
    with pytest.warns(UserWarning, match="no metric 'no such'; there are "):
        some = run.to_pandas(metrics=["late", "no such"])
    for frame in (some, run.to_polars(metrics=["late"]), run.to_polars(metrics="late")):
        assert list(frame.columns) == ["step", "epoch", "time", "late"]


def test_unknown_stream_is_refused_with_those_there_are(run: runstore.RunData) -> None:
    with pytest.raises(ValueError, match="no stream 'metric'; there are metrics, epochs") as caught:
        run.to_polars("metric")  # type: ignore[arg-type]
    assert isinstance(caught.value, runstore.RunStoreError)


def test_metrics_that_no_row_has_are_refused_with_the_near_ones(run: runstore.RunData) -> None:
    with pytest.raises(runstore.RunStoreError, match="no metric 'lat'; there are late"):
        run.to_polars(metrics=["lat"])
    with pytest.raises(ValueError, match="no metric 'q'; there are "):
        run.to_pandas(metrics="q")


def test_metrics_of_a_run_without_rows_may_still_come(tmp_path: Path) -> None:
    runstore.init(root=tmp_path, name="empty").finish()
    frame = runstore.load("empty", root=tmp_path).to_polars(metrics=["val/loss"])
    assert frame.columns == ["step", "epoch", "time"]


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frame_without_its_package_says_what_to_install(
    run: runstore.RunData, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=f"pip install {package}") as caught:
        getattr(run, f"to_{package}")()
    assert isinstance(caught.value, (RunStoreError, ModuleNotFoundError))
    with pytest.raises(ModuleNotFoundError):
        getattr(runstore.load_all(run.path.parent), f"to_{package}")()


def test_reports_are_a_row_for_each_class_and_average(tmp_path: Path) -> None:
    true, predicted = [0, 1, 2, 2, 2], [0, 0, 2, 2, 1]
    with runstore.init(root=tmp_path) as run:
        for _ in run.val([0]):
            run.track_classification(
                predicted, true, target_names=["cat", "dog", "cow"], zero_division=math.nan
            )
    frame = runstore.load(run.path).to_polars("reports")
    report = runstore.load(run.path).reports()[0]["report"]
    assert frame["label"].to_list() == list(report)
    assert frame["split"].unique().to_list() == ["val"]
    by_label = {row["label"]: row for row in frame.to_dicts()}
    for label, scores in report.items():
        if label != "accuracy":
            assert {name: by_label[label][name] for name in scores} == scores
    accuracy = by_label["accuracy"]
    assert (accuracy["f1-score"], accuracy["support"]) == (report["accuracy"], 5.0)
    assert (accuracy["precision"], accuracy["recall"]) == (None, None)


def test_score_that_is_undefined_is_nan_and_not_missing(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.val([0]):
            run.track_classification(
                [0, 0], [0, 1], target_names=["a", "b"], zero_division=math.nan
            )
    frame = runstore.load(run.path).to_polars("reports")
    (precision,) = frame.filter(pl.col("label") == "b")["precision"].to_list()
    assert math.isnan(precision)


def test_events_are_texts_numbers_and_json(run: runstore.RunData) -> None:
    frame = run.to_pandas("events")
    assert frame["event"].tolist()[0] == "open"
    assert frame["event"].tolist()[-1] == "end"
    files = json.loads(frame["files"].tolist()[-1])
    assert files["metrics-0001.jsonl"]["rows"] == len(run.metrics())


def test_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    """The second attempt names no cut, so that what it hides is inferred from its first row."""
    first = runstore.init(root=tmp_path)
    for step in range(1, 6):
        first.log({"loss": 1.0}, step=step)
    first.finish()
    second = runstore.init(resume=first.path)
    for step in range(4, 7):
        second.log({"loss": 2.0}, step=step)
    second.finish()
    for frame in (runstore.load(first.path).to_polars(), runstore.load_all(tmp_path).to_polars()):
        assert frame["step"].to_list() == [1, 2, 3, 4, 5, 6]
        assert frame["loss"].to_list() == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def test_plain_lines_with_torn_damaged_and_odd_ones(tmp_path: Path) -> None:
    """What another program appended: integers, texts, no times, half a line at the end."""
    (tmp_path / "x").mkdir()
    lines = [
        b'{"step":1,"loss":2,"split":"train","ok":true,"note":"begin"}',
        b"{broken",
        b'{"step":2.0,"loss":1.5,"split":"val","note":7}',
        b'{"step":"3","loss":"oops","split":"val"}',
        b'{"loss":0.5,"ok":false}',
        b'{"step":5,"lo',
    ]
    (tmp_path / "x" / "metrics.jsonl").write_bytes(b"\n".join(lines))
    run = runstore.load(tmp_path / "x")
    assert from_polars(run.to_polars()) == [
        {"step": 1, "train/loss": 2.0, "ok": True, "note": "begin"},
        {"step": 2, "val/loss": 1.5, "val/note": 7.0},
        {"step": 3},
        {"loss": 0.5, "ok": False},
    ]
    frame = run.to_pandas()
    assert (str(frame["step"].dtype), str(frame["ok"].dtype)) == ("Int64", "boolean")
    assert frame["train/loss"].tolist()[0] == 2.0
    assert pd.isna(frame["val/loss"].tolist()[3])


def test_frame_of_the_fixture_equals_its_rows(repo_root: Path) -> None:
    for one in runstore.load_all(repo_root / "tests" / "fixtures" / "format-1"):
        rows = one.metrics()
        assert rows
        assert same(from_polars(one.to_polars())) == same(rows)
        assert same(from_pandas(one.to_pandas())) == same(without_nan(rows))


def test_newer_format_is_refused_also_by_its_rows(run: runstore.RunData) -> None:
    document = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**document, "format": 99}))
    for read in (run.metrics, run.to_polars, run.to_pandas, lambda: runstore.load(run.path)):
        with pytest.raises(FormatError, match="format 99"):
            read()
