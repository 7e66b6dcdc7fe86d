"""Who may read a run, and what is not in it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runstore.sources import NATIVE, RunRef
from tests.conftest import ROOT, WithinCpuS
from tui.entry import Entry
from tui.screens.filter_text import FilterText

SECRET = "hunter2-wJalrXUtnFEMI-K7MDENG"
SCRIPT = f"""
import runstore
with runstore.init({{"api_key": "{SECRET}", "lr": 0.1}}, root="runs", name="private") as run:
    run.log({{"loss": 1.0}}, step=1)
"""


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_are_what_the_umask_leaves_and_no_secret_is_in_any_file(
    tmp_path: Path, umask: int
) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    for command in (["init", "-q"], ["remote", "add", "o", f"https://me:{SECRET}@example.org/x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    subprocess.run(
        [sys.executable, str(script), f"--token={SECRET}", "--password", SECRET],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SLURM_JOB_NAME": "x", "HF_TOKEN": SECRET},
        umask=umask,
        check=True,
        capture_output=True,
    )
    exported = [
        subprocess.run(
            [sys.executable, "-m", "runstore.cli", *command, "latest"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        ).stdout
        for command in (["export", "--format", "json"], ["show"], ["show", "--json"])
    ]
    found = sorted((tmp_path / "runs").rglob("*"))
    assert len(found) > 4
    for path in found:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o777 if path.is_dir() else 0o666) & ~umask, path
    written = [path.read_bytes() for path in found if path.is_file()]
    assert not [data for data in (*written, *exported) if SECRET.encode() in data]


@pytest.mark.parametrize("typed", ["(a+)+$", "(.*)*" * 50, "[" * 2000, "a" * 5000, "\\" * 999])
def test_no_filter_keeps_the_screen_waiting(
    tmp_path: Path, typed: str, within_cpu_s: WithinCpuS
) -> None:
    run = tmp_path / ("a" * 200 + "!")
    run.mkdir()
    (run / "run.json").write_text('{"format":1,"id":"x","name":"' + "a" * 100_000 + '","tags":[]}')
    entry = Entry(RunRef(str(run), NATIVE))
    entry.glance()
    text = FilterText("", open=True)
    for char in typed:
        text.press(char, char)
    # A search that goes through all ways to match would take years.
    with within_cpu_s(5):
        text.query.holds(entry)
