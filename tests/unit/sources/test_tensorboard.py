"""Event files of TensorBoard, by real writers: every value, live, torn, damaged and restarted."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.tensorboard import SummaryWriter

import runstore
from runstore.cli import cli
from runstore.files.records import JsonObject
from runstore.runs.store import discover
from runstore.sources.tensorboard import open_run
from runstore.state.status import Status
from tests import event_files
from tests.event_files import (
    BEGUN,
    NAME,
    read,
    read_on,
    rows,
    scalar,
    session_start,
    tensor,
    version,
    without_time,
    write_events,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "foreign" / "tensorboard"


def logged(tool: str) -> Iterator[JsonObject]:
    """Yield what a fixture's writer logged."""
    for line in (FIXTURES / tool / "answers.jsonl").read_text().splitlines():
        yield from json.loads(line).get("rows", ())


# ---- what tools write ----------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["flax", "tensorboardx"])
def test_rows_are_what_was_logged(tool: str) -> None:
    expected = [{"step": row["step"], **row["values"]} for row in logged(tool)]
    assert without_time(rows(FIXTURES / tool / "run")) == expected
    assert len(expected) == 10


def test_parameters_of_flax_are_those_of_the_run() -> None:
    state = read(FIXTURES / "flax" / "run").state
    assert state.params == {"lr": 0.1}
    assert (state.source, state.status.word) == ("tensorboard", "unknown")


def test_splits_of_keras_are_one_run_with_an_epoch_table() -> None:
    state = read(FIXTURES / "keras" / "run").state
    expected = [
        {
            "epoch": row["step"],
            "train/loss": row["values"]["loss"],
            "train/mae": row["values"]["mae"],
            "val/loss": row["values"]["val_loss"],
            "val/mae": row["values"]["val_mae"],
        }
        for row in logged("keras")
    ]
    told = without_time(state.epoch_rows)
    assert {row.pop("learning_rate") for row in told} == {as_float32(0.01)}
    assert told == expected
    assert state.best is not None
    assert (state.best.epoch, state.best.value) == (5, expected[-1]["val/loss"])
    assert without_time(runstore.load(FIXTURES / "keras" / "run").epochs()) == [
        {**row, "learning_rate": as_float32(0.01)} for row in expected
    ]
    # By batches, as evaluated: not the steps of the training, and so in charts of their own.
    by_batch = rows(FIXTURES / "keras" / "run")
    assert {row["step"] for row in by_batch} <= set(range(2, 100, 2))
    names = {"val/loss_vs_iterations", "val/mae_vs_iterations"}
    assert {*by_batch[0]} - {"step", "time"} == names


def torch_run(directory: Path, steps: range, **options: Any) -> list[JsonObject]:
    """Log with SummaryWriter; return the rows that should be read."""
    expected = []
    with SummaryWriter(str(directory), **options) as writer:
        writer.add_text("about", "words")
        for step in steps:
            values = {"train/loss": 1 / (step + 1), "val/acc": step / 7}
            for tag, value in values.items():
                writer.add_scalar(tag, value, step)
            writer.add_histogram("weights", np.array([1.0, step]), step)
            exact = {tag: as_float32(value) for tag, value in values.items()}
            expected.append({"step": step, **exact})
    return expected


def as_float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def test_values_of_torch_are_exact_and_histograms_and_texts_no_rows(tmp_path: Path) -> None:
    expected = torch_run(tmp_path / "run", range(300))
    assert without_time(rows(tmp_path / "run")) == expected
    state = read(tmp_path / "run").state
    assert state.last == {key: v for key, v in expected[-1].items() if key != "step"}
    assert (state.row_count, state.bad_line_count, state.step) == (300, 0, 299)
    (opened,) = state.events
    assert opened["event"] == "open"
    assert opened["host"] in os.uname().nodename
    assert abs((state.created or 0) - time.time()) < 600


