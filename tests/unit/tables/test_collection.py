"""`runstore.load_all`: all runs of a root, found at once, read when asked for, each by itself."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import runstore
from runstore.errors import RootNotFoundError


def train(root: Path, name: str, *, lr: float, **more: float) -> Path:
    """Write a finished run of two epochs; `more` is logged once, at its end."""
    params = {"lr": lr, "model": {"depth": 2, "act": "relu"}}
    with runstore.init(params, root=root, name=name, tags=[name]) as run:
        for epoch in run.epochs(2):
            for loss in run.train([1.0, math.nan]):
                run.track(loss=loss * lr)
            for _ in run.val([0]):
                run.track(loss=lr / epoch)
        run.log(more or {"train/extra": 1.0}, step=4)
    return run.path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of three runs; two have a metric that the others lack."""
    train(tmp_path / "runs", "a", lr=0.5)
    train(tmp_path / "runs", "b", lr=0.25, grad_norm=3.0)
    train(tmp_path / "runs", "c", lr=0.125)
    return tmp_path / "runs"


def test_runs_are_a_list_newest_first(root: Path) -> None:
    runs = runstore.load_all(root)
    names = sorted((path.name for path in root.iterdir()), reverse=True)
    assert isinstance(runs, runstore.RunCollection)
    assert len(runs) == 3
    assert [run.id for run in runs] == names
    assert (runs[0].id, runs[-1].id, runs[1:].__len__()) == (names[0], names[2], 2)
    assert [run.id for run in reversed(runs)] == names[::-1]
    assert isinstance(runs[1:], runstore.RunCollection)
    assert runs[1:][0] == runs[1]
    assert runs[0] in runs
    assert runs[0] not in runs[1:]
    assert runs.index(runs[2]) == 2
    with pytest.raises(IndexError):
        runs[3]
    assert repr(runs) == f"<runstore runs: 3 below {root}, newest {names[0]}>"


def test_a_run_tells_what_is_known_of_it(root: Path) -> None:
    run = runstore.load_all(root)[1]
    assert (run.name, run.tags, run.params["lr"], run.source) == ("b", ["b"], 0.25, "native")
    assert (run.status, run.reason, run.epoch, run.step) == ("finished", "", 2, 4)
    assert run.best is not None
    assert (run.best.epoch, run.best.value) == (2, 0.125)
    assert run.last["grad_norm"] == 3.0
    assert math.isnan(run.last["train/loss"])
    assert run.created is not None
    assert run.duration_s is not None
    assert len(run.metrics()) == 7


def test_filter_keeps_a_collection(root: Path) -> None:
    kept = runstore.load_all(root).filter(lambda run: run.params["lr"] < 0.3)
    assert [run.name for run in kept] == ["c", "b"]
    assert kept.to_polars("runs")["name"].to_list() == ["c", "b"]


def test_frame_has_the_rows_of_all_runs_and_the_columns_of_any(root: Path) -> None:
    runs = runstore.load_all(root)
    frame, other = runs.to_pandas(), runs.to_polars()
    assert list(frame) == other.columns
    assert other.columns[:4] == ["run", "step", "epoch", "time"]
    assert set(other.columns[4:]) == {"train/loss", "val/loss", "grad_norm", "train/extra"}
    assert other["run"].unique(maintain_order=True).to_list() == [run.id for run in runs]
    for run in runs:
        mine = other.filter(pl.col("run") == run.id)
        rows = [{k: v for k, v in row.items() if v is not None} for row in mine.to_dicts()]
        assert list(map(repr, rows)) == [repr({"run": run.id, **row}) for row in run.metrics()]
        losses = frame[frame["run"] == run.id]["val/loss"].dropna().tolist()
        assert losses == [row["val/loss"] for row in run.metrics() if "val/loss" in row]
    assert frame["epoch"].dtype == "int64"


def test_epochs_and_reports_of_all_runs(root: Path) -> None:
    runs = runstore.load_all(root)
    best = runs.to_pandas("epochs").groupby("run")["val/loss"].min()
    assert best.to_dict() == {run.id: run.params["lr"] / 2 for run in runs}
    assert runs.to_polars("reports").columns[:6] == "run step epoch time split label".split()


