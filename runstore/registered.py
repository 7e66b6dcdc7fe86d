"""The objects whose states a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Registered:
    """What the script registered, by name, and the steppers that it may not register."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.named: dict[str, Any] = {}
        self._steppers: list[Any] = []

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

    def add_stepper(self, stepper: Any) -> None:
        """Hold a stepper that the script may not register: its loss scale belongs to the state."""
        self._steppers.append(stepper)

    def everything(self) -> dict[str, Any]:
        """Return what is registered, and the steppers that are not, under names of our own."""
        known = [id(thing) for thing in self.named.values()]
        forgotten = [stepper for stepper in self._steppers if id(stepper) not in known]
        own = {f"_stepper{index}": stepper for index, stepper in enumerate(forgotten)}
        return self.named | own
