"""What a job of submitit is to call: where it lies, and how it gets there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def paths_of(folder: Path, job: str) -> Any:
    """Return submitit's paths of a job, whose files are in `folder`."""
    from submitit.core.utils import JobPaths

    return JobPaths(folder, job, 0)


def scripts_of(folder: str | Path) -> Path:
    """Return where an executor with this folder, which may have numbers of jobs, has scripts."""
    from submitit.core.utils import JobPaths

    return Path(JobPaths.get_first_id_independent_folder(folder))


def hand_over_call(
    call: Callable[[], Any], folder: Path, job: str, timeout_min: int, timeouts: int
) -> None:
    """Write what a job is to call, unless it is there: the job waits for it for a minute.

    submitit writes it under another name before `sbatch`, which knows the job's number first.

    Args:
        call: what the job is to call.
        folder: where submitit's files are.
        job: the job, or the task of an array.
        timeout_min: its time limit, in minutes.
        timeouts: how often it may come to that.

    Raises:
        OSError: the folder takes no file.
    """
    from submitit.core.utils import DelayedSubmission

    path = paths_of(folder, job).submitted_pickle
    if path.exists():
        return
    delayed = DelayedSubmission(call)
    delayed.set_timeout(timeout_min, timeouts)
    path.parent.mkdir(parents=True, exist_ok=True)
    unready = path.with_name(f"{path.name}.unready")
    delayed.dump(unready)
    unready.rename(path)
