"""Random generators that loaders have of their own, found again in a resumed run.

The script makes them anew there, seeded as in the beginning. Each is known by the split that first
drew from it and by its state then; among equals by their order.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from runstore.train.loaders import generators_of

Key = tuple[str, str]
"""The split that first drew from a generator, and a digest of its state before that."""
Saved = tuple[Key, torch.Tensor]
MOST_SEEN = 1000


@dataclass(slots=True)
class _Seen:
    generator: weakref.ref[torch.Generator]
    key: Key
    first_epoch: int
    last_epoch: int
    is_back: bool = False
    """Whether it was asked for its state of an earlier attempt."""


class LoaderGenerators:
    """The generators that a run's splits were drawn from."""

    def __init__(self, note_inexact: Callable[[str], object]) -> None:
        """Know none yet.

        Args:
            note_inexact: is told what a resume cannot restore.
        """
        self._note_inexact = note_inexact
        self._seen: list[_Seen] = []
        self._made_anew: set[Key] = set()
        """Generators that the script makes in each epoch: they come with the right state."""
        self._saved: list[Saved] = []
        self._put_back: set[Key] = set()
        """Those put back before a pass. If the next epoch makes them anew, that was wrong."""

    def note(self, split: str, loader: Iterable[Any], epoch: int | None) -> None:
        """Take notice of what a split is about to draw from.

        Args:
            split: its name.
            loader: what the batches are drawn from.
            epoch: from 1; None before the first.
        """
        for generator in generators_of(loader):
            seen = self._find(generator)
            if seen is None:
                self._add(generator, split, epoch or 0)
            else:
                seen.last_epoch = epoch or 0

    def _find(self, generator: torch.Generator) -> _Seen | None:
        return next((seen for seen in self._seen if seen.generator() is generator), None)

    def _add(self, generator: torch.Generator, split: str, epoch: int) -> None:
        key = (split, _digest(generator))
        earlier = [seen for seen in self._seen if seen.key == key and seen.last_epoch < epoch]
        if earlier and key not in self._made_anew:
            self._made_anew.add(key)
            if key in self._put_back:
                self._note_inexact(f"the {split} loader is made anew with the same seed each time")
        # Loaders that the script makes with another seed each time would fill the memory.
        self._seen = [one for one in self._seen if one not in earlier][-MOST_SEEN:]
        self._seen.append(_Seen(weakref.ref(generator), key, epoch, epoch))

    def put_back(self, loader: Iterable[Any], *, inside: bool) -> None:
        """Put the loader's generators back as they were at the checkpoint, each once.

        Args:
            loader: what a split is drawn from.
            inside: whether the split goes on in the middle: then it is surely the same loader.
        """
        for generator in generators_of(loader):
            seen = self._find(generator)
            if seen is None or seen.is_back:
                continue
            seen.is_back = True
            found = _first(self._saved, seen.key)
            if found is not None:
                self._saved = [saved for saved in self._saved if saved is not found]
                if not inside:
                    self._put_back.add(seen.key)
                generator.set_state(found[1])

    def state(self) -> list[dict[str, Any]]:
        """Return the generators' states, and how to find them."""
        waiting = list(self._saved)
        states = []
        for seen in self._seen:
            generator = seen.generator()
            if generator is None or seen.key in self._made_anew:
                continue
            state = generator.get_state()
            if not seen.is_back and (found := _first(waiting, seen.key)) is not None:
                # Drawn from on the way to the checkpoint only; it has yet to be put back.
                waiting = [saved for saved in waiting if saved is not found]
                state = found[1]
            states.append((seen.key, state))
        return [
            {"split": split, "began": began, "state": state}
            for (split, began), state in states + waiting
        ]

    def load_state(self, states: Iterable[dict[str, Any]]) -> None:
        """Take over what `state` returned, for the generators that are still to come."""
        self._saved = [((one["split"], one["began"]), one["state"]) for one in states]


def _first(states: list[Saved], key: Key) -> Saved | None:
    return next((saved for saved in states if saved[0] == key), None)


def _digest(generator: torch.Generator) -> str:
    return hashlib.sha256(generator.get_state().numpy().tobytes()).hexdigest()[:16]
