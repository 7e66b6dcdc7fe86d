"""The order of the samples as a function of seed and epoch, and randomness of each sample's own.

    sampler = runstore.ResumableSampler(len(dataset), seed=0)
    loader = DataLoader(runstore.SeededDataset(dataset), 64, sampler=sampler, num_workers=4)

The order then depends on nothing that happened before, and a sample's augmentation on nothing but
(seed, epoch, index): the same with any number of workers, and after a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from runstore.train import ranks
from runstore.train.rng import get_rng_state, seed_all, set_rng_state

Sample_co = TypeVar("Sample_co", covariant=True)
"""Whatever a dataset has for an index."""

# Odd 64-bit constants of splitmix64 (Steele, Lea, Flood 2014), whose output passes BigCrush.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = 2**64 - 1


class SeededIndex(int):
    """A sample's index that carries the seed of its augmentation, also into a worker."""

    seed: int

    def __new__(cls, index: int, seed: int) -> SeededIndex:
        """Return `index` with `seed`."""
        made = super().__new__(cls, index)
        made.seed = seed
        return made

    def __reduce__(self) -> tuple[type[SeededIndex], tuple[int, int]]:
        return SeededIndex, (int(self), self.seed)


class ResumableSampler(Sampler[int]):
    """A permutation of `n` samples that depends on (seed, epoch) alone, sharded over the ranks.

    `run.train(loader)` tells it the epoch and skips what was done before a resume; elsewhere call
    `set_epoch`. Every rank gets each `world_size`-th sample of one permutation, so the ranks'
    shards are disjoint. `len(sampler)` is how many samples this rank gets. The permutation is
    `torch.randperm` with a seed mixed by splitmix64 (Steele, Lea, Flood 2014).
    """

    def __init__(
        self,
        n: int | Sized,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool | None = None,
    ) -> None:
        """Draw from `n` samples.

        Args:
            n: how many there are, or the dataset.
            seed: of the permutations and of `SeededDataset`; any integer.
            shuffle: False for evaluation: the samples in their order.
            drop_last: leave out up to `world_size - 1` samples so that all ranks get equally many;
                training under DDP needs that. Default: as `shuffle`, so that an evaluation sees
                every sample exactly once. No sample is ever given twice.
        """
        self.n = n if isinstance(n, int) else len(n)
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = shuffle if drop_last is None else drop_last
        self.epoch: int = 0
        """Whose permutation the next iteration gives."""

    def set_epoch(self, epoch: int) -> None:
        """Use the permutation of `epoch` from the next iteration on.

        Args:
            epoch: any integer; `run.train` counts from 1.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        """Return how many samples this rank gets."""
        rank, world = _shard()
        return len(range(rank, self._used(world), world))

    def _used(self, world: int) -> int:
        return self.n // world * world if self.drop_last else self.n

    def __iter__(self) -> Iterator[int]:
        rank, world = _shard()
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed, self.epoch) >> 1)
            order = torch.randperm(self.n, generator=generator)
        else:
            order = torch.arange(self.n)
        for index in order[: self._used(world)][rank::world].tolist():
            yield SeededIndex(index, mix(self.seed, self.epoch, index))

    def state_dict(self) -> dict[str, Any]:
        """Return what the order is a function of: `n`, `seed` and `epoch`, all integers."""
        return {"n": self.n, "seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over seed and epoch.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: the dataset had another length.
        """
        if state["n"] != self.n:
            raise ValueError(f"the sampler drew from {state['n']:,} samples, now {self.n:,}")
        self.seed, self.epoch = state["seed"], state["epoch"]


def _shard() -> tuple[int, int]:
    world = ranks.world_size()
    return (ranks.rank() if world > 1 else 0), world


def mix(*numbers: int) -> int:
    """Return 64 bits that depend on all numbers; neighbours share nothing (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + _GOLDEN + number) & _MASK
        state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
        state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
        state ^= state >> 31
    return state


class MapDataset(Protocol[Sample_co]):
    """Anything with `len()` and samples by their index, as PyTorch's map-style datasets are."""

    def __getitem__(self, index: int, /) -> Sample_co: ...

    def __len__(self) -> int: ...


class SeededDataset(Dataset[Sample_co], Generic[Sample_co]):
    """A map-style dataset whose samples are drawn with a seed of their own.

    Needs `ResumableSampler`, whose indexes carry the seed; other indexes pass through unseeded.
    In the training process the generators are put back behind each sample, so that dropout and
    the like see the same numbers with and without workers.
    """

    def __init__(self, dataset: MapDataset[Sample_co]) -> None:
        """Wrap `dataset`.

        Args:
            dataset: anything with `len()` and samples by their index, 0 to n - 1. Its augmentation
                may draw from Python's `random`, numpy's and torch's global generators.
        """
        self.dataset: MapDataset[Sample_co] = dataset
        """The dataset that is wrapped."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample_co:
        """Return the sample, the same for the same seed, epoch and index."""
        if not isinstance(index, SeededIndex):
            return self.dataset[index]
        if get_worker_info() is not None:
            seed_all(index.seed)
            return self.dataset[int(index)]
        before = get_rng_state()
        try:
            seed_all(index.seed)
            return self.dataset[int(index)]
        finally:
            set_rng_state(before)
