"""JSON lines and tables of other tools: growing, replaced, resumed, damaged, and what they hold."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import runstore
from runstore import load
from runstore.cli import cli
from runstore.runs.follow import follow
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.sources import columns, csv_rows, plain
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import PLAIN
from runstore.sources.rows_file import RowsLayout
from runstore.state.pieces import Best

LONG = 6000
"""Rows of a curve that is longer than a chart keeps point by point."""


@pytest.fixture(autouse=True)
def usual_names() -> Iterator[None]:
    yield
    columns.choose({})


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(reader: ForeignReader) -> ForeignReader:
    reader.poll()
    while reader.behind:
        reader.poll()
    return reader


def points(reader: ForeignReader, key: str) -> list[tuple[float, float]]:
    """Return the lowest and highest value of the columns of a chart that has room for all."""
    (series,) = reader.state.series[key]
    columns = series.columns(20, 0, 19)
    return [(x, y) for x, y in zip(columns.xs, columns.lows, strict=True) if not math.isnan(y)]


def status(reader: ForeignReader) -> tuple[str, str]:
    return reader.state.status.word, reader.state.status.reason


def metrics(directory: Path) -> list[dict[str, Any]]:
    return load(directory).metrics()


# ---- growing, replaced, gone -------------------------------------------------------------------


@given(data=st.data(), rows=st.integers(0, 12))
def test_state_does_not_depend_on_where_the_file_was_cut_while_it_grew(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    steps = data.draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows))
    text = jsonl(*({"iter": step, "val_loss": at / 8} for at, step in enumerate(steps)))
    reader, rest = plain.open_run(directory), text.encode()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        with (directory / "log.jsonl").open("ab") as file:
            file.write(rest[:size])
        rest = rest[size:]
        reader.poll(data.draw(st.integers(1, 200)))
    read(reader)
    whole = read(plain.open_run(directory))
    assert reader.state.last == whole.state.last
    last_of = {step: at / 8 for at, step in enumerate(steps)}
    low = [min(steps[at:]) for at in range(len(steps))]
    visible = {step: last_of[step] for at, step in enumerate(steps) if low[at] == step and at + 1}
    expected = {
        step: value
        for step, value in visible.items()
        if all(later > step for later in steps[_last_index(steps, step) + 1 :])
    }
    for one in (reader, whole):
        if steps:
            assert dict(points(one, "val/loss")) == expected
    shown = {row["step"]: row["val/loss"] for row in (metrics(directory) if steps else ())}
    assert shown == expected


def _last_index(steps: list[int], step: int) -> int:
    return len(steps) - 1 - steps[::-1].index(step)


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(jsonl(*({"step": step, "loss": 1.0} for step in range(1000))))
    file = plain.JsonRowsFile(log, True)
    first = file.poll()
    assert (len(first.rows), first.size_bytes) == (1000, log.stat().st_size)
    assert file.poll().size_bytes == 0
    more = jsonl({"step": 1000, "loss": 0.5})
    with log.open("a") as out:
        out.write(more)
    second = file.poll()
    assert [found.row for found in second.rows] == [{"step": 1000, "loss": 0.5}]
    assert second.size_bytes == len(more)


def test_replaced_file_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "progress.csv"
    log.write_text("step,loss\n1,0.5\n2,0.25\n")
    reader = read(csv_rows.open_run(tmp_path))
    assert points(reader, "loss") == [(1, 0.5), (2, 0.25)]
    # As loggers do that learn of a new column: the whole file anew, in place.
    log.write_text("step,loss,acc\n1,0.5,\n2,0.25,0.75\n3,0.125,0.875\n")
    read(reader)
    assert points(reader, "loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert points(reader, "acc") == [(2, 0.75), (3, 0.875)]
    assert not reader.state.warnings


def test_file_that_comes_before_others_and_one_that_goes(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(jsonl({"step": 1, "b": 2.0}))
    reader = read(plain.open_run(tmp_path))
    (tmp_path / "a.jsonl").write_text(jsonl({"step": 1, "a": 1.0}))
    assert read(reader).state.last == {"a": 1.0, "b": 2.0}
    (tmp_path / "b.jsonl").unlink()
    assert read(reader).state.last == {"a": 1.0}


def test_directory_that_goes_and_comes_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text(jsonl({"step": 1, "loss": 2.0}))
    reader = read(plain.open_run(run))
    shutil.move(run, tmp_path / "away")
    reader.poll()
    assert reader.state.status.word == "unknown"
    assert "no such file" in reader.state.status.reason
    shutil.move(tmp_path / "away", run)
    read(reader)
    assert reader.state.last == {"loss": 2.0}
    assert "no such" not in reader.state.status.reason


def test_status_is_whether_rows_arrive(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(jsonl({"step": 1, "loss": 2.0}))
    reader = read(plain.open_run(tmp_path))
    assert status(reader) == ("unknown", "plain JSON lines, no process on record")
    with log.open("a") as file:
        file.write(jsonl({"step": 2, "loss": 1.0}))
    read(reader)
    assert status(reader) == ("running", "rows arrive")


# ---- back to an earlier step -------------------------------------------------------------------


def test_resumed_log_shows_one_curve_and_says_what_it_hides(tmp_path: Path) -> None:
    first = [{"step": step, "loss": 10.0 + step} for step in range(6)]
    again = [{"step": step, "loss": 1.0} for step in (3, 4)]
    (tmp_path / "log.jsonl").write_text(jsonl(*first, *again))
    reader = read(plain.open_run(tmp_path))
    assert points(reader, "loss") == [(0, 10), (1, 11), (2, 12), (3, 1), (4, 1)]
    assert any("inferred from the steps" in warning for warning in reader.state.warnings)
    assert [row["loss"] for row in metrics(tmp_path)] == [10, 11, 12, 1, 1]
    everything = CliRunner().invoke(cli, ["cat", str(tmp_path), "metrics", "--all"]).stdout
    superseded = [json.loads(line) for line in everything.splitlines() if "_superseded" in line]
    assert [row["loss"] for row in superseded] == [13, 14, 15]


def test_long_curve_is_exact_behind_the_step_to_which_it_went_back(tmp_path: Path) -> None:
    """Its points are kept in buckets, so the file has to be read once more."""
    log = tmp_path / "log.jsonl"
    log.write_text(jsonl(*({"step": step, "loss": 1.0} for step in range(LONG))))
    reader = read(plain.open_run(tmp_path))
    with log.open("a") as file:
        # In the middle of a bucket, and the value that must go is the only one of its kind.
        file.write(jsonl({"step": LONG, "loss": 99.0}, {"step": LONG - 1001, "loss": 0.5}))
    read(read(reader))
    (series,) = reader.state.series["loss"]
    assert series.y_range == (0.5, 1.0)
    assert series.x_range == (0.0, float(LONG - 1001))
    assert series.count == LONG - 1000


def test_metrics_count_apart(tmp_path: Path) -> None:
    """Whoever counts validations by epochs and batches by iterations, in one file."""
    rows: list[dict[str, Any]] = []
    for epoch in (1, 2):
        rows += [{"step": 10 * epoch - 5 + n, "loss": 1.0} for n in range(2)]
        rows.append({"step": epoch, "coco/bbox_mAP": epoch / 10})
    (tmp_path / "scalars.json").write_text(jsonl(*rows))
    reader = read(plain.open_run(tmp_path))
    assert points(reader, "coco/bbox_mAP") == [(1, 0.1), (2, 0.2)]
    assert [x for x, _ in points(reader, "loss")] == [5, 6, 15, 16]


def test_rows_without_a_step_all_count(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(jsonl(*({"loss": float(n)} for n in range(5))))
    assert points(read(plain.open_run(tmp_path)), "loss") == [(n + 1, n) for n in range(5)]


# ---- epochs ------------------------------------------------------------------------------------


def test_table_of_epochs_has_epochs_and_a_best_one(tmp_path: Path) -> None:
    """As Keras' CSVLogger writes it."""
    text = "epoch,loss,val_loss\r\n0,1.0,0.9\r\n1,0.5,0.4\r\n2,0.25,0.6\r\n"
    (tmp_path / "training.csv").write_text(text)
    reader = read(csv_rows.open_run(tmp_path))
    assert reader.state.epoch_rows[1] == {"epoch": 1, "train/loss": 0.5, "val/loss": 0.4}
    best = reader.state.best
    assert best is not None
    assert (best.epoch, best.metric, best.value) == (1, "val/loss", 0.4)
    assert points(reader, "val/loss") == [(0, 0.9), (1, 0.4), (2, 0.6)]


