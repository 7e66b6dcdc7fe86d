"""Signals and requests: the step is finished and saved, and the resumed run is exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runstore
from tests.conftest import WaitUntil
from tests.integration.resuming import ENVIRONMENT, command, outcome, train, train_to_the_end

LOOP = """
import os, signal, sys, time
import torch
import runstore

if "chain" in sys.argv:
    # Not by print: the signal may come inside of one, which is not reentrant.
    signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"handler of the script\\n"))
with runstore.init(root="runs", save_every="1h") as run:
    run.register(model=torch.nn.Linear(2, 2))
    for epoch in run.epochs(1000):
        for batch in run.train(range(50)):
            if batch == 0:
                print(run.path, flush=True)
            time.sleep(float(os.environ.get("BATCH_S", "0.02")))
            run.track(loss=1.0)
print("behind the loops", flush=True)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("whole") / "run"
    train_to_the_end(run)
    return outcome(run)


def last_event(run: Path, attempt: int = 1) -> dict[str, Any]:
    lines = (run / f"events-{attempt:04d}.jsonl").read_text().splitlines()
    event = json.loads(lines[-1])
    assert isinstance(event, dict)
    return event


@pytest.mark.parametrize(
    ("name", "status", "moment"),
    [
        ("SIGTERM", 143, "inside 9"),
        ("SIGUSR1", 138, "step 4"),
        ("SIGHUP", 129, "step 5"),
        ("SIGUSR2", 140, "trained 2"),
        ("SIGINT", 130, "epoch 1"),
    ],
)
def test_signal_finishes_the_step_saves_and_says_why(
    tmp_path: Path, whole: dict[str, Any], name: str, status: int, moment: str
) -> None:
    run = tmp_path / "run"
    done = train(run, "--kill", moment, "--by", name, "--every", "1h")
    # A shell's 130 for Ctrl-C is Python's own end by SIGINT.
    assert done.returncode in (status, -signal.SIGINT if name == "SIGINT" else status), done.stderr
    event = last_event(run)
    assert (event["status"], event["reason"]) == ("interrupted", f"preempted by {name}")
    checkpoints = list((run / "checkpoints").glob("step-*.pt"))
    assert checkpoints
    train_to_the_end(run, "--every", "1h")
    assert outcome(run) == whole


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    yield from start(tmp_path)


def start(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", LOOP, *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def run_of(process: subprocess.Popen[str], folder: Path) -> Path:
    """Return the run's directory once the training has begun."""
    assert process.stdout is not None
    return folder / process.stdout.readline().strip()


def test_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    for process in start(tmp_path, BATCH_S="60"):
        run = run_of(process, tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "is finished first" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert last_event(run)["status"] == "interrupted"
        assert not (run / "checkpoints").exists()


def test_repeated_sigterm_does_not_interrupt_the_save(tmp_path: Path) -> None:
    for process in start(tmp_path, BATCH_S="1"):
        run = run_of(process, tmp_path)
        for _ in range(5):
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert last_event(run)["reason"] == "preempted by SIGTERM"
        assert list((run / "checkpoints").glob("step-*.pt"))


def test_handler_of_the_script_is_called_too(tmp_path: Path) -> None:
    for process in start(tmp_path, "chain"):
        run = run_of(process, tmp_path)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert "handler of the script" in out
        assert last_event(run)["reason"] == "preempted by SIGTERM"


def test_request_to_stop_is_honoured_and_taken_away(
    tmp_path: Path, loop: subprocess.Popen[str]
) -> None:
    run = run_of(loop, tmp_path)
    (run / "requests" / "stop").touch()
    assert loop.wait(30) == 0
    assert last_event(run)["reason"] == "stopped by a request"
    assert list((run / "checkpoints").glob("step-*.pt"))
    assert list((run / "requests").iterdir()) == []


def test_request_for_a_checkpoint_writes_one_and_goes_on(
    tmp_path: Path, loop: subprocess.Popen[str], wait_until: WaitUntil
) -> None:
    run = run_of(loop, tmp_path)
    (run / "requests" / "checkpoint").touch()
    wait_until(lambda: list((run / "checkpoints").glob("step-*.pt")), what="the checkpoint")
    events = run / "events-0001.jsonl"
    wait_until(lambda: '"event":"checkpoint"' in events.read_text(), what="its event")
    assert '"event":"request"' in events.read_text()
    assert list((run / "requests").iterdir()) == []
    assert loop.poll() is None


def test_request_to_stop_leaves_a_script_without_loops_of_ours(tmp_path: Path) -> None:
    script = (
        "import time, runstore\n"
        "run = runstore.init(root='runs')\n"
        "print(run.path, flush=True)\n"
        "for step in range(1000):\n"
        "    run.log({'loss': 1.0}, step=step)\n"
        "    time.sleep(0.05)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        run = run_of(process, tmp_path)
        (run / "requests" / "stop").touch()
        process.wait(30)
    assert last_event(run)["reason"] == "stopped by a request"


def test_whole_group_is_signalled_with_workers_and_the_run_saves(
    tmp_path: Path, whole: dict[str, Any], wait_until: WaitUntil
) -> None:
    """Slurm and terminals signal the DataLoader's workers too, which would die of it."""
    run = tmp_path / "run"
    with subprocess.Popen(
        command(run, "--workers", "2", "--every", "1st"),
        env={**os.environ, **ENVIRONMENT},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: list((run / "checkpoints").glob("step-*.pt")), 60, what="a checkpoint")
        os.killpg(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "exited unexpectedly" not in err
    assert last_event(run)["reason"] == "preempted by SIGTERM"
    train_to_the_end(run, "--workers", "2", "--every", "1st")
    assert outcome(run) == whole


def test_loop_without_anything_registered_stops_between_batches(tmp_path: Path) -> None:
    script = LOOP.replace("    run.register(model=torch.nn.Linear(2, 2))\n", "")
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        run = run_of(process, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert last_event(run)["reason"] == "preempted by SIGTERM"
    assert runstore.load(run).status == "interrupted"
