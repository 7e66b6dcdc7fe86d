"""Directories of Lightning's CSVLogger."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import runstore
from runstore.cli import cli
from runstore.runs.store import discover
from runstore.sources import recognise
from runstore.sources.columns import Columns
from runstore.sources.lightning import LightningFile, open_run
from runstore.sources.reading import RunReader
from runstore.state.pieces import Best
from runstore.state.status import Status

FIXTURES = Path(__file__).parents[2] / "fixtures" / "foreign" / "lightning"
EPOCHS = FIXTURES / "epochs" / "lightning_logs" / "version_0"
LOADERS = FIXTURES / "loaders" / "lightning_logs" / "version_0"
STEPS = FIXTURES / "steps" / "csv"
FABRIC = FIXTURES / "fabric" / "version_0"
IDS = ["epochs", "loaders", "steps", "fabric"]


class Logger:
    """Writes as lightning.fabric.loggers.csv_logs does."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hparams.yaml").write_text("lr: 0.1\n")
        self.path = directory / "metrics.csv"
        self._names: list[str] = []

    def save(self, *rows: dict[str, Any]) -> None:
        new = set().union(*rows) - set(self._names)
        self._names = sorted({*self._names, *new})
        if new and self.path.exists():
            with self.path.open(newline="") as file:
                before = list(csv.DictReader(file))
            self.path.unlink()
            self._append(before)
        self._append(rows)

    def _append(self, rows: Any) -> None:
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self._names)
            if is_new:
                writer.writeheader()
            writer.writerows(rows)


