"""Hyperparameters as flat names: `{"model": {"depth": 18}}` is `model.depth`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST_PARAMS = 16_384
"""Of one run, the first; a spreadsheet has no more columns."""


def flat_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by their names, nested ones with dots between.

    Lists stay values, and so does an object without keys. Where two get the same name, the first
    keeps it.
    """
    found: dict[str, Any] = {}
    for name, value in _walk(params, ""):
        found.setdefault(name, value)
        if len(found) == MOST_PARAMS:
            break
    return found


def _walk(params: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _walk(value, f"{name}.")
        else:
            yield name, value
