"""The program that runs one cell: `python -m runstore.sweeps.cell [--quiet] SWEEP_DIR CELL`.

Its exit status is that of the cell's command, as of `runstore exec`; 1 where that was not started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runstore.errors import RunStoreError
from runstore.exec.session import NotStartedError
from runstore.sweeps.execute import MODULE, run_cell
from runstore.text import printable

QUIET = "--quiet"


def main(arguments: Sequence[str]) -> int:
    """Run the cell that the arguments name; say in one line why it cannot be run."""
    places = [word for word in arguments if word != QUIET]
    if len(places) != 2:
        _tell(2, f"usage: python -m {MODULE} [{QUIET}] SWEEP_DIR CELL")
        return 2
    complaints = os.dup(2)
    if QUIET in arguments:
        _silence()
    try:
        return run_cell(Path(places[0]), places[1])
    except NotStartedError as error:
        _tell(complaints, str(error))
        return error.status
    except (RunStoreError, OSError) as error:
        _tell(complaints, str(error))
        return 1


def _silence() -> None:
    """What the command prints goes to its output.log alone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _tell(descriptor: int, message: str) -> None:
    os.write(descriptor, f"runstore: {printable(message)}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
