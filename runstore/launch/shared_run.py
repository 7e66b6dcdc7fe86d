"""One run for several processes: rank 0 opens it, the others join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstore.environment.process import current_process
from runstore.errors import RunStoreError
from runstore.files.checkpoints import ResumePoint
from runstore.run.run import Run


@dataclass(frozen=True, slots=True)
class SharedRun:
    """What the other ranks need to know of the run."""

    path: Path
    params: dict[str, Any]
    attempt: int
    point: ResumePoint | None


def open_shared(open_run: Callable[[], Run], follow: Callable[[SharedRun, int], Run]) -> Run:
    """Return this rank's part of one run; what rank 0 cannot open, no rank opens.

    Raises:
        RunStoreError: rank 0 failed; there it raises what happened.
    """
    from runstore.train import ranks

    rank = ranks.rank()
    if rank == 0:
        return _lead(open_run)
    shared = ranks.broadcast_object(None)
    if isinstance(shared, str):
        raise RunStoreError(f"rank 0 could not open the run: {shared}")
    run = follow(shared, rank)
    ranks.gather_objects(current_process().to_record())
    return run


def _lead(open_run: Callable[[], Run]) -> Run:
    from runstore.train import ranks

    try:
        run = open_run()
    except BaseException as error:
        ranks.broadcast_object(f"{type(error).__name__}: {error}")
        raise
    ranks.broadcast_object(SharedRun(run.path, run.params, run.attempt, run.resume_point))
    processes = ranks.gather_objects(current_process().to_record())
    run.note_ranks([{"rank": rank, **process} for rank, process in enumerate(processes)])
    return run
