"""Sample-weighted means of what a split tracks, and the pace at which it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

PACE_WINDOW_S = 5.0


@dataclass(slots=True)
class Mean:
    """A weighted mean in float64; non-finite values are left out and counted.

    One NaN batch would make the whole epoch NaN, and a running float32 sum stops growing.
    """

    weighted_sum: float = 0.0
    weight: float = 0.0
    nonfinite: int = 0
    last_nonfinite: float = math.nan

    def add(self, value: float, n: float) -> None:
        """Add the mean of `n` samples."""
        if math.isfinite(value):
            self.weighted_sum += value * n
            self.weight += n
        else:
            self.nonfinite += 1
            self.last_nonfinite = value

    @property
    def value(self) -> float:
        """The mean of the finite values; NaN or an infinity when there was none of them."""
        return self.weighted_sum / self.weight if self.weight else self.last_nonfinite


@dataclass(slots=True)
class Meters:
    """All that one split tracked."""

    means: dict[str, Mean] = field(default_factory=dict)
    samples: float = 0.0
    nonfinite_batches: int = 0

    def add(self, values: Mapping[str, float], n: float) -> None:
        """Add one batch of `n` samples."""
        self.samples += n
        finite = True
        for key, value in values.items():
            mean = self.means.get(key)
            if mean is None:
                mean = self.means[key] = Mean()
            mean.add(value, n)
            finite = finite and math.isfinite(value)
        self.nonfinite_batches += not finite

    def values(self) -> dict[str, float]:
        """Return each metric's mean."""
        return {key: mean.value for key, mean in self.means.items()}


class Pace:
    """Iterations per second over about the last five seconds.

    The monitor shows it live: a mean over the whole split would hide that the loader got slow,
    and the time between two batches jumps too much to be read.
    """

    __slots__ = ("_rate", "_since", "_then")

    def __init__(self) -> None:
        """Know nothing yet."""
        self._rate: float | None = None
        self._since = 0
        self._then: float | None = None

    def tick(self, batch: int, now: float) -> None:
        """Note that `batch` batches were begun by `now`, in monotonic seconds."""
        if self._then is None:
            self._since, self._then = batch, now
        elif now - self._then >= PACE_WINDOW_S / 10:
            fresh = (batch - self._since) / (now - self._then)
            weight = min(1.0, (now - self._then) / PACE_WINDOW_S)
            old = fresh if self._rate is None else self._rate
            self._rate = old + weight * (fresh - old)
            self._since, self._then = batch, now

    @property
    def it_per_s(self) -> float | None:
        """The rate, or None before half a second has passed."""
        return self._rate
