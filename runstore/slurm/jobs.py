"""What Slurm knows of jobs: one `squeue` for all that are asked about, `sacct` for those behind it.

Slurm is evidence where neither a process nor a lock can be looked at, because the run was on
another node; and where these only say that it is gone, Slurm says why: the time limit, a
preemption, a node that failed. A controller that is slow or away only means that there is no such
evidence: it is asked rarely, with a time limit, and never by a thread that somebody waits for on
the screen.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runstore.errors import RunStoreError
from runstore.slurm.submission import is_job
from runstore.threads import start_daemon

ASK_EVERY_S = 30.0
"""squeue(1) asks not to be called in a loop: each call locks the controller for a moment."""
ASK_UNKNOWN_EVERY_S = 600.0
"""A job that Slurm does not know, or that it could not be asked about."""
ANSWER_S = 5.0
"""How long an answer may take."""
SURE_ANSWER_S = 30.0
"""The same, where somebody waits who has to know."""
JOBS_AT_ONCE = 500
"""Jobs on one command line."""
UNKNOWN_TIME = -1.0
TASKS_AT_MOST = 10_000
"""Of one range of an array."""
_SEVERAL = re.compile(
    r"(?P<array>[0-9]{1,10})_\[(?P<tasks>[0-9]{1,10}(?:-[0-9]{1,10})?(?:,[0-9]{1,10}(?:-[0-9]{1,10})?)*)"
    r"(?:%[0-9]+)?\]"
)

QUEUED = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
ON_A_NODE = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING"})
HALTED = frozenset({"SUSPENDED", "STOPPED"})


class SlurmSilentError(RunStoreError):
    """Slurm does not say what it knows of jobs."""


@dataclass(frozen=True, slots=True)
class JobState:
    """What Slurm says of one job."""

    word: str
    """Slurm's own: `RUNNING`, `PENDING`, `TIMEOUT`, …"""
    start: float = UNKNOWN_TIME
    """When it was started last, Unix seconds by Slurm's clock; -1 unknown."""
    reason: str = ""
    """Why it waits, in Slurm's words; empty where there is none."""
    end: float = UNKNOWN_TIME
    """When its time limit ends it, Unix seconds by Slurm's clock; -1 unknown, or no limit."""

    @property
    def is_over(self) -> bool:
        """Whether it will not run again by itself."""
        return self.word not in QUEUED | ON_A_NODE | HALTED


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """A task of an array that somebody has submitted."""

    job: str
    """`123_4`."""
    word: int
    """The number behind the script's name; 0 without one."""

    @property
    def index(self) -> int:
        """The task's, in its array."""
        return int(self.job.rpartition("_")[2])


