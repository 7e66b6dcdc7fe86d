"""What happens between two batches and between two epochs: the places where a resume is exact.

Checkpoints are written there, and there the run is left when a signal, a request or another rank
asks for it: the optimizer step is done, the next batch not fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from runstore.resume.checkpointer import Checkpointer
from runstore.run.stops import Stop
from runstore.stages.replay import PlaceKind


class Windowed(Protocol):
    """A stepper, as far as the run needs it."""

    @property
    def in_window(self) -> bool:
        """Whether gradients wait for the rest of their window."""

    def finish_window(self) -> object:
        """Take the optimizer step of a window that is cut short."""


class Stoppable(Protocol):
    """The run, as far as stopping needs it."""

    def end(self, status: str, reason: str = "") -> None:
        """End the run."""

    def warn_once(self, key: str, message: str) -> None:
        """Say what could not be done, once per key."""


class Boundaries:
    """Saves and stops one run where that is possible."""

    def __init__(self, run: Stoppable, checkpointer: Checkpointer) -> None:
        """Nothing is asked for yet."""
        self._run = run
        self._checkpointer = checkpointer
        self.steppers: list[Windowed] = []
        self.stop: Stop | None = None
        """What asks the run to stop."""
        self.was_interrupted = False
        """Whether Ctrl-C has left a loop, which a script may catch."""

    def finish_windows(self) -> None:
        """Take the optimizer step of windows that the end of the split or epoch cuts short."""
        # Also those that have none open: under DistributedDataParallel all ranks must call it.
        for stepper in self.steppers:
            stepper.finish_window()

    def after_batch(self) -> None:
        """Save, or stop, if it is time: the batch before is done, the next one not fetched."""
        self._between_steps("batch")

    def between_own_steps(self) -> None:
        """The same in an epoch whose batches come from a loop of the script's own.

        How far that is nobody knows, so the resumed run begins the epoch again. Therefore only what
        was asked for is saved; what is due by the clock waits for the end of the epoch.
        """
        self._between_steps("step", by_clock=False)

    def _between_steps(self, kind: PlaceKind, *, by_clock: bool = True) -> None:
        for stepper in self.steppers:
            if stepper.in_window:
                return
        if self._checkpointer.wants_attention(stop=self.stop is not None, by_clock=by_clock):
            self._at_boundary(kind, by_clock=by_clock)

    def after_evaluation_batch(self) -> None:
        """Stop, if nothing is to be saved for it; otherwise when the evaluation is done."""
        if self.stop is not None and not self._checkpointer.is_active:
            self._leave(saved=True)

    def after_epoch(self, row: Mapping[str, Any], *, is_last: bool) -> None:
        """Save, or stop, if it is time; the last epoch is saved always."""
        self._checkpointer.note_epoch(row, is_last=is_last)
        self._at_boundary("epoch")

    def _at_boundary(self, kind: PlaceKind, *, by_clock: bool = True) -> None:
        saved = True
        stop, save = self._checkpointer.agree(stop=self.stop is not None, by_clock=by_clock)
        if stop and self.stop is None:
            self.stop = Stop("preempted with another rank")
        if save and self._checkpointer.is_active:
            saved = self._checkpointer.save(kind, "stop" if stop else "due")
        if stop:
            self._leave(saved=saved)

    # ---- stopping --------------------------------------------------------------------------------

    def ask_to_stop(self, stop: Stop) -> None:
        """Stop when the optimizer step is done and saved; called by signal handlers and threads."""
        if self.stop is None:
            self.stop = stop

    def ask_to_save(self) -> None:
        """Save at the next opportunity; called by the writer's thread."""
        if self._checkpointer.is_active:
            self._checkpointer.ask()
        else:
            self._run.warn_once("checkpoint", "a checkpoint was asked for; nothing is registered")

    def _leave(self, *, saved: bool) -> None:
        stop = self.stop
        assert stop is not None  # the caller has looked
        reason = stop.reason if saved else f"{stop.reason}; no checkpoint could be written"
        if stop.is_ctrl_c:
            # Scripts catch it, and go on with a test or a last plot; `with` ends the others.
            self.stop, self.was_interrupted = None, True
            # No class of ours: a script that Ctrl-C ends has a status of its own for the shell.
            raise KeyboardInterrupt(reason)
        self._run.end("interrupted", reason)
        raise stop.exception()
