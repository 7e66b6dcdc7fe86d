"""A sweep as a batch script, for those who want to own it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping

from runstore.errors import SweepError
from runstore.slurm.jobs import jobs_of_comment, longest_array
from runstore.slurm.script import Job, Pieces, comment_of, sweep_script
from runstore.slurm.submission import write_submission
from runstore.state.run_state import RunState
from runstore.sweeps.document import Sweep
from runstore.sweeps.execute import MODULE

ARRAY_AT_MOST = 1000
"""By default Slurm's MaxArraySize admits tasks up to 1,000."""


def pieces_of(sweep: Sweep) -> Pieces:
    """Return the arrays that the cells need, by this cluster's MaxArraySize, or Slurm's own."""
    return Pieces.of(len(sweep.cells), longest_array() or ARRAY_AT_MOST)


def note_submitted(sweep: Sweep, cells: Mapping[str, RunState]) -> int:
    """Put on record which cells the script's jobs wait for that somebody has submitted.

    Args:
        sweep: the sweep; it is locked.
        cells: those to which no other job is known, by their ids, each with its run.

    Returns:
        Of how many cells a job was found.

    Raises:
        SlurmSilentError: Slurm gives no answer.
        OSError: a run's directory takes no file.
    """
    count = 0
    for task in jobs_of_comment(comment_of(sweep.path), os.getuid()):
        index = task.word + task.index
        # They stand in the script in their order, and further ones come behind.
        cell = sweep.cells[index].id if index < len(sweep.cells) else ""
        state = cells.get(cell)
        if state is not None and state.job != task.job:
            run_dir = sweep.run_dir(sweep.cell(cell))
            write_submission(run_dir, task.job, attempts=state.attempt, log=None)
            count += 1
    return count


def script_of(sweep: Sweep, job: Job, pieces: Pieces) -> str:
    """Return the script of an array that runs the sweep's cells, one task each.

    Raises:
        SweepError: it is a sweep of a function, or a search, whose cells are not known beforehand.
        RunStoreError: a value of `job` is none that sbatch takes.
    """
    if not sweep.command:
        raise SweepError(
            f"{sweep.path} is a sweep of the function {sweep.function}: give it an executor of "
            "submitit, runstore.sweep(..., executor=...)"
        )
    if sweep.search is not None or not sweep.cells:
        raise SweepError(f"{sweep.path} is a search: its cells are not known beforehand")
    runner = f'{shlex.quote(sys.executable)} -P -m {MODULE} "$sweep" "$cell"'
    cells = [cell.id for cell in sweep.cells]
    return sweep_script(sweep.path, cells, sweep.command, runner, job, pieces)