def test_table_of_runs_has_a_row_for_each(root: Path) -> None:
    runs = runstore.load_all(root)
    frame = runs.to_pandas("runs").set_index("run")
    other = runs.to_polars("runs")
    assert frame.index.tolist() == other["run"].to_list() == [run.id for run in runs]
    assert frame["params.lr"].tolist() == other["params.lr"].to_list() == [0.125, 0.25, 0.5]
    assert frame["best.value"].tolist() == [0.0625, 0.125, 0.25]
    assert set(frame["best.metric"]) == {"val/loss"}
    assert other["last.grad_norm"].to_list() == [None, 3.0, None]
    assert all(map(math.isnan, other["last.train/loss"].to_list()))
    types = {name: str(frame[name].dtype) for name in ("epoch", "params.model.depth", "created")}
    assert types == {"epoch": "int64", "params.model.depth": "int64", "created": "float64"}
    assert [json.loads(tags) for tags in frame["tags"]] == [["c"], ["b"], ["a"]]
    assert set(frame["params.model.act"]) == {"relu"}
    assert "params.model" not in frame
    order = [name.partition(".")[0] for name in frame if "." in name]
    assert order == sorted(order, key=["best", "params", "last"].index)


def test_parameters_of_several_types_are_texts(tmp_path: Path) -> None:
    for decay in (0.1, "auto", None):
        runstore.init({"decay": decay, "seed": 1}, root=tmp_path).finish()
    frame = runstore.load_all(tmp_path).to_polars("runs")
    assert frame["params.decay"].to_list() == [None, "auto", "0.1"]
    assert frame["params.seed"].to_list() == [1, 1, 1]


def test_empty_root_has_frames_without_rows(tmp_path: Path) -> None:
    runs = runstore.load_all(tmp_path)
    assert (len(runs), list(runs)) == (0, [])
    assert runs.to_polars().columns == ["run", "step", "epoch", "time"]
    assert runs.to_pandas("runs").shape == (0, 15)
    assert "0 below" in repr(runs)


def test_unknown_table_is_refused_with_those_there_are(tmp_path: Path) -> None:
    runs = runstore.load_all(tmp_path)
    with pytest.raises(ValueError, match=r"no table 'params'; there are metrics, .*, runs"):
        runs.to_pandas("params")  # type: ignore[arg-type]


def test_metric_of_the_name_of_the_first_column_is_there_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log.jsonl").write_text('{"step":1,"run":7,"loss":2.5}\n')
    frame = runstore.load_all(tmp_path).to_polars()
    assert frame.select("run", "run_value", "loss").rows() == [("a", 7.0, 2.5)]
    assert runstore.load(tmp_path / "a").to_polars()["run"].to_list() == [7.0]


def test_metric_that_no_run_has_is_refused_and_one_that_some_have_is_not(root: Path) -> None:
    runs = runstore.load_all(root)
    assert runs.to_polars(metrics="grad_norm")["grad_norm"].drop_nulls().to_list() == [3.0]
    with pytest.raises(runstore.RunStoreError, match="no metric 'gradnorm'; there are grad_norm"):
        runs.to_pandas(metrics=["gradnorm"])


def test_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RootNotFoundError, match="no such directory"):
        runstore.load_all(tmp_path / "nowhere")


