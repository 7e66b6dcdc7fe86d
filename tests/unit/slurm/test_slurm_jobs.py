"""What Slurm says of jobs, by programs in PATH that answer as Slurm's own do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import runstore
from runstore.files.records import decode, encode
from runstore.slurm.jobs import ASK_EVERY_S, ASK_UNKNOWN_EVERY_S, JobState, SlurmJobs
from runstore.slurm.submission import write_submission
from runstore.sources.native import NativeReader
from runstore.state.liveness import Liveness
from runstore.state.status import Status
from runstore.writer.writer import RunWriter

Answers = Callable[..., Path]
STARTED = 1_800_000_000


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Put programs into PATH that print what is given and note how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(squeue: str = "", sacct: str = "", *, squeue_does: str = "") -> Path:
        for name, printed, does in (("squeue", squeue, squeue_does), ("sacct", sacct, "")):
            program = folder / name
            told = folder / f"{name}.out"
            told.write_text(printed)
            log = f'echo "{name} $SLURM_TIME_FORMAT $*" >> {folder}/calls'
            program.write_text(f"#!/bin/sh\n{log}\n{does}\ncat {told}\n")
            program.chmod(0o755)
        return folder / "calls"

    return answer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("job", ["", "9" * 11, "\u0661\u0661", "11,12", "--help", "11\n"])
def test_what_is_no_number_of_a_job_is_not_asked_for(answers: Answers, job: str) -> None:
    calls = answers(f"11|RUNNING|{STARTED}||None\n")
    jobs = SlurmJobs()
    jobs.state("11")
    assert jobs.state(job) is None
    assert jobs.refresh()
    assert jobs.state("11") == JobState("RUNNING", STARTED)
    assert "--jobs=11,11 " in calls.read_text()


def test_one_squeue_for_all_jobs_and_sacct_for_those_it_has_forgotten(answers: Answers) -> None:
    calls = answers(
        f"11|RUNNING|{STARTED}||None\n12|PENDING|N/A||Resources\n",
        f"13|CANCELLED by 1000|{STARTED}\n13.batch|CANCELLED|{STARTED}\n",
    )
    jobs = SlurmJobs()
    assert [jobs.state(job) for job in ("11", "12", "13", "14")] == [None] * 4
    assert jobs.refresh()
    assert jobs.state("11") == JobState("RUNNING", STARTED)
    assert jobs.state("12") == JobState("PENDING", reason="Resources")
    assert jobs.state("13") == JobState("CANCELLED", STARTED)
    assert jobs.state("14") is None
    squeue, sacct = calls.read_text().splitlines()
    assert squeue.startswith("squeue %s ")
    assert "--jobs=11,12,13,14" in squeue
    assert "--jobs=13,14 " in sacct


def test_accounting_tells_tasks_of_arrays_also_several_in_one_line(answers: Answers) -> None:
    answers("", f"15|TIMEOUT|{STARTED}|11_3\n11|CANCELLED by 0|Unknown|11_[0-1,7,9-10%4]\n")
    jobs = SlurmJobs()
    asked = [f"11_{task}" for task in (0, 1, 2, 3, 7, 9, 10, 11)]
    for job in asked:
        jobs.state(job)
    assert jobs.refresh()
    told = {job: state.word for job in asked if (state := jobs.state(job)) is not None}
    cancelled = dict.fromkeys(("11_0", "11_1", "11_7", "11_9", "11_10"), "CANCELLED")
    assert told == {**cancelled, "11_3": "TIMEOUT"}
    assert [job for job in asked if jobs.is_gone(job)] == ["11_2", "11_11"]


def test_slurm_is_asked_rarely_and_never_again_about_what_is_over(answers: Answers) -> None:
    calls = answers(f"11|RUNNING|{STARTED}||None\n12|TIMEOUT|{STARTED}||TimeLimit\n")
    clock = Clock()
    jobs = SlurmJobs(clock)
    for job in ("11", "12", "13"):
        jobs.state(job)
    assert jobs.refresh()
    clock.now += ASK_EVERY_S - 1
    assert not jobs.refresh()
    assert len(calls.read_text().splitlines()) == 2
    clock.now += 1
    assert not jobs.refresh()
    *_, again = calls.read_text().splitlines()
    assert "--jobs=11,11 " in again
    clock.now += ASK_UNKNOWN_EVERY_S
    jobs.refresh()
    assert "--jobs=11,13,11 " in calls.read_text()


@pytest.mark.parametrize("does", ["exit 1", "echo 'slurm_load_jobs error' >&2; exit 1", "sleep 60"])
def test_slurm_that_is_away_or_hangs_is_no_evidence(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    answers(f"11|RUNNING|{STARTED}||None\n", squeue_does=does)
    monkeypatch.setattr("runstore.slurm.jobs.ANSWER_S", 0.5)
    jobs = SlurmJobs()
    jobs.state("11")
    begun = time.monotonic()
    assert not jobs.refresh()
    assert time.monotonic() - begun < 30
    assert jobs.state("11") is None


def test_machine_without_slurm_costs_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = SlurmJobs()
    jobs.state("11")
    assert not jobs.refresh()


def test_garbage_of_slurm_is_passed_over(answers: Answers) -> None:
    answers("\n|||\nno such thing\n11||\n11|RUNNING|soon||None|more|fields\n")
    jobs = SlurmJobs()
    jobs.state("11")
    assert jobs.refresh()
    assert jobs.state("11") == JobState("RUNNING")


def test_end_by_the_time_limit_is_known_where_there_is_one(answers: Answers) -> None:
    ends = STARTED + 3600
    calls = answers(
        f"11|RUNNING|{STARTED}||None|{ends}\n12|RUNNING|{STARTED}||None|N/A\n13|PENDING|N/A||Priority|N/A\n"
    )
    jobs = SlurmJobs()
    for job in ("11", "12", "13"):
        jobs.state(job)
    assert jobs.refresh()
    assert jobs.state("11") == JobState("RUNNING", STARTED, end=ends)
    assert jobs.state("12") == JobState("RUNNING", STARTED)
    assert jobs.state("13") == JobState("PENDING", reason="Priority")
    assert calls.read_text().splitlines()[0].endswith("|%e")


# -- what a run's status becomes ---------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in job 11, of a node that cannot be looked at, without an end."""
    monkeypatch.setenv("SLURM_JOB_ID", "11")
    run = runstore.init(root=tmp_path / "runs", system_interval_s=None)
    run.log({"loss": 1.0}, step=1)
    _leave(run._writer)  # type: ignore[arg-type]  # this is rank 0's
    run.finish()
    monkeypatch.delenv("SLURM_JOB_ID")
    events = run.path / "events-0001.jsonl"
    opened = decode(events.read_bytes().splitlines()[0])
    assert json.loads((run.path / "run.json").read_text())["environment"]["SLURM_JOB_ID"] == "11"
    changes = {"host": "node7", "boot_id": "another", "lock": False, "time": float(STARTED)}
    events.write_bytes(encode({**opened, **changes}))
    return run.path


