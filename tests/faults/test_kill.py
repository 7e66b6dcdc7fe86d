"""SIGKILL at any moment: what was logged is there, and the run is said to have crashed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runstore
from tests.faults.sample import Sample

SCRIPT = """
import itertools, os, sys
import runstore
acknowledge = int(sys.argv[1])
run = runstore.init({"lr": 0.1}, root="runs", name="killed")
os.write(acknowledge, f"{run.path}\\n".encode())
for epoch in run.epochs(10_000):
    for batch in run.train(range(200)):
        run.track(loss=1.0 / (batch + 1), accuracy=0.5, n=8)
        run.log({"step_copy": float(run.step), "text": 1.5})
        os.write(acknowledge, f"{run.step}\\n".encode())
"""
KILLS = 200

pytestmark = pytest.mark.faults


class Killed:
    """A training script that was killed, and the steps that it had acknowledged."""

    def __init__(self, folder: Path, repo_root: Path, delay_s: float) -> None:
        reading, writing = os.pipe()
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(writing)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(repo_root)},
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        ) as process:
            os.close(writing)
            with os.fdopen(reading, "rb", buffering=0) as pipe:
                self.run_dir = folder / pipe.readline().decode().strip()
                deadline = time.monotonic() + delay_s
                acknowledged = b""
                while time.monotonic() < deadline:
                    acknowledged += os.read(pipe.fileno(), 1 << 16)
                process.kill()
                acknowledged += pipe.read()
            self.pid = process.pid
        self.steps = [int(text) for text in acknowledged[: acknowledged.rfind(b"\n") + 1].split()]


@pytest.mark.timeout(600)
def test_every_acknowledged_row_survives_every_kill(
    tmp_path: Path, repo_root: Path, sample: Sample
) -> None:
    """Each time: the rows, the status with its reason, and at most one torn line."""
    chance = random.Random(sample.seed)
    rows_seen = 0
    for _ in range(max(20, round(KILLS * sample.share))):
        killed = Killed(tmp_path, repo_root, chance.uniform(0.0, 0.3))
        data = runstore.load(killed.run_dir)
        logged = [row["step"] for row in data.metrics() if "step_copy" in row]
        assert logged[: len(killed.steps)] == killed.steps
        assert len(logged) <= len(killed.steps) + 1
        assert data.state.bad_line_count == 0
        assert data.status == "crashed"
        assert data.state.status.reason.startswith(f"process {killed.pid} is gone, last row ")
        rows_seen += len(logged)
    assert rows_seen > 1000


def test_commands_show_a_killed_run(tmp_path: Path, repo_root: Path) -> None:
    killed = Killed(tmp_path, repo_root, 0.3)
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}

    def printed(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (listed,) = json.loads(printed("runstore.cli", "ls", "--json", "runs"))
    assert listed["status"] == "crashed"
    assert f"process {killed.pid} is gone" in listed["reason"]
    assert listed["last"]["train/accuracy"] == 0.5
    assert "crashed" in printed("runstore.cli", "ls")
    assert "crashed" in printed("runstore.tui_launcher", "--once", "runs")
    rows = printed("runstore.cli", "cat", "latest", "metrics").splitlines()
    assert [json.loads(row)["step"] for row in rows if "step_copy" in row][-1] >= killed.steps[-1]


def test_killed_run_goes_on_in_the_same_directory(tmp_path: Path, repo_root: Path) -> None:
    killed = Killed(tmp_path, repo_root, 0.3)
    before = {path.name: path.read_bytes() for path in killed.run_dir.glob("*-0001*.jsonl")}
    with runstore.init(root=tmp_path / "runs", resume=killed.run_dir) as run:
        assert run.attempt == 2
        run.log({"step_copy": -1.0}, step=5)
    data = runstore.load(killed.run_dir)
    assert {name: (killed.run_dir / name).read_bytes() for name in before} == before
    steps = [row["step"] for row in data.metrics() if "step_copy" in row]
    assert steps == [1, 2, 3, 4, 5]
    assert data.status == "finished"
    assert any("inferred" in warning for warning in data.state.warnings)
