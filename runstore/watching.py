"""Letting somebody see how far a long loop is, without knowing who."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Watch(Protocol):
    """Hands on what it is given, one by one, and counts: the commands draw a bar of it."""

    def __call__(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        """Return the items, `total` of them where that is known; `what` says what is done."""


def unwatched(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Return the items: nobody looks."""
    return items
