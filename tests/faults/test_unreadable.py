"""Files that are there and cannot be opened: what is in them is not known, and is not nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runstore
from runstore.errors import RunStoreError
from runstore.runs.follow import RowFollower
from runstore.runs.lookup import find
from runstore.sources import open_run
from runstore.tables.run_data import load
from tests.conftest import WaitUntil
from tests.terminal import Terminal

pytestmark = [pytest.mark.timeout(90), pytest.mark.needs_tool("strace")]

FULL = "too many open files in system"


def make_run(root: Path, rows: int = 3) -> Path:
    run = runstore.init(root=root, system_interval_s=None)
    for step in range(1, rows + 1):
        run.log({"loss": 1.0}, step=step)
    run.finish()
    return run.path


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def without(tool: Callable[[str], str], repo_root: Path) -> Command:
    """Return what runs `runstore …` while opening one path fails (ENFILE)."""

    def run(path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        fault = ["-P", str(path), "-e", "trace=openat", "-e", "inject=openat:error=ENFILE"]
        return subprocess.run(
            [
                *(tool("strace"), "-f", "-o", os.devnull, *fault),
                *(sys.executable, "-m", "runstore.cli", *map(str, arguments)),
            ],
            env={**os.environ, "PYTHONPATH": str(repo_root)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


COMMANDS = (
    ("cat", "RUN", "metrics"),
    ("tail", "RUN"),
    ("export", "RUN", "--format", "csv"),
    *(("export", "RUN", "--format", form) for form in ("json", "jsonl", "parquet")),
    ("export", "RUN", "--format", "tensorboard", "-o", "DIR"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("which", ["the rows", "the directory"])
def test_rows_that_cannot_be_read_are_a_failure_and_not_no_rows(
    tmp_path: Path, without: Command, command: tuple[str, ...], which: str
) -> None:
    run_dir = make_run(tmp_path / "runs")
    missing = run_dir / "metrics-0001.jsonl" if which == "the rows" else run_dir
    places: dict[str, str | Path] = {"RUN": run_dir, "DIR": tmp_path / "out"}
    arguments = [places.get(word, word) for word in command]
    done = without(missing, *arguments, "--root", tmp_path / "runs")
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    assert str(missing) in line
    assert FULL in line.lower()


@pytest.mark.parametrize("command", ["ls", "show"])
def test_run_whose_events_cannot_be_read_is_unknown_beside_its_neighbours(
    tmp_path: Path, without: Command, command: str
) -> None:
    """It has finished, which those events say: "not started" would be a guess."""
    root = tmp_path / "runs"
    run_dir = make_run(root)
    other = make_run(root)
    arguments = [root] if command == "ls" else [run_dir]
    done = without(run_dir / "events-0001.jsonl", command, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    (told,) = (line for line in done.stdout.splitlines() if "unknown" in line)
    assert f"events-0001.jsonl cannot be read: {FULL}"[:40] in told
    if command == "ls":
        (beside,) = (line for line in done.stdout.splitlines() if other.name in line)
        assert "finished" in beside


def test_root_that_cannot_be_listed_is_one_line(tmp_path: Path, without: Command) -> None:
    make_run(tmp_path / "runs")
    for command in (["ls"], ["show", "latest", "--root"], ["doctor"]):
        done = without(tmp_path / "runs", *command, tmp_path / "runs")
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert FULL in line


def take_every_descriptor() -> list[int]:
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return taken


def test_readers_go_on_when_there_are_descriptors_again(tmp_path: Path) -> None:
    """EMFILE in the program that reads; what was known stays, and nothing comes twice."""
    import resource

    root = tmp_path / "runs"
    run = runstore.init(root=root, system_interval_s=None)
    run.log({"loss": 1.0}, step=1)
    ref = find(str(run.path), root)
    reader, follower = open_run(ref), RowFollower(ref)
    reader.poll()
    assert len(follower.newest(10)) == 1
    before = reader.state.status
    run.log({"loss": 1.0}, step=2)
    run.finish()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken = take_every_descriptor()
    try:
        reader.poll()
        met, rows = reader.state.status, follower.poll()
        unread = follower.unread
        refused = ""
        try:  # pytest.raises opens files
            load(run.path).metrics()
        except RunStoreError as error:
            refused = str(error)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert before.word == "running"
    assert met.word == "unknown"
    assert "too many open files" in met.reason.lower()
    assert "too many open files" in refused
    assert rows == []
    assert run.path in unread
    reader.poll()
    assert reader.state.status.word == "finished"
    assert len(follower.poll()) == 1
    assert follower.unread == {}


@pytest.mark.needs_tool("prlimit")
def test_monitor_goes_on_when_there_are_descriptors_again(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil, tool: Callable[[str], str]
) -> None:
    root = tmp_path / "runs"
    make_run(root)
    command = [sys.executable, "-m", "runstore.tui_launcher", str(root)]
    monitor = Terminal(command, 120, 30, {"PYTHONPATH": str(repo_root)})
    try:
        wait_until(monitor.shows("finished", "last step", "? help"))

        def limit(number: int) -> None:
            prlimit = [tool("prlimit"), f"--pid={monitor.process.pid}", f"--nofile={number}:"]
            subprocess.run(prlimit, check=True)

        limit(3)
        run = make_run(root, rows=5)
        wait_until(monitor.shows("too many open files"))
        limit(1024)
        wait_until(monitor.shows(run.name[-8:]))
        assert monitor.process.poll() is None
    finally:
        monitor.close()
