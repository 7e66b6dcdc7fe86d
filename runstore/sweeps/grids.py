"""Grids of hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

Params = dict[str, Any]
"""One set of hyperparameters, by name."""
Grids = Iterable["Mapping[str, Any] | Grids"]
"""Grids, sets, and lists of them."""
_Columns = dict[str, list[Any]]


class ParamsList(list[Params]):
    """What `grid` returns: sets that are finished, so that a value which is a list stays one."""


def grid(grids: Grids | None = None, /, **values: Iterable[Any]) -> list[Params]:
    """Return the Cartesian product of named values; a list of grids is their union.

    The last name varies fastest, and the order is the one written, so a grid is the same list
    every time. The rule for a list is that of scikit-learn's `ParameterGrid`.

        grid(lr=[1e-2, 1e-3], batch_size=[32, 128])        # 4 sets
        grid([{"opt": ["sgd"], "lr": [0.1]}, {"opt": ["adam"], "lr": [1e-3, 1e-4]}])   # 3 sets
        grid([grid(opt=["sgd"], lr=[0.1]), grid(opt=["adam"], lr=[1e-3, 1e-4])])       # the same

    Args:
        grids: several grids, whose sets follow each other: what `grid` returned; a mapping of names
            to lists of values; a mapping of names to single values, which is one set; or lists of
            those.
        values: one grid: lists of values by name. With `grids`, every grid has these names too.

    Returns:
        A list of dicts, one per set, each ready for `init(params)`.

    Raises:
        TypeError: values are not a list (a bare string or number), or `grids` are no such list.
        ValueError: a name has no values.
    """
    common = {name: _column(name, column) for name, column in values.items()}
    each = [{}] if grids is None else _flat(grids)
    return ParamsList(params for one in each for params in _product({**one, **common}))


def _flat(grids: object) -> Iterator[_Columns]:
    """Yield each grid of a list of grids, and of lists in it, as columns of values."""
    if isinstance(grids, (str, bytes, Mapping)) or not isinstance(grids, Iterable):
        raise _not_grids(grids)
    finished = isinstance(grids, ParamsList)
    for one in grids:
        if not isinstance(one, Mapping):
            yield from _flat(one)
        elif finished or not any(map(_is_column, one.values())):
            yield {name: [value] for name, value in one.items()}
        else:
            yield {name: _column(name, values) for name, values in one.items()}


def _not_grids(found: object) -> TypeError:
    return TypeError(
        f"grid: {found!r} is no list of grids; expected a list of what grid() returns, of dicts of "
        "lists, or of dicts of single values; write grid(lr=[0.1, 0.01]) for one grid"
    )


def _product(columns: _Columns) -> Iterator[Params]:
    for cell in product(*columns.values()):
        yield dict(zip(columns, cell, strict=True))


def _is_column(values: object) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))


def _column(name: str, values: Iterable[Any]) -> list[Any]:
    if not _is_column(values):
        raise TypeError(f"grid: {name} is {values!r}, expected a list; write {name}=[{values!r}]")
    column = list(values)
    if not column:
        raise ValueError(f"grid: {name} has no values, so the grid would have no sets")
    return column
