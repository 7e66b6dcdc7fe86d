"""Each script in examples/ learns, and killed in its middle it ends with the same numbers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import runstore
from runstore.state.samples import Rewinds, SampleFolder
from tests.conftest import WaitUntil
from tests.integration.resuming import ENVIRONMENT

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
COMMANDS = {
    "mnist_like.py": [sys.executable, str(EXAMPLES / "mnist_like.py")],
    "regression.py": [sys.executable, str(EXAMPLES / "regression.py")],
    "language_model.py": [sys.executable, str(EXAMPLES / "language_model.py")],
    "gan.py": [sys.executable, str(EXAMPLES / "gan.py"), "--epochs", "6"],
    "ddp.py": [sys.executable, *TORCHRUN, str(EXAMPLES / "ddp.py")],
}
TIMES = ("time", "duration_s", "_per_s")


def execute(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT}


def run_in(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], runstore.RunData]:
    """Run an example to its end, once."""
    runs: dict[str, runstore.RunData] = {}

    def train(name: str) -> runstore.RunData:
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            done = execute(COMMANDS[name], folder)
            runs[name] = runstore.load(run_in(folder))
            assert done.returncode == 0, done.stderr
        return runs[name]

    return train


def timeless(run: runstore.RunData) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that count, without times."""
    rows = {"metrics": run.metrics(), "epochs": run.epochs(), "reports": run.reports()}
    return {
        stream: [{k: v for k, v in row.items() if not k.endswith(TIMES)} for row in found]
        for stream, found in rows.items()
    }


def test_digits_are_told_apart(trained: Callable[[str], runstore.RunData]) -> None:
    run = trained("mnist_like.py")
    epochs = run.epochs()
    assert run.status == "finished"
    assert [row["epoch"] for row in epochs] == list(range(1, 16))
    assert [row["step"] for row in epochs] == [23 * epoch for epoch in range(1, 16)]
    assert epochs[-1]["val/accuracy"] > 0.97
    report = run.reports()[-1]
    assert len(run.reports()) == 15
    assert report["report"]["macro avg"]["support"] == 359
    assert {"train/loss", "lr", "grad_norm"} <= run.metrics()[0].keys()


def test_diabetes_is_predicted_as_well_as_by_ridge(
    trained: Callable[[str], runstore.RunData],
) -> None:
    """Ridge regression explains 0.44 of the variance of this split."""
    run = trained("regression.py")
    assert run.best is not None and run.best.value > 0.4
    assert {"val/mse", "val/mae", "val/r2"} <= run.epochs()[-1].keys()


def test_language_model_beats_the_frequencies_of_characters(
    trained: Callable[[str], runstore.RunData],
) -> None:
    """By its characters' frequencies alone, the text has 3.2 nats per character."""
    run = trained("language_model.py")
    assert run.epochs()[-1]["val/loss"] < 2.3
    assert run.epochs()[-1]["train/tokens_per_s"] > 1000


def test_gan_draws_the_digits_it_is_asked_for_and_ends_with_a_gif(
    trained: Callable[[str], runstore.RunData],
) -> None:
    """In each column of the grid is a digit, whose pixels go with those of the real ones."""
    run = trained("gan.py")
    with Image.open(run.path.parents[1] / "gan.gif") as gif:
        assert (gif.size, getattr(gif, "n_frames", 1)) == ((306, 181), 6)
    digits = load_digits()
    real = [digits.data[digits.target == digit].mean(0) for digit in range(10)]
    alike = np.corrcoef([*drawn_digits(run), *real])[:10, 10:]
    assert alike.argmax(1).tolist() == list(range(10))
    assert alike.diagonal().min() > 0.9


def drawn_digits(run: runstore.RunData) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the mean image of each column of the last grid, 64 pixels each."""
    with Image.open(io.BytesIO(samples_of(run)[-1][1])) as image:
        grid = np.asarray(image, np.float64)
    places = [[(2 + 10 * row, 2 + 10 * digit) for row in range(5)] for digit in range(10)]
    return [
        np.mean([grid[top : top + 8, left : left + 8].ravel() for top, left in of_digit], 0)
        for of_digit in places
    ]


def test_two_ranks_share_a_run_and_evaluate_every_sample_once(
    trained: Callable[[str], runstore.RunData],
) -> None:
    run = trained("ddp.py")
    assert run.epochs()[-1]["val/accuracy"] > 0.92
    assert run.reports()[-1]["report"]["weighted avg"]["support"] == 359
    # 1,438 samples over 2 ranks, in batches of 32.
    assert [row["step"] for row in run.epochs()] == [23 * epoch for epoch in range(1, 11)]


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_example_resumes_to_the_same_rows(
    name: str,
    trained: Callable[[str], runstore.RunData],
    tmp_path: Path,
    wait_until: WaitUntil,
) -> None:
    whole = trained(name)
    kill_in_the_middle(COMMANDS[name], tmp_path, len(whole.metrics()) // 3, wait_until)
    wait_until(lambda: runstore.load(run_in(tmp_path)).status == "crashed", what="the end")
    resumed = execute([sys.executable, "-m", "runstore.cli", "resume", "latest"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    run = runstore.load(run_in(tmp_path))
    assert run.status == "finished"
    assert "goes on at step" in resumed.stderr
    assert timeless(run) == timeless(whole)
    assert samples_of(run) == samples_of(whole)


def samples_of(run: runstore.RunData) -> list[tuple[int, bytes]]:
    """Return the step and the file of each image that counts."""
    samples = SampleFolder(run.path).look().by_name.get("samples", ())
    return [
        (sample.file.step, Path(sample.path).read_bytes())
        for sample in Rewinds.of(run.state).visible(samples)
    ]


def kill_in_the_middle(command: list[str], folder: Path, rows: int, wait_until: WaitUntil) -> None:
    """Start a training and kill it, with all of its processes, when `rows` rows are written."""

    def is_there() -> bool:
        files = list(folder.glob("runs/*/metrics-0001.jsonl"))
        return bool(files) and files[0].read_bytes().count(b"\n") >= rows

    with subprocess.Popen(
        command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL
    ) as process:
        wait_until(is_there, 60, what=f"{rows} rows")
        kill_with_children(process.pid)
        process.wait(30)


def kill_with_children(pid: int) -> None:
    """The ranks first, which would outlive torchrun."""
    import psutil

    for one in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        one.kill()


@pytest.mark.timeout(120)
def test_example_takes_part_in_a_sweep_as_it_is(tmp_path: Path) -> None:
    script = str(EXAMPLES / "regression.py")
    cells = ["--grid", "lr=1e-3,3e-3", "epochs=2", "--jobs", "2"]
    command = [sys.executable, script, "--lr", "{lr}", "--epochs", "{epochs}"]
    done = execute(
        [sys.executable, "-m", "runstore.cli", "sweep", *cells, "--", *command], tmp_path
    )
    assert done.returncode == 0, done.stderr
    runs = runstore.load_all(tmp_path / "runs")
    assert {(run.status, run.params["lr"], run.epoch) for run in runs} == {
        ("finished", 1e-3, 2),
        ("finished", 3e-3, 2),
    }
    assert all(run.params["weight_decay"] == 0.1 for run in runs)
