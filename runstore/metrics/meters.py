"""Sample-weighted means of what a split tracks, and the pace at which it goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

JsonObject = dict[str, Any]
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

    def add(self, value: float, n: float) -> bool:
        """Add the mean of `n` samples; return whether it is finite."""
        if math.isfinite(value):
            self.weighted_sum += value * n
            self.weight += n
            return True
        self.nonfinite += 1
        self.last_nonfinite = value
        return False

    def merge(self, other: Mean) -> None:
        """Add what another mean has seen after this one."""
        self.weighted_sum += other.weighted_sum
        self.weight += other.weight
        self.nonfinite += other.nonfinite
        if other.nonfinite:
            self.last_nonfinite = other.last_nonfinite

    @property
    def value(self) -> float:
        """The mean of the finite values; NaN or an infinity when there was none of them."""
        return self.weighted_sum / self.weight if self.weight else self.last_nonfinite

    def state_dict(self) -> list[float]:
        """Return everything as numbers, for a checkpoint or another process."""
        return [self.weighted_sum, self.weight, self.nonfinite, self.last_nonfinite]

    def load_state_dict(self, state: Sequence[float]) -> None:
        """Go on from a `state_dict`."""
        self.weighted_sum, self.weight, nonfinite, self.last_nonfinite = state
        self.nonfinite = int(nonfinite)


class Sums(Protocol):
    """Means of values that are on an accelerator: runstore.train.device_sums, without PyTorch."""

    def add(self, values: Mapping[str, Any], n: Any, *, count_n: bool) -> None:
        """Add values of the open batch; `count_n`: `n` is on the device, and counts its samples."""

    def next_batch(self, *, is_counted: bool) -> None:
        """Close the open batch; `is_counted`: the host has counted it as not finite."""

    def state_dict(self) -> JsonObject:
        """Return everything as numbers. Waits for the device."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""


