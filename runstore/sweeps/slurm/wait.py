"""Wait for the cells of a sweep that Slurm has."""

from __future__ import annotations

import time
from collections.abc import Callable

from runstore.errors import SweepError
from runstore.sweeps.cells import Action, Task
from runstore.sweeps.document import Sweep
from runstore.sweeps.slurm.submit import looked

FIRST_LOOK_S = 2.0
LOOK_S = 30.0
"""squeue(1) asks not to be called in a loop; jobs take hours."""


def wait(sweep: Sweep, tell: Callable[[list[Task]], None]) -> list[Task]:
    """Wait until no cell runs or is in a queue; return what became of each.

    Args:
        sweep: the sweep.
        tell: is called after each look with all cells.
    """
    pause_s, tasks = FIRST_LOOK_S, _looked(sweep)
    while not tasks or any(task.action is Action.WAIT for task in tasks):
        tell(tasks)
        time.sleep(pause_s)
        pause_s = min(LOOK_S, 1.5 * pause_s)
        tasks = _looked(sweep) or tasks
    tell(tasks)
    return tasks


def _looked(sweep: Sweep) -> list[Task]:
    """Return the cells; nothing while Slurm gives no answer, for which it may have its reasons."""
    try:
        return looked(sweep)
    except SweepError:
        return []
