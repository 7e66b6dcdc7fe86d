"""What is worth telling of the Slurm job that a run is in, or waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass

from runstore.numbers import duration, times
from runstore.slurm.jobs import JOBS, ON_A_NODE, QUEUED, UNKNOWN_TIME, SlurmJobs
from runstore.state.run_state import RunState


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job as it concerns one run."""

    job: str
    """`123`, or `123_4` in an array."""
    word: str | None = None
    """Its state in Slurm's word; None where Slurm was not asked, or does not know it."""
    reason: str | None = None
    """Why it waits, in Slurm's word."""
    restarts: int = 0
    """How often it was requeued."""
    limit_end: float | None = None
    """When the time limit of this start ends it, Unix seconds by Slurm's clock."""

    @property
    def time_left_s(self) -> float | None:
        """Seconds until then; None for a job that does not run, or has no limit."""
        return None if self.limit_end is None else max(0.0, self.limit_end - time.time())

    def in_words(self) -> str:
        """Return `Slurm job 123_4, 2:15:00 left, requeued once`."""
        left_s = self.time_left_s
        left = "" if left_s is None else f"{duration(left_s)} left"
        requeued = f"requeued {times(self.restarts)}" if self.restarts else ""
        return ", ".join(filter(None, (f"Slurm job {self.job}", left, requeued)))


def job_facts(state: RunState, jobs: SlurmJobs = JOBS) -> JobFacts | None:
    """Return what is known of the job that is to begin a run's next attempt, or began the newest.

    None for a run that was in no job. Slurm is not asked here; who stays asks for news by
    `SlurmJobs.refresh`. Of a run that has ended nothing is asked.
    """
    submitted = state.next_job
    if submitted is not None and submitted.is_of(state.path):
        told = jobs.state(submitted.job)
        if told is None:
            return JobFacts(submitted.job)
        return JobFacts(submitted.job, told.word, told.reason or None)
    job = state.job
    if job is None:
        return None
    is_live = state.status.is_proven_alive or state.status.word == "pending"
    told = jobs.state(job) if is_live else None
    if told is None:
        return JobFacts(job, restarts=state.job_restarts)
    is_queued, is_running = told.word in QUEUED, told.word in ON_A_NODE
    return JobFacts(
        job,
        told.word,
        told.reason or None,
        state.job_restarts + is_queued,
        told.end if is_running and told.end != UNKNOWN_TIME else None,
    )