def test_restarted_torch_run_has_the_values_of_the_restart(tmp_path: Path) -> None:
    first = torch_run(tmp_path, range(10))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / NAME)  # in an earlier second: files are taken in the order of names
    second = torch_run(tmp_path, range(6, 9), purge_step=6)
    assert len(list(tmp_path.iterdir())) == 2
    assert without_time(rows(tmp_path)) == first[:6] + second
    state = read(tmp_path).state
    assert sum(piece.count for piece in state.series["train/loss"]) == 9
    assert [line for line in state.warnings if "hidden" in line]
    assert state.status.word == "unknown"


@pytest.mark.parametrize("steps", [10, 2000])
def test_list_shows_the_values_of_the_restart_too(tmp_path: Path, steps: int) -> None:
    """Read whole or at its ends, and whether it was looked at before the restart or not."""
    torch_run(tmp_path, range(steps))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / NAME)
    before = open_run(tmp_path)
    before.glance()
    assert before.state.step == steps - 1
    torch_run(tmp_path, range(6, 9), purge_step=6)
    after = open_run(tmp_path)
    for reader in (before, after):
        reader.glance()
        assert reader.state.step == 8
        assert reader.state.last == read(tmp_path).state.last


def test_step_that_is_never_given_keeps_the_last_value(tmp_path: Path) -> None:
    """TensorBoard's server shows one point, too."""
    with SummaryWriter(str(tmp_path)) as writer:
        for value in range(5):
            writer.add_scalar("loss", value)
    assert without_time(rows(tmp_path)) == [{"step": 0, "loss": 4.0}]