def test_runs_of_the_same_name_are_told_by_their_paths(tmp_path: Path) -> None:
    """As Lightning names them: `version_0` of each experiment."""
    for experiment in ("a", "b"):
        place = tmp_path / experiment / "version_0"
        place.mkdir(parents=True)
        (place / "metrics.jsonl").write_text('{"step":1,"loss":2.5}\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.jsonl").write_text('{"step":1,"loss":2.5}\n')
    frame = runstore.load_all(tmp_path).to_polars()
    assert sorted(frame["run"].to_list()) == ["a/version_0", "b/version_0", "other"]


def test_name_that_is_no_text_is_written_out(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"run\xff")
    place.mkdir()
    (place / "metrics.jsonl").write_text('{"step":1,"loss":2.5}\n')
    runs = runstore.load_all(tmp_path)
    assert runs.to_polars()["run"].to_list() == runs.to_pandas()["run"].tolist() == ["run\\udcff"]
    assert runs.to_polars("runs")["path"].to_list()[0].endswith("run\\udcff")
    assert "\udcff" not in repr(runs) + repr(runs[0])


# ---- runs that cannot be read ------------------------------------------------------------------


def test_run_that_cannot_be_read_is_named_and_the_others_are_there(root: Path) -> None:
    runs = runstore.load_all(root)
    newer, gone, whole = runs[0], runs[1], runs[2]
    document = json.loads((newer.path / "run.json").read_text())
    (newer.path / "run.json").write_text(json.dumps({**document, "format": 99}))
    shutil.rmtree(gone.path)
    with pytest.warns(UserWarning) as told:
        frame = runs.to_pandas()
    assert frame["run"].unique().tolist() == [whole.id]
    words = [str(one.message) for one in told]
    assert len(words) == 2
    assert words[0].startswith(f"run {newer.path.name} is left out: ")
    assert "format 99" in words[0]
    assert words[1].startswith(f"run {gone.path.name} is left out: ")
    assert all(one.filename == __file__ for one in told)


def test_table_of_runs_says_why_a_run_is_unknown(root: Path) -> None:
    runs = runstore.load_all(root)
    document = json.loads((runs[0].path / "run.json").read_text())
    (runs[0].path / "run.json").write_text(json.dumps({**document, "format": 99}))
    frame = runs.to_polars("runs")
    assert frame["status"].to_list() == ["unknown", "finished", "finished"]
    assert "format 99" in frame["reason"].to_list()[0]


AS_ORDINARY_USER = """
import os, polars
from runstore import load_all  # root's packages may be out of reach later

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
frame = load_all(".").to_polars()
print(*frame["run"].unique(maintain_order=True))
"""


def test_rows_before_a_file_that_cannot_be_read_are_left_out_too(root: Path) -> None:
    """Half of a run looks like a whole one."""
    newest, *others = runstore.load_all(root)
    (newest.path / "metrics-0001.1.jsonl").write_text('{"step":9,"time":1.5,"loss":1.0}\n')
    (newest.path / "metrics-0001.1.jsonl").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", AS_ORDINARY_USER],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [run.id for run in others]
    assert f"UserWarning: run {newest.id} is left out: " in done.stderr
    assert "metrics-0001.1.jsonl: cannot be read: permission denied" in done.stderr


def test_damaged_lines_are_left_out_without_a_word(root: Path) -> None:
    run = runstore.load_all(root)[0]
    path = run.path / "metrics-0001.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"{torn\n" + whole + b'{"step":9')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(runstore.load_all(root).to_pandas()) == 21


# ---- how much is read --------------------------------------------------------------------------

COUNTS_OPENS = """
import sys, runstore

opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
runs = runstore.load_all(sys.argv[1])
repr(runs), len(runs), runs[3:5]
print(sum(".json" in path for path in opened))
opened.clear()
runs[7].status
print(len({path.rsplit("/", 2)[-2] for path in opened if "-0001.jsonl" in path}))
"""


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, repo_root: Path) -> None:
    for number in range(20):
        run = tmp_path / f"20260101-0000{number:02d}-many-aaaaaaaa"
        run.mkdir()
        (run / "run.json").write_text('{"format":1}')
        (run / "events-0001.jsonl").write_text('{"event":"open"}\n')
        (run / "metrics-0001.jsonl").write_text('{"step":1,"time":1.5,"loss":1.0}\n')
    done = subprocess.run(
        [sys.executable, "-c", COUNTS_OPENS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "1"]


def test_frame_takes_little_more_than_its_values(tmp_path: Path, repo_root: Path) -> None:
    """200,000 rows as dicts would take some 100 MiB."""
    run = tmp_path / "20260101-000000-long-aaaaaaaa"
    run.mkdir()
    with (run / "metrics-0001.jsonl").open("w") as file:
        for step in range(200_000):
            file.write(f'{{"step":{step},"time":1.5,"a":{step / 7},"b":{step / 3}}}\n')
    code = """
import resource, sys, runstore, pandas

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

runs = runstore.load_all(sys.argv[1])
runs[:0].to_pandas()
before = peak()
frame = runs.to_pandas()
print(len(frame), peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows, mib = done.stdout.split()
    assert int(rows) == 200_000
    assert float(mib) < 60


def test_frames_are_the_users_own(root: Path) -> None:
    """They share no memory with anything that changes, and can be written to."""
    frame = runstore.load_all(root).to_pandas()
    frame.loc[0, "val/loss"] = 7.0
    frame["double"] = frame["val/loss"] * 2
    assert frame["double"].tolist()[0] == 14.0
    assert pd.concat([frame, frame]).shape[0] == 42