class SlurmJobs:
    """Remembers which jobs somebody wants to know about, and what was last said of them.

    Safe to use from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing; `clock` counts seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, JobState | None] = {}
        self._ask_at: dict[str, float] = {}
        """When each job that was asked for is to be looked up (again)."""
        self._gone: set[str] = set()
        self._asking = False
        self._has_new = False

    def state(self, job: str) -> JobState | None:
        """Return what is known of a job, at once; what is not known is asked for by `refresh`.

        `job` is a number, or `123_4` for a task of an array. What is neither, as a damaged or
        hostile run may have, is not asked for: it would spoil the one question for all.
        """
        if not is_job(job):
            return None
        with self._lock:
            if job not in self._ask_at:
                self._ask_at[job] = self._clock()
                self._has_new = True
            return self._known.get(job)

    def has_questions(self) -> bool:
        """Tell whether jobs were never looked up, on a machine that has Slurm's programs."""
        return self._has_new and shutil.which("squeue") is not None

    def refresh(self) -> bool:
        """Look up the jobs whose time has come; tell whether anything changed.

        Takes up to some seconds, and no time where there is no such job or no Slurm.
        """
        with self._lock:
            jobs = [] if self._asking else self._due()
            if not jobs:
                return False
            self._asking, self._has_new = True, False
        try:
            found = _ask(jobs)
        finally:
            with self._lock:
                self._asking = False
        with self._lock:
            return self._note_all({job: None for job in jobs if job not in found} | found, found)

    def learn(self, found: Mapping[str, JobState | None]) -> None:
        """Remember what was found out in another way (`look_up`)."""
        with self._lock:
            self._note_all(found, found)

    def is_gone(self, job: str) -> bool:
        """Tell whether Slurm was asked, has answered, and does not have the job (any more)."""
        return job in self._gone

    def refresh_soon(self) -> None:
        """Do the same in a thread of its own."""
        with self._lock:
            idle = not self._asking and bool(self._due())
        if idle:
            start_daemon(self._refresh_quietly, "runstore-slurm")

    def _refresh_quietly(self) -> None:
        self.refresh()

    def _due(self) -> list[str]:
        now = self._clock()
        return sorted(job for job, at in self._ask_at.items() if at <= now)

    def _note_all(self, states: Mapping[str, JobState | None], answered: Container[str]) -> bool:
        changed = [job for job, state in states.items() if self._note(job, state)]
        gone = {job for job, state in states.items() if state is None and job in answered}
        is_new = not gone <= self._gone
        self._gone = (self._gone - states.keys()) | gone
        return bool(changed) or is_new

    def _note(self, job: str, state: JobState | None) -> bool:
        if state is None:
            pause_s = ASK_UNKNOWN_EVERY_S
        else:
            pause_s = math.inf if state.is_over else ASK_EVERY_S
        self._ask_at[job] = self._clock() + pause_s
        changed = self._known.get(job) != state
        self._known[job] = state
        return changed


JOBS = SlurmJobs()
"""What this process knows: every reader in it asks here, so that all share one `squeue`."""


def look_up(jobs: Sequence[str]) -> dict[str, JobState | None]:
    """Return what Slurm says of each job now; None for one that it does not have, so that is over.

    For who must know, as before a run is submitted again.

    Raises:
        SlurmSilentError: it gives no answer.
    """
    found: dict[str, JobState | None] = dict.fromkeys(jobs)
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        some = jobs[start : start + JOBS_AT_ONCE]
        told = _parsed(_answer(_squeue_command(some)))
        found |= {job: state for job, state in told.items() if job in found}
    return found


def jobs_of_scripts(scripts: Sequence[Path], user: int) -> dict[int, str]:
    """Return the jobs of batch scripts that Slurm has, or had a moment ago, by their array's task.

    A job that is no array's is task 0.

    Args:
        scripts: their absolute paths, as they were when they were submitted.
        user: who has submitted them, by number.

    Raises:
        SlurmSilentError: it gives no answer.
    """
    options = ["--noheader", "--states=all", "--array", f"--user={user}"]
    # %o, the script, comes last: a path may have a bar.
    told = _answer(["squeue", *options, "--format=%A|%F_%K|%o"])
    wanted, found = {str(path) for path in scripts}, {}
    for line in told.splitlines():
        job, task, script = (*line.split("|", 2), "", "")[:3]
        if script not in wanted or not is_job(job):
            continue
        number = task.rpartition("_")[2]
        found[int(number) if number.isdecimal() else 0] = task if is_job(task) else job
    return found


def jobs_of_comment(comment: str, user: int) -> list[QueuedTask]:
    """Return the jobs of a user that wait or run and have a comment.

    Raises:
        SlurmSilentError: Slurm gives no answer.
    """
    options = ["--noheader", "--array", f"--user={user}"]
    told = _answer(["squeue", *options, "--format=%F_%K|%k|%o"])
    found = []
    for line in told.splitlines():
        task, its, script = (*line.split("|", 2), "", "")[:3]
        if its == comment and is_job(task):
            last = script.rpartition(" ")[2]
            found.append(QueuedTask(task, int(last) if re.fullmatch("[0-9]{1,9}", last) else 0))
    return found


def is_being_preempted(job: str) -> bool:
    """Tell whether a job runs that Slurm has told to make room, and will end and requeue later.

    So it does where a partition has a GraceTime: the tasks of a step get SIGTERM at its begin, and
    a job that has ended before it is over is not requeued. False where Slurm gives no answer.
    """
    told, _ = (
        _output(["scontrol", "--oneliner", "show", "job", job]) if is_job(job) else ("", False)
    )
    return " JobState=RUNNING " in told and re.search(r" PreemptTime=[0-9]", told) is not None