def _leave(writer: RunWriter) -> None:
    """Let go of the files as a process does that is killed."""
    writer._stop.set()
    writer._thread.join()
    for stream in writer._all_streams():
        stream.close()
    writer._release_lock()


def judged(run_dir: Path, jobs: SlurmJobs, clock: Clock | None = None) -> Status:
    reader = NativeReader(run_dir, patient=False)
    reader._liveness = Liveness(clock or time.monotonic, jobs)
    reader.glance()
    jobs.refresh()
    reader.judge()
    return reader.state.status


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (f"11|RUNNING|{STARTED - 60}||None", "running", "Slurm job 11 runs on node7"),
        (f"11|COMPLETING|{STARTED - 60}||None", "running", "Slurm job 11 runs on node7"),
        (
            "11|PENDING|N/A||Priority",
            "pending",
            "Slurm job 11 is in the queue (Priority), requeued once, last ",
        ),
        (f"11|SUSPENDED|{STARTED - 60}||None", "stalled", "Slurm job 11 is suspended"),
        (f"11|TIMEOUT|{STARTED}||TimeLimit", "interrupted", "Slurm job 11 came to its time limit"),
        (f"11|PREEMPTED|{STARTED}||None", "interrupted", "Slurm job 11 was preempted, last sign"),
        (f"11|CANCELLED|{STARTED}||None", "interrupted", "Slurm job 11 was cancelled"),
        (f"11|NODE_FAIL|{STARTED}||None", "crashed", "Slurm job 11 lost its node"),
        (f"11|OUT_OF_MEMORY|{STARTED}||None", "crashed", "Slurm job 11 ran out of memory"),
        (f"11|FAILED|{STARTED}||NonZeroExit", "crashed", "Slurm job 11 has failed"),
        (f"11|COMPLETED|{STARTED}||None", "crashed", "Slurm job 11 is over, last sign of life"),
        (f"11|LAUNCH_FAILED|{STARTED}||None", "crashed", "Slurm job 11 is over (launch_failed)"),
    ],
)
def test_job_decides_where_nothing_else_can(
    answers: Answers, run_dir: Path, line: str, status: str, reason: str
) -> None:
    answers(line + "\n")
    found = judged(run_dir, SlurmJobs())
    assert found.word == status
    assert found.reason.startswith(reason)


