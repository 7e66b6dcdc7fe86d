"""What a loader is made of, and whether a pass over it can be resumed exactly."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, TensorDataset

from runstore.train.sampler import ResumableSampler, SeededDataset

MOST_PARTS = 100


def unwrapped(loader: Iterable[Any]) -> Iterable[Any]:
    """Return the loader within a progress bar (tqdm) or another wrapper that keeps it."""
    while not isinstance(loader, DataLoader):
        inner = getattr(loader, "iterable", None)
        if not isinstance(inner, Iterable):
            kept = getattr(loader, "__dict__", {}).values()
            inner = next((value for value in kept if isinstance(value, DataLoader)), None)
        if inner is None:
            break
        loader = inner
    return loader


def _samplers_of(loader: Iterable[Any]) -> list[Any]:
    """Return the sampler, the batch sampler, and those that they draw from."""
    source = unwrapped(loader)
    waiting = [getattr(source, "batch_sampler", None), getattr(source, "sampler", None)]
    found: dict[int, Any] = {}
    while waiting and len(found) < MOST_PARTS:
        sampler = waiting.pop()
        if sampler is not None and id(sampler) not in found:
            found[id(sampler)] = sampler
            waiting += [value for value in _parts(sampler) if isinstance(value, Sampler)]
            waiting.append(getattr(sampler, "sampler", None))
    return list(found.values())


def _parts(owner: Any) -> list[Any]:
    return list(getattr(owner, "__dict__", {}).values())


def generators_of(loader: Iterable[Any]) -> list[torch.Generator]:
    """Return the generators of the loader and its sampler's, which the global state lacks."""
    owners = [unwrapped(loader), *_samplers_of(loader)]
    found = [value for owner in owners for value in getattr(owner, "__dict__", {}).values()]
    unique = {id(value): value for value in found if isinstance(value, torch.Generator)}
    return list(unique.values())


def set_sampler_epoch(loader: Iterable[Any], epoch: int | None) -> None:
    """Tell the sampler its epoch: without it, DistributedSampler repeats the first one's order."""
    for sampler in _samplers_of(loader) if epoch is not None else []:
        set_epoch = getattr(sampler, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)


def can_skip(loader: DataLoader[Any]) -> bool:
    """Tell whether batches can be passed over by the sampler alone, without loading them."""
    # An IterableDataset has no order that could be skipped, and what a loader's own __iter__ makes
    # of its batches only that loader knows.
    plain = type(loader).__iter__ is DataLoader.__iter__
    return plain and not isinstance(loader.dataset, torch.utils.data.IterableDataset)


# ---- what is not exact -----------------------------------------------------------------------


def resumes_exactly(loader: Iterable[Any], *, inside: bool) -> str:
    """Say why a pass over `loader` cannot be resumed exactly; empty when it can.

    Args:
        loader: what the split is drawn from.
        inside: whether the checkpoint was made in the middle of the pass, not before it.
    """
    source = unwrapped(loader)
    if hasattr(loader, "load_state_dict"):
        return _random_workers(source) if inside else ""
    if inside and isinstance(source, Iterator):
        return (
            "an iterator, as of enumerate or zip, may have drawn its order before run.train saw it"
        )
    if unknown := _unknown_generator(source):
        return f"{unknown} is a random generator that checkpoints do not hold"
    if not isinstance(source, DataLoader) or _draws_nothing(source):
        return ""
    if source.num_workers and source.persistent_workers:
        return "persistent workers draw no new seed in later epochs, a resumed run does"
    # Workers that begin anew and load what is then thrown away come to the same numbers.
    return _random_workers(source) if inside and source is loader and can_skip(source) else ""


def _random_workers(source: Iterable[Any]) -> str:
    if not isinstance(source, DataLoader) or source.num_workers == 0 or _draws_nothing(source):
        return ""
    return (
        "augmentation in workers may be random; runstore.SeededDataset with a ResumableSampler "
        "makes it exact"
    )


def _draws_nothing(loader: DataLoader[Any]) -> bool:
    """Tell whether loading a sample is known to take nothing from the random generators."""
    dataset = loader.dataset
    if isinstance(dataset, SeededDataset):
        return not lacks_seeds(loader)
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, TensorDataset)


def lacks_seeds(loader: Iterable[Any]) -> bool:
    """Tell whether a `SeededDataset` gets indexes without seeds, of a sampler of PyTorch's."""
    source = unwrapped(loader)
    if not isinstance(getattr(source, "dataset", None), SeededDataset):
        return False
    samplers = _samplers_of(loader)
    if any(isinstance(sampler, ResumableSampler) for sampler in samplers):
        return False
    return all(type(sampler).__module__.startswith("torch.utils.data") for sampler in samplers)


def _unknown_generator(source: Iterable[Any]) -> str:
    """Name a generator that a loader's parts keep, and of which PyTorch's and ours know nothing."""
    kinds = _foreign_generators()
    known = {id(generator) for generator in generators_of(source)}
    waiting = [getattr(source, "dataset", None), *_samplers_of(source), source]
    looked_at: set[int] = set()
    while waiting and len(looked_at) < MOST_PARTS:
        owner = waiting.pop()
        if id(owner) in looked_at:
            continue
        looked_at.add(id(owner))
        for name, value in getattr(owner, "__dict__", {}).items():
            if isinstance(value, kinds) and id(value) not in known:
                return f"{type(owner).__name__}.{name}"
            waiting += _datasets_and_transforms(value)
    return ""


def _datasets_and_transforms(value: Any) -> list[Any]:
    """Return what loading a sample may call: datasets, their parts, and transforms."""
    values = value if isinstance(value, (list, tuple)) and len(value) < MOST_PARTS else [value]
    return [
        item
        for item in values
        if isinstance(item, Dataset) or (callable(item) and hasattr(item, "__dict__"))
    ]


def _foreign_generators() -> tuple[type, ...]:
    numpy = sys.modules.get("numpy")
    kinds: tuple[type, ...] = (torch.Generator, random.Random)
    return kinds if numpy is None else (*kinds, numpy.random.Generator, numpy.random.RandomState)
