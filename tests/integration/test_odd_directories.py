"""A root with everything that can be found in one: each shown for what it is, by all views."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runstore

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(tmp_path: Path, repo_root: Path) -> Program:
    """Run a command as users do, in the folder that holds `runs`."""

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(repo_root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    with runstore.init({"lr": 0.1}, root=root, name="good") as run:
        for _ in run.epochs(2):
            for loss in run.train([1.0, 0.5]):
                run.track(loss=loss)
    (root / "empty").mkdir()
    (root / "echoed").mkdir()
    (root / "echoed" / "metrics.jsonl").write_text('{"step":1,"loss":2}\n{"step":2,"loss":1.5}\n')
    with runstore.init(root=root, name="fifo") as fifo:
        pass
    os.mkfifo(fifo.path / "metrics-0001.jsonl")
    with runstore.init(root=root, name="damaged") as damaged:
        for step in range(5):
            damaged.log({"a": float(step)}, step=step)
    lines = (damaged.path / "metrics-0001.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = b"\xff\x1b]0;owned\x07 garbage\n"
    (damaged.path / "metrics-0001.jsonl").write_bytes(b"".join(lines) + b'{"step":5,"a":')
    (root / "20260101-000000-newer-aaaaaaaa").mkdir()
    (root / "20260101-000000-newer-aaaaaaaa" / "run.json").write_text('{"format":99}')
    (root / "hostile").mkdir()
    (root / "hostile" / "run.json").write_text(
        '{"format":1,"name":"[/]\\u001b]0;owned\\u0007","params":{"[bold]":["\\u202e"]},"tags":3}'
    )
    (root / "circle").symlink_to(root)
    (root / "loop").symlink_to(root / "loop")
    (root / "stray.txt").write_text("not a run")
    return root


def expectations(listed: list[dict[str, object]]) -> dict[str, tuple[object, object]]:
    kinds = ("good", "fifo", "damaged", "newer")
    named = {}
    for run in listed:
        name = Path(str(run["path"])).name
        key = next((kind for kind in kinds if f"-{kind}-" in name), name)
        named[key] = (run["status"], run["reason"])
    return named


def test_every_directory_is_listed_for_what_it_is(root: Path, program: Program) -> None:
    done = program("runstore.cli", "ls", "--json")
    assert done.returncode == 0, done.stderr
    found = expectations(json.loads(done.stdout))
    assert found.keys() == {"good", "fifo", "damaged", "newer", "empty", "echoed", "hostile"}
    assert found["good"] == found["fifo"] == found["damaged"] == ("finished", "")
    assert found["empty"] == ("unknown", "an empty directory: nothing was written yet")
    assert found["echoed"] == ("unknown", "plain JSON lines, no process on record")
    assert found["newer"][0] == "unknown"
    assert "written in format 99" in str(found["newer"][1])
    assert found["hostile"] == ("planned", "created, not started")


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        ("fifo", "metrics-0001.jsonl: not a regular file"),
        ("damaged", "metrics-0001.jsonl:3"),
        ("empty", "nothing was written yet"),
        ("echoed", "1.5"),
    ],
)
def test_show_says_what_is_wrong(root: Path, program: Program, run: str, shown: str) -> None:
    path = next(p for p in root.iterdir() if p.name == run or f"-{run}-" in p.name)
    done = program("runstore.cli", "show", str(path))
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_run_of_a_newer_format_is_refused_in_one_line(root: Path, program: Program) -> None:
    done = program("runstore.cli", "cat", "20260101-000000-newer", "metrics")
    shown = program("runstore.cli", "show", "20260101-000000-newer")
    assert shown.returncode == 1
    assert "upgrade with: pip install -U runstore" in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_monitor_prints_the_same_root(root: Path, program: Program) -> None:
    done = program("runstore.tui_launcher", "--once", "runs")
    assert done.returncode == 0, done.stderr
    for text in ("good", "fifo", "damaged", "empty", "echoed", "newer", "[/]"):
        assert text in done.stdout
    assert "7 runs" in done.stdout


def test_nothing_from_a_file_drives_the_terminal(root: Path, program: Program) -> None:
    commands = [("runstore.cli", "ls"), ("runstore.tui_launcher", "--once", "runs")]
    commands += [("runstore.cli", "show", str(path)) for path in sorted(root.glob("*[a-z2-7]"))]
    for command in commands:
        done = program(*command)
        assert "Traceback" not in done.stderr
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text
            assert "\x07" not in text
            assert "\u202e" not in text


def test_missing_root_and_unknown_run_are_one_line_and_exit_1(root: Path, program: Program) -> None:
    for command in (["ls", "nowhere"], ["show", "nosuch"], ["cat", "20", "metrics"]):
        done = program("runstore.cli", *command)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
    assert "near: " in program("runstore.cli", "show", "20260101-000000-never-aaaaaaaa").stderr
