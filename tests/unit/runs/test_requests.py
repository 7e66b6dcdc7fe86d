"""Requests to a live run: made only where they can be taken, and taken for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runstore.errors import NotWritableError, RequestError
from runstore.runs import requests
from runstore.runs.lookup import find
from runstore.sources import open_run
from runstore.state.run_state import RunState

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

SCRIPT = """
import sys, time, runstore
with runstore.init(root=sys.argv[1], name="asked") as run:
    for step in range(10_000):
        run.log({"loss": 1.0}, step=step)
        time.sleep(0.02)
"""


@pytest.fixture
def live(tmp_path: Path, wait_until: WaitUntil) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Start a training and return its run directory and its process."""
    root = tmp_path / "runs"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, root], stderr=subprocess.DEVNULL)
    wait_until(lambda: list(root.glob("*/requests")), 30, what="the run")
    yield next(root.iterdir()), process
    process.kill()
    process.wait()


def state_of(run_dir: Path) -> RunState:
    reader = open_run(find(str(run_dir), run_dir.parent), patient=False)
    reader.glance()
    return reader.state


def test_live_run_that_is_asked_to_stop_stops_and_says_which_request_it_took(
    live: tuple[Path, subprocess.Popen[bytes]], wait_until: WaitUntil
) -> None:
    run_dir, process = live
    file = requests.ask(state_of(run_dir), "stop")
    assert file.name.startswith("stop-")
    assert process.wait(30) == 0
    assert requests.pending(run_dir) == ()
    state = state_of(run_dir)
    taken = [event for event in state.events if event["event"] == "request"]
    assert [(event["request"], event["file"]) for event in taken] == [("stop", file.name)]
    assert (state.status.word, state.status.reason) == ("interrupted", "stopped by a request")
    with pytest.raises(RequestError, match="it is interrupted: only a live run") as refused:
        requests.ask(state, "stop")
    assert "\n" not in str(refused.value)
    assert os.listdir(run_dir / "requests") == []


def test_request_that_was_not_taken_is_told(
    live: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    run_dir, process = live
    state = state_of(run_dir)
    process.kill()
    process.wait()
    file = requests.ask(state, "checkpoint")  # by what was known a moment ago
    (run_dir / "requests" / "unknown\x1b[31m").touch()
    (run_dir / "requests" / "stop\x1b[31m").touch()
    told = {(request.kind, request.name) for request in requests.pending(run_dir)}
    assert told == {("checkpoint", file.name), ("stop", r"stop\x1b[31m")}


def test_copy_of_a_live_run_is_not_asked(
    live: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    run_dir, _ = live
    copy = run_dir.with_name("20261129-120000-copy-aaaaaa")
    shutil.copytree(run_dir, copy)
    with pytest.raises(RequestError, match="it is a copy: the run itself is elsewhere"):
        requests.ask(state_of(copy), "stop")
    assert os.listdir(copy / "requests") == []


def test_run_of_another_tool_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.csv").write_text("epoch,step,loss\n0,1,0.125\n")
    with pytest.raises(RequestError, match="a run of csv"):
        requests.ask(state_of(tmp_path / "a"), "stop")
    assert os.listdir(tmp_path / "a") == ["metrics.csv"]


def test_requests_that_are_a_link_or_a_file_take_none(
    live: tuple[Path, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    run_dir, _ = live
    folder = run_dir / "requests"
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(NotWritableError, match="symbolic link"):
        requests.ask(state_of(run_dir), "stop")
    folder.unlink()
    folder.touch()
    with pytest.raises(NotWritableError, match="File exists"):
        requests.ask(state_of(run_dir), "stop")
    assert requests.pending(run_dir) == ()