def test_best_epoch_of_a_long_table_is_known_when_all_of_it_was_read(tmp_path: Path) -> None:
    rows = [f"{n},{0.1 if n == LONG // 2 else 1 + n / LONG}\n" for n in range(LONG)]
    (tmp_path / "training.csv").write_text("epoch,val_loss\n" + "".join(rows))
    reader = csv_rows.open_run(tmp_path)
    reader.glance()
    assert reader.state.best is None
    assert read(reader).state.best == Best(LONG // 2, "val/loss", 0.1)


def test_training_and_validation_in_rows_apart_are_one_epoch(tmp_path: Path) -> None:
    rows = [
        {"epoch": epoch, "mode": mode, "loss": epoch / 2 + (mode == "val")}
        for epoch in (1, 2)
        for mode in ("train", "val")
    ]
    (tmp_path / "log.jsonl").write_text(jsonl(*rows))
    reader = read(plain.open_run(tmp_path))
    expected = [
        {"epoch": 1, "train/loss": 0.5, "val/loss": 1.5},
        {"epoch": 2, "train/loss": 1.0, "val/loss": 2.0},
    ]
    assert reader.state.epoch_rows == load(tmp_path).epochs() == expected
    table = run_cli("export", tmp_path, "--table", "epochs", "--format", "csv").splitlines()
    assert [line.split(",")[-2:] for line in table[1:]] == [["0.5", "1.5"], ["1.0", "2.0"]]
    asked = 'SELECT epoch, "train/loss", "val/loss" FROM epochs ORDER BY epoch'
    assert json.loads(run_cli("query", "--root", tmp_path, "--json", asked)) == expected


def mmengine_rows(**validation: float) -> list[dict[str, Any]]:
    """Return the rows of four epochs of four iterations, and a validation behind each."""
    rows: list[dict[str, Any]] = []
    for epoch in (1, 2, 3, 4):
        for step in (4 * epoch - 2, 4 * epoch):
            shared = {"lr": 0.01, "data_time": 0.5, "time": 0.25, "loss": 1 / step}
            rows.append({**shared, "epoch": epoch, "iter": step, "memory": 7, "step": step})
        rows.append({**validation, "data_time": 0.125, "time": 0.0625, "step": epoch})
    return rows


def test_validations_of_mmengine_are_the_epochs_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "scalars.json").write_text(jsonl(*mmengine_rows(mae=0.5, **{"coco/mAP": 0.25})))
    state = read(plain.open_run(tmp_path)).state
    assert (state.step, state.epoch, state.warnings) == (16, 4, [])
    values = {"val/mae": 0.5, "coco/mAP": 0.25, "val/data_time": 0.125, "val/time_s": 0.0625}
    assert state.epoch_rows == [{"step": 4 * n, "epoch": n, **values} for n in (1, 2, 3, 4)]
    steps = [2 * n for n in range(1, 9)]
    assert points(read(plain.open_run(tmp_path)), "data_time") == [(step, 0.5) for step in steps]
    assert points(read(plain.open_run(tmp_path)), "val/mae") == [(n, 0.5) for n in steps[1::2]]
    assert [row["step"] for row in metrics(tmp_path)] == steps
    printed = run_cli("cat", tmp_path, "epochs").splitlines()
    assert json.loads(printed[-1]) == {"step": 16, "epoch": 4, **values}


