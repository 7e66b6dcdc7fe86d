"""The objects whose states a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Registered:
    """What the script registered, by name, and what its steppers have that it may not register."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.named: dict[str, Any] = {}
        self._of_steppers: dict[str, Any] = {}
        """Steppers, their optimizers and schedulers, under names of our own."""
        self._without_state: dict[str, tuple[Any, str]] = {}
        """Those of them that cannot be held, and why."""

    def __bool__(self) -> bool:
        """Whether the script has registered anything."""
        return bool(self.named)

    def add(self, objects: Mapping[str, Any]) -> None:
        """Take objects with a state.

        Raises:
            TypeError: an object has no state; none is taken.
        """
        from runstore.train.checkpoint import check_stateful

        for name, thing in objects.items():
            check_stateful(name, thing)
        self.named |= objects

    def add_stepper(self, stepper: Any) -> dict[str, Any]:
        """Hold a stepper, its optimizer and its scheduler; return those that are new, by name."""
        from runstore.train.checkpoint import why_not_saved

        new: dict[str, Any] = {}
        parts = {"stepper": stepper, "optimizer": stepper.optimizer, "scheduler": stepper.scheduler}
        for kind, thing in parts.items():
            if thing is None or any(thing is one for one in self._of_steppers.values()):
                continue
            why = why_not_saved(type(thing).__name__, thing)
            if why is None:
                new[f"_{kind}{self._number_of(kind)}"] = thing
            else:
                self._without_state[kind] = thing, why
        self._of_steppers |= new
        return new

    def _number_of(self, kind: str) -> int:
        return sum(name.startswith(f"_{kind}") for name in self._of_steppers)

    def everything(self) -> dict[str, Any]:
        """Return what is registered, and what the steppers have that is not."""
        known = self._known()
        own = {name: thing for name, thing in self._of_steppers.items() if id(thing) not in known}
        return self.named | own

    def not_held(self) -> dict[str, str]:
        """Return why a stepper's optimizer or scheduler is in no checkpoint, by these words."""
        known = self._known()
        return {
            kind: why
            for kind, (thing, why) in self._without_state.items()
            if id(thing) not in known
        }

    def _known(self) -> set[int]:
        return {id(thing) for thing in self.named.values()}
