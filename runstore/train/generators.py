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

from runstore.train.loaders import generators_of, unwrapped

Key = tuple[str, str, str]
"""The split that first drew from a generator, what its loader was like, and a digest of the
generator's state before that."""
MOST_SEEN = 1000


@dataclass(slots=True)
class _Seen:
    generator: weakref.ref[torch.Generator]
    key: Key
    last_epoch: int
    saved: torch.Tensor | None = None
    """Its state at the checkpoint, until it is put back."""
    was_drawn: bool = False
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
        self._saved: list[tuple[Key, torch.Tensor]] = []
        """States of an earlier attempt whose generators did not come yet."""
        self._put_back: set[Key] = set()
        """Those put back before a pass. If the next epoch makes them anew, that was wrong."""

    def note(
        self, split: str, loader: Iterable[Any], epoch: int | None, *, is_drawn: bool = True
    ) -> None:
        """Take notice of what a split is about to draw from.

        Args:
            split: its name.
            loader: what the batches are drawn from.
            epoch: from 1; None before the first.
            is_drawn: False when the split is passed over.
        """
        for generator in generators_of(loader):
            seen = self._find(generator)
            if seen is None:
                seen = self._add(generator, (split, _kind(loader), _digest(generator)), epoch or 0)
            elif seen.was_drawn and _digest(generator) == seen.key[-1]:
                # The script has seeded it again, and will do so in a resumed run.
                self._is_made_anew(seen.key)
            seen.last_epoch = epoch or 0
            seen.was_drawn = seen.was_drawn or is_drawn

    def _find(self, generator: torch.Generator) -> _Seen | None:
        return next((seen for seen in self._seen if seen.generator() is generator), None)

    def _add(self, generator: torch.Generator, key: Key, epoch: int) -> _Seen:
        earlier = [seen for seen in self._seen if seen.key == key and seen.last_epoch < epoch]
        if earlier:
            self._is_made_anew(key)
        seen = _Seen(weakref.ref(generator), key, epoch)
        self._find_state(seen)
        # Loaders that the script makes with another seed each time would fill the memory.
        self._seen = [one for one in self._seen if one not in earlier][-MOST_SEEN:]
        self._seen.append(seen)
        return seen

    def _is_made_anew(self, key: Key) -> None:
        if key not in self._made_anew and key in self._put_back:
            self._note_inexact(f"the {key[0]} loader begins with the same seed each time")
        self._made_anew.add(key)

    def _find_state(self, seen: _Seen) -> None:
        """Give a generator the first state of its kind: equals come in the same order again."""
        for index, (key, state) in enumerate(self._saved):
            if key == seen.key:
                del self._saved[index]
                seen.saved = state
                return

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
            if seen.saved is not None:
                generator.set_state(seen.saved)
                seen.saved = None
                if not inside:
                    self._put_back.add(seen.key)

    def state(self) -> list[dict[str, Any]]:
        """Return the generators' states, and how to find them."""
        states = []
        for seen in self._seen:
            generator = seen.generator()
            if generator is not None and seen.key not in self._made_anew:
                # One that was drawn from on the way to the checkpoint only has yet to be put back.
                states.append(
                    (seen.key, generator.get_state() if seen.saved is None else seen.saved)
                )
        return [
            {"split": split, "loader": loader, "began": began, "state": state}
            for (split, loader, began), state in states + self._saved
        ]

    def load_state(self, states: Iterable[dict[str, Any]]) -> None:
        """Take over what `state` returned."""
        names = ("split", "loader", "began")
        self._saved = [((*(one[name] for name in names),), one["state"]) for one in states]
        for seen in self._seen:
            self._find_state(seen)


def _kind(loader: Iterable[Any]) -> str:
    """Return in words what tells most loaders from each other."""
    source = unwrapped(loader)
    try:
        samples = len(getattr(source, "dataset", ()))
    except Exception:  # noqa: BLE001  # a user's __len__ may raise anything
        samples = 0
    return f"{type(source).__name__} of {samples}, {getattr(source, 'batch_size', None)} each"


def _digest(generator: torch.Generator) -> str:
    return hashlib.sha256(generator.get_state().numpy().tobytes()).hexdigest()[:16]