def test_validations_by_iterations_stay_where_they_are(tmp_path: Path) -> None:
    """MMEngine's `IterBasedTrainLoop` with `log_metric_by_epoch=False` names no epoch."""
    rows: list[dict[str, Any]] = []
    for step in (4, 8, 12, 16):
        rows.append({"loss": 1 / step, "iter": step, "step": step})
        rows += [{"mIoU": step / 100, "step": step}] if step % 8 == 0 else []
    (tmp_path / "scalars.json").write_text(jsonl(*rows))
    reader = read(plain.open_run(tmp_path))
    assert points(reader, "mIoU") == [(8, 0.08), (16, 0.16)]
    assert (reader.state.step, reader.state.epoch_rows) == (16, [])


def test_rows_of_batches_that_only_name_the_epoch_are_no_epochs(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "loss": 1.0} for epoch in (1, 2) for _ in range(20)]
    (tmp_path / "log.jsonl").write_text(jsonl(*rows))
    reader = read(plain.open_run(tmp_path))
    assert reader.state.epoch_rows == []
    assert reader.state.row_count == 40


# ---- a file for each split ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"), [("train.csv", "val.csv"), ("train_log.csv", "eval-log.csv")]
)
def test_tables_of_two_splits_are_two_curves(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / first).write_text("step,loss,lr\n1,1.0,0.5\n2,0.5,0.5\n")
    reader = read(csv_rows.open_run(tmp_path))
    assert points(reader, "train/loss") == [(1, 1), (2, 0.5)]
    (tmp_path / second).write_text("step,loss\n2,0.75\n")
    read(reader)
    assert points(reader, "train/loss") == [(1, 1), (2, 0.5)]
    assert points(reader, "val/loss") == [(2, 0.75)]
    assert reader.state.last == {"train/loss": 0.5, "lr": 0.5, "val/loss": 0.75}
    assert {"step": 2, "val/loss": 0.75} in metrics(tmp_path)