class Meters:
    """All that one split tracked.

    Values on an accelerator are summed there and read when the split ends.
    """

    def __init__(self, new_sums: Callable[[], Sums] | None = None) -> None:
        """Begin with nothing; `new_sums` is called when the first value on an accelerator comes."""
        self.means: dict[str, Mean] = {}
        self.nonfinite_batches = 0
        self.batches = 0
        """Batches that were tracked."""
        self._batch: int | None = None
        """The batch that the last values belong to: a batch may be tracked in several calls."""
        self._batch_samples: float | None = None
        """The largest `n` of that batch so far."""
        self._batch_on_device = False
        """Whether that batch's `n` is on the device."""
        self._batch_finite = True
        self._all_counted = True
        """Whether each batch before that one came with its number of samples."""
        self._samples = 0.0
        """Samples of the batches before that one."""
        self.tokens: Any = 0
        """All that were counted: a number, or a tensor on the device that counts."""
        self._new_sums = new_sums
        self._sums: Sums | None = None

    def add(self, batch: int, values: Mapping[str, Any], n: Any) -> None:
        """Add values of one batch: means over `n` samples, or of an unknown number, weighing 1.

        Args:
            batch: its number; not that of the one before begins the next.
            values: floats, or tensors on an accelerator.
            n: a number, a tensor on an accelerator, or None.
        """
        if batch != self._batch:
            self._next_batch(batch)
        n_is_late = n is not None and type(n) is not float and type(n) is not int
        late: dict[str, Any] = {}
        weight = 1 if n is None else n
        finite = True
        for key, value in values.items():
            mean = self.means.get(key)
            if mean is None:
                mean = self.means[key] = Mean()
            if n_is_late or type(value) is not float:
                late[key] = value
            else:
                finite = mean.add(value, weight) and finite
        if late or n_is_late:
            self._add_on_device(late, n, n_is_late)
        if n is not None and not n_is_late and not self._batch_on_device:
            self._batch_samples = max(n, self._batch_samples or 0)
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

    def _add_on_device(self, late: Mapping[str, Any], n: Any, n_is_late: bool) -> None:
        counts = n_is_late and self._batch_samples is None
        self._batch_on_device = self._batch_on_device or counts
        self._device_sums().add(late, 1 if n is None else n, count_n=counts)

    def _device_sums(self) -> Sums:
        if self._sums is None:
            assert self._new_sums is not None  # who tracks tensors gives it
            self._sums = self._new_sums()
        return self._sums

    def _next_batch(self, batch: int) -> None:
        if self._sums is not None:
            self._sums.next_batch(is_counted=not self._batch_finite)
        if self._batch is not None:
            self._all_counted = self._all_counted and self._is_batch_counted
            self._samples += self._batch_samples or 0
        self.batches += 1
        self._batch, self._batch_samples = batch, None
        self._batch_finite, self._batch_on_device = True, False

    @property
    def _is_batch_counted(self) -> bool:
        return self._batch_samples is not None or self._batch_on_device

    @property
    def samples(self) -> float | None:
        """How many samples were tracked; None when a batch came without their number."""
        if not self._is_batch_counted or not self._all_counted:
            return None
        return self._samples + (self._batch_samples or 0)

    def values(self) -> dict[str, float]:
        """Return each metric's mean; of what is on an accelerator, only after `settle`."""
        return {key: mean.value for key, mean in self.means.items()}

    def settle(self) -> None:
        """Take in what was summed on an accelerator, which is waited for. The split has ended."""
        if self._sums is None:
            return
        state = self._sums.state_dict()
        self._sums = None
        for names, means in state["means"]:
            for name, mean in zip(names, means, strict=True):
                found = Mean()
                found.load_state_dict(mean)
                self.means.setdefault(name, Mean()).merge(found)
        bad_in_open = state["batch_is_bad"] and self._batch_finite
        self.nonfinite_batches += state["bad_batches"] + bad_in_open
        self._samples += state["samples"] + state["batch_samples"]

    def reduce(self, gather: Callable[[Any], list[Any]]) -> None:
        """Add up over all processes, once they have settled; a process may have had no batch.

        Args:
            gather: returns what each process gave, as `runstore.train.ranks.gather_objects`.
        """
        parts = [part for part in gather(self._totals()) if part["batches"]]
        self.means = {}
        for name, state in (item for part in parts for item in part["means"].items()):
            mean = Mean()
            mean.load_state_dict(state)
            self.means.setdefault(name, Mean()).merge(mean)
        self.nonfinite_batches = sum(part["nonfinite_batches"] for part in parts)
        self.batches = sum(part["batches"] for part in parts)
        self.tokens = sum(part["tokens"] for part in parts)
        samples = [part["samples"] for part in parts]
        self._all_counted = self._batch_on_device = bool(parts) and None not in samples
        self._samples = sum(samples) if self._all_counted else 0.0
        self._batch_samples = None

    def _totals(self) -> JsonObject:
        return {
            "means": {name: mean.state_dict() for name, mean in self.means.items()},
            "nonfinite_batches": self.nonfinite_batches,
            "batches": self.batches,
            "samples": self.samples,
            "tokens": _as_number(self.tokens),
        }

    def state_dict(self) -> JsonObject:
        """Return everything as numbers, exactly, for a checkpoint. Waits for the device."""
        return {
            "means": {name: mean.state_dict() for name, mean in self.means.items()},
            "fields": {name: getattr(self, name) for name in _STATE_FIELDS},
            "sums": self._sums.state_dict() if self._sums is not None else None,
            "tokens": _as_number(self.tokens),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`: later values give what they would have given there."""
        self.means = {}
        for name, numbers in state["means"].items():
            self.means[name] = Mean()
            self.means[name].load_state_dict(numbers)
        for name in _STATE_FIELDS:
            setattr(self, name, state["fields"][name])
        self.tokens = state["tokens"]
        self._sums = None
        if state["sums"] is not None:
            self._device_sums().load_state_dict(state["sums"])


def _as_number(count: Any) -> Any:
    """Return a count as a number; one on an accelerator is waited for."""
    return count.item() if hasattr(count, "item") else count


_STATE_FIELDS = (
    "nonfinite_batches",
    "batches",
    "_batch",
    "_batch_samples",
    "_batch_on_device",
    "_batch_finite",
    "_all_counted",
    "_samples",
)


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
