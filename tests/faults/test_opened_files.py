"""What is opened: nothing outside of the run directory, and no checkpoint to look at a run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from tests.conftest import ROOT
from tests.terminal import Terminal

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

pytestmark = pytest.mark.needs_tool("strace")

Tool = Callable[[str], str]
CALLS = "open,openat,openat2,creat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,"
CALLS += "symlinkat,mkdir,mkdirat,truncate,execve"
VIEWS = {
    "ls": ["runstore.cli", "ls", "{root}"],
    "show": ["runstore.cli", "show", "{run}"],
    "cat": ["runstore.cli", "cat", "{run}", "metrics"],
    "export": ["runstore.cli", "export", "--format", "json", "{run}"],
    "export-jsonl": ["runstore.cli", "export", "--format", "jsonl", "{run}"],
    "export-markdown": ["runstore.cli", "export", "--format", "markdown", "{run}"],
    "tail": ["runstore.cli", "tail", "{run}"],
    "once": ["runstore.tui_launcher", "--once", "--run", "{run}", "{root}"],
}


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A run whose names all lead out of it, and whose checkpoints run code when unpickled."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jsonl").write_text('{"step":1,"time":1.0,"secret":1.0}\n')
    with runstore.init({"lr": 1.0}, root=tmp_path / "runs", name="planted") as run:
        run.log({"loss": 1.0}, step=1)
    path = run.path
    names = ["../../outside/secret.jsonl", str(outside / "secret.jsonl"), "a\0b", "..", ".", ""]
    cuts = dict.fromkeys(names, 10)
    opened = {"event": "open", "format": 1, "attempt": 2, "time": 1.0, "cuts": cuts}
    told = [opened | {"resumed_from": name, "torn": name, "path": name} for name in names]
    told += [{"event": "cut", "file": name, "bytes": 0, "time": 1.0} for name in names]
    told += [{"event": "checkpoint", "file": name, "step": 1, "time": 1.0} for name in names]
    (path / "events-0002.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    for stream in ("epochs", "reports", "system"):
        (path / f"{stream}-0002.jsonl").symlink_to(outside / "secret.jsonl")
    for name in ("progress.json", "patch.diff"):
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(outside / "secret.jsonl")
    plant_checkpoints(path, names, tmp_path / "canary")
    return path


def plant_checkpoints(run: Path, names: list[str], canary: Path) -> None:
    folder = run / "checkpoints"
    folder.mkdir(exist_ok=True)
    bomb = pickle.dumps(Bomb(canary))
    (folder / "step-00000001-0001.pt").write_bytes(bomb)
    (run.parent.parent / "outside" / "bomb.pt").write_bytes(bomb)
    (folder / "step-00000009-0001.pt").symlink_to("../../../outside/bomb.pt")
    files = [*names, "step-00000001-0001.pt", "step-00000009-0001.pt", "../../../outside/bomb.pt"]
    row = {"step": 1, "attempt": 1, "bytes": len(bomb), "cuts": {}, "sha256": sha256(bomb)}
    rows = [json.dumps(row | {"file": name}) + "\n" for name in files]
    (folder / "manifest.jsonl").write_text("".join(rows))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def under_strace(tool: Tool, log: Path, command: list[str]) -> list[str]:
    """Return the command that writes down the calls of a Python program that name files."""
    strace = [tool("strace"), "-f", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log)]
    return [*strace, sys.executable, "-B", *command]


def traced(tool: Tool, log: Path, command: list[str], **environment: str) -> str:
    """Run a command under strace and return the calls that name files."""
    done = subprocess.run(
        under_strace(tool, log, command),
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return log.read_text(errors="replace") + done.stderr


def opened(log: str) -> list[str]:
    return re.findall(r'open\w*\((?:AT_FDCWD, )?"([^"]*)"', log)


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_looking_at_a_run_opens_its_own_files_only_and_writes_none(
    view: str, planted: Path, tmp_path: Path, tool: Tool
) -> None:
    command = [p.format(root=planted.parent, run=planted) for p in VIEWS[view]]
    check_what_was_opened(traced(tool, tmp_path / "log", ["-m", *command]), planted, tmp_path)


def test_query_opens_besides_only_what_is_temporary_and_leaves_nothing(
    planted: Path, tmp_path: Path, tool: Tool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    sql = "SELECT count(*) FROM metrics JOIN runs USING (run) JOIN params USING (run)"
    command = ["-m", "runstore.cli", "query", sql, str(planted.parent)]
    log = traced(tool, tmp_path / "log", command, TMPDIR=str(scratch))
    rest = [line for line in log.splitlines() if str(scratch) not in line]
    # What lies within a directory is removed by its name alone.
    rest = [line for line in rest if not re.search(r'unlinkat\(\d+, "[^/"]*"', line)]
    check_what_was_opened("\n".join(rest), planted, tmp_path)
    assert list(scratch.iterdir()) == []


def test_watching_a_run_opens_its_own_files_only_and_writes_none(
    planted: Path, tmp_path: Path, tool: Tool, wait_until: WaitUntil
) -> None:
    log = tmp_path / "log"
    monitor = ["-m", "runstore.tui_launcher", str(planted.parent)]
    terminal = Terminal(under_strace(tool, log, monitor), 160, 45, {})
    try:
        wait_until(terminal.shows(planted.name, "? help"), 60)
        for key in "12345\rm\x1b":
            terminal.press(key)
            time.sleep(0.2)
        wait_until(terminal.shows(planted.name, "? help"), 60)
        terminal.press("q")
        output = terminal.finish(30)
    finally:
        terminal.close()
    told = log.read_text(errors="replace") + output.decode(errors="replace")
    check_what_was_opened(told, planted, tmp_path)


def check_what_was_opened(log: str, planted: Path, tmp_path: Path) -> None:
    assert f"{planted.name}/" in log
    paths = opened(log)
    assert not [path for path in paths if path.endswith(".pt") or "outside" in path]
    below = [path for path in paths if path.startswith(str(tmp_path))]
    assert all(Path(path).is_relative_to(planted.parent) for path in below)
    writes = re.findall(
        rf'\w+\([^\n]*"{re.escape(str(tmp_path))}[^\n]*O_(?:WRONLY|RDWR|CREAT)', log
    )
    changes = re.findall(r"^\d+ +(?:rename|unlink|link|symlink|mkdir|truncate)\w*\(.*$", log, re.M)
    # What the monitor remembers of its user lies in the state directory.
    among = [change for change in changes if "/.local" not in change and "tui.json" not in change]
    assert (writes, among) == ([], [])
    assert log.count("execve(") == 1
    assert not (tmp_path / "canary").exists()
    assert "Traceback" not in log


def test_resume_loads_nothing_but_its_own_files_and_runs_no_code_of_theirs(
    planted: Path, tmp_path: Path, tool: Tool
) -> None:
    (planted / "events-0002.jsonl").unlink()
    script = tmp_path / "train.py"
    script.write_text(
        "import runstore, torch\n"
        f"with runstore.init(root={str(planted.parent)!r}, resume={str(planted)!r}) as run:\n"
        "    run.register(model=torch.nn.Linear(1, 1))\n"
    )
    log = traced(tool, tmp_path / "log", [str(script)])
    # The bomb is a pickle with the right checksum: it is opened, and refused by weights_only.
    assert "step-00000001-0001.pt" in log
    assert not (tmp_path / "canary").exists()
    assert not [path for path in opened(log) if "outside" in path]
    # A link would be followed by its own name.
    links = [line for line in log.splitlines() if "step-00000009" in line and "open" in line]
    assert all("O_NOFOLLOW" in line for line in links)
    assert "cannot be loaded" in log
