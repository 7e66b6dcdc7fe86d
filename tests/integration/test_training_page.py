"""docs/training.md: every script that its changes lead to runs, and does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import runstore
from tests.conftest import ROOT, WaitUntil
from tests.integration.resuming import ENVIRONMENT
from tests.integration.test_examples import TORCHRUN, kill_in_the_middle, timeless

_NOTED = re.compile(r"^<!-- (?P<note>[^\n]*) -->\n```\w+\n(?P<code>.*?)^```$", re.MULTILINE | re.S)


class Noted(NamedTuple):
    note: str
    code: str


def noted_blocks() -> list[Noted]:
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    return [Noted(found["note"], found["code"]) for found in _NOTED.finditer(page)]


def scripts() -> dict[str, str]:
    """Return every script of the page by its name."""
    made: dict[str, str] = {}
    for note, code in noted_blocks():
        if note.startswith("script: "):
            made[note.removeprefix("script: ")] = code
        elif " becomes " in note:
            before, after = note.split(" becomes ")
            made[after] = changed(made[before], code)
    return made


def changed(script: str, diff: str) -> str:
    """Apply a diff without line numbers: each hunk fits in one place, behind the one before."""
    done = ""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert script.count(old) == 1, f"does not fit in one place:\n{old}"
        before, script = script.split(old)
        done += before + new
    return done + script


def execute(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done


def train(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    (folder / name).write_text(scripts()[name])
    launcher = TORCHRUN if name == "ranks.py" else ()
    return execute(folder, *launcher, name)


def test_plain_loop_learns(tmp_path: Path) -> None:
    printed = train(tmp_path, "plain.py").stdout.splitlines()
    assert len(printed) == 5
    assert float(printed[-1].split()[-1]) > 0.9


def test_logged_loop_has_a_row_per_step(tmp_path: Path) -> None:
    printed = train(tmp_path, "logged.py").stdout.splitlines()
    rows = runstore.load("latest", root=tmp_path / "runs").metrics()
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 116))
    accuracies = [row["val/accuracy"] for row in rows if "val/accuracy" in row]
    assert [f"{accuracy:.4f}" for accuracy in accuracies] == [line[-6:] for line in printed]


@pytest.mark.parametrize("name", ["tracked.py", "stepped.py", "resumable.py", "ranks.py"])
def test_loop_has_epochs_and_reports(tmp_path: Path, name: str) -> None:
    train(tmp_path, name)
    run = runstore.load("latest", root=tmp_path / "runs")
    assert run.status == "finished"
    assert len(run.epochs()) == len(run.reports()) == 5
    assert run.epochs()[-1]["val/accuracy"] > 0.85
    assert run.reports()[-1]["report"]["macro avg"]["support"] == 359
    assert run.epochs()[-1]["step"] == 5 * (23 if name == "tracked.py" else 12)
    if name == "resumable.py":
        (after,) = [code for note, code in noted_blocks() if note == "after resumable.py"]
        printed = execute(tmp_path, "-c", after).stdout
        assert run.best is not None
        assert str(run.best.value) in printed and "'0.0.weight'" in printed


def test_mirrored_loop_has_event_files(tmp_path: Path) -> None:
    train(tmp_path, "mirrored.py")
    assert list(tmp_path.glob("runs/*/events.out.tfevents.*"))


def test_killed_loop_goes_on_to_the_same_rows(tmp_path: Path, wait_until: WaitUntil) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    train(whole, "resumable.py")
    (killed / "train.py").write_text(scripts()["resumable.py"])
    kill_in_the_middle([sys.executable, "train.py"], killed, 25, wait_until)
    resumed = execute(killed, "-m", "runstore.cli", "resume", "latest")
    assert "goes on at step" in resumed.stderr
    runs = [runstore.load("latest", root=folder / "runs") for folder in (killed, whole)]
    assert timeless(runs[0]) == timeless(runs[1])
