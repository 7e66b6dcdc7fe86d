"""The facts of a hundred thousand runs in little memory: what is equal is kept once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeVar

MAX_SHARED = 50_000
"""Texts that are remembered; beyond that each is its own, as if there were no pool."""

Shared = TypeVar("Shared", str, tuple[str, ...])
Value = TypeVar("Value")


class Pool:
    """Gives the first of all equal texts, or tuples of texts."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def share(self, value: Shared) -> Shared:
        """Return what equals `value`, the same for all that do."""
        known: Shared | None = self._known.get(value)
        if known is not None:
            return known
        if len(self._known) < MAX_SHARED:
            self._known[value] = value
        return value


class Packed(Mapping[str, Value]):
    """A small mapping that shares its keys with others; looking one up goes through them all."""

    __slots__ = ("_keys", "_values")

    def __init__(self, items: Mapping[str, Value], pool: Pool) -> None:
        """Hold what is in `items` now."""
        self._keys = pool.share(tuple(map(pool.share, items)))
        self._values = tuple(items.values())

    def __getitem__(self, key: str) -> Value:
        """Return the value of a key."""
        for known, value in zip(self._keys, self._values, strict=True):
            if known == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        """Yield the keys."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._keys)
