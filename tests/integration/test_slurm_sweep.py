"""Sweeps as job arrays of a real Slurm: cells wait, are requeued, cancelled, run out of time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import runstore
from tests.conftest import WaitUntil, find_tool
from tests.integration.one_node_slurm import NEEDS_SLURM, Slurm, started

pytestmark = NEEDS_SLURM

# Its first start is slow enough to be ended in the middle; whatever the later ones have to do takes
# no time. Its weights depend on every random number that dropout has drawn.
TRAIN = """
import hashlib, sys, time, torch, runstore
lr, pause = float(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
batches = [(torch.randn(4, 8), torch.randn(4, 1)) for _ in range(20)]
with runstore.init(system_interval_s=None) as run:
    run.register(model=model, optimizer=optimizer)
    for epoch in run.epochs(10):
        for x, y in run.train(batches):
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.track(loss=loss)
            time.sleep(pause if run.attempt == 1 else 0)
weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
with open(sys.argv[3], "a") as file: file.write(hashlib.sha256(weights).hexdigest() + "\\n")
"""
# Logs until it is asked to end, and has nothing left to do then.
LOGS = """
import signal, sys, time, runstore
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
run = runstore.init(system_interval_s=None)
while run.attempt == 1 and not asked:
    run.log({"loss": 1.0}, step=run.step + 1)
    time.sleep(0.1)
if run.attempt == 1: run.end("interrupted", "asked to end")
run.finish()
"""
LIMIT = ("time=5", "signal=20")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with started(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "logs.py").write_text(LOGS)
    return tmp_path


def listed(slurm: Slurm, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the cells as `runstore ls --json` tells them."""
    told = slurm.runstore("ls", "--json", cwd=folder)
    assert told.returncode == 0, told.stderr
    return {run["id"]: run for run in json.loads(told.stdout)}


def job_of(run: dict[str, Any]) -> str:
    return str(run["slurm"]["job"])


def sbatch_that_kills(folder: Path) -> Path:
    """Return a folder for PATH whose sbatch submits, and then kills who has called it."""
    programs = folder / "bin"
    programs.mkdir()
    sbatch = programs / "sbatch"
    sbatch.write_text(f'#!/bin/sh\n"{find_tool("sbatch")}" "$@"\nkill -KILL $PPID\n')
    sbatch.chmod(0o755)
    return programs


def test_array_whose_cells_are_requeued_cancelled_and_out_of_time(
    slurm: Slurm, folder: Path, wait_until: WaitUntil
) -> None:
    """Each ends with the weights that it has without an interruption, bit for bit."""
    pauses = {"0.1": "1", "0.2": "1", "0.3": "1", "0.4": "0"}
    ids = [f"lr={lr},pause={pause}" for lr, pause in pauses.items()]
    requeued, cancelled, out_of_time, undisturbed = ids
    python = [sys.executable, str(folder / "train.py")]
    call = [
        *("sweep", "--name", "grid", "--zip", f"lr={','.join(pauses)}"),
        *(f"pause={','.join(pauses.values())}", "--slurm", *LIMIT, "parallel=4"),
        *("--", *python, "{lr}", "{pause}", "weights-{lr}"),
    ]
    first = slurm.runstore(*call, cwd=folder)
    assert first.returncode == 0, first.stderr
    again = slurm.runstore(*call, cwd=folder)
    assert again.returncode == 0
    assert len(slurm.jobs().splitlines()) <= 4

    cells = folder / "runs" / "grid"
    for cell in ids:
        wait_until((cells / cell / "metrics-0001.jsonl").exists, 90, what=f"a row of {cell}")
    runs = listed(slurm, folder)
    jobs = {cell: job_of(runs[cell]) for cell in ids}
    assert runs[out_of_time]["status"] == "running"
    assert 0 < runs[out_of_time]["slurm"]["time_left_s"] <= 300

    slurm.run("scontrol", "update", f"JobId={jobs[out_of_time]}", "TimeLimit=1")
    slurm.run("scontrol", "requeue", jobs[requeued])
    stopped = slurm.runstore("cancel", "--yes", str(cells / cancelled), cwd=folder)
    assert "1 running in Slurm: cancelled 1 job" in stopped.stderr

    def waits_again() -> bool:
        run = listed(slurm, folder)[requeued]
        return (run["status"], run["slurm"]["restarts"]) == ("pending", 1)

    wait_until(waits_again, 30, what="the requeued cell in the queue")
    assert "requeued once" in listed(slurm, folder)[requeued]["reason"]
    wait_until(lambda: not slurm.jobs(), 120, what="the end of all jobs")

    runs = listed(slurm, folder)
    told = {cell: (run["status"], run["attempt"]) for cell, run in runs.items()}
    assert told == {
        requeued: ("finished", 2),
        cancelled: ("interrupted", 1),
        out_of_time: ("finished", 2),
        undisturbed: ("finished", 1),
    }
    assert runs[cancelled]["reason"].startswith(f"Slurm job {jobs[cancelled]} was cancelled")
    task = jobs[out_of_time]
    (log,) = (cells / "slurm").glob(f"*/{task}_0_log.out")
    assert f"{out_of_time}: asked to save and end" in log.read_text()

    last = slurm.runstore(
        *call[: call.index("--")], "--wait", *call[call.index("--") :], cwd=folder
    )
    assert last.returncode == 0, last.stderr
    assert listed(slurm, folder)[cancelled]["attempt"] == 2
    assert len(list(cells.glob("slurm/*/*_submitted.pkl"))) == 5

    for lr in pauses:
        reference = folder / "reference" / lr
        environment = {"RUNSTORE_RUN": str(reference)}
        command = ["env", *(f"{k}={v}" for k, v in environment.items()), *python, lr, "0"]
        slurm.run(*command, str(folder / f"weights-{lr}"))
        uninterrupted, *others = (folder / f"weights-{lr}").read_text().split()
        assert others == [uninterrupted], lr


def test_cells_in_the_queue_are_cancelled_and_submitted_again(
    slurm: Slurm, folder: Path, wait_until: WaitUntil
) -> None:
    call = [
        *("sweep", "--name", "waits", "--grid", "x=1,2", "--slurm", "time=5", "begin=now+1hour"),
        *("--", sys.executable, "logs.py", "{x}"),
    ]
    assert slurm.runstore(*call, cwd=folder).returncode == 0

    def tells_why() -> bool:
        return "(BeginTime)" in listed(slurm, folder)["x=1"]["reason"]

    wait_until(tells_why, what="Slurm's reason")
    runs = listed(slurm, folder)
    assert {run["status"] for run in runs.values()} == {"pending"}
    assert runs["x=1"]["reason"] == f"Slurm job {job_of(runs['x=1'])} is in the queue (BeginTime)"
    stopped = slurm.runstore("cancel", "--yes", "waits", cwd=folder)
    assert "runs/waits: 2 waiting in Slurm: cancelled 2 jobs" in stopped.stderr
    runs = listed(slurm, folder)
    # Of a task that is cancelled in the queue only Slurm's accounting would know, and slurm.json.
    assert runs["x=2"]["reason"] == (
        f"Slurm job {job_of(runs['x=2'])} was cancelled before the run began"
    )
    assert slurm.runstore(*call, cwd=folder).returncode == 0
    assert job_of(listed(slurm, folder)["x=2"]) != job_of(runs["x=2"])
    slurm.runstore("cancel", "--yes", "waits", cwd=folder)


def test_array_of_a_caller_that_was_killed_behind_sbatch_is_adopted(
    slurm: Slurm, folder: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    """One in the queue, and one that Slurm has started: neither is submitted twice."""
    killer = sbatch_that_kills(folder)

    def call(*options: str) -> subprocess.CompletedProcess[str]:
        name = "waits" if options else "starts"
        cells = ("sweep", "--name", name, "--grid", "x=1,2", "--slurm", "time=5", *options)
        return slurm.runstore(*cells, "--", "sh", "-c", f"echo run >> {name}-{{x}}", cwd=folder)

    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{killer}:{os.environ['PATH']}")
        assert call("begin=now+1hour").returncode == -signal.SIGKILL
        assert call().returncode == -signal.SIGKILL
    assert {run["status"] for run in listed(slurm, folder).values()} == {"planned"}
    again = call("begin=now+1hour")
    assert "2 cells of it found in Slurm, and put on record" in again.stderr
    assert "2 wait or run already" in again.stderr
    assert "2 cells of it found" in call().stderr
    waiting = slurm.run("squeue", "--noheader", "--array", "--states=PD")
    assert len([line for line in waiting.splitlines() if "BeginTim" in line]) == 2
    once = [folder / f"starts-{x}" for x in (1, 2)]
    wait_until(lambda: all(path.exists() for path in once), 90, what="the cells of the other")
    slurm.runstore("cancel", "--yes", "waits", cwd=folder)
    wait_until(lambda: not slurm.jobs(), 60, what="the end of all jobs")
    assert [path.read_text() for path in once] == ["run\n", "run\n"]


def test_cells_that_somebody_took_out_of_the_queue_are_submitted_again_with_a_word(
    slurm: Slurm, folder: Path
) -> None:
    call = [
        *("sweep", "--name", "out", "--grid", "x=1,2,3", "--slurm", "time=5", "begin=now+1hour"),
        *("--", "true", "{x}"),
    ]
    slurm.runstore(*call, cwd=folder)
    array = job_of(listed(slurm, folder)["x=1"]).partition("_")[0]
    slurm.run("scancel", f"{array}_0", f"{array}_2")
    again = slurm.runstore(*call, cwd=folder)
    assert again.returncode == 0
    assert (
        f"2 cells had not begun and are no longer in Slurm's queue (job {array}: cancelled by "
        "scancel, or over): submitted again"
    ) in again.stderr
    slurm.runstore("cancel", "--yes", "out", cwd=folder)
    after_ours = slurm.runstore(*call, cwd=folder)
    assert "no longer in Slurm's queue" not in after_ours.stderr
    slurm.runstore("cancel", "--yes", "out", cwd=folder)


def test_partition_that_slurm_refuses_is_one_line_and_loses_nothing(
    slurm: Slurm, folder: Path
) -> None:
    call = [
        *("sweep", "--name", "refused", "--grid", "x=1,2", "--slurm", "time=5", "partition=none"),
        *("--", sys.executable, "logs.py", "{x}"),
    ]
    refused = slurm.runstore(*call, cwd=folder)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line == (
        "runstore: Slurm refused the job: invalid partition specified: none; "
        "Invalid partition name specified"
    )
    assert {run["status"] for run in listed(slurm, folder).values()} == {"planned"}
    assert not (folder / "runs" / "refused" / "slurm").exists()


def test_script_of_a_sweep_runs_its_cells_and_resumes_them(
    slurm: Slurm, folder: Path, wait_until: WaitUntil
) -> None:
    call = ["sweep", "--name", "own", "--grid", "x=1,2", "--plan-only"]
    made = slurm.runstore(*call, "--", sys.executable, "logs.py", "{x}", cwd=folder)
    assert made.returncode == 0, made.stderr
    script = slurm.runstore("script", "--time", "5", "--signal-seconds", "20", "own", cwd=folder)
    (folder / "own.sbatch").write_text(script.stdout)
    waits = slurm.run("sbatch", "--parsable", "--begin=now+1hour", "own.sbatch", cwd=folder)
    knows = slurm.runstore(
        *("sweep", "--name", "own", "--grid", "x=1,2", "--slurm", *LIMIT),
        *("--", sys.executable, "logs.py", "{x}"),
        cwd=folder,
    )
    assert "2 wait or run already" in knows.stderr
    assert job_of(listed(slurm, folder)["x=2"]) == f"{waits}_1"
    slurm.runstore("cancel", "--yes", "own", cwd=folder)
    job = slurm.run("sbatch", "--parsable", "own.sbatch", cwd=folder)
    rows = [folder / "runs" / "own" / f"x={x}" / "metrics-0001.jsonl" for x in (1, 2)]
    wait_until(lambda: all(path.exists() for path in rows), 60, what="rows of both cells")
    slurm.run("scancel", "--batch", "--signal=USR1", f"{job}_0")
    slurm.run("scancel", "--batch", "--signal=USR1", f"{job}_1")
    wait_until(lambda: not slurm.jobs(), 60, what="the end of both tasks")
    runs = listed(slurm, folder)
    assert {(run["status"], run["attempt"]) for run in runs.values()} == {("finished", 2)}
    again = slurm.run("sbatch", "--parsable", "--wait", "own.sbatch", cwd=folder)
    assert again != job
    assert {run["attempt"] for run in listed(slurm, folder).values()} == {2}


FUNCTION = """
import time, torch, runstore, submitit

def train(x):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with runstore.init(system_interval_s=None) as run:
        run.register(model=model, optimizer=optimizer)
        for epoch in run.epochs(2):
            for batch in run.train(range(20)):
                loss = model(torch.randn(3, 2)).pow(2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.track(loss=loss)
                time.sleep(1 if run.attempt == 1 and x > 1 else 0)
    return {"weights": model.weight.detach()}  # no JSON: known to the executor alone

def own_loop():
    with runstore.init(system_interval_s=None) as run:
        while run.step < 20:
            run.log({"loss": 1.0}, step=run.step + 1)
            time.sleep(1 if run.attempt == 1 else 0)

def call(x):
    return train(x) if x < 4 else own_loop()

executor = submitit.AutoExecutor("submitit", cluster="slurm")
executor.update_parameters(timeout_min=5)
cells = runstore.grid(x=[1, 2, 3, 4])
one, *others, _ = runstore.sweep(call, cells, name="function", executor=executor)
assert all(torch.equal(one["weights"], other["weights"]) for other in others), others
"""


def test_function_is_swept_by_an_executor_of_submitit_and_goes_on_after_preemptions(
    slurm: Slurm, folder: Path, wait_until: WaitUntil
) -> None:
    """Its signal, and a requeue: each cell is saved, and ends with the weights of the others."""
    (folder / "sweeps.py").write_text(FUNCTION)
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(slurm.tried, sys.executable, "sweeps.py", cwd=folder)
        for x in (2, 3, 4):
            row = folder / f"runs/function/x={x}/metrics-0001.jsonl"
            wait_until(row.exists, 60, what=f"a row of {x}")
        assert not sweep.done(), sweep.result().stderr
        runs = listed(slurm, folder)
        slurm.run("scancel", "--signal=USR2", job_of(runs["x=2"]))
        slurm.run("scontrol", "requeue", job_of(runs["x=3"]))
        slurm.run("scontrol", "requeue", job_of(runs["x=4"]))
        done = sweep.result(timeout=90)
    assert done.returncode == 0, done.stderr
    runs = listed(slurm, folder)
    told = {run["id"]: (run["status"], run["attempt"], run["step"]) for run in runs.values()}
    assert told == {
        "x=1": ("finished", 1, 40),
        "x=2": ("finished", 2, 40),
        "x=3": ("finished", 2, 40),
        "x=4": ("finished", 2, 20),
    }
    for x, reason in ((2, "preempted by SIGUSR2"), (4, "terminated by SIGTERM")):
        events = folder / f"runs/function/x={x}/events-0001.jsonl"
        end = json.loads(events.read_text().splitlines()[-1])
        assert (end["status"], end["reason"]) == ("interrupted", reason)


SPARE = """
import time, runstore, submitit

def train(x):
    with runstore.init(system_interval_s=None) as run:
        while run.step < 30:
            run.log({"loss": 1.0}, step=run.step + 1)
            time.sleep(1 if run.attempt == 1 else 0)
    return x

executor = submitit.AutoExecutor("submitit", cluster="slurm")
executor.update_parameters(timeout_min=5, slurm_partition="spare")
assert runstore.sweep(train, [{"x": 1}], name="function", executor=executor) == [1]
"""


def test_preemption_with_a_grace_time_saves_requeues_and_goes_on(
    slurm: Slurm, folder: Path, wait_until: WaitUntil
) -> None:
    """Slurm tells the tasks of a step, and requeues no job that ends at that: a cell of a
    function, and a command behind srun, of submitit's or in a script."""
    (folder / "sweeps.py").write_text(SPARE)
    srun = ("--", "srun", sys.executable, "logs.py", "{x}")
    for name, options in (("job", ("--slurm", *LIMIT, "partition=spare")), ("own", ())):
        call = ("sweep", "--name", name, "--grid", "x=1", *(options or ("--plan-only",)), *srun)
        made = slurm.runstore(*call, cwd=folder)
        assert made.returncode == 0, made.stderr
    urgent = ("--partition=urgent", "--exclusive")
    limit = ("--time", "5", "--signal-seconds", "20", "--partition", "spare")
    script = slurm.runstore("script", *limit, "own", cwd=folder).stdout
    (folder / "own.sbatch").write_text(script)
    slurm.run("sbatch", "own.sbatch", cwd=folder)
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(slurm.tried, sys.executable, "sweeps.py", cwd=folder)
        cells = [folder / "runs" / name / "x=1" for name in ("job", "own", "function")]
        for cell in cells:
            wait_until((cell / "metrics-0001.jsonl").exists, 60, what=f"a row of {cell}")
        slurm.run("sbatch", *urgent, "--wait", "--wrap=true", cwd=folder)
        done = sweep.result(timeout=90)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not slurm.jobs(), 60, what="the end of all jobs")
    for cell in cells:
        data = runstore.load(cell)
        assert (data.status, data.state.attempt) == ("finished", 2), cell


RUNNING = """
import time, runstore, submitit

def train(x):
    with runstore.init(system_interval_s=None) as run:
        while True:
            run.log({"loss": 1.0}, step=run.step + 1)
            time.sleep(0.2)

executor = submitit.AutoExecutor("submitit", cluster="slurm")
executor.update_parameters(timeout_min=5)
runstore.sweep(train, [{"x": 1}], name="running", executor=executor)
"""


def test_function_s_jobs_of_a_caller_that_was_killed_behind_sbatch_are_adopted(
    slurm: Slurm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import runstore, submitit
executor = submitit.AutoExecutor("submitit", cluster="slurm")
executor.update_parameters(timeout_min=5)
print(runstore.sweep(lambda x: open("ran", "a").write("."), runstore.grid(x=[1, 2]), name="killed",
                     executor=executor))
"""
    (folder / "sweeps.py").write_text(code)
    killer = sbatch_that_kills(folder)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{killer}:{os.environ['PATH']}")
        assert slurm.tried(sys.executable, "sweeps.py", cwd=folder).returncode == -signal.SIGKILL
    again = slurm.tried(sys.executable, "sweeps.py", cwd=folder)
    assert "2 jobs found in Slurm of an earlier call, which was killed" in again.stderr
    assert again.stdout == "[1, 1]\n"
    assert (folder / "ran").read_text() == ".."
    assert not (folder / "runs/killed/slurm").exists()


def test_function_s_cell_that_runs_is_cancelled_by_its_job(
    slurm: Slurm, folder: Path, wait_until: WaitUntil
) -> None:
    (folder / "sweeps.py").write_text(RUNNING)
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(slurm.tried, sys.executable, "sweeps.py", cwd=folder)
        row = folder / "runs/running/x=1/metrics-0001.jsonl"
        wait_until(row.exists, 60, what="a row")
        stopped = slurm.runstore("cancel", "--yes", "running", cwd=folder)
        assert "1 running in Slurm: cancelled 1 job" in stopped.stderr
        done = sweep.result(timeout=90)
    assert "1 of 1 cells have not finished: x=1 (interrupted: Slurm job" in done.stderr
    assert listed(slurm, folder)["x=1"]["reason"].startswith("Slurm job ")
    assert "was cancelled" in listed(slurm, folder)["x=1"]["reason"]
    assert not slurm.jobs()


WAITING = """
import runstore, submitit

executor = submitit.AutoExecutor("submitit", cluster="slurm")
executor.update_parameters(timeout_min=5, slurm_additional_parameters={"begin": "now+1hour"})
runstore.sweep(print, [{"x": 1}], name="waiting", executor=executor)
"""


def test_function_s_cell_that_waits_is_known_to_the_same_call_and_can_be_cancelled(
    slurm: Slurm, folder: Path
) -> None:
    """Whose caller was killed, say: it is not submitted once more."""
    (folder / "sweeps.py").write_text(WAITING)
    killed = ["timeout", "--signal=KILL", "8", sys.executable, "sweeps.py"]
    for _ in range(2):
        slurm.tried(*killed, cwd=folder)
        assert len(slurm.jobs().splitlines()) == 1
    assert listed(slurm, folder)["x=1"]["status"] == "pending"
    assert slurm.runstore("cancel", "--yes", "waiting", cwd=folder).returncode == 0
    assert listed(slurm, folder)["x=1"]["reason"].endswith("was cancelled before the run began")
    assert not slurm.jobs()