def test_job_that_has_started_again_tells_nothing_of_the_attempt_before(
    answers: Answers, run_dir: Path
) -> None:
    """So does a job of that number on another cluster."""
    answers(f"11|RUNNING|{STARTED + 3600}||None\n")
    assert judged(run_dir, SlurmJobs()).word == "unknown"


def test_lock_that_is_free_says_that_it_is_gone_and_slurm_says_why(
    answers: Answers, run_dir: Path
) -> None:
    events = run_dir / "events-0001.jsonl"
    events.write_bytes(encode({**decode(events.read_bytes().splitlines()[0]), "lock": True}))
    answers(f"11|RUNNING|{STARTED}||None\n")
    assert judged(run_dir, SlurmJobs()).reason.startswith("its lock is free: gone from node7")
    answers(f"11|TIMEOUT|{STARTED}||None\n")
    assert judged(run_dir, SlurmJobs()).word == "interrupted"


def test_copy_is_not_judged_by_the_job_of_its_original(
    answers: Answers, run_dir: Path, tmp_path: Path
) -> None:
    answers(f"11|RUNNING|{STARTED}||None\n")
    copy = tmp_path / run_dir.name
    copy.mkdir()
    for file in run_dir.glob("*.json*"):
        (copy / file.name).write_bytes(file.read_bytes())
    assert judged(copy, SlurmJobs()).word == "unknown"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"11|CANCELLED|{STARTED}||None", "Slurm job 11 was cancelled (SIGTERM); inside epoch 2"),
        (f"11|PREEMPTED|{STARTED}||None", "Slurm job 11 was preempted (SIGTERM); inside epoch 2"),
        (f"11|COMPLETED|{STARTED}||None", "preempted by SIGTERM; inside epoch 2"),
        (f"11|CANCELLED|{STARTED + 3600}||None", "preempted by SIGTERM; inside epoch 2"),
        ("", "preempted by SIGTERM; inside epoch 2"),
    ],
)
def test_slurm_says_why_it_has_sent_the_signal_that_a_run_ended_by(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reason: str
) -> None:
    path = interrupted(tmp_path, monkeypatch)
    answers(f"{line}\n")
    assert judged(path, SlurmJobs()) == Status("interrupted", reason)


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: float = STARTED) -> Path:
    """Return a run of job 11, which is its own, that SIGTERM has ended."""
    for name in ("SLURM_JOB_ID", "RUNSTORE_SLURM_JOB"):
        monkeypatch.setenv(name, "11")
    run = runstore.init(root=tmp_path / "runs", system_interval_s=None)
    run.end("interrupted", "preempted by SIGTERM; inside epoch 2")
    events = run.path / "events-0001.jsonl"
    opened, *others = events.read_bytes().splitlines(keepends=True)
    with events.open("r+b") as file:
        file.write(encode({**decode(opened), "time": float(begun)}) + b"".join(others))
        file.truncate()
    return run.path


