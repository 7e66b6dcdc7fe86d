"""The best epoch of a run, by one metric of its epoch rows."""

from __future__ import annotations

import math
from typing import Any

from runstore.open_stages import Epoch
from runstore.pieces import Best


class BestEpoch:
    """Remembers the epoch in which a metric was lowest, or highest."""

    def __init__(self, best: str) -> None:
        """Know of no epoch; `best` is `metric:min` or `metric:max`."""
        self._metric, self._sign = parse_best(best)
        self.found: Best | None = None

    def add(self, epoch: Epoch) -> None:
        """Compare an epoch that has ended; of equal ones the first is best."""
        value = {**epoch.logged, **epoch.summary}.get(self._metric)
        if value is None or not math.isfinite(value):
            return
        if self.found is None or self._sign * value < self._sign * self.found.value:
            self.found = Best(epoch.number, self._metric, value)

    def state(self) -> list[Any] | None:
        """Return what a checkpoint keeps."""
        best = self.found
        return [best.epoch, best.metric, best.value] if best else None

    def load_state(self, state: list[Any] | None) -> None:
        """Go on from a `state`."""
        if state is not None:
            self.found = Best(*state)


def parse_best(best: str) -> tuple[str, float]:
    """Return the metric and 1.0 (lowest is best) or -1.0 (highest) of `val/accuracy:max`.

    Raises:
        ValueError: the direction is neither `min` nor `max`.
    """
    metric, colon, direction = best.rpartition(":")
    if not colon or not metric or direction not in ("min", "max"):
        raise ValueError(f"best is {best!r}, expected METRIC:min or METRIC:max")
    return metric, -1.0 if direction == "max" else 1.0
