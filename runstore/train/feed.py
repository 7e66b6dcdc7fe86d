"""Batches of the user's loader, in an order that a checkpoint can go on with.

A checkpoint in the middle of an epoch holds the generators as they were before `iter(loader)`,
from which the loader drew its order, and how many batches were done. The resumed run draws the
same order from them, passes over what was done without loading it, and only then puts back the
generators as they were at the checkpoint.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from runstore.train.loaders import can_skip, generators_of, set_sampler_epoch
from runstore.train.rng import RngState, get_rng_state, set_rng_state
from runstore.train.workers import iterate

FeedState = dict[str, Any]
"""`drawn_from`: the generators before iter(loader); `generators`: the loader's own, then;
`batches`: how many were done; `loader`: its own state_dict, when it has one."""


class Feed:
    """One pass over a loader."""

    def __init__(self, loader: Iterable[Any], epoch: int | None) -> None:
        """Begin a pass; nothing is drawn before the first batch.

        Args:
            loader: what the user loops over.
            epoch: from 1, for a sampler that wants to know it.
        """
        self._loader = loader
        self._drawn_from: RngState = {}
        self._generators: list[torch.Tensor] = []
        self.batches = 0
        """Batches handed out in this pass, with those before a resume."""
        set_sampler_epoch(loader, epoch)

    def start(self) -> Iterator[Any]:
        """Return the batches from the first one on."""
        self._drawn_from = get_rng_state()
        self._generators = [generator.get_state() for generator in generators_of(self._loader)]
        return self._count(iterate(self._loader))

    def resume(self, saved: FeedState, restore: Callable[[], None], batches: int) -> Iterator[Any]:
        """Return the batches behind the first `batches`.

        Args:
            saved: what `state` returned.
            restore: puts the generators back as they were at the checkpoint; called when the order
                is drawn and before the first sample is loaded.
            batches: how many were done; not `saved["batches"]` when the number of ranks changed.
        """
        self._drawn_from, self._generators = saved["drawn_from"], saved["generators"]
        self.batches = batches
        set_rng_state(self._drawn_from)
        for generator, state in zip(generators_of(self._loader), self._generators, strict=False):
            generator.set_state(state)
        return self._count(self._resumed(saved, restore))

    def _resumed(self, saved: FeedState, restore: Callable[[], None]) -> Iterator[Any]:
        loader = self._loader
        if "loader" in saved and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(saved["loader"])
            batches = iterate(loader)
            restore()
        elif isinstance(loader, DataLoader) and can_skip(loader):
            batches = iterate(_skipping(loader, self.batches, restore))
        else:
            # Loaded and thrown away: an iterable tells its order in no other way.
            batches = iterate(loader)
            for _ in itertools.islice(batches, self.batches):
                pass
            restore()
        return batches

    def _count(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.batches += 1
            yield batch

    def state(self) -> FeedState:
        """Return what `resume` needs; between two batches."""
        state: FeedState = {
            "drawn_from": self._drawn_from,
            "generators": self._generators,
            "batches": self.batches,
        }
        own = getattr(self._loader, "state_dict", None)
        if callable(own):
            state["loader"] = own()
        return state


def _skipping(loader: DataLoader[Any], done: int, restore: Callable[[], None]) -> DataLoader[Any]:
    """Return a loader like `loader` that begins behind its first `done` batches.

    By PyTorch's public arguments only, because a loader's sampler cannot be replaced.
    """
    options: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory,
        "timeout": loader.timeout,
        "worker_init_fn": loader.worker_init_fn,
        "multiprocessing_context": loader.multiprocessing_context,
        "generator": loader.generator,
        "pin_memory_device": loader.pin_memory_device,
    }
    if loader.num_workers:
        options["prefetch_factor"] = loader.prefetch_factor
    if loader.batch_sampler is None:
        # batch_size=None: the sampler's items are the batches.
        sampler = _Skipped(loader.sampler, done, restore)
        return DataLoader(loader.dataset, batch_size=None, sampler=sampler, **options)
    batch_sampler = _Skipped(loader.batch_sampler, done, restore)
    return DataLoader(loader.dataset, batch_sampler=batch_sampler, **options)


class _Skipped(Sampler[Any]):
    """What a sampler yields behind its first items."""

    def __init__(self, sampler: Any, done: int, restore: Callable[[], None]) -> None:
        self._sampler, self._done, self._restore = sampler, done, restore

    def __iter__(self) -> Iterator[Any]:
        items = iter(self._sampler)
        for _ in itertools.islice(items, self._done):
            pass
        # Here the order is drawn, and no sample is loaded.
        self._restore()
        yield from items

    def __len__(self) -> int:
        return len(self._sampler) - self._done
