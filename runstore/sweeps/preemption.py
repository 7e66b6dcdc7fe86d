"""A function of a sweep as a job of submitit, which signals it before its time limit.

submitit's handler leaves whatever the signal finds under way, and requeues the job at once. Here it
waits until the run has saved and ended, and the function was left.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from runstore.exits import is_stopping
from runstore.stops import Stop

_Handler = Callable[[int, FrameType | None], Any]


@dataclass(slots=True)
class Preemption:
    """What came of submitit's signal while a function ran."""

    handler: _Handler | None = None
    """submitit's own; None where the function is no job of it."""
    number: int = 0
    """The signal's, once it has come."""
    is_inside: bool = True
    """Whether the function is running, and can be left."""

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Have the function left, unless a loop of its run is about to do that."""
        is_first, self.number = not self.number, number
        if is_first and self.is_inside and not is_stopping():
            raise Stop.by_signal(number).exception()

    def pass_on(self) -> None:
        """Let submitit requeue the job, which ends this process, if its signal has come.

        Raises:
            Exception: submitit's, where its job is not requeued: it was at its time limit as often
                as its executor allows.
        """
        if self.handler is not None and self.number:
            self.handler(self.number, None)


@contextmanager
def putting_off() -> Iterator[Preemption]:
    """Hold submitit's handler back, if it is there."""
    number, preemption = _number_of_submitit(), Preemption()
    if not number:
        yield preemption
        return
    handler = signal.getsignal(number)
    assert callable(handler)  # it was found by its name
    preemption.handler = handler
    note = preemption.note
    signal.signal(number, note)
    try:
        yield preemption
    finally:
        if signal.getsignal(number) is note:
            signal.signal(number, handler)


def _number_of_submitit() -> int:
    """Return the signal that submitit handles in this process; 0 for none."""
    # In a thread no handler can be set.
    if threading.current_thread() is not threading.main_thread():
        return 0
    for number in signal.valid_signals():
        if getattr(signal.getsignal(number), "__name__", "") == "checkpoint_and_try_requeue":
            return int(number)
    return 0
