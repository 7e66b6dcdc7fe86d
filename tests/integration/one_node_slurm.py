"""A real Slurm of one node, for the tests that need one: started in a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import find_tool

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

NEEDS_SLURM = [
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
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=1-0 State=UP OverSubscribe=FORCE:4
PartitionName=gpu Nodes={host} MaxTime=1-0 State=UP OverSubscribe=FORCE:4
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=spare Nodes={host} MaxTime=1-0 State=UP OverSubscribe=FORCE:4 GraceTime=40
PartitionName=urgent Nodes={host} MaxTime=1-0 State=UP PriorityTier=10
"""
GPUS = 4
"""Files in the place of devices."""


@dataclass
class Slurm:
    """A cluster of one node."""

    folder: Path

    def run(self, *command: str, cwd: Path | None = None) -> str:
        done = self.tried(*command, cwd=cwd)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def tried(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program as on the login node, whatever comes of it."""
        program = find_tool(command[0])
        assert program is not None
        environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        return subprocess.run(
            [program, *command[1:]],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def runstore(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command of ours."""
        return self.tried(sys.executable, "-m", "runstore.cli", *arguments, cwd=cwd)

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


@contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """Yield a cluster with all its files in `folder`; its jobs and daemons end with it."""
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
        "gpus": GPUS,
    }
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    for number in range(GPUS):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
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