def test_tables_of_epochs_of_two_splits_are_one_epoch_table(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(jsonl(*({"epoch": n, "loss": n / 2} for n in (1, 2))))
    (tmp_path / "valid.jsonl").write_text(jsonl({"epoch": 1, "loss": math.nan}))
    first, second = load(tmp_path).epochs()
    assert math.isnan(first.pop("val/loss"))
    assert [first, second] == [{"epoch": n, "train/loss": n / 2} for n in (1, 2)]
    assert read(plain.open_run(tmp_path)).state.epoch_rows[1] == second


def test_split_of_a_row_counts_more_than_that_of_its_file(tmp_path: Path) -> None:
    rows: list[dict[str, Any]]
    rows = [{"step": 1, "mode": "val", "loss": 1.0}, {"step": 1, "val_acc": 0.5, "a/b": 2.0}]
    (tmp_path / "train.jsonl").write_text(jsonl(*rows, {"step": 1, "acc": 0.25}))
    last = read(plain.open_run(tmp_path)).state.last
    assert last == {"val/loss": 1.0, "val/acc": 0.5, "a/b": 2.0, "train/acc": 0.25}


# ---- what people's files hold ------------------------------------------------------------------


def test_nan_and_infinity_as_json_dumps_writes_them(tmp_path: Path) -> None:
    rows: list[dict[str, Any]]
    rows = [{"step": 1, "loss": math.nan}, {"step": 2, "loss": -math.inf}, {"step": 3, "loss": 1}]
    (tmp_path / "log.jsonl").write_text(jsonl(*rows))
    reader = read(plain.open_run(tmp_path))
    assert not reader.state.bad_line_count
    values = [row["loss"] for row in metrics(tmp_path)]
    assert math.isnan(values[0])
    assert values[1:] == [-math.inf, 1]
    printed = CliRunner().invoke(cli, ["cat", str(tmp_path), "metrics"]).stdout.splitlines()
    assert json.loads(printed[0]) == {"step": 1, "loss": None, "_nonfinite": {"loss": "nan"}}


def test_log_of_fairseq_between_lines_for_people(tmp_path: Path) -> None:
    inner = {"epoch": 1, "update": 0.5, "loss": "12.5", "lr": "0.0005", "num_updates": "100"}
    lines = [
        "2026-01-01 00:00:00 | INFO | fairseq.tasks | [de] dictionary: 8848 types",
        json.dumps(inner),
        "2026-01-01 00:00:09 | INFO | train | " + json.dumps({"epoch": 1, "train_loss": "8.5"}),
        'begin validation on "valid" subset',
        json.dumps({"epoch": 1, "valid_loss": "7.5", "valid_num_updates": "100"}),
    ]
    (tmp_path / "train.log").write_text("\n".join(lines) + "\n")
    reader = read(plain.open_run(tmp_path))
    assert not reader.state.bad_line_count
    expected = {"update": 0.5, "loss": 12.5, "lr": 0.0005, "train/loss": 8.5, "val/loss": 7.5}
    assert reader.state.last == expected
    assert reader.state.step == 100


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("step;loss\n1;0.5\n", {"loss": 0.5}),
        ("step\tloss\n1\t0.5\n", {"loss": 0.5}),
        ("\ufeffstep,loss\n1,0.5\n", {"loss": 0.5}),
        ('"step","loss, mean"\n1,0.5\n', {"loss, mean": 0.5}),
        ("                  epoch,      train/box_loss\n   0,   1.25\n", {"train/box_loss": 1.25}),
        ("step,loss\nstep,loss\n1,0.5\n", {"loss": 0.5}),
        ("step,loss\n1,0.5\nstep,loss,acc\n2,0.25,0.75\n", {"loss": 0.25, "acc": 0.75}),
        ("step,loss,acc\n1,0.5,\n2,,0.75\n", {"loss": 0.5, "acc": 0.75}),
        (",step,loss,\n0,1,0.5,\n", {"loss": 0.5}),  # the index of pandas, a comma too many
    ],
)
def test_tables_of_many_kinds(tmp_path: Path, text: str, values: dict[str, float]) -> None:
    (tmp_path / "log.csv").write_text(text)
    reader = read(csv_rows.open_run(tmp_path))
    assert reader.state.last == values
    assert not reader.state.bad_line_count


