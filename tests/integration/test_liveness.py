"""Is it alive? Real namespaces, a frozen process, a loop that hangs, clocks that jump."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import runstore
from tests.conftest import WaitUntil

LOGS = """
import select, sys
import runstore
run = runstore.init(root=sys.argv[1], system_interval_s=None)
print(run.path, flush=True)
for step in range(1, 10_000):
    run.log({"loss": 1.0}, step=step)
    select.select([], [], [], 0.05)  # libfaketime breaks time.sleep
"""
# One step, then a loop that never comes back: the heart goes on beating.
HANGS = """
import sys, threading
import runstore
run = runstore.init(root=sys.argv[1], system_interval_s=None)
print(run.path, flush=True)
run.log({"loss": 1.0}, step=1)
lock = threading.Lock()
lock.acquire()
lock.acquire()
"""


class Training:
    """A training process and the run that it writes."""

    def __init__(self, process: subprocess.Popen[str], run_dir: Path) -> None:
        self.process = process
        self.run_dir = run_dir

    def status(self) -> tuple[str, str]:
        data = runstore.load(self.run_dir)
        return data.status, data.reason


@contextmanager
def training(
    root: Path, repo_root: Path, script: str = LOGS, *wrapper: str, **variables: str
) -> Iterator[Training]:
    command = [*wrapper, sys.executable, "-c", script, str(root)]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(repo_root), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Training(process, Path(process.stdout.readline().strip()))
        finally:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and cgroups need root")


@needs_root
def test_container_is_judged_by_its_lock(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    """Inside of a pid namespace pids are other numbers: one here proves nothing of one there."""
    unshare = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    with training(tmp_path / "runs", repo_root, LOGS, *unshare) as inside:
        opened = json.loads((inside.run_dir / "events-0001.jsonl").read_text().splitlines()[0])
        assert opened["pid"] < 10
        assert opened["pid_ns"] != str(Path("/proc/self/ns/pid").readlink())
        word, reason = inside.status()
        assert (word, reason) == ("running", f"on {opened['host']}, its lock is held")
        kill(inside.process)
        wait_until(lambda: inside.status()[0] == "crashed")
        assert inside.status()[1].startswith("its lock is free: gone from ")


@needs_root
def test_frozen_process_is_stalled_never_crashed(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a control group that is frozen no process runs, and none is stopped either."""
    monkeypatch.setattr("runstore.state.liveness.STALL_S", 2.0)
    with training(tmp_path / "runs", repo_root) as frozen, freezer(frozen.process.pid) as freeze:
        wait_until((frozen.run_dir / "progress.json").exists)
        assert frozen.status()[0] == "running"
        freeze(True)
        wait_until(lambda: frozen.status()[0] == "stalled", 15)
        assert f"process {frozen.process.pid} is there, no step for " in frozen.status()[1]
        freeze(False)
        wait_until(lambda: frozen.status()[0] == "running")


@contextmanager
def freezer(pid: int) -> Iterator[Callable[[bool], None]]:
    """Put a process into a control group of its own, of version 1 or 2, that can be frozen."""
    old = Path("/sys/fs/cgroup/freezer")
    group = (old if old.is_dir() else Path("/sys/fs/cgroup")) / f"runstore-test-{pid}"
    file, words = (
        ("freezer.state", ("THAWED", "FROZEN")) if old.is_dir() else ("cgroup.freeze", "01")
    )
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        (group / "cgroup.procs").write_text(str(pid))

        def freeze(frozen: bool) -> None:
            (group / file).write_text(words[frozen])

        yield freeze
    finally:
        (group / file).write_text(words[False])
        (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def test_loop_that_hangs_is_stalled_although_its_heart_beats(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.state.liveness.STALL_S", 2.0)
    with training(tmp_path / "runs", repo_root, HANGS) as hanging:
        wait_until(lambda: hanging.status()[0] == "stalled", 15)
        beat = hanging.run_dir / "progress.json"
        before = json.loads(beat.read_text())["beat"]
        wait_until(lambda: json.loads(beat.read_text())["beat"] > before)
        assert hanging.status()[0] == "stalled"


@pytest.mark.needs_tool("faketime")
def test_clock_that_jumps_changes_neither_order_nor_status(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    """The writer's machine is set an hour ahead and two hours back while it trains."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    with training(tmp_path / "runs", repo_root, LOGS, **fake_clock(offset)) as jumping:

        def rows() -> int:
            return len(runstore.load(jumping.run_dir).metrics())

        wait_until(lambda: rows() > 5)
        for jump in ("+1h", "-1h"):
            offset.write_text(jump)
            before = rows()
            wait_until(lambda before=before: rows() > before + 60, 20)  # type: ignore[misc]
            assert jumping.status()[0] == "running"
        kill(jumping.process)
        wait_until(lambda: jumping.status()[0] == "crashed")
    found = runstore.load(jumping.run_dir).metrics()
    times = [row["time"] for row in found]
    assert times == sorted(times)
    assert [row["step"] for row in found] == list(range(1, len(found) + 1))
    assert times[-1] - times[0] < 60
    assert jumping.status()[1].endswith(" s ago")


@pytest.mark.needs_tool("faketime")
@pytest.mark.parametrize("jump", ["+1h", "-1h"])
def test_clock_of_the_viewer_does_not_matter(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil, jump: str
) -> None:
    offset = tmp_path / "offset"
    offset.write_text(jump)

    def listed() -> tuple[str, str]:
        command = [sys.executable, "-m", "runstore.cli", "ls", "--json", str(tmp_path / "runs")]
        environment = {**os.environ, "PYTHONPATH": str(repo_root), **fake_clock(offset)}
        (run,) = json.loads(subprocess.check_output(command, env=environment))
        return run["status"], run["reason"]

    with training(tmp_path / "runs", repo_root) as watched:
        wait_until((watched.run_dir / "progress.json").exists)
        assert listed() == ("running", f"process {watched.process.pid}")
        kill(watched.process)
        word, reason = listed()
    assert word == "crashed"
    assert reason.startswith(f"process {watched.process.pid} is gone, last row ")
    assert reason.endswith(" s ago")


def fake_clock(offset: Path) -> dict[str, str]:
    """Return what gives a process a wall clock that follows `offset`, and a true monotonic one."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def test_directory_copied_while_it_is_written_is_no_second_live_run(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    with training(tmp_path / "runs", repo_root) as original:
        wait_until((original.run_dir / "progress.json").exists)
        ignored = shutil.ignore_patterns("*.tmp")
        shutil.copytree(original.run_dir, tmp_path / "copies" / "copy", ignore=ignored)
        data = runstore.load(tmp_path / "copies" / "copy")
        assert data.status == "unknown"
        assert data.reason.startswith("a copy of a run on ")
        time.sleep(0.2)
        assert original.status()[0] == "running"
