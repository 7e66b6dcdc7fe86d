"""One cell of a sweep, run in this process: what the local pool starts, and a job of Slurm.

A process of its own for each cell watches the cell's command (`runstore exec`), so that who handed
the cells out may be killed without any of them being lost.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson

from runstore.console import say
from runstore.errors import SweepError
from runstore.exec.session import Wishes, execute
from runstore.launch.attempts import PARAMS_VARIABLE, RUN_VARIABLE
from runstore.sweeps.cells import Action, look
from runstore.sweeps.document import Cell, Sweep, load
from runstore.text import shell_word

MODULE = "runstore.sweeps.cell"


def cell_command(sweep: Sweep, cell: Cell, *, quiet: bool = False) -> list[str]:
    """Return the command that runs a cell, in any directory of this machine."""
    # -P: what lies in the current directory is not to be taken for a module of ours.
    python = [sys.executable, "-P", "-m", MODULE]
    return [*python, *(["--quiet"] if quiet else []), str(sweep.path.absolute()), cell.id]


def run_cell(sweep_dir: Path, cell_id: str) -> int:
    """Run a cell to its end, as the next attempt of its run; return its exit status.

    The command is started in the sweep's directory with the cell's values in the place of their
    names, and gets `RUNSTORE_RUN`, `RUNSTORE_ATTEMPT` and `RUNSTORE_PARAMS`. A cell that has
    finished is left alone: 0.

    Args:
        sweep_dir: the directory of `sweep.json`.
        cell_id: the cell's id.

    Raises:
        SweepError: there is no such sweep or cell, it is one of a function, or the directory in
            which its command is started is gone.
        NotStartedError: there is no such command.
        AttemptError: the cell is alive, or another process was faster.
        OSError: its directory cannot be written.
    """
    sweep = load(sweep_dir)
    cell = sweep.cell(cell_id)
    if not sweep.command:
        raise SweepError(f"{sweep.path} is a sweep of the function {sweep.function}, no command")
    (task,) = look(sweep, cells=[cell])
    if task.action is Action.DONE:
        say(f"runstore: {shell_word(sweep.run_dir(cell))} has finished already")
        return 0
    run_dir = sweep.run_dir(cell).absolute()
    try:
        os.chdir(sweep.cwd or ".")
    except OSError as error:
        raise SweepError(
            f"{sweep.cwd}: the directory of the sweep's command cannot be entered "
            f"({error.strerror})"
        ) from None
    os.environ.pop(RUN_VARIABLE, None)
    os.environ[PARAMS_VARIABLE] = orjson.dumps(cell.params).decode()
    wishes = Wishes(root=run_dir.parent, run_dir=run_dir)
    return execute(sweep.command_of(cell), wishes)
