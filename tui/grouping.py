"""Runs that differ in nothing but their seed, and the means of what they measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runstore.nested import flattened

Member = TypeVar("Member")


def is_seed(name: str) -> bool:
    """Tell whether a parameter only says where chance begins: `seed`, `data.seed`, `numpy_seed`."""
    last = name.rpartition(".")[2].lower()
    return last == "seed" or last.endswith("_seed")


def group_key(params: Mapping[str, Any]) -> Hashable:
    """Return what runs have in common that share all parameters but their seeds.

    Nested parameters count by their full names, and the order of names does not count. A run
    without parameters is like no other: it gives None.
    """
    flat = list(flattened(params))
    if not flat:
        return None
    return tuple(sorted((name, str(value)) for name, value in flat if not is_seed(name)))


@dataclass(frozen=True, slots=True)
class Group(Generic[Member]):
    """Some that belong together, in the order in which they were given."""

    key: Hashable
    members: tuple[Member, ...]


class _Opened(tuple[Hashable]):
    """The place of a group among those that are alone: its key."""

    __slots__ = ()


def groups(
    members: Iterable[Member], key_of: Callable[[Member], Hashable]
) -> Iterator[Group[Member]]:
    """Yield the groups in the order of their first members; a key of None is a group of its own."""
    found: dict[Hashable, list[Member]] = {}
    # Those that are alone may be a hundred thousand: they have no list each.
    order: list[_Opened | Member] = []
    for member in members:
        key = key_of(member)
        if key is None:
            order.append(member)
        elif key in found:
            found[key].append(member)
        else:
            found[key] = [member]
            order.append(_Opened((key,)))
    for one in order:
        if isinstance(one, _Opened):
            yield Group(one[0], tuple(found.pop(one[0])))
        else:
            yield Group(None, (one,))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the standard deviation of the sample (n - 1); None for one value.

    A NaN or infinity among the values makes both NaN: such a group has no mean.
    """
    number = len(values)
    if not number or not all(map(math.isfinite, values)):
        return math.nan, math.nan if number > 1 else None
    mean = math.fsum(value / number for value in values)
    if number == 1:
        return mean, None
    scale = max(abs(value - mean) for value in values)
    if not scale or not math.isfinite(scale):
        return mean, scale
    # Scaled, as squares of very large and very small differences leave the range of floats.
    squares = math.fsum(((value - mean) / scale) ** 2 for value in values)
    return mean, scale * math.sqrt(squares / (number - 1))
