"""What is to be done with each cell of a sweep, decided from the state of its run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from runstore.launch.requeued import was_requeued
from runstore.sources.glances import ask_scheduler
from runstore.sources.native import NativeReader
from runstore.sources.reading import guarded
from runstore.state.run_state import RunState
from runstore.state.status import Status
from runstore.sweeps.document import Cell, Sweep

UNSEEN_S = 40.0
"""So long a cell without evidence is watched for a heartbeat, which comes every 10 s at most."""


class Action(StrEnum):
    """What to do with a cell."""

    RUN = "run"
    """It was never started."""
    RESUME = "resume"
    """It was interrupted or has crashed: start it again, as the next attempt."""
    WAIT = "wait"
    """It is alive, or in a queue."""
    DONE = "done"
    FAILED = "failed"
    """It has failed, and starting it again was not asked for."""
    UNKNOWN = "unknown"
    """It may be alive elsewhere; starting it again was not asked for."""

    @property
    def is_start(self) -> bool:
        """Whether a process is to be started."""
        return self in (Action.RUN, Action.RESUME)


@dataclass(frozen=True, slots=True)
class Task:
    """A cell, and what is to be done with it."""

    cell: Cell
    action: Action
    status: Status

    @property
    def why(self) -> str:
        """The run's status, in words."""
        return f"{self.status.word}: {self.status.reason}".removesuffix(": ")


class CellWatch:
    """Follows one cell's run; a heartbeat is only seen by who looks twice."""

    def __init__(self, sweep: Sweep, cell: Cell) -> None:
        """Follow the run of a cell, whose directory may not be there yet."""
        self.cell = cell
        self.reader = NativeReader(sweep.run_dir(cell), patient=False)
        self._begun = time.monotonic()

    @property
    def state(self) -> RunState:
        """The run, as of the last look."""
        return self.reader.state

    def look(self, *, retry: bool = False) -> Task:
        """Look again, and decide."""
        guarded(self.reader, self.reader.glance)
        return self.task(retry=retry)

    def task(self, *, retry: bool = False) -> Task:
        """Decide from the last look.

        Args:
            retry: a cell that has failed is started again, and one that may be alive elsewhere
                but was not seen to be.
        """
        status = self.state.status
        if not self.state.attempts and not self.state.path.exists():
            status = Status("planned", "new")
        return Task(self.cell, self._action(status, retry), status)

    def _action(self, status: Status, retry: bool) -> Action:
        if self.reader.refused is not None:
            return Action.UNKNOWN
        is_queued = status.word == "pending"
        if not self.state.attempts and not is_queued and not self._has_trouble:
            return Action.RUN
        if status.word in ("running", "stalled", "pending"):
            # Slurm has killed the earlier start of the job that this process is a later start of.
            return Action.RESUME if was_requeued(self.state) else Action.WAIT
        if status.word in ("interrupted", "crashed"):
            return Action.RESUME
        if status.word == "finished":
            return Action.DONE
        if retry:
            return Action.RESUME
        if status.word == "failed":
            return Action.FAILED
        is_new = time.monotonic() < self._begun + UNSEEN_S
        return Action.WAIT if is_new else Action.UNKNOWN

    @property
    def _has_trouble(self) -> bool:
        """Whether something is there that cannot be read."""
        return bool(self.reader.unlisted) and self.reader.state.path.exists()


def look(sweep: Sweep, *, retry: bool = False, cells: Iterable[Cell] | None = None) -> list[Task]:
    """Return what is to be done with each cell, from one look at all of them.

    Args:
        sweep: the sweep; its directory need not be there.
        retry: as for `CellWatch.task`.
        cells: those to look at; default all.
    """
    tasks: list[Task] = []
    unsettled: dict[int, CellWatch] = {}
    for cell in sweep.cells if cells is None else cells:
        watch = CellWatch(sweep, cell)
        tasks.append(watch.look(retry=retry))
        # Of ten thousand cells most have nothing that Slurm could tell more about.
        is_known_to_slurm = watch.state.attempts or watch.state.next_job is not None
        if is_known_to_slurm and tasks[-1].action is not Action.DONE:
            unsettled[len(tasks) - 1] = watch
    ask_scheduler([watch.reader for watch in unsettled.values()])
    for index, watch in unsettled.items():
        tasks[index] = watch.task(retry=retry)
    return tasks
