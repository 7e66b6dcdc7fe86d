"""Whether Slurm has started a job again, which proves that the earlier start is dead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from runstore.slurm.variables import restarts_of
from runstore.state.attempt_facts import environment_of
from runstore.state.run_state import RunState


def was_requeued(state: RunState) -> bool:
    """Tell whether this process is a later start of the Slurm job of the newest attempt."""
    newest = state.newest
    return is_earlier_start((newest.begun if newest else None) or {}, state.info)


def is_earlier_start(opened: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
    """Tell whether an attempt was an earlier start of the Slurm job that this process belongs to.

    Slurm runs a job once at a time, so a higher restart count of the same job is evidence even
    where the other host cannot be asked.

    Args:
        opened: the attempt's first `open` event.
        info: `run.json`.
    """
    before = environment_of(opened, info)
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or before.get("SLURM_JOB_ID") != job:
        return False
    return restarts_of(os.environ) > restarts_of(before)
