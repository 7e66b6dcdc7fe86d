"""Who calls a function elsewhere: executors, of submitit among them, and what they return."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from runstore.console import say
from runstore.errors import SweepError
from runstore.run.exits import describe
from runstore.slurm.jobs import JOBS
from runstore.slurm.submission import is_job, write_submission
from runstore.sweeps.cell_call import CellCall, Outcome

LOOK_S = 2.0
RESULT_S = 60.0
"""So long a file of a node may take to be seen here."""
_SLURM_JOBS = "submitit.slurm"
"""Whose jobs have numbers of Slurm; those of its local executor have numbers of processes."""


@runtime_checkable
class Executor(Protocol):
    """What calls a function elsewhere: a `concurrent.futures.Executor`, or one of submitit."""

    def submit(self, fn: Callable[[], Any], /) -> Any:
        """Return what has a `result()`."""


def slurm_executor(executor: Executor) -> Any:
    """Return submitit's executor of Slurm that an executor is, or has inside; None for others."""
    inner = getattr(executor, "_executor", executor)
    return inner if type(inner).__module__.startswith(_SLURM_JOBS) else None


def submit_calls(executor: Executor, calls: Sequence[CellCall]) -> list[Any]:
    """Hand the calls over; to submitit as one array."""
    if calls and callable(array := getattr(executor, "submit_array", None)):
        return list(array(calls))
    if not callable(getattr(executor, "submit", None)):
        raise SweepError(f"executor is {executor!r}, expected one with submit(…)")
    return [executor.submit(call) for call in calls]


def job_of_handle(handle: Any) -> str | None:
    """Return the number of the Slurm job that submitit has submitted."""
    job = getattr(handle, "job_id", None)
    return job if is_job(job) and type(handle).__module__.startswith(_SLURM_JOBS) else None


def note_job(run_dir: Path, handle: Any, attempts: int) -> None:
    """Put on record which job a cell waits for: the same call would submit it once more."""
    job = job_of_handle(handle)
    if job is None:
        return
    try:
        write_submission(run_dir, job, attempts=attempts, log=Path(handle.paths.stderr))
    except OSError as error:
        say(f"runstore: {run_dir}: its Slurm job {job} is not on record ({error.strerror})")


def _await_job(handle: Any) -> None:
    """Wait until a Slurm job has left a result, or is over without one.

    submitit asks accounting alone, and without it would wait for good.
    """
    job, over_since = job_of_handle(handle), None
    while job is not None and not handle.done():
        if not is_over(job):
            over_since = None
        elif over_since is None:
            over_since = time.monotonic()
        elif time.monotonic() > over_since + RESULT_S:
            raise SweepError(f"Slurm job {job} has left no result; see {handle.paths.stderr}")
        time.sleep(LOOK_S)


def is_over(job: str) -> bool:
    """Tell whether Slurm says that a job is over, or that there is none."""
    JOBS.state(job)
    JOBS.refresh()
    told = JOBS.state(job)
    return JOBS.is_gone(job) if told is None else told.is_over


def outcome_of(handle: Any) -> Outcome:
    """Wait for what came of a call, and return it; what an executor raises is its problem."""
    try:
        _await_job(handle)
        found = handle.result()
    except Exception as error:  # noqa: BLE001 - whatever an executor raises is the end of one cell
        return Outcome(error=error, problem=describe(error))
    return found if isinstance(found, Outcome) else Outcome(value=found)
