"""End runs that are alive or wait: a job of Slurm is cancelled, any other run is asked to stop.

A job is cancelled only where it is the run's own. A run that somebody started by hand in a session
on a node (`salloc`) is asked to stop instead: with its job the whole session would go.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from runstore.errors import RunStoreError
from runstore.runs.requests import make, why_refused
from runstore.slurm.jobs import JOBS_AT_ONCE
from runstore.slurm.submission import OWN_JOB_VARIABLE, is_job, note_cancelled
from runstore.sources import NATIVE
from runstore.state.run_state import RunState
from runstore.text import printable

SCANCEL_S = 60.0


@dataclass(frozen=True, slots=True)
class Cancellable:
    """A run that can be ended, and how."""

    state: RunState
    job: str | None
    """Its own job of Slurm; None for a run that is asked to stop."""

    @property
    def is_pending(self) -> bool:
        """Whether it waits in Slurm's queue."""
        return self.state.status.word == "pending"


def cancellable(state: RunState) -> Cancellable | str:
    """Return how a run can be ended, or why it cannot, in a few words."""
    if state.source != NATIVE.name:
        return why_refused(state)
    word = state.status.word
    submitted = state.next_job
    if word == "pending" and submitted is not None and submitted.is_of(state.path):
        return Cancellable(state, submitted.job)
    own = state.environment.get(OWN_JOB_VARIABLE)
    if word in ("pending", "running", "stalled") and is_job(own):
        return Cancellable(state, own)
    if word == "pending":
        return f"Slurm job {state.job} may be of more than this run: scancel {state.job}"
    why = why_refused(state)
    return why.replace("takes requests", "can be cancelled") if why else Cancellable(state, None)


def cancel(runs: Iterable[Cancellable]) -> None:
    """End runs.

    Raises:
        RunStoreError: Slurm does not cancel a job.
        NotWritableError: a run's directory takes no request.
    """
    runs = list(runs)
    own = [(run, run.job) for run in runs if run.job is not None]
    for start in range(0, len(own), JOBS_AT_ONCE):
        some = own[start : start + JOBS_AT_ONCE]
        _scancel([job for _, job in some])
        for run, job in some:
            _note(run.state, job)
    for run in runs:
        if run.job is None:
            make(run.state.path, "stop")


def _note(state: RunState, job: str) -> None:
    """To the run its end looks like a preemption, and without accounting Slurm forgets the job."""
    has_begun = state.environment.get(OWN_JOB_VARIABLE) == job
    # The job is cancelled, which is what counts, also where the directory takes no file.
    with suppress(OSError):
        note_cancelled(state.path, job, attempts=state.attempt - has_begun)


def _scancel(jobs: Sequence[str]) -> None:
    program = shutil.which("scancel")
    if program is None:
        raise RunStoreError(
            f"Slurm job {jobs[0]} cannot be cancelled: there is no scancel on this machine; "
            "go to the login node of the cluster"
        )
    try:
        done = subprocess.run(
            [program, *jobs], capture_output=True, text=True, errors="replace", timeout=SCANCEL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunStoreError(f"Slurm job {jobs[0]} cannot be cancelled: {error}") from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RunStoreError(f"Slurm job {jobs[0]} cannot be cancelled: {printable(why)}")
