"""What is mirrored, read back with TensorBoard's own readers."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import runstore
from runstore.metrics.reports import text_report
from runstore.run.run import Run
from runstore.run.tensorboard import MOST_VALUES, Mirror, as_hparams
from runstore.writer.event_file import END_SUFFIX, event_files

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
plugin_accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.plugin_event_accumulator"
)
SUCCESS, FAILURE = 1, 2


def read(run: Run) -> Any:
    """Read a run's event files with everything kept."""
    events = accumulators.EventAccumulator(str(run.path), size_guidance={"scalars": 0})
    return events.Reload()


def scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of all scalars by tag."""
    events = read(run)
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def server_steps(run: Run) -> dict[str, list[int]]:
    """Return the steps by tag as TensorBoard's server in Python keeps them."""
    events = plugin_accumulators.EventAccumulator(str(run.path), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.PluginTagToContent("scalars")
    return {tag: [event.step for event in events.Tensors(tag)] for tag in tags}


def float32(value: float) -> float:
    return float(np.float32(value))


def hparams(run: Run, tag: str) -> Any:
    """Return what the HParams plugin finds under one of its tags, or None."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    events = plugin_accumulators.EventAccumulator(str(run.path)).Reload()
    try:
        content = events.PluginTagToContent("hparams").get(f"_hparams_/{tag}")
    except KeyError:
        return None
    return content and plugin_data_pb2.HParamsPluginData.FromString(content)


def open_run(root: Path, **options: Any) -> Run:
    return runstore.init(root=root, tensorboard=True, **options)


def resumed(run: Run, step: int, **options: Any) -> Run:
    """Open the next attempt and let it go on from `step`, as a checkpoint would."""
    again = runstore.init(resume=run.path, **options)
    again.step = step
    again.mirror_to_tensorboard()
    return again


def flat_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


# ---- values --------------------------------------------------------------------------------------


def test_every_logged_value_is_read_back_with_its_step_and_time(tmp_path: Path) -> None:
    logged = [math.pi, -1e-30, math.nan, math.inf, -math.inf, 1e300, 0.0, 3]
    with open_run(tmp_path) as run:
        for step, value in enumerate(logged):
            run.log({"train/loss": value, "lr": 0.1}, step=step * 10)
    rows = runstore.load(run.path).metrics()
    events = read(run).Scalars("train/loss")
    assert [event.step for event in events] == [row["step"] for row in rows]
    assert [event.wall_time for event in events] == [row["time"] for row in rows]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            [event.value for event in events], [float32(value) for value in logged]
        )
    assert scalars(run)["lr"] == [(step * 10, float32(0.1)) for step in range(len(logged))]


def test_tracked_batches_and_the_means_of_an_evaluation_are_curves_by_step(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for _ in run.epochs(2):
            for batch in run.train(range(3)):
                run.track(loss=batch, n=1)
            for batch in run.val(range(2)):
                run.track(loss=batch, n=1)
    curves = scalars(run)
    assert curves["train/loss"] == [(1, 0), (2, 1), (3, 2), (4, 0), (5, 1), (6, 2)]
    assert curves["val/loss"] == [(3, 0.5), (6, 0.5)]


def test_epoch_rows_are_curves_by_epoch_with_tags_of_their_own(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for _ in run.epochs(3):
            for batch in run.train(range(5)):
                run.track(loss=batch, n=1)
    curves = scalars(run)
    assert curves["epoch/train/loss"] == [(1, 2.0), (2, 2.0), (3, 2.0)]
    rows = runstore.load(run.path).epochs()
    for name in ("duration_s", "train/duration_s"):
        assert curves[f"epoch/{name}"] == [(row["epoch"], float32(row[name])) for row in rows]


def test_a_report_becomes_scalars_and_the_text_that_scikit_learn_prints(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for _ in run.epochs(1):
            for _ in run.val([0]):
                run.track_classification(
                    np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), target_names=["cat", "dog"]
                )
    (row,) = runstore.load(run.path).reports()
    report, curves = row["report"], scalars(run)
    for label in ("cat", "dog", "macro avg", "weighted avg"):
        for score in ("precision", "recall", "f1-score"):
            assert curves[f"report/val/{label}/{score}"] == [(0, float32(report[label][score]))]
    assert curves["report/val/accuracy"] == [(0, 0.75)]
    assert not [tag for tag in curves if tag.endswith("support")]
    (text,) = read(run).Tensors("report/val")
    shown = text.tensor_proto.string_val[0].decode()
    assert flat_lines(shown)[1:-1] == [line for line in text_report(row) if line]


def test_a_report_of_many_classes_has_its_averages_only(tmp_path: Path) -> None:
    classes = np.arange(60)
    with open_run(tmp_path) as run:
        for _ in run.val([0]):
            run.track_classification(classes, classes)
    tags = [tag for tag in scalars(run) if tag.startswith("report/")]
    assert len(tags) == 7  # accuracy, and two averages of three scores


def test_names_that_are_no_unicode_are_written_out(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.log({"a\udcff": 1.0, "b": 2.0}, step=1)
    assert scalars(run) == {"a\\udcff": [(1, 1.0)], "b": [(1, 2.0)]}


# ---- hyperparameters -----------------------------------------------------------------------------


def test_hparams_and_the_end_are_in_the_runs_own_directory(tmp_path: Path) -> None:
    with open_run(tmp_path, params={"lr": 0.1, "net": {"depth": 3}, "amp": True}) as run:
        run.log({"val/loss": 0.5}, step=1)
    info = hparams(run, "session_start_info").session_start_info
    assert info.hparams["lr"].number_value == 0.1
    assert info.hparams["net.depth"].number_value == 3
    assert info.hparams["amp"].bool_value is True
    assert hparams(run, "session_end_info").session_end_info.status == SUCCESS
    assert [path for path in run.path.rglob("*tfevents*") if path.parent != run.path] == []


def test_hparams_are_flat_short_and_without_secrets() -> None:
    params = {
        "opt": {"name": "sgd", "betas": (0.9, 0.99), "extra": {}},
        "none": None,
        "nan": math.nan,
        "note": "x" * 1000,
        "api_token": "hf_abcdefghijklmnopqrstuvwxyz012345",
    }
    assert as_hparams(params) == {
        "opt.name": "sgd",
        "opt.betas": "[0.9,0.99]",
        "opt.extra": "{}",
        "none": "null",
        "nan": "nan",
        "note": "x" * 200,
        "api_token": "<redacted>",
    }


def test_a_failed_run_ends_as_failure_and_an_interrupted_one_stays_open(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), open_run(tmp_path, name="failed") as failed:
        raise ValueError("no")
    assert hparams(failed, "session_end_info").session_end_info.status == FAILURE
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, name="stopped") as stopped:
        raise KeyboardInterrupt
    assert hparams(stopped, "session_end_info") is None


# ---- attempts ------------------------------------------------------------------------------------


@pytest.fixture
def twice(tmp_path: Path) -> Run:
    """A run of two attempts; the second goes on behind step 4, in epoch 2 of steps of 2."""

    def train(first_value: float, **options: Any) -> Run:
        with open_run(tmp_path, save_every="4st", params={"lr": 1}, **options) as run:
            run.register(model=torch.nn.Linear(1, 1))
            for _ in run.epochs(5):
                for batch in run.train(range(2)):
                    run.track(loss=first_value + batch)
                if run.epoch == 4 and run.attempt == 1:
                    raise ValueError("no")
        return run

    with pytest.raises(ValueError, match="no"):
        train(100)
    # Attempt 1 wrote a checkpoint at step 8 too; that it is lost makes the second begin at step 4.
    (run_dir,) = tmp_path.iterdir()
    (run_dir / "checkpoints" / "step-00000008-0001.pt").unlink()
    return train(200, resume=run_dir)


def test_a_resumed_run_is_one_curve(twice: Run) -> None:
    curves = scalars(twice)
    assert [step for step, _ in curves["train/loss"]] == list(range(1, 11))
    assert [value for _, value in curves["train/loss"]] == [100, 101] * 2 + [200, 201] * 3
    assert curves["epoch/train/loss"] == [
        (1, 100.5),
        (2, 100.5),
        (3, 200.5),
        (4, 200.5),
        (5, 200.5),
    ]


def test_a_resumed_run_is_one_curve_for_the_server_too(twice: Run) -> None:
    for tag, steps in server_steps(twice).items():
        assert steps == sorted(set(steps)), tag


def test_what_lies_behind_the_resumed_step_is_gone_at_once(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for step in range(1, 11):
            run.log({"seldom": step}, step=step)
    with resumed(run, 6) as again:
        again.log({"often": 1.0}, step=6)
    assert [step for step, _ in scalars(run)["seldom"]] == [1, 2, 3, 4, 5, 6]


def test_rows_before_a_checkpoint_are_there_although_the_process_is_killed_behind_it(
    tmp_path: Path,
) -> None:
    code = (
        "import os, signal, torch, runstore, runstore.run.tensorboard\n"
        "runstore.run.tensorboard.INTERVAL_S = 600.0\n"  # the thread does not come to it
        f"run = runstore.init(root={str(tmp_path)!r}, tensorboard=True)\n"
        "run.register(model=torch.nn.Linear(1, 1))\n"
        "run.log({'loss': 1.0}, step=1)\n"
        "run.log({'loss': 0.5}, step=2)\n"
        "run.save()\n"
        "run.log({'loss': 0.2}, step=3)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env(), capture_output=True)
    assert done.returncode == -9, done.stderr
    (run_dir,) = tmp_path.iterdir()
    events = accumulators.EventAccumulator(str(run_dir)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 0.5)]


def test_a_row_that_shares_the_checkpoints_step_comes_once(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.log({"train/loss": 1.0}, step=5)
        run.log({"val/loss": 0.5}, step=5)
    with resumed(run, 5) as again:
        again.log({"val/loss": 0.5}, step=5)
        again.log({"train/loss": 1.0}, step=6)
    assert scalars(run) == {"train/loss": [(5, 1.0), (6, 1.0)], "val/loss": [(5, 0.5)]}


def test_a_run_that_starts_over_keeps_nothing_of_its_first_attempt(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.log({"loss": 1.0}, step=0)
        run.log({"loss": 1.0}, step=7)
    with resumed(run, 0) as again:
        again.log({"loss": 2.0}, step=3)
    assert scalars(run) == {"loss": [(3, 2.0)]}


def test_a_failed_run_that_finishes_later_is_a_success(twice: Run) -> None:
    assert hparams(twice, "session_end_info").session_end_info.status == SUCCESS
    first, second = [name for name in event_files(twice.path) if name.endswith(END_SUFFIX)]
    assert (twice.path / first).stat().st_size == 0 < (twice.path / second).stat().st_size


def test_an_attempt_sorts_behind_earlier_ones_although_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    with open_run(tmp_path) as run:
        run.log({"loss": 1.0}, step=1)
    for name in event_files(run.path):
        later = name.replace(name.split(".")[3], f"{int(time.time()) + 5000}")
        (run.path / name).rename(run.path / later)
    with resumed(run, 1) as again:
        again.log({"loss": 2.0}, step=2)
    assert [name.endswith(END_SUFFIX) for name in event_files(run.path)] == [False, True] * 2
    assert scalars(run)["loss"][-1] == (2, 2.0)


# ---- faults --------------------------------------------------------------------------------------


class Problems(list[str]):
    """Collects what a mirror complains of."""

    def mirror(self, run_dir: Path) -> Mirror:
        return Mirror(run_dir, step=0, params={}, on_problem=self.append)


def test_values_are_in_the_file_soon_and_without_an_end(
    tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    run = open_run(tmp_path)
    run.log({"loss": 1.0}, step=1)
    assert wait_until(lambda: "loss" in scalars(run), what="the first value")
    run.finish()


def test_rows_beyond_the_bound_are_left_out_with_one_warning(tmp_path: Path) -> None:
    problems = Problems()
    mirror = problems.mirror(tmp_path)
    wide = {"step": 1, "time": 1.0} | {f"m{i}": 0.0 for i in range(1000)}
    for _ in range(MOST_VALUES // 1000 * 2):
        mirror.put("metrics", wide)
    mirror.close("finished")
    assert len(problems) == 1
    assert "some are left out" in problems[0]


def test_without_tensorboard_there_is_one_warning_and_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with open_run(tmp_path) as run:
        run.log({"loss": 1.0}, step=1)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "pip install 'runstore[train]'" in record.getMessage()
    assert len(runstore.load(run.path).metrics()) == 1
    assert event_files(run.path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_warning_and_the_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wait_until: Callable[..., object]
) -> None:
    run = open_run(tmp_path)
    assert run._rows.mirror is not None
    # The open descriptor now is one that is always full.
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, run._rows.mirror._file._file.fileno())
    os.close(full)
    for step in range(1, 100):
        run.log({"loss": 1.0}, step=step)
    wait_until(lambda: caplog.records, what="the warning")
    run.log({"loss": 1.0}, step=100)
    run.finish()
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "No space left on device" in record.getMessage()
    assert len(runstore.load(run.path).metrics()) == 100


def test_a_forked_child_writes_nothing_into_the_event_file(tmp_path: Path) -> None:
    code = (
        "import os, runstore\n"
        f"run = runstore.init(root={str(tmp_path)!r}, tensorboard=True)\n"
        "run.log({'loss': 1.0}, step=1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    run.log({'loss': 2.0}, step=2)\n"
        "    raise SystemExit\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "run.log({'loss': 3.0}, step=3)\n"
        "run.finish()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=env())
    (run_dir,) = tmp_path.iterdir()
    events = accumulators.EventAccumulator(str(run_dir)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 3]


def test_neither_tensorflow_nor_torch_is_imported(tmp_path: Path) -> None:
    for name in ("tensorflow", "torch"):
        package = tmp_path / "lib" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    code = (
        "import runstore, sys\n"
        f"run = runstore.init({{'lr': 0.1}}, root={str(tmp_path / 'runs')!r}, tensorboard=True)\n"
        "run.log({'loss': 1.0}, step=1)\n"
        "run.finish()\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)\n"
    )
    # The folder comes first on the path: what is installed would be found behind it.
    path = os.pathsep.join([str(tmp_path / "lib"), env()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**env(), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "failed" in done.stderr) == (0, False), done.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert len(event_files(run_dir)) == 2


def env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