def trained(step: int, loss: float = 1.0) -> dict[str, Any]:
    return {"epoch": step // 100, "step": step, "train_loss": loss}


def evaluated(step: int, loss: float) -> dict[str, Any]:
    return {"epoch": step // 100, "step": step, "val_loss": loss}


def read(reader: RunReader) -> RunReader:
    reader.poll()
    while reader.behind:
        reader.poll()
    return reader


def fresh(directory: Path) -> RunReader:
    return read(open_run(directory, patient=False))


# ---- what it is ----------------------------------------------------------------------------------


def test_real_run_with_values_of_steps_and_means_of_epochs() -> None:
    state = fresh(EPOCHS).state
    assert state.status == Status("unknown", "a table of CSVLogger, no process on record")
    assert state.params == {
        "activation": "torch.nn.functional.relu", "betas": [0.9, 0.999], "data": "data/train",
        "lr": 0.1, "model": {"bias": True, "width": 1},
    }  # fmt: skip
    assert state.epoch_rows == [
        {"epoch": 0, "step": 19, "train/loss_epoch": 0.8774721026420593,
         "val/loss_epoch": 1.8124605417251587, "val/mae": 1.1736122369766235},
        {"epoch": 1, "step": 39, "train/loss_epoch": 1.4351649284362793,
         "val/loss_epoch": 1.0642890930175781, "val/mae": 0.8941313028335571},
        {"epoch": 2, "step": 59, "train/loss_epoch": 1.0403201580047607,
         "val/loss_epoch": 1.01087486743927, "val/mae": 0.872181236743927},
    ]  # fmt: skip
    assert state.best == Best(2, "val/loss_epoch", 1.01087486743927)
    assert state.last["test/loss"] == 1.0108749866485596
    assert state.last["lr-SGD"] == 0.0010000000000000002
    assert state.warnings == []


@pytest.mark.parametrize("directory", [EPOCHS, LOADERS, STEPS, FABRIC], ids=IDS)
def test_rows_are_what_was_logged(directory: Path) -> None:
    with (directory / "metrics.csv").open(newline="") as file:
        logged = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    rows = runstore.load(directory).metrics()
    assert [row.get("epoch") for row in rows] == [row.get("epoch") for row in logged]
    values = [[v for k, v in row.items() if k not in ("epoch", "step")] for row in rows]
    expected = [[v for k, v in row.items() if k not in ("epoch", "step")] for row in logged]
    assert json.dumps(values) == json.dumps(expected)  # NaN too


@pytest.mark.parametrize("directory", [EPOCHS, LOADERS, STEPS, FABRIC], ids=IDS)
def test_glance_and_full_reading_agree_on_real_runs(directory: Path) -> None:
    reader = open_run(directory)
    reader.glance()
    state = fresh(directory).state
    for fact in ("best", "step", "epoch", "status", "params", "epoch_rows"):
        assert getattr(reader.state, fact) == getattr(state, fact), fact
    assert json.dumps(reader.state.last) == json.dumps(state.last)


def test_several_loaders_of_validation_keep_their_names_apart() -> None:
    state = fresh(LOADERS).state
    assert state.best == Best(2, "val/loss_epoch/dataloader_idx_0", 1.01087486743927)
    assert {name for name in state.last if name.startswith("val/")} == {
        f"val/{name}/dataloader_idx_{n}" for name in ("loss_epoch", "loss_step", "mae")
        for n in (0, 1)
    }  # fmt: skip


def test_fabric_writes_steps_alone() -> None:
    state = fresh(FABRIC).state
    assert (state.epoch, state.step, state.epoch_rows) == (None, 5, [])
    assert math.isnan(state.last["loss"])
    assert state.last["acc"] == 0.5


def test_prefix_of_the_logger_is_taken_off(tmp_path: Path) -> None:
    """`CSVLogger(prefix="a-b")`."""
    row = {f"a-b-{name}": value for name, value in evaluated(5, 2.0).items() if name != "step"}
    Logger(tmp_path).save({**row, "step": 5})
    state = fresh(tmp_path).state
    assert (state.last, state.epoch) == ({"val/loss": 2.0}, 0)


def test_steps_are_never_taken_for_steps_within_an_epoch(tmp_path: Path) -> None:
    """Values of a batch of a validation have its number for a step, and come between the others."""
    logger = Logger(tmp_path)
    logger.save({**trained(150), "epoch": 0}, {"epoch": 0, "step": 3, "val_loss_step": 1.0})
    logger.save({**trained(300), "epoch": 1}, {"epoch": 2, "step": 2, "train_x": 1.0})
    (curve,) = fresh(tmp_path).state.series["train/loss"]
    assert curve.x_range == (150.0, 300.0)


def test_batches_of_a_second_validation_are_counted_on() -> None:
    (curve,) = fresh(EPOCHS).state.series["val/loss_step"]
    assert (curve.count, curve.x_range) == (8, (0.0, 7.0))


def test_evaluation_behind_the_training_is_no_epoch(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    logger.save(evaluated(99, 2.0), evaluated(199, 1.0))
    logger.save({**evaluated(200, 2.0), "val_acc": 0.5}, {**evaluated(200, 3.0), "val_acc": 0.4})
    logger.save(evaluated(299, 0.5))
    state = fresh(tmp_path).state
    assert [(row["epoch"], row["val/loss"]) for row in state.epoch_rows] == [
        (0, 2.0), (1, 1.0), (2, 0.5),
    ]  # fmt: skip
    assert state.last == {"val/loss": 0.5, "final/loss": 3.0, "final/acc": 0.4}


def test_epochs_of_a_single_step_are_epochs(tmp_path: Path) -> None:
    Logger(tmp_path).save(*({"epoch": n, "step": n, "val_loss": 1.0 + n} for n in range(5)))
    state = fresh(tmp_path).state
    assert [row["val/loss"] for row in state.epoch_rows] == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("directory", "names", "is_run"),
    [
        ("csv", ["metrics.csv", "hparams.yaml"], True),
        ("version_3", ["metrics.csv"], True),
        ("csv", ["metrics.csv", "hparams.yaml", "events.out.tfevents.1.host.1.0"], True),
        ("csv", ["metrics.csv"], False),
        ("version_3", ["hparams.yaml"], False),
        ("version_3", ["events.out.tfevents.1.host.1.0", "hparams.yaml"], False),
    ],
)
def test_directory_is_known_by_its_names(
    tmp_path: Path, directory: str, names: list[str], is_run: bool
) -> None:
    path = tmp_path / directory
    path.mkdir()
    for name in names:
        (path / name).write_text("step,loss\r\n1,2\r\n")
    found = recognise(path, os.listdir(path))
    assert (found is not None and found.name == "lightning") is is_run


def test_directory_that_is_given_as_a_dot_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FABRIC)
    assert [ref.source.name for ref in discover([Path()])] == ["lightning"]


def test_each_version_is_a_run_and_its_checkpoints_are_none(tmp_path: Path) -> None:
    for version in (0, 1):
        directory = tmp_path / "lightning_logs" / f"version_{version}"
        shutil.copytree(EPOCHS, directory)
        (directory / "checkpoints").mkdir()
        (directory / "checkpoints" / "notes.jsonl").write_text('{"step":1}\n')
    found = {ref.path for ref in discover([tmp_path])}
    assert found == {tmp_path / "lightning_logs" / f"version_{n}" for n in (0, 1)}
    assert {ref.path for ref in discover([directory])} == {directory}


# ---- growing -------------------------------------------------------------------------------------


def test_log_that_grows_runs_and_only_new_bytes_are_read(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    logger.save(*map(trained, range(1000)))
    table, reader = LightningFile(logger.path, True), read(open_run(tmp_path))
    first = table.poll()
    size = logger.path.stat().st_size
    logger.save(*map(trained, range(1000, 1100)))
    more = table.poll()
    assert (first.size_bytes, more.size_bytes) == (size, logger.path.stat().st_size - size)
    assert [row.row["step"] for row in more.rows] == list(range(1000, 1100))
    read(reader)
    assert reader.state.status == Status("running", "rows arrive")
    assert reader.state.row_count == 1100


def test_table_that_is_written_anew_with_another_column_is_read_anew(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    logger.save(*map(trained, range(100)))
    reader, glanced = read(open_run(tmp_path)), open_run(tmp_path)
    glanced.glance()
    logger.save(evaluated(99, 0.5), {"epoch": 1, "step": 100, "a_loss": 7.0})
    for state in (read(reader).state, fresh(tmp_path).state):
        assert state.row_count == 102
        assert state.last == {"train/loss": 1.0, "val/loss": 0.5, "a_loss": 7.0}
        assert state.bad_line_count == 0
    glanced.glance()
    assert glanced.state.last == reader.state.last
    assert glanced.state.bad_line_count == 0


def test_long_table_that_is_written_anew_is_known_by_a_glance(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    logger.save(*map(trained, range(5000)))
    reader = open_run(tmp_path)
    reader.glance()
    logger.save(evaluated(4999, 0.5), *map(trained, range(5000, 9000)))
    reader.glance()
    reader.glance()
    assert reader.state.last == {"train/loss": 1.0, "val/loss": 0.5}
    assert reader.state.best == Best(49, "val/loss", 0.5)
    assert reader.state.bad_line_count == 0
    assert reader.state.step == 8999
    assert read(reader).state.row_count == 9001


@given(st.data())
def test_result_does_not_depend_on_where_the_growing_table_was_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("run")
    whole = (EPOCHS / "metrics.csv").read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    (directory / "hparams.yaml").write_bytes((EPOCHS / "hparams.yaml").read_bytes())
    reader = open_run(directory)
    for cut in [*cuts, len(whole)]:
        (directory / "metrics.csv").write_bytes(whole[:cut])
        read(reader)
    state = fresh(EPOCHS).state
    for fact in ("last", "epoch_rows", "row_count", "best", "params", "bad_line_count"):
        assert getattr(reader.state, fact) == getattr(state, fact), fact
    assert {k: [s.count for s in v] for k, v in reader.state.series.items()} == {
        k: [s.count for s in v] for k, v in state.series.items()
    }


def test_other_training_in_the_same_directory_takes_its_place(tmp_path: Path) -> None:
    """Lightning removes the table of a version that is given again."""
    logger = Logger(tmp_path)
    logger.save(*map(trained, range(100)), evaluated(99, 0.1))
    reader = read(open_run(tmp_path))
    logger.path.unlink()
    read(reader)
    Logger(tmp_path).save(trained(0, 9.0), evaluated(1, 8.0))
    read(reader)
    assert reader.state.last == {"train/loss": 9.0, "val/loss": 8.0}
    assert reader.state.best == Best(0, "val/loss", 8.0)
    assert reader.state.row_count == 2
    assert len(reader.state.epoch_rows) == 1


def test_hyperparameters_that_come_before_or_behind_the_table_are_taken(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    reader = read(open_run(tmp_path))
    assert reader.state.params == {"lr": 0.1}
    logger.save(trained(1))
    read(reader)
    assert reader.state.status.word == "running"
    (tmp_path / "hparams.yaml").unlink()
    late = read(open_run(tmp_path))
    assert late.state.params == {}
    (tmp_path / "hparams.yaml").write_text("lr: 0.2\nwidths: [1, 2]\n")
    read(late)
    assert late.state.params == {"lr": 0.2, "widths": [1, 2]}
    assert late.state.row_count == 1


# ---- damage --------------------------------------------------------------------------------------


def test_damaged_lines_are_counted_with_their_places(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    logger.save(*map(trained, range(10)))
    lines = logger.path.read_bytes().split(b"\r\n")
    lines[3] = b"0,1"
    lines[5] = b"\0" * 20
    lines[6] = b'0,"5",7.0'
    lines[7] = b"0,6,\xff"
    logger.path.write_bytes(b"\r\n".join(lines))
    state = fresh(tmp_path).state
    assert [bad.place for bad in state.bad_lines] == ["metrics.csv:4", "metrics.csv:6"]
    (curve,) = state.series["train/loss"]
    assert (curve.count, curve.y_range) == (7, (1.0, 7.0))


def test_torn_last_line_waits(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    logger.save(trained(1), trained(2, 5.5))
    whole = logger.path.read_bytes()
    logger.path.write_bytes(whole[:-4])
    reader = read(open_run(tmp_path))
    assert reader.state.warnings == ["metrics.csv:3: the last line is torn"]
    assert reader.state.row_count == 1
    logger.path.write_bytes(whole)
    assert read(reader).state.last == {"train/loss": 5.5}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", None),
        (b"{}\n", None),
        (b"- 1\n", "hparams.yaml@0: a YAML list, expected a mapping"),
        (b"a: [1\nb: 2\n", "hparams.yaml:"),
        (b"a: &a [x, x]\n" + b"\0\1\2", "hparams.yaml"),
        (b"#" * (600 << 10), "hparams.yaml: 614,400 bytes long, the most is"),
    ],
    ids=["empty", "none", "list", "half", "garbage", "long"],
)
def test_odd_hyperparameters_are_told_and_the_table_is_read(
    tmp_path: Path, content: bytes, told: str | None
) -> None:
    logger = Logger(tmp_path)
    (tmp_path / "hparams.yaml").write_bytes(content)
    logger.save(trained(1))
    for _ in range(2):
        state = fresh(tmp_path).state
        assert state.last == {"train/loss": 1.0}
        assert state.params == {}
        found = [f"{bad.place}: {bad.reason}" for bad in state.bad_lines] + state.warnings
        assert len(found) == (told is not None)
        assert told is None or found[0].startswith(told)


def test_hyperparameters_of_any_type_are_never_run(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    mark = tmp_path / "mark"
    (tmp_path / "hparams.yaml").write_text(
        f"a: !!python/object/apply:os.system ['touch {mark}']\nb: 1\n"
    )
    logger.save(trained(1))
    assert fresh(tmp_path).state.params["b"] == 1
    assert not mark.exists()


@pytest.mark.parametrize("name", ["metrics.csv", "hparams.yaml"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink"])
def test_what_is_no_file_is_a_problem_of_the_run(tmp_path: Path, name: str, kind: str) -> None:
    Logger(tmp_path).save(trained(1))
    path = tmp_path / name
    path.rename(tmp_path / "aside")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "aside")
    for reader in (open_run(tmp_path), open_run(tmp_path)):
        reader.glance()
        read(reader)
        assert "not a regular file" in reader.state.problems[name]


# ---- long tables ---------------------------------------------------------------------------------


def test_glance_at_a_long_table_knows_the_best_epoch(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    rows: list[dict[str, Any]] = []
    for step in range(20_000):
        rows.append(trained(step, 1.0 / (1 + step)))
        if step % 100 == 99:
            rows.append(evaluated(step, 0.1 if step == 7099 else 1.0))
    logger.save(*rows)
    reader = open_run(tmp_path)
    reader.glance()
    state = fresh(tmp_path).state
    assert reader.state.best == state.best == Best(70, "val/loss", 0.1)
    assert reader.state.last == state.last
    assert (reader.state.step, reader.state.epoch) == (state.step, state.epoch) == (19_999, 199)
    assert not reader.state.series
    logger.save(trained(20_000, 3.0), *[trained(n) for n in range(20_001, 20_099)])
    logger.save(evaluated(20_099, 0.05), *[trained(n) for n in range(20_100, 21_000)])
    reader.glance()
    assert reader.state.best == Best(200, "val/loss", 0.05)
    assert read(reader).state.row_count == 21_200


NAMES = ["epoch", "lr-Adam", "step", "train_loss", "val_acc"]
cells = st.lists(
    st.floats().map(repr)
    | st.integers(-(2**52), 2**52).map(str)
    | st.sampled_from(["", "5.0", "nan", "inf", "1e5", " 3", "1_0", "0x1", "x", "\u0663", "+1"]),
    min_size=len(NAMES),
    max_size=len(NAMES),
)


@given(cells)
def test_line_of_numbers_means_what_any_other_line_does(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.csv"
    path.write_text(",".join(NAMES) + "\n" + ",".join(cells) + "\n")
    (row,) = (row.row for row in LightningFile(path, True).poll().rows if row.stream == "metrics")
    expected = Columns(paired=NAMES).row(dict(zip(NAMES, cells, strict=True)))
    assert json.dumps(row) == json.dumps(expected)


# ---- as users see it -----------------------------------------------------------------------------


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES, tmp_path / "all")
    listed = run("ls", tmp_path / "all")
    assert {line.split()[0] for line in listed.splitlines()[1:]} == {
        "epochs/lightning_logs/version_0", "loaders/lightning_logs/version_0",
        "fabric/version_0", "steps/csv",
    }  # fmt: skip
    shown = run("show", tmp_path / "all" / "steps" / "csv")
    assert "source    lightning" in shown
    assert "best      epoch 1, val/loss 0.4773" in shown
    rows = run("cat", tmp_path / "all" / "steps" / "csv", "epochs").splitlines()
    assert json.loads(rows[1]) == {
        "epoch": 1, "step": 199, "train/loss": 1.4128519296646118, "val/loss": 0.477278470993042,
    }  # fmt: skip
    table = run("export", tmp_path / "all" / "fabric" / "version_0", "--format", "csv")
    assert len(table.splitlines()) == 7
