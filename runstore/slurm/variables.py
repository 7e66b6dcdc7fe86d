"""What the environment variables of a job say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runstore.slurm.submission import is_job


def job_of(environment: Mapping[str, Any]) -> str | None:
    """Return the Slurm job that has these variables, as Slurm's programs take it."""
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    task = "_".join(str(environment.get(name)) for name in names)
    job = task if is_job(task) else environment.get("SLURM_JOB_ID")
    return job if is_job(job) else None


def restarts_of(environment: Mapping[str, Any]) -> int:
    """Return how often Slurm had started a job before it gave it these variables."""
    count = str(environment.get("SLURM_RESTART_COUNT", 0))
    return int(count) if re.fullmatch(r"[0-9]{1,9}", count) else 0
