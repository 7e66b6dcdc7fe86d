"""A root of thousands of runs: what they cost in memory, and whether keys are answered meanwhile.

Scaled down from the 100,000 that docs/security.md has figures of.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.corpus import TIME, good, metrics, row, write_ordinary
from tests.terminal import MONITOR, Terminal

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

RUNS = 8000
COMMAND_MIB = 50
"""27 at most; above 100 with a reader for each run, which has 13 KiB."""
LIVE_MIB = 100
"""56; above 150 with a reader for each run."""
MEASURED = """
import atexit, sys
from pathlib import Path
def tell():
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(peak, file=sys.stderr)
atexit.register(tell)
import runpy
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root of ended runs, all of whose files but the document are the same."""
    folder = tmp_path_factory.mktemp("huge")
    model = folder / "model"
    model.mkdir()
    write_ordinary(model)
    metrics(model).write_bytes(good(1))
    (model / "epochs-0001.jsonl").write_bytes(row(step=1, epoch=1, time=TIME, **{"val/loss": 0.5}))
    files = [path for path in model.iterdir() if path.name != "run.json"]
    root = folder / "runs"
    root.mkdir()
    for number in range(RUNS):
        write_run(root / run_id(number), number, files)
    return root


def run_id(number: int) -> str:
    return f"20261120-{number:06d}-train-abcdefgh"


def write_run(run: Path, number: int, files: list[Path]) -> None:
    run.mkdir()
    params = {"lr": 0.1, "seed": number}
    about = {"format": 1, "id": run.name, "name": "train", "created": TIME, "params": params}
    (run / "run.json").write_text(json.dumps(about))
    for file in files:
        os.link(file, run / file.name)


def peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    "command",
    [
        ["runstore.cli", "ls"],
        ["runstore.cli", "ls", "--json"],
        ["runstore.tui_launcher", "--once"],
    ],
    ids=["ls", "ls-json", "once"],
)
def test_thousands_of_runs_are_listed_in_little_memory(huge: Path, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command, str(huge)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    for number in (0, RUNS - 1):
        told = f"seed={number}" if "--once" in command else run_id(number)
        assert told in done.stdout
    # --once counts them in its first line.
    assert done.stdout.count("finished") == RUNS + ("--once" in command)
    peak = int(done.stderr.splitlines()[-1]) / 1024
    assert peak < COMMAND_MIB, peak


@pytest.fixture
def monitor(huge: Path) -> Iterator[Terminal]:
    """The monitor on the huge root."""
    terminal = Terminal((*MONITOR, str(huge)), 160, 45, {})
    yield terminal
    terminal.close()


def test_thousands_of_runs_are_watched_in_little_memory(
    monitor: Terminal, wait_until: WaitUntil
) -> None:
    newest, oldest = ("g", run_id(RUNS - 1)), ("G", run_id(0))
    wait_until(monitor.shows(f"{RUNS:,} runs", "? help", newest[1]), 60)
    monitor.press("?")
    helped = monitor.shows("type to search")
    wait_until(helped, 60)
    monitor.press("\x1b")
    wait_until(lambda: not helped(), 60)
    # Runs that were never read, or whose readers were let go, are read when they come into view.
    for key, chosen in (oldest, newest):
        monitor.press(key)
        wait_until(monitor.shows(chosen), 60)
    wait_until(monitor.shows(f"✓ {RUNS:,} finished"), 200)
    assert "to be read" not in monitor.seen
    for key, chosen in (oldest, newest):
        monitor.press(key)
        wait_until(monitor.shows(chosen), 60)
    monitor.press(f"/{run_id(RUNS // 2)}")
    wait_until(monitor.shows(f"1 of {RUNS:,} runs"), 60)
    peak = peak_mib(monitor.process.pid)
    monitor.press("\r")
    monitor.press("q")
    output = monitor.finish(30)
    assert b"Traceback" not in output
    assert monitor.process.returncode == 0
    assert peak < LIVE_MIB, peak