def test_epoch_of_lightning_is_no_metric_but_the_epoch_of_its_row(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (49, 99):
            writer.add_scalar("epoch", step // 60, step)
            writer.add_scalar("train_loss", 0.5, step)
    expected = [{"step": step, "epoch": step // 60, "train/loss": 0.5} for step in (49, 99)]
    assert without_time(rows(tmp_path)) == expected
    assert read(tmp_path).state.epoch == 1


def test_parameters_and_end_that_torch_writes_at_once_do_not_end_the_run(tmp_path: Path) -> None:
    """So does Lightning, before the first step."""
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_hparams({"lr": 0.1, "opt": "adam", "nesterov": True}, {"acc": 1.0}, run_name=".")
    state = read(tmp_path).state
    assert state.params == {"lr": 0.1, "opt": "adam", "nesterov": True}
    assert state.status.word == "unknown"


def test_document_of_lightning_says_what_the_parameters_are(tmp_path: Path) -> None:
    """Its logger writes them twice: nested in the document, flat and as doubles in the events."""
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_hparams({"model/layers": 3}, {}, run_name=".")
        writer.add_scalar("train_loss", 0.5, 1)
    reader = read(tmp_path)
    assert reader.state.params == {"model/layers": 3}
    (tmp_path / "hparams.yaml").write_text("model:\n  layers: 3\nname: x\n")
    read_on(reader)
    assert reader.state.params == {"model": {"layers": 3}, "name": "x"}
    assert reader.state.last == {"train/loss": 0.5}
    (tmp_path / "hparams.yaml").write_text("model: [\n")
    read_on(reader)
    assert [bad.file for bad in reader.state.bad_lines] == ["hparams.yaml"]


def test_end_with_a_time_is_the_end_until_more_comes(tmp_path: Path) -> None:
    path = write_events(tmp_path / NAME, [version(), scalar(1, "loss", 2.0), ended(1, BEGUN + 9)])
    assert read(tmp_path).state.status == Status("finished")
    write_events(path, [ended(2, BEGUN + 10)])
    assert read(tmp_path).state.status == Status("failed")
    write_events(tmp_path / NAME.replace("179", "180"), [version(), scalar(60, "loss", 1.0)])
    assert read(tmp_path).state.status.word == "unknown"


def ended(status: int, at: float) -> Any:
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=at)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    metadata = hparams.create_summary_metadata(data)
    value = event_files.tensor(0, hparams.SESSION_END_INFO_TAG, []).summary.value[0]
    value.metadata.CopyFrom(metadata)
    return event_files.summary(0, value)


def test_metadata_on_the_first_value_only_is_remembered(tmp_path: Path) -> None:
    """Older TensorFlow; and what is no scalar does not become one without them."""
    events = [version()]
    for step in range(1, 2000):
        first = step == 1
        events += [
            tensor(step, "loss", step / 2, "scalars" if first else None),
            tensor(step, "threshold", step, "pr_curves" if first else None),
            tensor(step, "half", step, None),
        ]
    write_events(tmp_path / NAME, events)
    found = rows(tmp_path)
    assert [row["loss"] for row in found] == [step / 2 for step in range(1, 2000)]
    assert all("threshold" not in row for row in found)
    assert found[-1]["half"] == 1999.0


def test_nan_and_infinities_are_values(tmp_path: Path) -> None:
    values = [1.0, math.nan, math.inf, -math.inf, 2.0]
    write_events(tmp_path / NAME, [scalar(n, "loss", value) for n, value in enumerate(values)])
    found = [row["loss"] for row in rows(tmp_path)]
    assert math.isnan(found[1])
    assert (found[0], found[2:]) == (1.0, values[2:])
    (curve,) = read(tmp_path).state.series["loss"]
    assert (curve.count, curve.nonfinite) == (5, 3)


def test_names_that_are_ours_for_something_else_are_metrics_of_another_name(tmp_path: Path) -> None:
    tags = ["step", "time", "valid_loss", "a/b", "größe", "tab\there"]
    write_events(tmp_path / NAME, [scalar(3, tag, 1.0) for tag in tags])
    (row,) = rows(tmp_path)
    named = {"step_value", "time_value", "val/loss", "a/b", "größe", "tab\there"}
    assert set(row) == {"step", "time", *named}
    assert row["step"] == 3


# ---- directories ---------------------------------------------------------------------------------


def run_ids(root: Path) -> list[str]:
    return sorted(ref.id for ref in discover([root]))


def one_event(path: Path) -> None:
    write_events(path / NAME, [version(), scalar(1, "loss", 1.0)])


def test_runs_within_runs_are_those_of_tensorboard(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "exp" / "a")) as writer:
        writer.add_scalar("loss", 1.0, 1)
        writer.add_scalars("pair", {"x": 1.0, "y": 2.0}, 1)
        writer.add_hparams({"lr": 0.1}, {"acc": 1.0}, run_name="params")
    (tmp_path / "exp" / "a" / "checkpoints").mkdir()
    (tmp_path / "exp" / "a" / "results").mkdir()
    (tmp_path / "exp" / "a" / "results" / "table.csv").write_text("step,x\n1,2\n")
    within = ["exp/a", "exp/a/pair_x", "exp/a/pair_y", "exp/a/params"]
    assert run_ids(tmp_path) == sorted(within)
    assert run_ids(tmp_path / "exp" / "a") == sorted(["a", "pair_x", "pair_y", "params"])


def test_runs_of_the_same_name_have_ids_by_which_they_are_found(tmp_path: Path) -> None:
    for folder in ("one/version_0", "two/version_0"):
        one_event(tmp_path / folder)
    assert run_ids(tmp_path) == ["one/version_0", "two/version_0"]
    root = ("--root", str(tmp_path))
    assert json.loads(output("show", "two/version_0", "--json", *root))["id"] == "two/version_0"
    listed = [run["id"] for run in json.loads(output("ls", "--json", *root))]
    assert sorted(listed) == run_ids(tmp_path)
    with pytest.raises(runstore.RunStoreError, match=r"names 2 runs .*two/version_0"):
        runstore.load("version_0", root=tmp_path)


def test_runs_below_several_roots_are_named_with_their_root(tmp_path: Path) -> None:
    for folder in ("one/train", "two/train"):
        one_event(tmp_path / folder / "x")
    found = discover([tmp_path / "one", tmp_path / "two"])
    assert sorted(ref.id for ref in found) == ["one/train/x", "two/train/x"]


def test_run_in_the_current_directory_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_event(tmp_path / "exp")
    monkeypatch.chdir(tmp_path / "exp")
    assert run_ids(Path()) == ["exp"]


def test_table_beside_the_logs_of_keras_does_not_hide_them(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "keras" / "run", tmp_path / "k" / "logs")
    (tmp_path / "k" / "training.csv").write_text("epoch,loss\n0,1\n")
    assert run_ids(tmp_path) == ["k", "k/logs"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["logs/train", "logs/validation"], ["logs"]),
        (["logs/train", "logs/val", "logs/other"], ["logs", "logs/other"]),
        (["logs/train"], ["logs"]),
        (["logs/train", "logs/other"], ["logs/other", "logs/train"]),
        (["logs/validation"], ["logs/validation"]),
        (["logs", "logs/train", "logs/validation"], ["logs", "logs/train", "logs/validation"]),
        (["logs/train", "logs/train/deeper"], ["logs"]),
    ],
)
def test_folders_of_splits_are_one_run(
    tmp_path: Path, folders: list[str], expected: list[str]
) -> None:
    for folder in folders:
        one_event(tmp_path / folder)
    assert run_ids(tmp_path) == expected


