"""Which runs `runstore cancel` ends, and how; with programs that answer as Slurm's do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runstore.cli import cli
from runstore.files.records import decode
from runstore.slurm.submission import note_cancelled, write_submission
from tests.conftest import WaitUntil

LOGS = """
import sys, time, runstore
with runstore.init(root=sys.argv[1], system_interval_s=None) as run:
    for step in run.train(range(10_000)):
        run.log({"loss": 1.0})
        time.sleep(0.05)
"""
Starts = Callable[..., Path]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put squeue and scancel into PATH; the first prints `queue`, the second notes `cancelled`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "queue").touch()
    for name, does in (
        ("squeue", f"cat {folder}/queue"),
        ("scancel", f'echo "$*" >> {folder}/cancelled'),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def starts(tmp_path: Path, repo_root: Path, wait_until: WaitUntil) -> Iterator[Starts]:
    """Return a function that starts a run with further variables, and returns its directory."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(**variables: str) -> Path:
        root = tmp_path / "runs" / str(len(processes))
        environment = {**os.environ, "PYTHONPATH": str(repo_root), **variables}
        command = [sys.executable, "-c", LOGS, str(root)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        wait_until(lambda: list(root.glob("*/metrics-0001.jsonl")), what="a row")
        return next(root.iterdir())

    yield start
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()


def planned(root: Path, name: str, job: str | None = None) -> Path:
    run_dir = root / name
    run_dir.mkdir(parents=True)
    (run_dir / "run.json").write_text(json.dumps({"format": 1, "id": name}))
    if job is not None:
        write_submission(run_dir, job, attempts=0, log=root / "log")
    return run_dir


def sweep_of(root: Path, *names: str) -> Path:
    cells = [{"id": name, "params": {"name": name}} for name in names]
    document = {"format": 1, "name": "grid", "created": 0, "command": ["true"], "cells": cells}
    (root / "sweep.json").write_text(json.dumps(document))
    return root


def cancelled(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["cancel", *map(str, arguments)])


def test_job_that_waits_is_cancelled_by_its_task(slurm: Path, tmp_path: Path) -> None:
    run_dir = planned(tmp_path / "runs", "a", "101_3")
    (slurm / "queue").write_text("101|PENDING|N/A|101_3|Resources|N/A\n")
    result = cancelled("--yes", run_dir)
    assert (result.exit_code, (slurm / "cancelled").read_text()) == (0, "101_3\n")
    assert f"{run_dir}: 1 waiting in Slurm: cancelled 1 job" in result.stderr


def test_what_was_cancelled_is_known_when_slurm_has_forgotten_the_job(
    slurm: Path, tmp_path: Path, starts: Starts, wait_until: WaitUntil, repo_root: Path
) -> None:
    waiting = planned(tmp_path / "others", "a", "101_3")
    running = starts(SLURM_JOB_ID="103", RUNSTORE_SLURM_JOB="103")
    (slurm / "queue").write_text(
        "101|PENDING|N/A|101_3|Resources|N/A\n103|RUNNING|1|103_N/A|None|N/A\n"
    )
    for run_dir in (waiting, running):
        assert cancelled("--yes", run_dir).exit_code == 0
    events = running / "events-0001.jsonl"
    os.kill(decode(events.read_bytes().splitlines()[0])["pid"], signal.SIGTERM)
    wait_until(lambda: '"end"' in events.read_text(), what="the end")
    (slurm / "queue").write_text("")

    def reason(run_dir: Path) -> str:
        # A process of its own: this one remembers what Slurm has said.
        command = [sys.executable, "-m", "runstore.cli", "ls", "--json", str(run_dir.parent)]
        told = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(repo_root)})
        return str(json.loads(told)[0]["reason"])

    assert reason(waiting) == "Slurm job 101_3 was cancelled before the run began"
    assert reason(running).startswith("Slurm job 103 was cancelled (SIGTERM)")
    note = json.loads((running / "slurm.json").read_text())
    assert (note["job"], note["attempts"]) == ("103", 0)


def test_job_that_was_submitted_since_is_not_called_cancelled(tmp_path: Path) -> None:
    run_dir = planned(tmp_path / "runs", "a", "105_0")
    before = (run_dir / "slurm.json").read_bytes()
    note_cancelled(run_dir, "104_0", attempts=0)
    assert (run_dir / "slurm.json").read_bytes() == before


def test_live_run_is_asked_to_stop_and_its_job_is_left_to_whoever_owns_it(
    slurm: Path, starts: Starts, wait_until: WaitUntil
) -> None:
    """Started by hand on a node: with the job the whole session would go."""
    run_dir = starts(SLURM_JOB_ID="102")
    (slurm / "queue").write_text("102|RUNNING|1|102_N/A|None|N/A\n")
    result = cancelled("--yes", run_dir)
    assert result.exit_code == 0
    assert "1 running: asked 1 run to stop" in result.stderr
    assert not (slurm / "cancelled").exists()
    events = run_dir / "events-0001.jsonl"
    wait_until(lambda: '"stopped by a request"' in events.read_text(), what="the end")