def longest_array() -> int | None:
    """Return how many tasks an array may have here; None where there is no Slurm to tell."""
    told, _ = _output(["scontrol", "show", "config"])
    match = re.search(r"^MaxArraySize\s*=\s*([0-9]{1,9})$", told, re.MULTILINE)
    # It is one more than the greatest index.
    return max(1, int(match[1])) if match else None


def _answer(command: Sequence[str]) -> str:
    """Return what a program prints.

    Raises:
        SlurmSilentError: it is not there, fails, or takes too long.
    """
    try:
        done = _done(command, SURE_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmSilentError(f"Slurm gives no answer ({command[0]}: {error})") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise SlurmSilentError(f"Slurm gives no answer ({why})")
    return done.stdout


def _ask(jobs: Sequence[str]) -> dict[str, JobState | None]:
    """Return what Slurm says of jobs: None for one that it has not, nothing where it is silent."""
    found: dict[str, JobState | None] = {}
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        some = jobs[start : start + JOBS_AT_ONCE]
        told, is_answer = _output(_squeue_command(some))
        known = _parsed(told)
        # Accounting knows jobs that the controller has forgotten, some minutes after their end.
        forgotten = [job for job in some if job not in known]
        if forgotten:
            known |= _parsed(_output(_sacct_command(forgotten))[0])
        found |= {job: known.get(job) for job in some if is_answer or job in known}
    return found


def _squeue_command(jobs: Sequence[str]) -> list[str]:
    # %A: the job's own number; %F_%K: array and task, a line for each (--array), also of those that
    # wait. %e: of a job that runs, by its time limit. With several -j, unknown ones are left out.
    listed = ",".join([*jobs, jobs[0]])
    options = ["--noheader", "--states=all", "--array", f"--jobs={listed}"]
    return ["squeue", *options, "--format=%A|%T|%S|%F_%K|%r|%e"]


def _sacct_command(jobs: Sequence[str]) -> list[str]:
    options = ["--allocations", "--noheader", "--parsable2", f"--jobs={','.join(jobs)}"]
    return ["sacct", *options, "--format=JobIDRaw,State,Start,JobID"]


def _output(command: Sequence[str]) -> tuple[str, bool]:
    """Return what a program prints, and whether it has given an answer."""
    try:
        done = _done(command, ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return "", False
    # A part of the jobs may be unknown, which is an error to some versions; the rest is told.
    return done.stdout, done.returncode == 0


def _done(command: Sequence[str], answer_s: float) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError("it is not there")
    return subprocess.run(
        [program, *command[1:]],
        env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=answer_s,
        text=True,
        errors="replace",
        check=False,
    )


def _parsed(output: str) -> dict[str, JobState]:
    """Return what was told, by the number of each job, and by array and task."""
    found: dict[str, JobState] = {}
    for line in output.splitlines():
        job, word, start, task, reason, end = (*line.split("|"), *[""] * 6)[:6]
        if job.isdigit() and word:
            # `CANCELLED by 1000`
            state = JobState(word.split()[0], _seconds(start), _told(reason), _seconds(end))
            # Those tasks of an array that wait have all the number of the array.
            found.setdefault(job, state)
            found |= dict.fromkeys(_tasks(task), state)
    return found


def _tasks(text: str) -> Iterator[str]:
    """Yield the tasks that `11_3` is, or `11_[0-2,7%4]`: several that never began, to sacct."""
    several = _SEVERAL.fullmatch(text)
    if several is None:
        yield from [text] if is_job(text) else []
        return
    for piece in several["tasks"].split(","):
        first, _, last = piece.partition("-")
        for number in range(int(first), min(int(last or first), int(first) + TASKS_AT_MOST) + 1):
            yield f"{several['array']}_{number}"


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else UNKNOWN_TIME


def _told(reason: str) -> str:
    return "" if reason in ("None", "(null)") else reason
