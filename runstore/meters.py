"""Sample-weighted means of what a split tracks, and the pace at which it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    nonfinite_batches: int = 0
    tokens: Any = 0
    """All that were counted: a number, or a tensor on the device that counts."""
    _batch: int | None = None
    """The batch that the last values belong to: a batch may be tracked in several calls."""
    _batch_samples: float | None = None
    """The largest `n` of that batch so far."""
    _batch_finite: bool = True
    _all_counted: bool = True
    """Whether each batch before that one came with its number of samples."""
    _samples: float = 0.0
    """Samples of the batches before that one."""

    def add(self, batch: int, values: Mapping[str, float], n: float | None) -> None:
        """Add values of one batch: means over `n` samples, or of an unknown number, weighing 1."""
        if batch != self._batch:
            self._next_batch(batch)
        if n is not None:
            self._batch_samples = max(n, self._batch_samples or 0)
        weight = 1 if n is None else n
        finite = True
        for key, value in values.items():
            mean = self.means.get(key)
            if mean is None:
                mean = self.means[key] = Mean()
            mean.add(value, weight)
            finite = finite and math.isfinite(value)
        if not finite and self._batch_finite:
            self._batch_finite = False
            self.nonfinite_batches += 1

    def add_tokens(self, tokens: Any) -> None:
        """Add a number of tokens, or a tensor of such numbers, which is summed.

        That happens where the tensor lies: to look at it would make the host wait for the GPU. And
        it happens in 64-bit integers, since bfloat16 stops counting at 256.
        """
        counted = tokens.detach().long().sum() if hasattr(tokens, "detach") else tokens
        self.tokens = self.tokens + counted

    def _next_batch(self, batch: int) -> None:
        if self._batch is not None:
            self._all_counted = self._all_counted and self._batch_samples is not None
            self._samples += self._batch_samples or 0
        self._batch, self._batch_samples, self._batch_finite = batch, None, True

    @property
    def samples(self) -> float | None:
        """How many samples were tracked; None when a batch came without their number."""
        if self._batch_samples is None or not self._all_counted:
            return None
        return self._samples + self._batch_samples

    def state_dict(self) -> dict[str, Any]:
        """Return everything as numbers, for a checkpoint in the middle of the split."""
        state: dict[str, Any] = {
            key: [mean.weighted_sum, mean.weight, mean.nonfinite, mean.last_nonfinite]
            for key, mean in self.means.items()
        }
        return {
            "means": state,
            "nonfinite_batches": self.nonfinite_batches,
            "batch": [self._batch, self._batch_samples, self._batch_finite],
            "samples": [self._all_counted, self._samples],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.means = {key: Mean(*values) for key, values in state["means"].items()}
        self.nonfinite_batches = state["nonfinite_batches"]
        self._batch, self._batch_samples, self._batch_finite = state["batch"]
        self._all_counted, self._samples = state["samples"]

    def values(self) -> dict[str, float]:
        """Return each metric's mean."""
        return {key: mean.value for key, mean in self.means.items()}


class Pace:
    """Iterations per second over about the last five seconds of a split, epoch after epoch.

    The monitor shows it live: a mean over the whole split would hide that the loader got slow,
    and the time between two batches jumps too much to be read.
    """

    __slots__ = ("_pending", "_rate", "_then")

    def __init__(self) -> None:
        """Know nothing yet."""
        self._rate: float | None = None
        self._pending = 0
        self._then = 0.0

    def start(self, now: float) -> None:
        """A split begins at `now`, in monotonic seconds; the time since the last one is none."""
        self._pending, self._then = 0, now

    def tick(self, now: float) -> None:
        """Note that a batch was done by `now`."""
        self._pending += 1
        if now - self._then >= PACE_WINDOW_S / 10:
            self.stop(now)

    def stop(self, now: float) -> None:
        """Take the batches since the last look into the rate."""
        elapsed_s = now - self._then
        if elapsed_s <= 0:
            return
        fresh = self._pending / elapsed_s
        weight = min(1.0, elapsed_s / PACE_WINDOW_S)
        old = fresh if self._rate is None else self._rate
        self._rate = old + weight * (fresh - old)
        self._pending, self._then = 0, now

    @property
    def it_per_s(self) -> float | None:
        """The rate, or None before half a second, or one split, has passed."""
        return self._rate
