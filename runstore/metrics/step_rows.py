"""The metrics row of one optimizer step, put together from its micro-batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class StepRow:
    """Collects what belongs to the optimizer step that is being made.

    With gradient accumulation a step has several batches: its row has their mean, weighted by
    samples as the gradients are. Values may be tensors; nothing here waits for them.
    """

    def __init__(self) -> None:
        """Collect nothing yet."""
        self._sums: dict[str, tuple[Any, float]] = {}
        self._facts: dict[str, Any] | None = None
        self.batches = 0
        """Batches tracked since the last row."""

    def add(self, values: Mapping[str, Any], n: Any) -> None:
        """Add the means of one batch of `n` samples."""
        weight = 1.0 if n is None else float(n) if type(n) is int else n
        for key, value in values.items():
            total, weights = self._sums.get(key, (0.0, 0.0))
            # bfloat16 stops counting at 256.
            wide = value if type(value) is float else value.detach().double()
            self._sums[key] = total + wide * weight, weights + weight

    def note(self, facts: Mapping[str, Any]) -> None:
        """Note that the step was taken, and what is known of it: `lr`, `grad_norm`, …"""
        self._facts = dict(facts)

    @property
    def is_taken(self) -> bool:
        """Whether the optimizer step was taken."""
        return self._facts is not None

    def take(self) -> dict[str, Any]:
        """Return the row's values and begin the next one."""
        # A tensor is not asked whether it is 0: that would wait for it.
        means = {
            key: total / weight
            for key, (total, weight) in self._sums.items()
            if type(weight) is not float or weight
        }
        values = {**means, **(self._facts or {})}
        self._sums, self._facts, self.batches = {}, None, 0
        return values
