"""Grids are Cartesian products in the order written."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.model_selection import ParameterGrid

from runstore import grid


def test_last_name_varies_fastest() -> None:
    assert grid(lr=[0.1, 0.01], size=[32, 64]) == [
        {"lr": 0.1, "size": 32}, {"lr": 0.1, "size": 64},
        {"lr": 0.01, "size": 32}, {"lr": 0.01, "size": 64},
    ]  # fmt: skip


def test_list_of_grids_is_their_union_as_in_sklearn() -> None:
    grids: list[dict[str, list[Any]]] = [
        {"opt": ["sgd"], "lr": [0.1]},
        {"opt": ["adam"], "lr": [1e-3, 1e-4]},
    ]
    key = repr
    expected = sorted((dict(p) for p in ParameterGrid(grids)), key=lambda p: key(sorted(p.items())))
    assert sorted(grid(grids), key=lambda p: key(sorted(p.items()))) == expected
    assert all(params["seed"] == 1 for params in grid(grids, seed=[1]))


def test_list_of_what_grid_returned_is_the_union() -> None:
    assert grid([grid(a=[1]), grid(b=[2, 3])]) == [{"a": 1}, {"b": 2}, {"b": 3}]
    assert grid(grid(a=[1, 2]), b=[3]) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]


def test_lists_of_grids_nest() -> None:
    inner: list[Any] = [{"a": [1, 2]}, {"b": "x", "c": None}, [{"d": 4.5}]]
    assert grid([inner, grid([grid(e=[5]), {"f": [6]}])]) == [
        {"a": 1}, {"a": 2}, {"b": "x", "c": None}, {"d": 4.5}, {"e": 5}, {"f": 6},
    ]  # fmt: skip
    assert grid([]) == grid([[], []]) == []


def test_value_of_a_finished_set_stays_the_list_it_is() -> None:
    layers = grid(layers=[[64, 64], [128]], betas=[(0.9, 0.999)])
    assert grid([layers, {"lr": [0.1]}]) == [*layers, {"lr": 0.1}]
    assert layers[0] == {"layers": [64, 64], "betas": (0.9, 0.999)}


def test_generator_is_a_value_in_each_of_several_grids() -> None:
    assert len(grid([{"a": [1]}, {"a": [2]}], seed=(n for n in range(3)))) == 6


@pytest.mark.parametrize(
    "grids", [5, "ab", b"x", {"a": [1]}, [1], ["ab"], [{"a": [1]}, 2.5], [[None]], [[["ab"]]]]
)
def test_what_is_no_list_of_grids_is_refused_with_what_was_expected(grids: Any) -> None:
    with pytest.raises(TypeError, match="expected a list of what grid\\(\\) returns, of dicts of"):
        grid(grids)


def test_set_of_lists_and_single_values_is_refused() -> None:
    with pytest.raises(TypeError, match=r"opt is 'sgd', expected a list; write opt=\['sgd'\]"):
        grid([{"opt": "sgd", "lr": [0.1, 0.2]}])


def test_grid_of_nothing_is_one_empty_set() -> None:
    assert grid() == [{}]


def test_generators_and_ranges_are_values() -> None:
    assert grid(n=range(2), m=(x for x in "ab")) == [
        {"n": 0, "m": "a"}, {"n": 0, "m": "b"}, {"n": 1, "m": "a"}, {"n": 1, "m": "b"},
    ]  # fmt: skip


@pytest.mark.parametrize("values", ["adam", 0.1, b"x", {"a": 1}])
def test_value_that_is_no_list_is_refused_with_the_way_to_write_it(values: Any) -> None:
    with pytest.raises(TypeError, match=r"write opt=\["):
        grid(opt=values)


def test_name_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="lr has no values"):
        grid(lr=[])
