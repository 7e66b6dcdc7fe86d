"""MLflow's file store, on what MLflow itself wrote, and on what becomes of it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import runstore
from runstore.cli import cli
from runstore.files.limits import METRICS_PER_RUN, VALUE_FILES
from runstore.files.paths import Stream
from runstore.files.records import with_nonfinite
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.runs.summary import full_summary, summary
from runstore.sources import mlflow
from runstore.sources.formats import MLFLOW
from runstore.sources.mlflow import GLANCED_METRICS, OPENED_EACH, MetricFile, MlflowReader
from runstore.sources.mlflow_run import typed
from runstore.state.status import Status

FIXTURE = Path(__file__).parents[2] / "fixtures" / "foreign" / "mlflow" / "mlruns"
DIGITS = "446084679429184829"
CAFE, CHILD = "6841d527f3374da8a9613c8148a5ca6d", "b563d1d7fb9b4097b98145d60c883eed"
SAMPLED = "4fc6e5b8bb0443939226148f879bcc45"
START_MS = 1_795_896_874_000
META = """\
artifact_uri: file:///data/mlruns/0/{id}/artifacts
end_time: {end}
experiment_id: '0'
lifecycle_stage: active
run_id: {id}
run_name: {name}
start_time: 1795896874000
status: {status}
tags: []
user_id: kim
"""
EMPTY = ("artifacts", "metrics", "params", "tags")


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    """The store as MLflow left it, with the empty folders that git does not keep."""
    root = tmp_path / "mlruns"
    shutil.copytree(FIXTURE, root)
    for document in root.rglob("meta.yaml"):
        if (document.parent / "tags").is_dir() or "artifact_uri" in document.read_text():
            for name in EMPTY:
                (document.parent / name).mkdir(exist_ok=True)
    (root / DIGITS / "traces" / "tr-1" / "artifacts").mkdir(parents=True)
    (root / DIGITS / "datasets").mkdir()
    return root


@pytest.fixture
def run_dir(mlruns: Path) -> Path:
    """The run that has a bit of everything."""
    return mlruns / DIGITS / CAFE


def made(path: Path, *, status: object = 1, end: object = "null", name: str = "made") -> Path:
    for folder in EMPTY:
        (path / folder).mkdir(parents=True)
    write_meta(path, status=status, end=end, name=name)
    return path


def write_meta(path: Path, *, status: object = 1, end: object = "null", name: str = "made") -> None:
    text = META.format(id=path.name, status=status, end=end, name=name)
    fresh = path / ".meta"
    fresh.write_text(text)
    fresh.rename(path / "meta.yaml")


def log(path: Path, metric: str, *values: tuple[int, float], time_ms: int = START_MS) -> None:
    """Append values with their steps, as MLflow does."""
    file = path / "metrics" / metric
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        for step, value in values:
            out.write(f"{time_ms + 1000 * step} {value} {step}\n")


def read(reader: MlflowReader) -> MlflowReader:
    reader.poll()
    while reader.behind:
        reader.poll()
    return reader


def opened(path: Path) -> MlflowReader:
    return read(MlflowReader(path))


def rows(path: Path, stream: Stream = "metrics") -> list[dict[str, Any]]:
    lines = MlflowReader(path, patient=False).rows(stream)
    found = [line.row for line in lines if line.row is not None and not line.superseded]
    return [with_nonfinite(row) for row in found]


def run_cli(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


# ---- what is a run -------------------------------------------------------------------------------


def test_runs_of_a_store_are_found_and_nothing_else(mlruns: Path) -> None:
    found = {ref.path.relative_to(mlruns).as_posix() for ref in discover([mlruns.parent])}
    expected = {
        path.parent.relative_to(mlruns).as_posix()
        for path in mlruns.glob("[!.]*/*/meta.yaml")
        if len(path.parent.name) == 32
    }
    assert found == expected
    assert len(found) == 8
    assert {ref.source for ref in discover([mlruns])} == {MLFLOW}


@pytest.mark.parametrize("below", ["", DIGITS, f"{DIGITS}/{CAFE}"])
def test_root_may_be_the_store_an_experiment_or_a_run(mlruns: Path, below: str) -> None:
    places = {ref.path for ref in discover([mlruns / below])}
    assert mlruns / DIGITS / CAFE in places
    assert len(places) == {"": 8, DIGITS: 3}.get(below, 1)


def test_current_directory_may_be_a_run(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_dir)
    (ref,) = discover([Path()])
    state = read(MlflowReader(ref.path)).state
    assert (state.name, state.id) == ("café 🙂", CAFE)
    assert "experiment=digits" in state.tags


def test_artifacts_of_a_run_are_no_runs(run_dir: Path) -> None:
    (run_dir / "artifacts" / "logs").mkdir()
    (run_dir / "artifacts" / "logs" / "metrics.jsonl").write_text('{"step":1,"a":1}\n')
    assert [ref.path for ref in discover([run_dir])] == [run_dir]
    assert [ref.path for ref in discover([run_dir.parent])].count(run_dir) == 1


def test_other_meta_yaml_is_no_run(tmp_path: Path) -> None:
    """As in a recipe of conda, beside a Python package of that name."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "meta.yaml").write_text("package:\n  name: metrics\n")
    assert not mlflow.recognises(tmp_path, os.listdir(tmp_path))
    (tmp_path / "meta.yaml").write_text("")
    assert mlflow.recognises(tmp_path, os.listdir(tmp_path))


