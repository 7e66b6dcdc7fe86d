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

from runstore.run.exits import is_stopping
from runstore.run.stops import Stop

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
    """Hold submitit's handlers back, if they are there.

    That of SIGTERM does nothing: a run whose loop is not ours could not be left, for a request or
    before Slurm kills it.
    """
    number, preemption = _number_of_submitit(), Preemption()
    if not number:
        yield preemption
        return
    ours: dict[int, Any] = {number: preemption.note}
    if _name_of_handler(signal.SIGTERM) == "bypass":
        ours[signal.SIGTERM] = signal.SIG_DFL
    theirs = {which: signal.signal(which, handler) for which, handler in ours.items()}
    handler = theirs[number]
    preemption.handler = handler if callable(handler) else None
    try:
        yield preemption
    finally:
        for which, handler in ours.items():
            if signal.getsignal(which) is handler:
                signal.signal(which, theirs[which])


def remove_earlier_results() -> None:
    """Remove what a start of this job has returned that a signal has ended: it is no result."""
    from submitit import JobEnvironment

    path = JobEnvironment().paths.result_pickle
    for name in (path.name, f"{path.name}.save_tmp"):
        path.with_name(name).unlink(missing_ok=True)


def _number_of_submitit() -> int:
    """Return the signal that submitit handles in this process; 0 for none."""
    # In a thread no handler can be set.
    if threading.current_thread() is not threading.main_thread():
        return 0
    for number in signal.valid_signals():
        if _name_of_handler(number) == "checkpoint_and_try_requeue":
            return int(number)
    return 0


def _name_of_handler(number: int) -> str:
    return getattr(signal.getsignal(number), "__name__", "")
