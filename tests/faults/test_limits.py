"""Limits of the machine: descriptors, a disk that stalls, memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import runstore

pytestmark = pytest.mark.faults


def start(
    folder: Path, repo_root: Path, code: str, *prefix: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


DESCRIPTORS = """
import os
import runstore

run = runstore.init(root="runs", system_interval_s=None)
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for epoch in run.epochs(3):
    for batch in run.train(range(5)):
        run.track(loss=1.0)
    if epoch == 2:
        while taken:
            os.close(taken.pop())
run.finish()
"""


def test_script_that_has_taken_every_descriptor_loses_no_row(
    tmp_path: Path, repo_root: Path
) -> None:
    """EMFILE: the streams' files cannot be made until there are descriptors again."""
    done = start(tmp_path, repo_root, DESCRIPTORS, "prlimit", "--nofile=64")
    assert done.returncode == 0, done.stderr
    assert "Too many open files" in done.stderr
    data = runstore.load("latest", root=tmp_path / "runs")
    assert [row["step"] for row in data.metrics()] == list(range(1, 16))
    assert [row["epoch"] for row in data.epochs()] == [1, 2, 3]
    assert data.status == "finished"


STALL = """
import json, time
import runstore
from runstore.writer import writer

writer.SYNC_INTERVAL_S = 0.2
run = runstore.init(root="runs", system_interval_s=None)
times = []
for step in range(3000):
    time.sleep(0.001)
    begin = time.perf_counter()
    run.log({"loss": 0.5}, step=step)
    times.append(time.perf_counter() - begin)
print(json.dumps(times))
run.finish()
"""


@pytest.mark.needs_tool("strace")
def test_disk_whose_syncs_take_a_second_does_not_stall_the_training(
    tmp_path: Path, repo_root: Path, tool: Callable[[str], str]
) -> None:
    delay = "inject=fdatasync:delay_enter=1000000"
    options = ("-f", "--seccomp-bpf", "-o", os.devnull, "-e", "trace=fdatasync", "-e", delay)
    done = start(tmp_path, repo_root, STALL, tool("strace"), *options)
    assert done.returncode == 0, done.stderr
    times = json.loads(done.stdout)
    # One or two may be late for another reason; a loop that waited would do so fifteen times.
    assert sum(one > 0.5 for one in times) <= 2
    assert len(runstore.load("latest", root=tmp_path / "runs").metrics()) == 3000


MEMORY = """
import os
import runstore

run = runstore.init(root="runs", system_interval_s=None)
for step in range(1, 101):
    run.log({"a": 1.0}, step=step)
kept = []
while True:
    kept.append(bytearray(os.urandom(1 << 20)))
"""


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """A cgroup of 100 MB of memory and no swap; skipped where this account may not make one."""
    limits = {
        "/sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.swappiness"),
        "/sys/fs/cgroup": ("memory.max", "memory.swap.max"),
    }
    for root, (limit, swap) in limits.items():
        group = Path(root, f"runstore-test-{os.getpid()}")
        if not Path(root, "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(100 << 20))
            with suppress(OSError):
                (group / swap).write_text("0")
            yield group
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("this account may make no cgroup with a memory limit")


def inside(group: Path) -> tuple[str, ...]:
    """Return what runs a command in a control group."""
    return ("sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh")


def test_run_killed_for_memory_has_crashed_with_all_its_rows(
    tmp_path: Path, repo_root: Path, memory_cgroup: Path
) -> None:
    """A process cannot say that of itself; `runstore exec` tells that it was for memory."""
    done = start(tmp_path, repo_root, MEMORY, *inside(memory_cgroup))
    assert done.returncode == -9, done.stderr
    data = runstore.load("latest", root=tmp_path / "runs")
    assert [row["step"] for row in data.metrics()] == list(range(1, 101))
    assert data.status == "crashed"


def test_exec_says_of_its_command_that_memory_was_short(
    tmp_path: Path, repo_root: Path, memory_cgroup: Path
) -> None:
    """All are in that group, as in a container or a job; the kernel takes the largest."""
    execute = (sys.executable, "-m", "runstore.cli", "exec", "--")
    done = start(tmp_path, repo_root, MEMORY, *inside(memory_cgroup), *execute)
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    data = runstore.load("latest", root=tmp_path / "runs")
    assert data.status == "crashed"
    assert data.reason.startswith("killed by SIGKILL, out of memory, last row ")
    assert [row["step"] for row in data.metrics()] == list(range(1, 101))


CLOCK = """
import os, time
import runstore

run = runstore.init(root="runs", system_interval_s=None)
for epoch in run.epochs(3):
    os.environ["FAKETIME"] = {1: "+0", 2: "+1h", 3: "-1h"}[epoch]
    for batch in run.train(range(5)):
        run.track(loss=1.0, n=8)
    print(time.time())
run.finish()
"""


@pytest.mark.needs_tool("faketime")
def test_clock_that_jumps_an_hour_changes_no_order_and_no_rate(
    tmp_path: Path, repo_root: Path, tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    done = start(tmp_path, repo_root, CLOCK, tool("faketime"), "-f", "+0")
    assert done.returncode == 0, done.stderr
    first, later, earlier = map(float, done.stdout.split())
    assert (round((later - first) / 3600), round((earlier - first) / 3600)) == (1, -1)
    data = runstore.load("latest", root=tmp_path / "runs")
    times = [row["time"] for row in data.metrics()]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60
    assert all(row["train/duration_s"] < 60 for row in data.epochs())
    assert (data.state.duration_s or 0) < 60
