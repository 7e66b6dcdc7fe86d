"""How far a sweep is, who is told, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runstore.state.run_state import RunState
from runstore.sweeps.cells import Task
from runstore.sweeps.devices import Slot
from runstore.sweeps.document import Cell


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sweep is."""

    total: int
    finished: int
    ended: int
    """Cells that ended otherwise, and are not started again now."""
    running: int
    waited: int
    """Alive, and not started by this process."""
    left_s: float | None
    """Seconds until the last cell ends, as far as the durations of the others tell."""
    stalled: tuple[tuple[str, str], ...] = ()
    """Cells that are alive and get on no more: the id of each, and since when, in words."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell that this call is done with."""

    cell: Cell
    status: str
    """The word of its run's status; `not started` where no attempt was begun."""
    reason: str
    duration_s: float | None = None
    """How long it ran, without the time between its attempts."""
    printed: str = ""
    """The last line that it printed, where nothing else tells why it has failed."""

    @property
    def is_finished(self) -> bool:
        """Whether the cell got to its end."""
        return self.status == "finished"


class Listener(Protocol):
    """Who is told what happens."""

    def started(self, cell: Cell, slot: Slot) -> None:
        """A process was started for a cell."""

    def waits(self, task: Task) -> None:
        """A cell is alive that another process has started."""

    def stalls(self, task: Task) -> None:
        """A cell is alive, and gets on no more."""

    def ended(self, ended: Ended) -> None:
        """A cell is done with, for now."""

    def stands(self, standing: Standing) -> None:
        """Time has passed."""

    def stops(self, running: int, *, is_hard: bool) -> None:
        """Somebody has asked for the end; `running` processes were asked, or killed."""


def left_s(
    lengths: Sequence[float], running: Sequence[RunState], *, total: int, at_once: int
) -> float | None:
    """Estimate the seconds until the last cell ends; None where nothing tells.

    Args:
        lengths: seconds that cells took which have finished; without one, what running ones say
            of themselves counts.
        running: the runs that are alive.
        total: how many cells are still to end, these included.
        at_once: how many run at a time.
    """
    wholes = list(lengths) or [whole for state in running if (whole := _whole_s(state))]
    if not wholes:
        return None
    each_s = sum(wholes) / len(wholes)
    lefts = [_left_of(state, each_s) for state in running]
    queued = total - len(running)
    places = max(1, min(at_once, len(running) + queued))
    return max([*lefts, (sum(lefts) + queued * each_s) / places])


def _whole_s(state: RunState) -> float | None:
    """Return how long a running cell will have taken, as far as it says."""
    left_s = state.progress.eta_s if state.progress else None
    return None if left_s is None else (state.duration_s or 0.0) + left_s


def _left_of(state: RunState, each_s: float) -> float:
    if state.progress is not None and state.progress.eta_s is not None:
        return max(0.0, state.progress.eta_s)
    return max(0.0, each_s - (state.duration_s or 0.0))
