"""A function of a sweep as a job of submitit, which signals it before its time limit.

submitit's handler leaves whatever the signal finds under way, and requeues the job at once. Here it
waits until the run has saved and ended, and the function was left.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from runstore.run.exits import is_stopping
from runstore.run.stops import Stop
from runstore.slurm.jobs import is_being_preempted

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
    is_own: bool = False
    """Whether the job is there for this call alone, and ends with it."""
    is_done: bool = False
    """Whether the function has come to its end."""

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Have the function left, unless a loop of its run is about to do that."""
        is_first, self.number = not self.number, number
        if is_first and self.is_inside and not is_stopping():
            raise Stop.by_signal(number).exception()

    def pass_on(self) -> None:
        """Let submitit requeue the job, which ends this process, if it is to go on later.

        A job of the call alone is not requeued when the function has come to its end. One that
        does more than this call still has to know of the signal.

        Raises:
            Exception: submitit's, where its job is not requeued: it was at its time limit as often
                as its executor allows.
        """
        if self.handler is None or (self.is_own and self.is_done):
            return
        if self.number:
            self.handler(self.number, None)

    def pass_on_notice(self) -> None:
        """Do the same when SIGTERM was Slurm's notice, behind which it means to end the job later.

        Raises:
            Exception: as for `pass_on`.
        """
        if self.handler is not None and is_being_preempted(os.environ.get("SLURM_JOB_ID", "")):
            self.handler(signal.SIGTERM, None)


@contextmanager
def putting_off(call: object) -> Iterator[Preemption]:
    """Hold submitit's handlers back, if they are there.

    That of SIGTERM does nothing: a run whose loop is not ours could not be left, for a request or
    before Slurm kills it.

    Args:
        call: what is about to be called; the job is its own where submitit has it to call.
    """
    number, preemption = number_of_submitit(), Preemption()
    if not number:
        yield preemption
        return
    ours: dict[int, Any] = {number: preemption.note}
    if _name_of_handler(signal.SIGTERM) == "bypass":
        ours[signal.SIGTERM] = signal.SIG_DFL
    theirs = {which: signal.signal(which, handler) for which, handler in ours.items()}
    handler = theirs[number]
    preemption.handler = handler if callable(handler) else None
    preemption.is_own = _called_by(handler) is call
    try:
        yield preemption
    finally:
        if preemption.is_own and preemption.is_done:
            # submitit has the result to write: its own handler would call the function once more.
            ours.pop(number)
        for which, handler in ours.items():
            if signal.getsignal(which) is handler:
                signal.signal(which, theirs[which])


def remove_earlier_results() -> None:
    """Remove what a start of this job has returned that a signal has ended: it is no result."""
    from submitit import JobEnvironment

    path = JobEnvironment().paths.result_pickle
    for name in (path.name, f"{path.name}.save_tmp"):
        path.with_name(name).unlink(missing_ok=True)


def number_of_submitit() -> int:
    """Return the signal that submitit handles in this process; 0 for none."""
    # In a thread no handler can be set.
    if threading.current_thread() is not threading.main_thread():
        return 0
    for number in signal.valid_signals():
        if _name_of_handler(number) == "checkpoint_and_try_requeue":
            return int(number)
    return 0


def _called_by(handler: object) -> object:
    """Return what submitit's job calls, whose handler this is; a fork of the job has it too."""
    submission = getattr(getattr(handler, "__self__", None), "_delayed", None)
    return getattr(submission, "function", None)


def _name_of_handler(number: int) -> str:
    return getattr(signal.getsignal(number), "__name__", "")
