"""Which of several steppers counts the optimizer steps of a run. Knows no stepper, only numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class StepCounting:
    """The number of the stepper that counts, in the order in which they were made, from 0.

    Of several (one for each network of a GAN) only the first counts. One that is made when that
    has stepped already may be of a next phase of the training: it counts from its first step on,
    if the one that counted took none since it was made; when that one steps again, it was no phase
    that was over.
    """

    def __init__(self) -> None:
        """Let the first one count."""
        self._number, self._has_stepped = 0, False
        self._next: int | None = None
        """The newest one, which has not stepped yet."""
        self._before: int | None = None
        self._had_stepped = False
        """Whether the one that counts had stepped when the checkpoint was made."""

    def note_added(self, number: int) -> None:
        """A stepper was made."""
        if self._has_stepped and self._number < number:
            self._next = number

    def note_step(self, number: int) -> bool:
        """Tell whether the step that a stepper has just taken is one of the run's."""
        if number == self._next:
            self._before, self._number = self._number, number
        elif number == self._before:
            self._number, self._before = number, None
        if number != self._number:
            return False
        self._has_stepped, self._next = True, None
        return True

    def state(self) -> list[Any]:
        """Return what a checkpoint holds of it."""
        return [self._number, self._has_stepped]

    def load_state(self, state: Sequence[Any]) -> None:
        """Count as when the checkpoint was made; that it had stepped holds from `go_on` on."""
        self._number, self._had_stepped = state

    def go_on(self) -> None:
        """The script is where the checkpoint was made."""
        self._has_stepped = self._has_stepped or self._had_stepped