@pytest.mark.parametrize(
    ("word", "ago_s", "status"),
    [("RUNNING", 60, "pending"), ("RUNNING", 3600, "interrupted"), ("FAILED", 60, "interrupted")],
)
def test_job_that_slurm_has_just_started_again_is_about_to_begin_its_run(
    answers: Answers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    ago_s: int,
    status: str,
) -> None:
    path = interrupted(tmp_path, monkeypatch, time.time() - 7200)
    answers(f"11|{word}|{int(time.time()) - ago_s}||None\n")
    assert judged(path, SlurmJobs()).word == status


def test_stalled_loop_of_a_running_job_is_stalled(answers: Answers, run_dir: Path) -> None:
    answers(f"11|RUNNING|{STARTED}||None\n")
    progress = {"attempt": 1, "beat": 7, "time": STARTED, "idle_s": 900.0}
    (run_dir / "progress.json").write_text(json.dumps(progress))
    found = judged(run_dir, SlurmJobs())
    assert found == Status("stalled", "Slurm job 11 runs on node7, no step for 15 min")


def test_ls_asks_once_for_all_runs(answers: Answers, run_dir: Path, repo_root: Path) -> None:
    calls = answers(f"11|TIMEOUT|{STARTED}||TimeLimit\n")
    second = run_dir.with_name(run_dir.name[:-6] + "aaaaaa")
    second.mkdir()
    for file in run_dir.glob("*.json*"):
        (second / file.name).write_bytes(file.read_bytes())
    events = second / "events-0001.jsonl"
    opened = decode(events.read_bytes().splitlines()[0])
    # With its own inode it is a second run, not a copy.
    events.write_bytes(encode({**opened, "inode": events.stat().st_ino}))
    command = [sys.executable, "-m", "runstore.cli", "ls", "--json", str(run_dir.parent)]
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    runs = json.loads(subprocess.check_output(command, env=environment))
    assert [run["status"] for run in runs] == ["interrupted", "interrupted"]
    assert len(calls.read_text().splitlines()) == 1