def test_key_without_a_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step":1,"":0.5,"loss":2,"a":{"":1}}\n')
    assert read(plain.open_run(tmp_path)).state.last == {"loss": 2.0, "a/": 1.0}
    (row,) = metrics(tmp_path)
    assert row["loss"] == 2.0


def test_damaged_rows_are_placed_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"step,loss\n1,0.5\n2\n\xff\xfe\x00,\n3,0.25\n4,0.1")
    reader = read(csv_rows.open_run(tmp_path, patient=False))
    assert [bad.line for bad in reader.state.bad_lines] == [3]
    assert reader.state.bad_lines[0].reason == "1 cells, the header has 2"
    assert points(reader, "loss") == [(1, 0.5), (3, 0.25)]
    assert [torn.place for torn in reader.state.torn_lines] == ["log.csv:6"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_opened(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "log.csv")
    make(tmp_path / "scalars.json")
    make(tmp_path / "m.jsonl")
    assert not csv_rows.recognises(tmp_path, ["log.csv"])
    reader = read(plain.open_run(tmp_path))
    assert reader.state.row_count == 0


def test_column_that_is_there_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss,loss,acc\n" + "1,2,3,4\n" * 9)
    reader = read(csv_rows.open_run(tmp_path))
    told = ["the table has more than one column 'loss'; the last one is read"]
    assert (reader.state.last["loss"], reader.state.warnings) == (3.0, told)


def test_tables_of_data_are_no_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "iris.csv").write_text("sepal_length,species\n5.1,setosa\n")
    (data / "config.json").write_text('{"step": 1}')
    assert discover([tmp_path]) == []


@pytest.mark.parametrize("data", [b"a,b\rc\n1,2\n", bytes(range(256)) * 20, b"step,'\0\n"])
def test_table_that_is_none_hides_no_other(tmp_path: Path, data: bytes) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    (tmp_path / "x" / "results.csv").write_bytes(data)
    (tmp_path / "y" / "results.csv").write_text("step,loss\n1,2\n")
    assert "y" in [ref.name for ref in discover([tmp_path])]
    assert '"y"' in run_cli("ls", "--json", tmp_path)


@pytest.mark.parametrize(
    ("text", "is_run"),
    [
        ('{"accuracy": 0.5}', False),  # DVC
        ('{"accuracy": 0.5}\n', False),
        ('{\n  "accuracy": 0.5\n}\n', False),
        ('{"iteration": 1, "lo', True),
        ('{"iteration": 1, "loss": 2}\n', True),
        ('{"env_info": "sys.platform: linux"}\n{"mode": "train", "epoch": 1, "loss": 1}\n', True),
    ],
)
def test_one_object_is_no_log(tmp_path: Path, text: str, is_run: bool) -> None:
    (tmp_path / "metrics.json").write_text(text)
    assert [ref.source for ref in discover([tmp_path])] == [PLAIN] * is_run


# ---- the commands ------------------------------------------------------------------------------


