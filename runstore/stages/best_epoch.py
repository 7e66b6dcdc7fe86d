"""The best epoch of a run, by one metric of its epoch rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runstore.metrics.ranking import SPLITS, is_bookkeeping, rank_metrics
from runstore.stages.open_stages import TRAIN, Epoch
from runstore.state.fold import DEFAULT_BEST
from runstore.state.pieces import Best

MOST_NAMES = 8


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


class NamedMetrics:
    """Notices when a metric that `init` was given by name never comes."""

    def __init__(self, best: str, keep_best: str | None) -> None:
        """Look for the metrics of `init(best=…, keep_best=…)`; the second one is a bare name."""
        named = {"best": parse_best(best)[0]} | ({"keep_best": keep_best} if keep_best else {})
        self._options: dict[str, list[str]] = {}
        """The options that are still looked for, by metric."""
        for option, metric in named.items():
            self._options.setdefault(metric, []).append(option)
        self._is_default = best == DEFAULT_BEST
        self._seen: list[str] = []

    def missing(self, epoch: Epoch, *, is_last: bool) -> list[str]:
        """Return a line for each metric that should have come by the end of `epoch`, once.

        That is an epoch with its split, or with any evaluation, and in any case the last one.
        """
        values = {**epoch.logged, **epoch.summary}
        lines = []
        for metric, options in list(self._options.items()):
            if metric in values or metric in epoch.nonfinite:
                self._seen.append(metric)
                del self._options[metric]
            elif self._is_awaited(metric, values, is_last):
                given = ", ".join(f"{option}=…" for option in options)
                lines.append(
                    f"init({given}) names {metric}, which epoch {epoch.number} did not log; "
                    f"{_names(values)}"
                )
                # Told once, also across resumes.
                self._seen.append(metric)
                del self._options[metric]
        return lines

    def _is_awaited(self, metric: str, values: Mapping[str, Any], is_last: bool) -> bool:
        split = metric.rpartition("/")[0]
        splits = {name.rpartition("/")[0] for name in values}
        if f"{split}/nonfinite" in values and not is_last:
            return False  # it may well have come: means of NaN alone are no means
        if self._is_default and self._options[metric] == ["best"]:
            return split in splits
        held_out = {*SPLITS} - {TRAIN}
        return is_last or (bool(split) and split in splits) or not splits.isdisjoint(held_out)

    def state(self) -> list[str]:
        """Return what a checkpoint keeps: the metrics that have come, or were told of."""
        return self._seen

    def load_state(self, state: list[str]) -> None:
        """Go on from a `state`."""
        self._seen = list(state)
        for metric in state:
            self._options.pop(metric, None)


def _names(values: Mapping[str, Any]) -> str:
    names = rank_metrics(name for name in values if not is_bookkeeping(name))
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"there are: {', '.join(names[:MOST_NAMES])}{more}" if names else "nothing is"


def parse_best(best: str) -> tuple[str, float]:
    """Return the metric and 1.0 (lowest is best) or -1.0 (highest) of `val/accuracy:max`.

    Raises:
        ValueError: the direction is neither `min` nor `max`.
    """
    metric, colon, direction = best.rpartition(":")
    if not colon or not metric or direction not in ("min", "max"):
        raise ValueError(f"best is {best!r}, expected METRIC:min or METRIC:max")
    return metric, -1.0 if direction == "max" else 1.0