def test_live_run_with_a_job_for_itself_has_its_job_cancelled(slurm: Path, starts: Starts) -> None:
    run_dir = starts(SLURM_JOB_ID="103", RUNSTORE_SLURM_JOB="103")
    (slurm / "queue").write_text("103|RUNNING|1|103_N/A|None|N/A\n")
    assert cancelled("--yes", run_dir).exit_code == 0
    assert (slurm / "cancelled").read_text() == "103\n"
    assert not any((run_dir / "requests").iterdir())


def test_sweep_is_cancelled_whole_and_what_has_ended_stays(slurm: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs" / "grid"
    for name, job in (("a", "104_0"), ("b", "104_1"), ("c", "104_2"), ("d", None)):
        planned(root, name, job)
    (slurm / "queue").write_text(
        "104|PENDING|N/A|104_0|Priority|N/A\n104|PENDING|N/A|104_1|Priority|N/A\n"
        "105|CANCELLED|1|104_2|None|N/A\n"
    )
    result = cancelled("--yes", sweep_of(root, "a", "b", "c", "d"))
    assert (slurm / "cancelled").read_text() == "104_0 104_1\n"
    assert f"{root}: 2 waiting in Slurm: cancelled 2 jobs" in result.stderr


def test_nothing_to_cancel_is_said_in_one_line(slurm: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs" / "grid"
    planned(root, "a")
    planned(root, "b")
    result = cancelled("--yes", sweep_of(root, "a", "b"))
    assert "grid: nothing to cancel; 2 planned" in str(result.exception)
    result = cancelled("--yes", root / "a")
    assert str(result.exception).endswith(
        "nothing to cancel; it is planned: only a live run can be cancelled"
    )


def test_copy_is_refused(slurm: Path, starts: Starts, tmp_path: Path) -> None:
    waiting = shutil.copytree(planned(tmp_path / "runs", "a", "106_3"), tmp_path / "copy" / "a")
    (slurm / "queue").write_text("106|PENDING|N/A|106_3|Resources|N/A\n")
    assert "it is planned" in str(cancelled("--yes", waiting).exception)
    running = shutil.copytree(starts(), tmp_path / "copy" / "b")
    assert "it is a copy: the run itself is elsewhere" in str(cancelled("--yes", running).exception)
    assert not (slurm / "cancelled").exists()


def test_nobody_is_asked_without_a_terminal(slurm: Path, tmp_path: Path) -> None:
    run_dir = planned(tmp_path / "runs", "a", "107")
    (slurm / "queue").write_text("107|PENDING|N/A|107_N/A|Resources|N/A\n")
    result = cancelled(run_dir)
    assert result.exit_code == 2
    assert "give --yes" in result.output
    assert not (slurm / "cancelled").exists()


def test_refusal_of_slurm_is_one_line(slurm: Path, tmp_path: Path) -> None:
    run_dir = planned(tmp_path / "runs", "a", "108")
    (slurm / "queue").write_text("108|PENDING|N/A|108_N/A|Resources|N/A\n")
    (slurm / "scancel").write_text("#!/bin/sh\necho 'scancel: error: not yours' >&2\nexit 1\n")
    result = cancelled("--yes", run_dir)
    assert str(result.exception) == "Slurm job 108 cannot be cancelled: scancel: error: not yours"


def test_machine_without_scancel_says_where_to_go(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = planned(tmp_path / "runs", "a", "109")
    (slurm / "squeue").write_text("#!/bin/sh\necho '109|PENDING|N/A|109_N/A|Resources|N/A'\n")
    (slurm / "scancel").unlink()
    monkeypatch.setenv("PATH", str(slurm))
    assert "there is no scancel on this machine" in str(cancelled("--yes", run_dir).exception)


def test_run_that_waits_in_a_queue_is_not_resumed_beside_its_job(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = planned(tmp_path / "runs", "a", "110_3")
    (run_dir / "run.json").write_text(
        json.dumps({"format": 1, "id": "a", "command": [sys.executable, "-c", ""]})
    )
    (slurm / "queue").write_text("110|PENDING|N/A|110_3|Resources|N/A\n")
    refused = CliRunner().invoke(cli, ["resume", str(run_dir)])
    assert str(refused.exception) == (
        f"{run_dir}: Slurm job 110_3 is in the queue (Resources); to go on with it here, take it "
        f"out of the queue first: runstore cancel {run_dir}"
    )
