"""The batch script under a real Slurm: one node, of its own, started here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runstore
from runstore.slurm.jobs import SlurmJobs
from tests.conftest import WaitUntil
from tests.integration.one_node_slurm import NEEDS_SLURM, Slurm, started

pytestmark = NEEDS_SLURM


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with started(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


# Its first start logs until it is asked to end; its second has nothing left to do.
TRAINS = """
import signal, time
import runstore
from runstore.slurm.jobs import SlurmJobs
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
run = runstore.init()
with open("starts", "a") as file: file.write(f"{run.path.name} {run.attempt}\\n")
while run.attempt == 1 and not asked:
    run.log({"loss": 1.0}, step=run.step + 1)
    time.sleep(0.1)
time.sleep(1)
if run.attempt == 1: run.end("interrupted", "asked to end")
run.finish()
"""
# Saves for longer than KillWait.
RANK = """
import os, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
def note(text):
    with open("ranks", "a") as file: file.write(f"{os.environ.get('RANK', '-')} {text}\\n")
note("start")
while not asked and not os.path.exists("done"): time.sleep(0.05)
if asked:
    time.sleep(7)
    note("saved")
    open("done", "w").close()
"""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_array_goes_on_after_the_time_limit(
    slurm: Slurm, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """The real signal before the real limit, which for a limit of a minute comes soon."""
    command = (sys.executable, "-c", TRAINS)
    job = slurm.submit(tmp_path, command, "--array=0-1", "--time=1", "--signal=B:USR1@50")
    wait_until(lambda: len(lines(tmp_path / "starts")) == 4, 90, what="the second starts")
    wait_until(lambda: not slurm.jobs())
    runs = {f"slurm-{job}_{task}" for task in (0, 1)}
    assert set(lines(tmp_path / "starts")) == {f"{run} {n}" for run in runs for n in (1, 2)}
    for run in runs:
        data = runstore.load(tmp_path / "runs" / run)
        assert (data.status, data.state.attempt) == ("finished", 2)
        assert data.metrics()
    for log in tmp_path.glob("*.out"):
        assert "the time limit is near" in log.read_text()


@pytest.mark.parametrize(
    "launcher",
    [(), ("srun", "--overlap"), ("torchrun", "--nproc-per-node=2")],
    ids=["python", "srun", "torchrun"],
)
def test_all_ranks_save_whoever_starts_them(
    slurm: Slurm, tmp_path: Path, wait_until: WaitUntil, launcher: tuple[str, ...]
) -> None:
    """Also when that takes longer than Slurm's KillWait."""
    (tmp_path / "rank.py").write_text(RANK)
    python = () if launcher[:1] == ("torchrun",) else (sys.executable,)
    job = slurm.submit(tmp_path, (*launcher, *python, "rank.py"))
    ranks = 2 if launcher[:1] == ("torchrun",) else 1
    wait_until(lambda: len(lines(tmp_path / "ranks")) == ranks, 60, what="the ranks")
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: len(lines(tmp_path / "ranks")) == 3 * ranks, 60, what="the second start")
    wait_until(lambda: not slurm.jobs())
    words = [line.split()[1] for line in lines(tmp_path / "ranks")]
    assert words == ["start"] * ranks + ["saved"] * ranks + ["start"] * ranks


def test_cancelled_job_saves_and_is_not_started_again(
    slurm: Slurm, tmp_path: Path, wait_until: WaitUntil
) -> None:
    job = slurm.submit(tmp_path, (sys.executable, "-c", TRAINS))
    wait_until(lambda: lines(tmp_path / "starts"))
    slurm.run("scancel", job)
    wait_until(lambda: not slurm.jobs())
    data = runstore.load(tmp_path / "runs" / f"slurm-{job}")
    assert (data.status, data.reason) == ("interrupted", "asked to end")
    assert lines(tmp_path / "starts") == [f"slurm-{job} 1"]


# Holds a run open, whatever it is sent but SIGKILL.
HOLDS = """
import signal, time
import runstore
from runstore.slurm.jobs import SlurmJobs
run = runstore.init(system_interval_s=None)
for name in ("SIGTERM", "SIGUSR1"): signal.signal(getattr(signal, name), signal.SIG_IGN)
run.log({"loss": 1.0}, step=1)
time.sleep(120)
"""


def test_ls_says_what_became_of_the_job_of_a_run_without_an_end(
    slurm: Slurm, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Killed by Slurm, and as from another machine: neither process nor lock can be looked at."""

    def listed() -> dict[str, str]:
        command = (sys.executable, "-m", "runstore.cli", "ls", "--json", str(tmp_path / "runs"))
        (run,) = json.loads(slurm.run(*command))
        return {key: str(run[key]) for key in ("status", "reason")}

    job = slurm.submit(tmp_path, (sys.executable, "-c", HOLDS))
    run_dir = tmp_path / "runs" / f"slurm-{job}"
    wait_until((run_dir / "metrics-0001.jsonl").exists, what="a row")
    events = run_dir / "events-0001.jsonl"
    first, *rest = events.read_bytes().splitlines(keepends=True)
    elsewhere = {**json.loads(first), "host": "node7", "boot_id": "another", "lock": False}
    events.write_bytes(json.dumps(elsewhere).encode() + b"\n" + b"".join(rest))
    assert listed() == {"status": "running", "reason": f"Slurm job {job} runs on node7"}
    slurm.run("scancel", "--signal=KILL", "--full", job)
    wait_until(lambda: not slurm.jobs(), 60)
    ended = listed()
    assert ended["status"] == "interrupted"
    assert ended["reason"].startswith(f"Slurm job {job} was cancelled, last sign of life ")


def test_end_of_the_time_limit_is_known_of_a_job_that_runs(
    slurm: Slurm, tmp_path: Path, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slurm.submit(tmp_path, (sys.executable, "-c", HOLDS), "--time=30")
    wait_until(lambda: f"{job} " in slurm.run("squeue", "--noheader", "--states=R"))
    monkeypatch.setenv("SLURM_CONF", str(slurm.folder / "slurm.conf"))
    jobs = SlurmJobs()
    jobs.state(job)
    assert jobs.refresh()
    state = jobs.state(job)
    assert state is not None
    assert (state.word, state.end - state.start) == ("RUNNING", 30 * 60)
    slurm.run("scancel", "--signal=KILL", "--full", job)
