"""What rsync makes of a run that grows: each copy is a beginning of it, and the last one is all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runstore
from tests.conftest import WaitUntil

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("rsync")]

GROW = """
import time
import runstore

run = runstore.init(root="runs", system_interval_s=None)
print(run.path, flush=True)
for step in range(1, 3001):
    run.log({"loss": 1 / step, "accuracy": 0.5}, step=step)
    time.sleep(0.001)
run.finish()
"""
VANISHED = 24
"""Of rsync: a temporary document was renamed meanwhile."""

Copy = Callable[..., int]


@pytest.fixture
def copy(tool: Callable[[str], str]) -> Copy:
    """Return a function that copies a run as between two hosts, and gives the exit status."""

    def run_rsync(source: Path, target: Path, *options: str) -> int:
        command = [tool("rsync"), "-rt", "--no-whole-file", *options, f"{source}/", f"{target}/"]
        return subprocess.run(command, capture_output=True, check=False).returncode

    return run_rsync


@pytest.fixture
def growing(tmp_path: Path, repo_root: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that trains for some seconds, and its run."""
    with subprocess.Popen(
        [sys.executable, "-c", GROW],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, tmp_path / process.stdout.readline().strip()
        process.kill()


def steps_of(run_dir: Path) -> list[object]:
    return [row["step"] for row in runstore.load(run_dir).metrics()]


def assert_whole(run_dir: Path, original: Path, repo_root: Path) -> None:
    """The copy has the rows and the end of the original, and doctor finds nothing in it."""
    assert runstore.load(run_dir).metrics() == runstore.load(original).metrics()
    assert runstore.load(run_dir).status == "finished"
    checked = subprocess.run(
        [sys.executable, "-m", "runstore.cli", "doctor", run_dir],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "options",
    [(), ("--inplace",), ("--append",), ("--append-verify",), ("--inplace", "--modify-window=1")],
    ids=lambda options: " ".join(options) or "plain",
)
def test_copies_of_a_growing_run_are_beginnings_of_it(
    tmp_path: Path,
    repo_root: Path,
    copy: Copy,
    growing: tuple[subprocess.Popen[str], Path],
    options: tuple[str, ...],
) -> None:
    """Progress is replaced by a document of the same size within a second, too."""
    process, run_dir = growing
    target, copies = tmp_path / "copies" / run_dir.name, 0
    target.mkdir(parents=True)
    while process.poll() is None:
        assert copy(run_dir, target, *options) in (0, VANISHED)
        steps = steps_of(target)
        assert steps == list(range(1, len(steps) + 1))
        copies += 1
    assert copies > 3
    assert copy(run_dir, target, *options) == 0
    assert_whole(target, run_dir, repo_root)


@pytest.mark.parametrize("option", ["--inplace", "--partial", "--append"])
def test_copy_that_was_killed_is_a_beginning_and_the_next_one_heals_it(
    tmp_path: Path,
    repo_root: Path,
    copy: Copy,
    tool: Callable[[str], str],
    growing: tuple[subprocess.Popen[str], Path],
    wait_until: WaitUntil,
    option: str,
) -> None:
    process, run_dir = growing
    process.wait()
    target = tmp_path / "copies" / run_dir.name
    target.mkdir(parents=True)
    command = [tool("rsync"), "-rt", option, "--bwlimit=20", f"{run_dir}/", f"{target}/"]
    slow = subprocess.Popen(command, start_new_session=True)
    wait_until(lambda: any("metrics" in path.name for path in target.iterdir()))
    slow.terminate()
    slow.wait()
    steps = steps_of(target)
    assert steps == list(range(1, len(steps) + 1))
    assert copy(run_dir, target, option) == 0
    assert_whole(target, run_dir, repo_root)
