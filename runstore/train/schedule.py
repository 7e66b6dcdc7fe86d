"""A scheduler that the Stepper steps, and whether anything else steps it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Schedule:
    """Steps a scheduler; says so when it has moved on between two of these steps.

    A schedule of a thousand optimizer steps that also moves once per epoch soon trains with a rate
    of almost nothing, and looks like any other curve that has gone flat.
    """

    def __init__(self, scheduler: Any, on_stepped_elsewhere: Callable[[str], object]) -> None:
        """Hold a scheduler, or None; `on_stepped_elsewhere` gets its name."""
        self._scheduler = scheduler
        self._on_stepped_elsewhere = on_stepped_elsewhere
        self._position: int | None = None
        """Where the last step of ours left it; None before that, when a state may be loaded."""

    def step(self) -> None:
        """Step the scheduler, if there is one."""
        scheduler = self._scheduler
        if scheduler is None:
            return
        now = _position(scheduler)
        # Backwards it goes when a script loads an earlier state of it.
        if self._position is not None and now is not None and now > self._position:
            self._on_stepped_elsewhere(type(scheduler).__name__)
        scheduler.step()
        self._position = _position(scheduler)


def _position(scheduler: Any) -> int | None:
    """Return how many steps a scheduler has behind it; None when it does not say."""
    position = getattr(scheduler, "last_epoch", None)
    if isinstance(position, int):
        return position
    # ChainedScheduler counts nothing itself.
    inner = getattr(scheduler, "_schedulers", None)
    return _position(inner[0]) if isinstance(inner, (list, tuple)) and inner else None
