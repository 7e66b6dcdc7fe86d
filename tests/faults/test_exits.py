"""How a run looks whose process left without a word, and what its forks must not do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runstore

pytestmark = pytest.mark.faults

START = """
import ctypes, multiprocessing, os, signal, time
import runstore

def work(number):
    run = globals().get("run")
    if run is not None:
        for _ in range(100):
            run.log({"worker": float(number)})
    return number

if __name__ == "__main__":
    run = runstore.init(root="runs", system_interval_s=None)
    for step in range(1, 101):
        run.log({"a": 1.0}, step=step)
"""


def start(folder: Path, repo_root: Path, code: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(START + "".join(f"    {line}\n" for line in code.splitlines()))
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("os._exit(0)", 0),
        ("ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_process_that_leaves_without_a_word_has_crashed_with_all_its_rows(
    tmp_path: Path, repo_root: Path, code: str, status: int
) -> None:
    assert start(tmp_path, repo_root, code).returncode == status
    data = runstore.load("latest", root=tmp_path / "runs")
    assert [row["step"] for row in data.metrics()] == list(range(1, 101))
    assert data.status == "crashed"
    assert " is gone, last row " in data.reason


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_write_nothing_and_hang_nowhere(
    tmp_path: Path, repo_root: Path, method: str
) -> None:
    """As a DataLoader starts its workers, with the run in sight."""
    code = f"""
context = multiprocessing.get_context("{method}")
with context.Pool(3) as pool:
    assert pool.map(work, range(9)) == list(range(9))
workers = [context.Process(target=work, args=(n,)) for n in range(3)]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert [worker.exitcode for worker in workers] == [0, 0, 0]
run.log({{"a": 2.0}}, step=101)
run.finish()
"""
    done = start(tmp_path, repo_root, code.strip())
    assert done.returncode == 0, done.stderr
    data = runstore.load("latest", root=tmp_path / "runs")
    assert [row["step"] for row in data.metrics()] == list(range(1, 102))
    assert not any("worker" in row for row in data.metrics())
    assert data.status == "finished"
    told = done.stderr.count("this is a forked process and the run belongs to its parent")
    # Once in each process: three of the pool, which may be started anew, and three others.
    assert told in range(4, 10) if method == "fork" else told == 0


def test_worker_that_outlives_a_killed_parent_does_not_keep_the_run_alive(
    tmp_path: Path, repo_root: Path, wait_until: Callable[..., object]
) -> None:
    code = """
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(0), os.close(1), os.close(2)
    time.sleep(60)
open("child", "w").write(str(child))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert start(tmp_path, repo_root, code.strip()).returncode == -signal.SIGKILL
    child = int((tmp_path / "child").read_text())
    try:
        os.kill(child, 0)
        assert runstore.load("latest", root=tmp_path / "runs").status == "crashed"
    finally:
        os.kill(child, signal.SIGKILL)
