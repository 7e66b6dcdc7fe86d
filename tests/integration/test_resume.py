"""Killed anywhere and resumed: every row and every weight as if it had not been."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.files.checkpoints import read_manifest
from tests.integration.resuming import ENVIRONMENT, command, outcome, train, train_to_the_end

# Starting PyTorch and scikit-learn takes seconds.
STEPS = 28
"""Optimizer steps of the whole training: 4 epochs of 7 windows."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run comes to that nothing interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_to_the_end(run)
    found = outcome(run)
    assert found["status"] == "finished"
    assert len(found["epochs"]) == 4
    return found


def moments(chance: random.Random, count: int) -> list[str]:
    """Return moments of one run, in their order: between windows, inside, around evaluations."""
    places = [(float(step), f"step {step}") for step in range(1, STEPS)]
    places += [(step + 0.5, f"inside {step}") for step in range(1, STEPS)]
    for epoch in range(1, 5):
        around = ("trained", "evaluating", "epoch")
        places += [(7 * epoch + 0.6 + i / 10, f"{what} {epoch}") for i, what in enumerate(around)]
    return [moment for _, moment in sorted(chance.sample(places, count))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (1, []),
        (2, ["--every", "1st"]),
        (3, ["--workers", "2"]),
        (4, ["--workers", "2", "--every", "1ep"]),
        (5, ["--every", "2st"]),
    ],
)
def test_thirty_kills_leave_no_trace(
    tmp_path: Path, whole: dict[str, Any], seed: int, options: list[str]
) -> None:
    """Five runs, each killed six times."""
    run = tmp_path / "run"
    for moment in moments(random.Random(seed), 6):
        assert train(run, "--kill", moment, *options).returncode == -9, moment
    train_to_the_end(run, *options)
    assert outcome(run) == whole


def test_ten_kills_inside_of_a_checkpoint_write_leave_no_trace(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    caught = 0
    for attempt in range(25):
        skip = attempt % 3
        caught += kill_inside_of_a_write(run, skip)
        if caught == 10:
            break
    assert caught == 10
    train_to_the_end(run, "--ballast", "40", "--every", "1st")
    assert outcome(run) == whole
    assert not list((run / "checkpoints").glob(".*.tmp"))


def kill_inside_of_a_write(run: Path, skip: int) -> bool:
    """Kill a training while its checkpoint number `skip` is being written; tell whether it was."""
    directory = run / "checkpoints"
    with subprocess.Popen(
        command(run, "--ballast", "40", "--every", "1st"),
        env={**os.environ, **ENVIRONMENT},
        stderr=subprocess.DEVNULL,
    ) as process:
        seen: set[str] = set()
        while process.poll() is None:
            writing = {path.name for path in directory.glob(".step-*.tmp")}
            seen |= writing
            if writing and len(seen) > skip:
                process.kill()
            time.sleep(0.001)
    return any(directory.glob(".step-*.tmp"))


def test_plain_shuffling_loader_goes_on_exactly_too(tmp_path: Path) -> None:
    train_to_the_end(tmp_path / "whole", "--shuffle")
    run = tmp_path / "run"
    for moment in ("step 4", "evaluating 2", "inside 23"):
        assert train(run, "--shuffle", "--kill", moment).returncode == -9
    train_to_the_end(run, "--shuffle")
    assert outcome(run) == outcome(tmp_path / "whole")


def test_resume_command_starts_the_recorded_command_where_it_ran(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    run = tmp_path / "runs" / "run"
    run.parent.mkdir()
    assert train(run, "--kill", "step 9").returncode == -9
    # The recorded command would be killed again; it is given without that.
    resumed = runstore_command("resume", str(run), "--", *command(run, "--kill", "step 13"))
    assert resumed.returncode == -9
    again = runstore_command("resume", str(run), "--", *command(run))
    assert again.returncode == 0, again.stderr
    assert outcome(run) == whole
    assert "goes on at step 12" in again.stderr
    refused = runstore_command("resume", str(run))
    assert refused.returncode == 1
    assert "finished; to train further, have its script ask for more" in refused.stderr


def runstore_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runstore.cli", *arguments],
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_resume_passes_streams_status_and_directory_through(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, runstore\n"
        "run = runstore.init()\n"
        "print(sys.stdin.read().upper(), os.getcwd(), run.attempt, flush=True)\n"
        "run.finish() if run.attempt == 3 else os._exit(7)\n"
    )
    root = tmp_path / "runs"
    first = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        input="",
        text=True,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
    )
    assert first.returncode == 7
    for attempt, status in ((2, 7), (3, 0)):
        resumed = subprocess.run(
            [sys.executable, "-m", "runstore.cli", "resume", "latest", "--root", str(root)],
            env={**os.environ, **ENVIRONMENT},
            input="said",
            capture_output=True,
            text=True,
        )
        assert resumed.returncode == status, resumed.stderr
        assert resumed.stdout.split() == ["SAID", str(tmp_path), str(attempt)]
    assert len(list(root.iterdir())) == 1


def test_resume_asks_for_a_command_that_secrets_were_taken_out_of(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    program = "import os, runstore; runstore.init(); os._exit(1)"
    subprocess.run(
        [sys.executable, "-c", program, "--api-key", "sk-1234567890abcdefghij"],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
    )
    refused = runstore_command("resume", "latest", "--root", str(root))
    assert refused.returncode == 2
    assert "secrets were taken out of the recorded command" in refused.stderr
    assert "sk-1234567890" not in refused.stderr


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Path]:
    """The root of a run whose process, of a Slurm job, waits until the test is over."""
    program = "import sys, runstore; run = runstore.init(); print(run.path, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT, "SLURM_JOB_ID": "7"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield tmp_path / "runs"
        process.communicate("\n")


def test_resume_refuses_a_run_that_is_alive(alive: Path) -> None:
    refused = runstore_command("resume", "latest", "--root", str(alive))
    assert refused.returncode == 1
    assert "attempt 1 is running" in refused.stderr
    assert "requests/stop" in refused.stderr


@pytest.mark.parametrize(("restarts", "status"), [("0", 1), ("1", 0)])
def test_resume_believes_a_higher_restart_count_of_the_same_slurm_job(
    alive: Path, restarts: str, status: int
) -> None:
    run = ("latest", "--root", str(alive))
    count = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": restarts}
    resumed = runstore_command("resume", *run, "--", "echo", "started", **count)
    assert (resumed.returncode, "started" in resumed.stdout) == (status, status == 0)


def test_resume_goes_on_with_a_copy_of_a_killed_run(tmp_path: Path) -> None:
    """Of which nobody can know whether it goes on elsewhere; one who copies it does."""
    script = "import os, runstore; run = runstore.init(); run.attempt == 1 and os._exit(1)"
    subprocess.run(
        [sys.executable, "-c", script + "; run.finish()"],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
    )
    (run,) = (tmp_path / "runs").iterdir()
    copy = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, copy)
    assert runstore.load(copy).status == "unknown"
    resumed = runstore_command("resume", str(copy))
    assert resumed.returncode == 0, resumed.stderr
    assert runstore.load(copy).status == "finished"
    assert runstore.load(run).status == "crashed"


def test_checkpoints_of_a_finished_run_are_the_last_two_and_the_best(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_to_the_end(run)
    present = sorted(path.name for path in (run / "checkpoints").glob("step-*.pt"))
    rows = read_manifest(run)
    best = [row.file for row in rows if row.best][-1]
    assert present == sorted({best, *[row.file for row in rows][-2:]})
    assert (run / "checkpoints" / "best.pt").samefile(run / "checkpoints" / best)
