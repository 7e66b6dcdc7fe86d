"""Runs that differ in their seed, and what they measured on average."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.grouping import group_key, groups, is_seed, mean_and_spread


@pytest.mark.parametrize("name", ["seed", "random_seed", "numpy_seed", "data.seed", "Seed"])
def test_seeds_are_known_by_their_names(name: str) -> None:
    assert is_seed(name)
    assert group_key({"lr": 0.1, name: 1}) == group_key({name: 2, "lr": 0.1})


@pytest.mark.parametrize("name", ["seeds", "seed_size", "seed.width", "seedling"])
def test_other_names_are_no_seeds(name: str) -> None:
    assert not is_seed(name)


def test_nested_and_unordered_parameters_are_the_same() -> None:
    one = {"model": {"width": 64, "seed": 1}, "lr": 0.1, "layers": [1, 2]}
    other = {"layers": [1, 2], "lr": 0.1, "model": {"seed": 2, "width": 64}}
    assert group_key(one) == group_key(other) == group_key({**one, "seed": 3})
    assert group_key(one) != group_key({**one, "lr": 0.2})
    assert group_key(one) != group_key({**one, "opt": "sgd"})


def test_runs_without_parameters_are_each_alone() -> None:
    runs = [("a", {}), ("b", {"seed": 1}), ("c", {}), ("d", {"seed": 2})]
    found = [[name for name, _ in g.members] for g in groups(runs, lambda run: group_key(run[1]))]
    assert found == [["a"], ["b", "d"], ["c"]]


def test_groups_come_in_the_order_of_their_first_members() -> None:
    found = list(groups(["b1", "a1", "b2", "c1", "a2"], lambda name: name[0]))
    assert [(group.key, group.members) for group in found] == [
        ("b", ("b1", "b2")),
        ("a", ("a1", "a2")),
        ("c", ("c1",)),
    ]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_deviation_of_a_sample(values: list[float]) -> None:
    mean, spread = mean_and_spread(values)
    assert spread is not None
    assert mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-9)
    assert spread == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


def test_mean_of_what_is_no_number_is_none() -> None:
    assert mean_and_spread([3.0]) == (3.0, None)
    assert all(math.isnan(value or 0.0) for value in mean_and_spread([1.0, math.nan]))
    assert all(math.isnan(value or 0.0) for value in mean_and_spread([1.0, math.inf]))
    mean, spread = mean_and_spread([1e300, -1e300])
    assert spread is not None
    assert mean == 0.0
    assert spread / 1e300 == pytest.approx(math.sqrt(2))
    assert mean_and_spread([1.5e308, 1.5e308]) == (1.5e308, 0.0)
