"""What the job of a cell does when its time limit is near; on Slurm itself in tests/integration."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runstore.files.paths import RunPaths
from runstore.sweeps.document import Sweep, write
from runstore.sweeps.plan import plan
from runstore.sweeps.slurm.job import STARTS_WITHOUT_PROGRESS, CellJob
from tests.conftest import WaitUntil

SAVES = """
import signal, sys, time, runstore
run = runstore.init(system_interval_s=None)
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
run.log({"loss": 1.0}, step=7)
while not asked: time.sleep(0.02)
run.log({"loss": 1.0}, step=8)
run.end(sys.argv[1], "asked to end")
"""
# The job's own process: like submitit, it calls `checkpoint` in the handler of a signal.
JOB = """
import os, pickle, signal, sys
from runstore.sweeps.slurm.job import CellJob
call = CellJob(sys.argv[1], sys.argv[2], grace_s=60)
def near(*_):
    again = call.checkpoint()
    pickle.dump(again.function, open("again.pkl", "wb"))
    sys.exit(75)
signal.signal(signal.SIGUSR2, near)
call()
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saves.py").write_text(SAVES)
    cells = [{"end": "interrupted"}, {"end": "finished"}]
    return write(plan([sys.executable, "saves.py", "{end}"], cells, root=Path("runs"), name="s"))


def job(sweep: Sweep, cell: str, repo_root: Path) -> subprocess.Popen[bytes]:
    submitit = {"SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(Path.cwd())}
    slurm = {"SLURM_JOB_ID": "7", "PYTHONPATH": str(repo_root)}
    environment = {**os.environ, **submitit, **slurm}
    command = [sys.executable, "-c", JOB, str(sweep.path.absolute()), cell]
    return subprocess.Popen(command, env=environment)


@pytest.mark.parametrize(("end", "status"), [("interrupted", 75), ("finished", 0)])
def test_near_the_limit_the_cell_saves_and_goes_on_unless_it_has_finished(
    sweep: Sweep, repo_root: Path, wait_until: WaitUntil, end: str, status: int
) -> None:
    """It may come to its own end just then: the job ends too, and is not requeued."""
    run_dir = (sweep.path / f"end={end}").absolute()
    torn = Path("7_submitted.pkl.save_tmp")
    torn.touch()
    process = job(sweep, f"end={end}", repo_root)
    wait_until((run_dir / "metrics-0001.jsonl").exists, what="a row")
    process.send_signal(12)
    assert process.wait(60) == status
    *_, last = RunPaths(run_dir).stream("events", 1).read_text().splitlines()
    assert json.loads(last)["status"] == end
    assert not torn.exists()
    assert Path("again.pkl").exists() == (end == "interrupted")
    if end == "interrupted":
        again = pickle.loads(Path("again.pkl").read_bytes())
        assert (again.cell_id, again.mark, again.idle_starts) == ("end=interrupted", 8, 0)


def test_cell_that_gets_on_no_more_is_not_requeued_for_ever(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CellJob(str(sweep.path), "end=finished", grace_s=1, full_start_s=0)
    for start in range(1, STARTS_WITHOUT_PROGRESS):
        call = pickle.loads(pickle.dumps(call.checkpoint().function))
        assert call.idle_starts == start
    with pytest.raises(SystemExit) as ended:
        call.checkpoint()
    assert ended.value.code == 1
    assert "3 starts in a row came no further than step 0; not requeued" in capsys.readouterr().err


def test_start_that_a_preemption_cuts_short_counts_for_nothing(sweep: Sweep) -> None:
    call = CellJob(str(sweep.path), "end=finished", grace_s=1, full_start_s=time.monotonic() + 60)
    for _ in range(2 * STARTS_WITHOUT_PROGRESS):
        call = call.checkpoint().function
    assert call.idle_starts == 0
