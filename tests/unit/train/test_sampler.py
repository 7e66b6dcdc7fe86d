"""The order of samples, and the randomness of each."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from runstore import ResumableSampler, SeededDataset
from runstore.train.sampler import SeededIndex, mix


class Noisy(Dataset[tuple[int, float, float, float]]):
    """Samples with every kind of randomness in them."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return int(index), random.random(), float(np.random.rand()), float(torch.rand(()))


def drawn(workers: int, epoch: int) -> list[list[float]]:
    sampler = ResumableSampler(12, seed=7)
    sampler.set_epoch(epoch)
    loader = DataLoader(SeededDataset(Noisy()), 5, sampler=sampler, num_workers=workers)
    return [row for batch in loader for row in torch.stack(batch, 1).tolist()]


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    sampler = ResumableSampler(100, seed=3)
    orders = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        torch.manual_seed(epoch)
        orders.append(list(sampler))
    assert sorted(orders[0]) == list(range(100))
    assert orders[0] == orders[2] != orders[1]
    assert list(ResumableSampler(100, seed=4)) != list(ResumableSampler(100, seed=3))


def test_iterating_takes_nothing_from_the_global_generators() -> None:
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    list(ResumableSampler(10))
    SeededDataset(Noisy())[SeededIndex(3, 5)]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_without_shuffle_every_sample_comes_once_in_order() -> None:
    sampler = ResumableSampler([10, 20, 30], shuffle=False)
    assert list(sampler) == [0, 1, 2]
    assert len(sampler) == 3


def test_augmentation_is_the_same_with_and_without_workers() -> None:
    assert drawn(0, epoch=1) == drawn(2, epoch=1)


def test_augmentation_differs_between_epochs_and_samples() -> None:
    first, second = drawn(0, epoch=1), drawn(0, epoch=2)
    values = [value for row in first + second for value in row[1:]]
    assert len(set(values)) == len(values)


def test_plain_indexes_pass_through_unseeded() -> None:
    data = SeededDataset(Noisy())
    assert data[4][0] == 4
    assert data[4] != data[4]


def test_index_keeps_its_seed_on_the_way_to_a_worker() -> None:
    index = pickle.loads(pickle.dumps(SeededIndex(5, 2**63)))
    assert (index, index.seed) == (5, 2**63)


def test_state_tells_a_dataset_of_another_length() -> None:
    sampler = ResumableSampler(10, seed=3)
    sampler.set_epoch(4)
    other = ResumableSampler(10)
    other.load_state_dict(sampler.state_dict())
    assert list(other) == list(sampler)
    with pytest.raises(ValueError, match="drew from 10 samples, now 11"):
        ResumableSampler(11).load_state_dict(sampler.state_dict())


def test_neighbouring_seeds_share_no_bits_by_rule() -> None:
    found = [mix(0, epoch, index) for epoch in range(30) for index in range(30)]
    assert len(set(found)) == 900
    ones = sum(number.bit_count() for number in found) / (64 * 900)
    assert 0.48 < ones < 0.52