def run_cli(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def mixed_tree(root: Path) -> None:
    logs: Iterable[tuple[str, str, str]] = (
        ("a", "metrics.jsonl", jsonl({"step": 1, "loss": 2.0})),
        ("b", "progress.csv", "step,val_loss\n1,0.5\n"),
        ("c", "metrics.json", jsonl({"iteration": 1, "total_loss": 3.0})),
    )
    for name, file, text in logs:
        (root / name).mkdir()
        (root / name / file).write_text(text)


def test_mixed_tree_lists_every_run_with_its_source(tmp_path: Path) -> None:
    mixed_tree(tmp_path)
    listed = json.loads(run_cli("ls", tmp_path, "--json"))
    assert {run["id"]: run["source"] for run in listed} == {"a": "jsonl", "b": "csv", "c": "jsonl"}
    assert {run["id"]: run["last"] for run in listed} == {
        "a": {"loss": 2.0},
        "b": {"val/loss": 0.5},
        "c": {"total_loss": 3.0},
    }
    header, *rows = run_cli("ls", tmp_path).splitlines()
    at = header.index("SOURCE")
    assert sorted(row[at:].split()[0] for row in rows) == ["csv", "jsonl", "jsonl"]


def test_map_names_the_columns(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text(
        jsonl(*({"tick": n, "part": "dev", "err": n / 2} for n in (3, 4)))
    )
    rows = run_cli("cat", tmp_path / "run", "metrics", "--map", "step=tick,split=part")
    assert [json.loads(row) for row in rows.splitlines()] == [
        {"step": 3, "val/err": 1.5},
        {"step": 4, "val/err": 2.0},
    ]
    plainly = run_cli("cat", tmp_path / "run", "metrics")
    assert json.loads(plainly.splitlines()[0]) == {"tick": 3, "part": "dev", "err": 1.5}
    refused = CliRunner().invoke(cli, ["ls", str(tmp_path), "--map", "stp=tick"])
    assert refused.exit_code == 2
    assert "expected step, epoch, time or split" in refused.stderr


def test_map_of_two_columns_for_the_same_is_refused(tmp_path: Path) -> None:
    refused = CliRunner().invoke(cli, ["ls", str(tmp_path), "--map", "step=a,step=b"])
    assert refused.exit_code == 2
    assert "'step=b': it is 'a' already" in refused.stderr


def test_map_of_a_column_that_no_log_has_is_told_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(jsonl({"tick": 3, "err": 1}, {"step": 4}))
    asked = ["ls", str(tmp_path), "--map", "step=tick,epoch=nosuch"]
    told = CliRunner().invoke(cli, asked).stderr
    assert told == "runstore: --map: no log that was read has a column 'nosuch'\n"
    default = CliRunner().invoke(cli, asked[:2], env={"RUNSTORE_MAP": "step=nosuch"})
    assert (default.exit_code, default.stderr) == (0, "")
    failed = CliRunner().invoke(cli, ["show", str(tmp_path), *asked[2:]])
    assert failed.exit_code == 1
    assert "nosuch" not in failed.stderr


def test_map_of_the_environment_counts_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log.jsonl").write_text(jsonl({"tick": 3, "err": 1}))
    monkeypatch.setenv("RUNSTORE_MAP", "step=tick")
    assert runstore.load(tmp_path / "a").metrics() == [{"step": 3, "err": 1}]
    assert runstore.load_all(tmp_path).to_polars()["step"].to_list() == [3]
    monkeypatch.delenv("RUNSTORE_MAP")
    assert runstore.load(tmp_path / "a").metrics() == [{"tick": 3, "err": 1}]
    monkeypatch.setenv("RUNSTORE_MAP", "tick")
    with pytest.raises(runstore.RunStoreError, match="expected step, epoch, time or split"):
        runstore.load_all(tmp_path)


def test_directory_with_nothing_readable_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("hello")
    refused = CliRunner().invoke(cli, ["show", f"{tmp_path}/x"]).exception
    for name in ("run.json", "*.jsonl", "*.csv"):
        assert name in str(refused)
        assert name in CliRunner().invoke(cli, ["ls", str(tmp_path)]).stderr


def test_newest_rows_and_those_to_come(tmp_path: Path) -> None:
    log = tmp_path / "run" / "log.csv"
    log.parent.mkdir()
    log.write_text("step,loss\n" + "".join(f"{n},{n / 2}\n" for n in range(20)))
    follower = follow(find(str(log.parent), tmp_path))
    assert [json.loads(row) for row in follower.newest(2)] == [
        {"step": 18, "loss": 9.0},
        {"step": 19, "loss": 9.5},
    ]
    with log.open("a") as file:
        file.write("20,10.0\n")
    assert [json.loads(row) for row in follower.poll()] == [{"step": 20, "loss": 10.0}]
    assert follower.poll() == []


def test_files_are_looked_into_until_they_are_known_to_hold_rows(tmp_path: Path) -> None:
    asked: list[str] = []

    def holds_rows(directory: Path, name: str) -> bool:
        asked.append(name)
        return name != "data.csv"

    layout = RowsLayout("csv", "", holds_rows, csv_rows.CsvFile)
    (tmp_path / "a.csv").write_text("step,loss\n")
    (tmp_path / "b.csv").touch()
    (tmp_path / "data.csv").write_text("x,y\n")
    assert list(layout.find(tmp_path)) == ["a.csv", "b.csv"]
    (tmp_path / "b.csv").write_text("step,loss\n")
    assert list(layout.find(tmp_path)) == list(layout.find(tmp_path)) == ["a.csv", "b.csv"]
    assert asked == ["a.csv", "b.csv", "data.csv", "b.csv", "data.csv", "data.csv"]
