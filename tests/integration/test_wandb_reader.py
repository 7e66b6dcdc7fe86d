"""Logs that the installed wandb writes, read by its own reader and by ours: the same rows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.peer_writers import ENVIRONMENT, PEERS_PYTHON, PEERS_STAMP, ROOT, Writer
from tests.integration.peers.compare_wandb import our_rows, their_rows

MAKE = ROOT / "tests" / "fixtures" / "foreign" / "wandb" / "make.py"
WANDB = str(PEERS_PYTHON.with_name("wandb"))

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def peers() -> None:
    if not PEERS_STAMP.exists():
        missing = "the other tools are not installed: `make peers` does it"
        if os.environ.get("RUNSTORE_REQUIRE_TOOLS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


def written(directory: Path) -> Path:
    (run,) = directory.glob("wandb/offline-run-*")
    return run


@pytest.mark.parametrize(("case", "count"), [("features", 4), ("nanochat", 15), ("batches", 12)])
def test_rows_of_all_that_a_script_may_log(tmp_path: Path, case: str, count: int) -> None:
    subprocess.run(
        [PEERS_PYTHON, MAKE, case], cwd=tmp_path, env={**os.environ, **ENVIRONMENT}, check=True
    )
    run = written(tmp_path)
    theirs, ours = dict(their_rows(WANDB, str(run))), dict(our_rows(run))
    assert len(theirs) == count
    # Besides, ours have what a script puts into the summary.
    assert {number: ours[number] for number in theirs} == theirs


def test_rows_of_a_killed_run(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    writer = Writer(str(PEERS_PYTHON), "wandb", tmp_path / "log")
    writer.log(1000)
    writer.kill()
    run = written(tmp_path / "log")
    theirs = dict(their_rows(WANDB, str(run)))
    # Which of them W&B had written by then depends on the machine.
    assert 0 < len(theirs) <= 1000
    assert dict(our_rows(run)) == theirs
