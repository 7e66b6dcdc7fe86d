"""The batch script under a real Slurm: one node, of its own, started here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import runstore
from runstore.slurm_jobs import SlurmJobs
from tests.conftest import WaitUntil, find_tool

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = (
    "slurmctld",
    "slurmd",
    "munged",
    "sbatch",
    "scontrol",
    "scancel",
    "sinfo",
    "squeue",
    "srun",
)

pytestmark = [
    pytest.mark.needs_tool(*PROGRAMS),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd needs root"),
]

# No systemd and no control groups of its own. A requeued job waits for cred_expire, which is two
# minutes by default.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
SlurmdPort={port_of_node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=60:00 State=UP OverSubscribe=FORCE:4
"""


@dataclass
class Slurm:
    """A cluster of one node."""

    folder: Path

    def run(self, *command: str, cwd: Path | None = None) -> str:
        program = find_tool(command[0])
        assert program is not None
        environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [program, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, folder: Path, command: tuple[str, ...], *options: str) -> str:
        """Submit the script of `command` and return the job's number."""
        script = folder / "job.sbatch"
        made = [sys.executable, "-m", "runstore.cli", "script", "--signal-seconds", "25", "--"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        script.write_bytes(subprocess.check_output([*made, *command], env=environment))
        return self.run("sbatch", "--parsable", *options, str(script), cwd=folder)

    def jobs(self) -> str:
        """Return what is in the queue; finished jobs stay in it for a while."""
        return self.run("squeue", "--noheader", "--states=PD,R,CG")

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, (self.folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.2)

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            path = self.folder / f"{name}.pid"
            if path.exists():
                subprocess.run(["kill", path.read_text().strip()], check=False)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("slurm")
    cluster = Slurm(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    facts = {
        "host": socket.gethostname().partition(".")[0],
        "port": free_port(),
        "port_of_node": free_port(),
        "folder": folder,
        "cpus": os.cpu_count(),
    }
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    try:
        # --force: its directory is not root's alone.
        files = {"key-file": "key", "socket": "socket", "seed-file": "seed", "log-file": "log"}
        places = [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
        cluster.run("munged", "--force", f"--pid-file={folder}/munged.pid", *places)
        for name in ("slurmctld", "slurmd"):
            cluster.run(name, "-f", str(folder / "slurm.conf"))
        cluster.wait(lambda: "idle" in cluster.run("sinfo", "--noheader", "--format=%T"))
        yield cluster
        # What a failed test has left.
        cluster.run("scancel", "--user=root")
        cluster.wait(lambda: not cluster.jobs())
    finally:
        cluster.stop()


# Its first start logs until it is asked to end; its second has nothing left to do.
TRAINS = """
import signal, time
import runstore
from runstore.slurm_jobs import SlurmJobs
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
from runstore.slurm_jobs import SlurmJobs
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
