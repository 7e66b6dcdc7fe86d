"""The place in the loops where a checkpoint was made, and how a resumed run knows it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from runstore.open_stages import Epoch

PlaceKind = Literal["batch", "epoch", "manual"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resumed run goes on."""

    epochs_done: int
    """Epochs that had ended."""
    train_splits: int
    """Train splits that had ended in the epoch that was open."""
    epoch: dict[str, Any] | None
    """The epoch that was open."""
    split: dict[str, Any] | None
    """The train split that was open; None between epochs."""
    restore: Callable[[], None]
    """Puts the random generators back as they were."""

    def holds(self, epoch: Epoch | None) -> bool:
        """Tell whether this is the epoch that was open, or no epoch was and none is."""
        if self.split is None:
            return False
        if self.epoch is None:
            return epoch is None
        return epoch is not None and epoch.number == self.epoch["number"]


def generator_states(loader: Iterable[Any]) -> list[Any]:
    """Return the states of the generators that a loader has of its own."""
    if "torch" not in sys.modules:
        return []
    from runstore.train.feed import generators_of

    return [generator.get_state() for generator in generators_of(loader)]


def place_generators(name: str, loader: Iterable[Any], states: dict[str, list[Any]]) -> None:
    """Put a loader's own generators back, when the resumed run first draws from it."""
    saved = states.pop(name, [])
    if saved:
        from runstore.train.feed import generators_of

        for generator, state in zip(generators_of(loader), saved, strict=False):
            generator.set_state(state)
