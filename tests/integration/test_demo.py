"""`runstore demo`, as a stranger runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.terminal import Terminal

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

DEMO = [sys.executable, "-m", "runstore.cli", "demo"]
LIMIT_S = 60.0


def runstore(repo_root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runstore.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_demo_without_a_terminal_trains_and_prints_the_best_run(
    tmp_path: Path, repo_root: Path
) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [*DEMO, "--root", str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < LIMIT_S
    listed = json.loads(runstore(repo_root, "ls", str(tmp_path / "runs"), "--json").stdout)
    assert [run["status"] for run in listed] == ["finished"] * 4
    assert max(run["last"]["val/accuracy"] for run in listed) > 0.95
    cells = {(run["params"]["lr"], run["params"]["batch_size"]) for run in listed}
    assert len(cells) == 4
    best = max(listed, key=lambda run: run["last"]["val/accuracy"])
    assert f"run       {best['id']}" in done.stdout
    assert "macro avg" in done.stdout


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Terminal]:
    """The demo in a terminal, with the monitor open."""
    command = [*DEMO, "--root", str(tmp_path / "runs"), "--epochs", "200"]
    terminal = Terminal(command, 160, 45, {})
    yield terminal
    if terminal.process.poll() is None:
        terminal.press("q")
        terminal.process.wait(30)
    terminal.close()


def epoch_on_screen(terminal: Terminal) -> int:
    found = re.search(r"digits.* (\d+)/200", "\n".join(terminal.lines()))
    return int(found[1]) if found else 0


def test_demo_moves_on_screen_and_a_killed_training_is_reported_as_crashed(
    demo: Terminal, tmp_path: Path, wait_until: WaitUntil
) -> None:
    wait_until(lambda: epoch_on_screen(demo) >= 1, what="the first epoch on screen")
    wait_until(demo.shows("train/loss", "val/loss", "support"), what="chart and report")
    first = epoch_on_screen(demo)
    wait_until(lambda: epoch_on_screen(demo) > first, what="a further epoch, without a key")
    (document,) = (tmp_path / "runs").glob("*/run.json")
    pid = json.loads(document.read_bytes())["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(demo.shows("✗ crashed", f"process {pid} is gone"), what="crashed, and why")
    demo.press("q")
    assert demo.process.wait(30) == 1
    wait_until(demo.shows("the training was killed by SIGKILL"))


def test_leaving_the_monitor_ends_the_training_as_interrupted(
    demo: Terminal, tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    wait_until(lambda: epoch_on_screen(demo) >= 1, what="the first epoch on screen")
    demo.press("q")
    assert demo.process.wait(30) == 0
    (run,) = json.loads(runstore(repo_root, "ls", str(tmp_path / "runs"), "--json").stdout)
    assert run["status"] == "interrupted"
    assert "by SIGTERM" in run["reason"]