def test_splits_with_the_same_tags_do_not_void_each_other(tmp_path: Path) -> None:
    for split in ("train", "eval"):
        events = [version(), *(scalar(n, "loss", n) for n in range(5)), session_start(2)]
        write_events(tmp_path / split / NAME, [*events, scalar(2, "loss", 9.0)])
    state = read(tmp_path).state
    assert state.last == {"train/loss": 9.0, "val/loss": 9.0}
    assert {key: [p.count for p in found] for key, found in state.series.items()} == {
        "train/loss": [3],
        "val/loss": [3],
    }


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("events.out.tfevents.1790000000.host.1.0", True),
        ("events.out.tfevents.1790000000.host.1.0.v2", True),
        ("tfevents", True),
        ("my.tfevents.anything behind", True),
        (".events.out.tfevents.1790000000.host.1.0.Xy12", False),
        ("events.out.tfevents.1790000000.host.profile-empty", False),
        ("events.out", False),
    ],
)
def test_names_of_event_files_are_those_of_tensorboard(
    tmp_path: Path, name: str, is_one: bool
) -> None:
    write_events(tmp_path / "run" / name, [version(), scalar(1, "loss", 1.0)])
    assert run_ids(tmp_path) == (["run"] if is_one else [])


def test_mirror_of_a_native_run_stays_in_it(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, tensorboard=True) as run:
        run.log({"loss": 1.0}, step=1)
    (ref,) = discover([tmp_path])
    assert (ref.id, ref.source.name) == (run.id, "native")


# ---- commands ------------------------------------------------------------------------------------


def output(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_show_a_run_without_tensorboard_and_protobuf(tmp_path: Path) -> None:
    expected = torch_run(tmp_path / "run", range(3))
    code = (
        "import sys\n"
        "for name in ('tensorboard', 'google', 'torch', 'tensorflow', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "from runstore.cli import main; main()\n"
    )
    root = str(tmp_path)
    told = {}
    for arguments in (
        ["ls", root],
        ["cat", "run", "metrics", "--root", root],
        ["show", "run", "--root", root],
    ):
        told[arguments[0]] = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--root", root],
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert "tensorboard" in told["ls"]
    assert "run" in told["ls"]
    cat = [json.loads(line) for line in told["cat"].splitlines()]
    assert without_time(cat) == expected
    assert "source    tensorboard" in told["show"]


def test_export_has_every_row(tmp_path: Path) -> None:
    expected = torch_run(tmp_path / "run", range(40))
    out = tmp_path / "out.csv"
    output("export", "run", "--format", "csv", "--root", str(tmp_path), "-o", str(out))
    lines = out.read_text().splitlines()
    assert len(lines) == 41
    assert "train/loss" in lines[0]
    assert repr(expected[-1]["val/acc"]) in lines[-1]


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    tag = "lo\x1b]0;x\x07ss\u202e\x9b31m"
    write_events(tmp_path / "run" / NAME, [version(), scalar(1, tag, 1.0)])
    for arguments in (["ls"], ["show", "run"], ["cat", "run", "metrics"], ["tail", "run"]):
        printed = output(*arguments, "--root", str(tmp_path))
        assert not set(printed) & {"\x1b", "\x07", "\u202e", "\x9b"}
        assert "lo" in printed
