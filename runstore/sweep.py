"""Grids of hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

Params = dict[str, Any]


def grid(
    grids: Iterable[Mapping[str, Iterable[Any]]] | None = None, /, **values: Iterable[Any]
) -> list[Params]:
    """Return the Cartesian product of named values; a list of grids is their union.

    The last name varies fastest, and the order is the one written, so a grid is the same list
    every time. The rule for a list is that of scikit-learn's `ParameterGrid`.

        grid(lr=[1e-2, 1e-3], batch_size=[32, 128])        # 4 sets
        grid([{"opt": ["sgd"], "lr": [0.1]}, {"opt": ["adam"], "lr": [1e-3, 1e-4]}])   # 3 sets

    Args:
        grids: several grids, each a mapping of names to values.
        values: one grid. With `grids`, every grid has these names too.

    Raises:
        TypeError: values are not a list (a bare string or number).
        ValueError: a name has no values.
    """
    each: list[Mapping[str, Iterable[Any]]] = [{}] if grids is None else list(grids)
    return [params for one in each for params in _product({**one, **values})]


def _product(named: Mapping[str, Iterable[Any]]) -> Iterator[Params]:
    columns = {name: _column(name, values) for name, values in named.items()}
    for cell in product(*columns.values()):
        yield dict(zip(columns, cell, strict=True))


def _column(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"grid: {name} is {values!r}, expected a list; write {name}=[{values!r}]")
    column = list(values)
    if not column:
        raise ValueError(f"grid: {name} has no values, so the grid would have no sets")
    return column