# -- a job that was submitted and has not begun the run ------------------------------------------


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A run that was made for task 3 of the array 11."""
    run_dir = tmp_path / "runs" / "grid" / "lr=0.1"
    run_dir.mkdir(parents=True)
    (run_dir / "run.json").write_text('{"format": 1, "id": "lr=0.1", "name": "lr=0.1"}')
    write_submission(run_dir, "11_3", attempts=0, log=tmp_path / "job.out")
    return run_dir


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("11|PENDING|N/A|11_3|Resources", "pending", "Slurm job 11_3 is in the queue (Resources)"),
        ("15|PENDING|N/A|11_3|None", "pending", "Slurm job 11_3 is in the queue"),
        (
            f"15|RUNNING|{STARTED}|11_3|None",
            "pending",
            "Slurm job 11_3 is running, the run has not begun",
        ),
        (
            f"15|CANCELLED|{STARTED}|11_3|None",
            "interrupted",
            "Slurm job 11_3 was cancelled before the run began",
        ),
        (
            f"15|FAILED|{STARTED}|11_3|NonZeroExit",
            "crashed",
            "Slurm job 11_3 has failed before the run began; see {folder}/job.out",
        ),
        (
            "11|PENDING|N/A|11_4|Resources",
            "planned",
            "Slurm job 11_3 is gone, and the run has not begun",
        ),
        ("", "planned", "Slurm job 11_3 is gone, and the run has not begun"),
    ],
)
def test_job_that_was_submitted_says_what_becomes_of_a_planned_run(
    answers: Answers, planned: Path, tmp_path: Path, line: str, status: str, reason: str
) -> None:
    calls = answers(line + "\n")
    assert judged(planned, SlurmJobs()) == Status(status, reason.format(folder=tmp_path))
    assert "--array --jobs=11_3,11_3 " in calls.read_text()


def test_slurm_that_is_silent_does_not_say_that_a_job_is_gone(
    answers: Answers, planned: Path
) -> None:
    answers(squeue_does="exit 1")
    assert judged(planned, SlurmJobs()) == Status("planned", "submitted as Slurm job 11_3")


def test_copy_of_a_planned_run_does_not_ask_for_the_job(
    answers: Answers, planned: Path, tmp_path: Path
) -> None:
    """On another machine its number may be anybody's."""
    calls = answers(f"15|RUNNING|{STARTED}|11_3|None\n")
    copy = shutil.copytree(planned, tmp_path / "copy")
    assert judged(copy, SlurmJobs()) == Status(
        "planned", "copied; the original was submitted as Slurm job 11_3"
    )
    assert not calls.exists()


def test_job_that_has_begun_its_attempt_says_nothing_of_the_next(
    answers: Answers, run_dir: Path
) -> None:
    answers("13|PENDING|N/A|13_0|Priority\n")
    write_submission(run_dir, "13_0", attempts=0, log=run_dir / "log")
    assert judged(run_dir, SlurmJobs()).word == "unknown"
    write_submission(run_dir, "13_0", attempts=1, log=run_dir / "log")
    assert judged(run_dir, SlurmJobs()) == Status(
        "pending", "Slurm job 13_0 is in the queue (Priority)"
    )


@pytest.mark.parametrize("document", ["", "{", "[]", '{"job": "11,12"}', '{"job": 11}'])
def test_damaged_submission_is_none(answers: Answers, planned: Path, document: str) -> None:
    calls = answers(f"15|RUNNING|{STARTED}|11_3|None\n")
    (planned / "slurm.json").write_text(document)
    assert judged(planned, SlurmJobs()).word == "planned"
    assert not calls.exists()


def test_ls_tells_the_job_of_each_run(answers: Answers, planned: Path, repo_root: Path) -> None:
    answers("11|PENDING|N/A|11_3|Resources\n")
    command = [sys.executable, "-m", "runstore.cli", "ls", "--json", str(planned.parent)]
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    (run,) = json.loads(subprocess.check_output(command, env=environment))
    assert run["status"] == "pending"
    assert run["slurm"] == {
        "job": "11_3",
        "state": "PENDING",
        "reason": "Resources",
        "restarts": 0,
        "time_left_s": None,
    }
    listed = subprocess.check_output([*command[:-2], str(planned.parent)], env=environment)
    assert b"Slurm job 11_3 is in the queue (Resources)" in listed


def test_list_tells_a_running_job_s_time_left_and_how_often_it_was_requeued(
    answers: Answers, tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(f"15|RUNNING|{STARTED}|11_3|None|{int(time.time()) + 7205}\n")
    task = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "3"}
    for name, value in {**task, "SLURM_RESTART_COUNT": "2"}.items():
        monkeypatch.setenv(name, value)
    run = runstore.init(root=tmp_path / "runs", system_interval_s=None)
    command = [sys.executable, "-m", "runstore.cli", "ls", str(run.path.parent)]
    listed = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(repo_root)})
    run.finish()
    assert b"Slurm job 11_3, 2h00m left, requeued twice" in listed