def test_run_is_found_by_its_name_and_by_the_beginning_of_its_id(mlruns: Path) -> None:
    for wanted in ("café 🙂", "caf", CAFE, CAFE[:8]):
        assert find(wanted, mlruns).path == mlruns / DIGITS / CAFE


def test_database_is_told_where_there_are_no_runs(tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    (store / "1" / CAFE / "artifacts").mkdir(parents=True)
    (store / "1" / CAFE / "artifacts" / "model.bin").touch()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("create table runs (id text)")
    database.close()
    for directory in (tmp_path, store):
        done = CliRunner().invoke(cli, ["ls", str(directory)])
        assert "mlflow.db is MLflow's SQLite store, which is not read" in done.output
    (tmp_path / "mlflow.db").write_bytes(b"")
    assert "mlflow.db" not in CliRunner().invoke(cli, ["ls", str(tmp_path)]).output


# ---- what MLflow logged --------------------------------------------------------------------------

CAFE_ROWS = [
    {"step": 0, "stepless": 1.0},
    {"step": 1, "acc": 0.5, "stepless": 2.0, "resumed": 0.5},
    {"step": 2, "stepless": 3.0, "resumed": 1.0},
    {"step": 3, "resumed": 1.5},
    {"step": 4, "resumed": 2.0},
    {"step": 7, "test/acc": 0.5},
    {"step": 10, "epoch": 1, "grad": math.nan, "train/loss": 1 / 10, "val/loss": 2 / 10},
    {"step": 20, "epoch": 1, "grad": math.inf, "train/loss": 1 / 20, "val/loss": 2 / 20},
    {"step": 30, "epoch": 2, "grad": -math.inf, "train/loss": 1 / 30, "val/loss": 2 / 30},
    {"step": 40, "epoch": 2, "train/loss": 1 / 40, "val/loss": 2 / 40},
]


def test_metrics_of_a_step_are_one_row(run_dir: Path) -> None:
    found = rows(run_dir)
    assert all(abs(row.pop("time") - START_MS / 1000) < 10_000 for row in found)
    assert repr(found) == repr([dict(sorted_as(row, found)) for row in CAFE_ROWS])


def sorted_as(row: dict[str, Any], like: Iterable[dict[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The order of the keys is that of the files, and means nothing."""
    order = next(one for one in like if one["step"] == row["step"])
    return sorted(row.items(), key=lambda item: list(order).index(item[0]))


def test_every_view_of_the_rows_agrees(mlruns: Path, run_dir: Path) -> None:
    expected = runstore.load(run_dir).metrics()
    printed = [json.loads(line) for line in run_cli("cat", run_dir, "metrics").splitlines()]
    tailed = [json.loads(line) for line in run_cli("tail", run_dir, "-n", 100).splitlines()]
    table = list(csv.DictReader(io.StringIO(run_cli("export", "--format", "csv", run_dir))))
    (whole,) = json.loads(run_cli("export", "--format", "json", run_dir))
    steps = [row["step"] for row in expected]
    assert len(steps) == len(set(steps)) == 10
    assert printed == tailed == whole["metrics"]
    assert [row["val/loss"] for row in printed if "val/loss" in row] == [0.2, 0.1, 2 / 30, 0.05]
    assert [(int(row["step"]), row["grad"]) for row in table if row["grad"]] == [
        (10, "nan"), (20, "inf"), (30, "-inf"),
    ]  # fmt: skip


def test_values_that_a_resumed_run_logged_anew_hide_the_old_ones(run_dir: Path) -> None:
    printed = run_cli("cat", run_dir, "metrics", "--all").splitlines()
    void = [row for line in printed if (row := json.loads(line)).get("_superseded")]
    assert [(row["step"], row["resumed"]) for row in void] == [(2, 1.0), (3, 1.5)]
    state = opened(run_dir).state
    (curve,) = state.series["resumed"]
    assert curve.x_range == (1.0, 4.0)
    assert curve.count == 4


def test_facts_of_a_run(run_dir: Path) -> None:
    state = opened(run_dir).state
    assert state.status == Status("finished")
    assert (state.name, state.id, state.source) == ("café 🙂", CAFE, "mlflow")
    assert state.params == {
        "layers": 3, "lr": 1e-05, "nesterov": True, "opt/beta": 0.9, "seed": None, "zip": "007",
    }  # fmt: skip
    assert state.tags == ["experiment=digits", "draft", "team=vision"]
    assert state.info["command"] == ["train.py"]
    assert state.info["user"] == "kim"
    assert state.info["notes"] == "a *note*\nsecond line"
    assert (state.step, state.epoch) == (40, 2)
    meta = (run_dir / "meta.yaml").read_text()
    assert f"start_time: {round((state.created or 0) * 1000)}\n" in meta
    assert state.duration_s is not None
    assert 0 < state.duration_s < 60
    assert state.warnings == [
        "values behind a step to which the run went back are hidden; inferred from the steps"
    ]


def test_nested_run_names_its_parent(mlruns: Path) -> None:
    child = mlruns / DIGITS / CHILD
    assert opened(child).state.tags == ["experiment=digits", "parent=café 🙂"]
    shutil.rmtree(mlruns / DIGITS / CAFE)
    assert opened(child).state.tags == ["experiment=digits", f"parent={CAFE[:8]}"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("failed", Status("failed")),
        ("killed", Status("interrupted", "MLflow says KILLED")),
        ("scheduled", Status("pending", "MLflow says SCHEDULED")),
        ("running", Status("unknown", mlflow.EVIDENCE)),
        ("deleted", Status("finished", "deleted in MLflow")),
    ],
)
def test_status_is_the_one_in_the_document(mlruns: Path, name: str, status: Status) -> None:
    state = opened(find(name, mlruns).path).state
    assert state.status == status
    assert state.last == {"a": 1.5}
    assert ("deleted" in state.tags) is (name == "deleted")


def test_system_metrics_are_rows_of_their_own(mlruns: Path) -> None:
    """They count samples, not steps."""
    path = mlruns / DIGITS / SAMPLED
    assert [row["step"] for row in rows(path)] == [1000, 2000]
    samples = rows(path, "system")
    assert len(samples) == 3
    assert [row["time"] for row in samples] == sorted(row["time"] for row in samples)
    for row in samples:
        assert set(row) == {"time", "cpu_utilization_percentage", "system_memory_usage_megabytes"}
    state = opened(path).state
    assert (state.last, state.step) == ({"loss": 0.0005}, 2000)
    assert rows(path, "reports") == rows(path, "epochs") == []
    assert [row["event"] for row in rows(path, "events")] == ["open", "end"]


def test_list_shows_names(mlruns: Path) -> None:
    lines = run_cli("ls", mlruns).splitlines()
    (line,) = [line for line in lines if "café" in line]
    assert line.startswith("café 🙂 6841d527 ")
    assert "finished" in line
    (found,) = [run for run in json.loads(run_cli("ls", mlruns, "--json")) if run["id"] == CAFE]
    assert found["name"] == "café 🙂"
    page = run_cli("show", "café 🙂", "--root", mlruns)
    assert "tags      experiment=digits draft team=vision" in page


def test_glance_and_full_reading_agree(mlruns: Path) -> None:
    for ref in discover([mlruns]):
        glanced = MlflowReader(ref.path, patient=False)
        glanced.glance()
        state = opened(ref.path).state
        told = {**summary(glanced.state), "step": 0}
        assert repr(told) == repr({**summary(state), "step": 0})
        read(glanced)
        assert repr(full_summary(glanced.state)) == repr(full_summary(state))
        assert glanced.state.row_count == state.row_count


# ---- while it grows ------------------------------------------------------------------------------


def test_growing_run_is_followed_and_only_new_bytes_are_read(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", *((n, 1 / n) for n in range(1, 1001)))
    file = MetricFile(str(path / "metrics/loss"), "metrics/loss", "loss", True)
    size = (path / "metrics/loss").stat().st_size
    first = file.poll()
    assert (first.size_bytes, len(first.rows)) == (size, 1000)
    assert file.poll().size_bytes == 0
    log(path, "loss", (1001, 0.5))
    second = file.poll()
    assert second.size_bytes == (path / "metrics/loss").stat().st_size - size
    assert [(row.row["step"], row.number) for row in second.rows] == [(1001, 1001)]


def test_running_run_runs_while_values_arrive_and_ends(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "train/loss", (1, 0.5))
    reader = opened(path)
    assert reader.state.status == Status("unknown", mlflow.EVIDENCE)
    log(path, "train/loss", (2, 0.25))
    reader.poll()
    assert reader.state.status == Status("running", "rows arrive")
    log(path, "a/new/one", (2, 7.0))
    reader.poll()
    assert reader.state.last == {"train/loss": 0.25, "a/new/one": 7.0}
    assert reader.state.row_count == 3
    write_meta(path, status=3, end=START_MS + 60_000)
    reader.poll()
    assert reader.state.status == Status("finished")
    assert reader.state.duration_s == 60.0


def test_run_that_is_opened_again_is_not_finished_any_more(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32), status=3, end=START_MS + 60_000)
    reader = opened(path)
    write_meta(path, status=1, end="null")
    reader.poll()
    assert reader.state.status.word == "unknown"
    write_meta(path, status=4, end=START_MS + 90_000)
    reader.poll()
    assert (reader.state.status.word, reader.state.duration_s) == ("failed", 90.0)
    assert [event["event"] for event in reader.state.events] == ["open", "end"]


def test_renamed_run_changes_its_name_and_late_parameters_and_tags_come(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    reader = opened(path)
    write_meta(path, name="better")
    (path / "params" / "lr").write_text("0.5")
    (path / "tags" / "stage").write_text("late")
    reader.poll()
    assert (reader.state.name, reader.state.params, reader.state.tags) == (
        "better", {"lr": 0.5}, ["stage=late"],
    )  # fmt: skip
    (path / "tags" / "stage").write_text("later")
    reader.poll()
    assert reader.state.tags == ["stage=later"]
    (path / "tags" / "stage").unlink()
    reader.poll()
    assert reader.state.tags == []


def test_name_may_lie_in_a_tag_alone(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32), name="''")
    (path / "tags" / "mlflow.runName").write_text("from a tag")
    assert opened(path).state.name == "from a tag"


def test_followed_rows_are_joined_as_they_come(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    for step in (1, 2):
        log(path, "a", (step, step))
        log(path, "b", (step, -step))
    reader = MlflowReader(path)

    def news() -> list[dict[str, Any]]:
        found = [line.row for line in reader.newest("metrics") if line.row is not None]
        return [{key: value for key, value in row.items() if key != "time"} for row in found]

    assert news() == [{"step": 1, "a": 1.0, "b": -1.0}, {"step": 2, "a": 2.0, "b": -2.0}]
    assert news() == []
    log(path, "c", (2, 9))
    log(path, "b", (3, -3), (1, -4))
    assert news() == [{"step": 2, "c": 9.0}, {"step": 1, "b": -4.0}, {"step": 3, "b": -3.0}]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_result_does_not_depend_on_where_the_files_were_cut(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = made(tmp_path_factory.mktemp("cut") / ("a" * 32))
    whole = {
        "loss": b"".join(b"%d %r %d\n" % (START_MS + n, n / 7, n) for n in (1, 2, 3, 2, 3, 4)),
        "acc": b"".join(b"%d %d 0 mnist 12ab\n" % (START_MS, n) for n in range(4)),
        "deep/er": b"1795896874000 nan 5\nnonsense\n1795896874001 inf 6\n",
    }
    for name in whole:
        (path / "metrics" / name).parent.mkdir(parents=True, exist_ok=True)
    reader = MlflowReader(path)
    written = dict.fromkeys(whole, 0)
    for _ in range(data.draw(st.integers(1, 12))):
        name = data.draw(st.sampled_from(sorted(whole)))
        written[name] += data.draw(st.integers(0, len(whole[name]) - written[name]))
        (path / "metrics" / name).write_bytes(whole[name][: written[name]])
        data.draw(st.sampled_from([reader.poll, reader.glance]))()
    for name, content in whole.items():
        (path / "metrics" / name).write_bytes(content)
    state, expected = read(reader).state, opened(path).state
    assert repr(sorted(state.last.items())) == repr(sorted(expected.last.items()))
    assert {bad.place for bad in state.bad_lines} == {"metrics/deep/er:2"}
    assert state.bad_line_count == 1
    assert curves(state) == curves(expected)


def curves(state: Any) -> dict[str, list[tuple[float, float, int]]]:
    return {
        name: [(*curve.x_range, curve.count) for curve in pieces]
        for name, pieces in state.series.items()
    }


# ---- damaged, odd and hostile --------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(0, 240, 12))
def test_document_that_is_being_replaced_leaves_what_was_known(tmp_path: Path, cut: int) -> None:
    """MLflow moves it into place; from another file system that is a copy."""
    path = made(tmp_path / ("a" * 32), status=3, end=START_MS + 1000, name="known")
    whole = (path / "meta.yaml").read_bytes()
    torn = whole[:cut]
    assert b"status: 3" not in torn
    reader = opened(path)
    (path / "meta.yaml").write_bytes(torn)
    reader.poll()
    assert (reader.state.status, reader.state.name) == (Status("finished"), "known")
    assert reader.state.duration_s == 1.0
    (path / "meta.yaml").write_bytes(whole.replace(b"status: 3", b"status: 5"))
    reader.poll()
    assert reader.state.status.word == "interrupted"
    assert reader.state.bad_line_count == 0


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("- 1\n", "meta.yaml@0"),
        ("status: 9\n", "meta.yaml@0"),
        ("status: [3]\n", "meta.yaml@0"),
        ("status: true\n", "meta.yaml@0"),
        ("artifact_uri: x\nstatus: 3: 4\n", "meta.yaml:2"),
        ("\x00\x01", "meta.yaml@0"),
        ("x" * (1 << 20), "meta.yaml"),
    ],
)
def test_document_that_is_none_is_told_and_the_metrics_are_read(
    tmp_path: Path, content: str, place: str
) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", (1, 0.5))
    (path / "meta.yaml").write_text(content)
    state = opened(path).state
    assert state.last == {"loss": 0.5}
    assert state.status == Status("unknown", mlflow.EVIDENCE)
    told = [bad.place for bad in state.bad_lines] + list(state.problems)
    assert told == [place]


def test_missing_document_is_waited_for(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    (path / "meta.yaml").unlink()
    log(path, "loss", (1, 0.5))
    reader = opened(path)
    assert reader.state.last == {"loss": 0.5}
    write_meta(path, status=3)
    reader.poll()
    assert reader.state.status.word == "finished"


def test_garbage_between_lines_is_counted_with_its_place(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    bad = [b"", b"x", b"1 2 3.5", b"1 2 9999999999999999999", b"1", b"\xff\x00", b"1 two 3"]
    content = b"\n".join([b"1795896874000 0.5 1", *bad, b"1795896875000 0.25 2 data set a1b2", b""])
    (path / "metrics" / "loss").write_bytes(content)
    state = read(MlflowReader(path, patient=False)).state
    assert [one.place for one in state.bad_lines] == [
        f"metrics/loss:{number}" for number in range(2, 2 + len(bad))
    ]
    assert [row["loss"] for row in rows(path)] == [0.5, 0.25]
    done = CliRunner().invoke(cli, ["cat", str(path), "metrics"])
    assert f"{len(bad)} bad lines left out, first metrics/loss:2" in done.stderr


def test_times_that_are_none_are_left_out(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    (path / "metrics" / "loss").write_text("0 1 1\n-5 2 2\n99999999999999999999 3 3\n")
    assert rows(path) == [{"step": n, "loss": float(n)} for n in (1, 2, 3)]


def test_value_without_step_behind_others_is_where_these_stand(tmp_path: Path) -> None:
    """`log_metric("loss", best)` at the end of a run must not hide its curve."""
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", (1, 0.5), (2, 0.25), (0, 0.125))
    assert [(row["step"], row["loss"]) for row in rows(path)] == [(1, 0.5), (2, 0.125)]
    assert opened(path).state.last == {"loss": 0.125}


def test_reserved_and_equal_names(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    for name in ("step", "time", "val_loss", "val/loss", "epoch"):
        log(path, name, (5, 2.5))
    (row,) = rows(path)
    assert row.pop("time") == START_MS / 1000 + 5
    assert row == {
        "step": 5, "epoch": 3, "step_value": 2.5, "time_s": 2.5, "val_loss": 2.5, "val/loss": 2.5,
    }  # fmt: skip


def test_what_is_no_regular_file_is_no_metric(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", (1, 0.5))
    metrics = path / "metrics"
    os.mkfifo(metrics / "fifo")
    (metrics / "link").symlink_to(metrics / "loss")
    (metrics / "up").symlink_to("..")
    (metrics / ".DS_Store").write_bytes(b"\0\1")
    os.mkfifo(path / "params" / "fifo")
    (path / "params" / "link").symlink_to("/etc/hostname")
    (path / "tags" / "secret").symlink_to("/etc/hostname")
    state = opened(path).state
    assert (state.last, state.params, state.tags) == ({"loss": 0.5}, {}, [])
    assert state.warnings == []


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink"])
def test_document_that_is_no_file_is_a_problem(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", (1, 0.5))
    (path / "meta.yaml").rename(path / "aside")
    if kind == "fifo":
        os.mkfifo(path / "meta.yaml")
    elif kind == "directory":
        (path / "meta.yaml").mkdir()
    else:
        (path / "meta.yaml").symlink_to("aside")
    state = opened(path).state
    assert "not a regular file" in state.problems["meta.yaml"]
    assert state.last == {"loss": 0.5}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", (1, 0.5))
    (path / "metrics" / "loss").chmod(0)
    (path / "params").chmod(0)
    state = opened(path).state
    assert state.problems == {"metrics/loss": "permission denied"}
    assert "params/: permission denied" in state.warnings
    (path / "metrics").chmod(0)
    reader = opened(path)
    assert reader.state.status.reason == "cannot be read: metrics/: permission denied"
    (line,) = reader.rows("metrics")
    assert line.error == "metrics/: permission denied"


def test_names_and_values_that_are_no_utf8_are_shown(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    metrics = os.fsencode(path / "metrics")
    (Path(os.fsdecode(metrics + b"/caf\xe9"))).write_text("1795896874000 0.5 1\n")
    (path / "metrics" / "esc\x1b[31m").write_text("1795896874000 0.5 1\n")
    (path / "params" / "name").write_bytes(b"caf\xe9 \x1b]0;x\x07" + b"y" * 100_000)
    (path / "tags" / "note").write_bytes(b"\x1b[2J")
    for printed in (
        run_cli("ls", tmp_path),
        run_cli("show", path),
        run_cli("cat", path, "metrics"),
    ):
        assert "\x1b" not in printed
    assert opened(path).state.params["name"].startswith("caf\ufffd")
    assert len(opened(path).state.params["name"]) < 40_000


def test_sparse_metric_of_40_gib_is_not_read_for_a_list(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    file = path / "metrics" / "loss"
    file.touch()
    os.truncate(file, 40 << 30)
    with file.open("ab") as out:
        out.write(b"\n1795896874000 0.5 9\n")
    reader = MlflowReader(path)
    reader.glance()
    assert (reader.state.last, reader.state.step) == ({"loss": 0.5}, 9)


def test_metric_that_was_replaced_or_went_away_is_forgotten(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    log(path, "a", (1, 1), (2, 2))
    log(path, "b", (1, 1))
    reader = opened(path)
    (path / "metrics" / "a").unlink()
    log(path, "a", (7, 7))
    reader.poll()
    assert reader.state.last == {"a": 7.0, "b": 1.0}
    assert reader.state.row_count == 2
    (path / "metrics" / "b").unlink()
    reader.poll()
    assert reader.state.last == {"a": 7.0}
    shutil.rmtree(path)
    reader.poll()
    assert reader.state.status == Status("unknown", "cannot be read: no such file or directory")


def test_list_reads_the_metrics_that_tell_most_and_page_all(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    for n in range(300):
        log(path, f"layer{n:03}/norm", (1, n))
    log(path, "val/loss", (1, 0.5))
    reader = MlflowReader(path)
    reader.glance()
    assert len(reader.state.last) == GLANCED_METRICS
    assert reader.state.last["val/loss"] == 0.5
    read(reader)
    assert len(reader.state.last) == 301
    (row,) = rows(path)
    assert len(row) == 303


def test_more_files_than_are_followed_are_told(tmp_path: Path) -> None:
    path = made(tmp_path / ("a" * 32))
    for n in range(METRICS_PER_RUN + 3):
        (path / "metrics" / f"m{n:05}").write_text("1795896874000 1 1\n")
    for n in range(VALUE_FILES + 2):
        (path / "params" / f"p{n:05}").write_text("1")
    state = opened(path).state
    assert len(state.params) == VALUE_FILES
    assert len(state.last) == METRICS_PER_RUN
    assert "2 more params are left out" in state.warnings
    assert "3 more metrics are left out" in state.warnings


def test_rows_of_many_long_files_need_few_descriptors(tmp_path: Path) -> None:
    """Fewer than there are files may be open at once."""
    path = made(tmp_path / ("a" * 32))
    for n in range(80):
        log(path, f"m{n:02}", *((step, n) for step in range(1, 200)))
    found, before = 0, len(os.listdir("/proc/self/fd"))
    peak = before
    for line in MlflowReader(path, patient=False).rows("metrics"):
        found += 1
        peak = max(peak, len(os.listdir("/proc/self/fd")))
        assert line.row is not None
        assert len(line.row) == 82
    assert found == 199
    assert peak - before < 60


def test_unchanged_file_is_not_opened(tmp_path: Path) -> None:
    """A run may have hundreds; now and then one is opened for the sake of network mounts."""
    path = made(tmp_path / ("a" * 32))
    log(path, "loss", (1, 0.5))
    file = MetricFile(str(path / "metrics/loss"), "metrics/loss", "loss", True)
    file.poll()
    place, status = path / "metrics" / "loss", (path / "metrics/loss").stat()
    place.write_bytes(place.read_bytes().replace(b"0.5", b"0.7"))
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    polled = [file.poll() for _ in range(OPENED_EACH)]
    assert sum(batch.restarted for batch in polled) <= 1
    assert not polled[0].restarted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), ("0.1", 0.1), ("1e-05", 1e-05), ("True", True), ("None", None),
        ("007", "007"), ("1e-5", "1e-5"), ("1_0", "1_0"), (" 3", " 3"), ("nan", "nan"),
        ("inf", "inf"), ("", ""), ("true", "true"), ("9" * 30, "9" * 30), ("9" * 5000, "9" * 5000),
        ("[1, 2]", "[1, 2]"),
    ],
)  # fmt: skip
def test_parameter_is_what_it_was_where_that_is_beyond_doubt(text: str, value: object) -> None:
    assert repr(typed(text)) == repr(value)


@given(st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_from_their_text(value: float) -> None:
    assert typed(str(value)) == value
