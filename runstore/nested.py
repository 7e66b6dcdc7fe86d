"""Nested parameters by one name each: `optimizer.lr`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST_LEVELS = 20
"""Of nested parameters; what is nested further is one parameter."""


def flattened(
    params: Mapping[str, Any], prefix: str = "", levels: int = MOST_LEVELS
) -> Iterator[tuple[str, Any]]:
    """Yield parameters by name; nested names are joined by a point."""
    for key, value in params.items():
        if isinstance(value, dict) and value and levels:
            yield from flattened(value, f"{prefix}{key}.", levels - 1)
        else:
            yield f"{prefix}{key}", value
