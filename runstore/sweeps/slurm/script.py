"""A sweep as a batch script, for those who want to own it."""

from __future__ import annotations

import shlex
import sys

from runstore.errors import SweepError
from runstore.slurm.script import Job, sweep_script
from runstore.sweeps.execute import MODULE
from runstore.sweeps.plan import Sweep


def script_of(sweep: Sweep, job: Job) -> str:
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
    return sweep_script(sweep.path, cells, sweep.command, runner, job)
