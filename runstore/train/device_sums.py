"""Weighted sums of what is tracked, in float64, on the accelerator where the values are.

No call but `state_dict` waits for the device. About fifteen small kernels are launched a batch,
however many metrics it has. Shape: m metrics that are tracked in one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from runstore.train.host_copy import gather


class _Group:
    """The sums of the metrics that come together in one call."""

    def __init__(self, names: tuple[str, ...], device: torch.device | None = None) -> None:
        self.names = names
        self.calls = 0
        rows = torch.zeros(4, len(names), dtype=torch.float64, device=device or "cpu")
        rows[3].fill_(torch.nan)
        self.place(rows)

    def place(self, rows: torch.Tensor) -> None:
        """Go on with sums, weights, finite calls and last non-finite values: float64 [4, m]."""
        self.rows = rows
        self.weighted_sum, self.weight, self.finite, self.last_nonfinite = rows.unbind()

    def add(self, values: torch.Tensor, n: float | torch.Tensor) -> torch.Tensor:
        """Add values; return 1.0 for each finite one and 0.0 for the others."""
        self.calls += 1
        # masked_fill_ and not where: a number given to that was seen to be copied from the host,
        # which waits.
        is_bad = (values - values) != 0  # two kernels; isfinite takes four
        finite = (~is_bad).double()
        # Product and sum each rounded, as on the host: no fused multiply-add.
        self.weighted_sum.add_((values * n).masked_fill_(is_bad, 0.0))
        self.weight.add_(finite * n)
        self.finite.add_(finite)
        torch.where(is_bad, values, self.last_nonfinite, out=self.last_nonfinite)
        return finite

    def state(self) -> list[Any]:
        """Return the names, and for each the numbers of `runstore.metrics.meters.Mean`."""
        numbers = zip(*self.rows.tolist(), strict=True)
        return [list(self.names), [[s, w, self.calls - int(f), last] for s, w, f, last in numbers]]

    def load_state(self, means: list[list[float]]) -> None:
        rows = torch.tensor(means, dtype=torch.float64).T.clone()
        rows[2].neg_()  # so that calls - finite is the number of those that were not
        self.calls = 0
        self.place(rows)


def _scalars(device: torch.device | None = None) -> torch.Tensor:
    scalars = torch.zeros(4, dtype=torch.float64, device=device or "cpu")
    scalars[1].fill_(1.0)
    return scalars


class DeviceSums:
    """The accelerator's half of `runstore.metrics.meters.Meters`; see there for what is counted."""

    def __init__(self) -> None:
        """Begin with nothing; the first values tell the device."""
        self._device: torch.device | None = None
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._place_scalars(_scalars())
        self._loaded = False
        self._counts_samples = False
        """Whether a number of samples was on the device."""
        self._open = False
        """Whether the open batch has values here."""
        self._batches = 0
        """Closed batches with values here that the host has not counted as not finite."""

    def _place_scalars(self, scalars: torch.Tensor) -> None:
        self._scalars = scalars
        self._good_batches, self._batch_ok, self._samples, self._batch_samples = scalars.unbind()

    @torch.inference_mode(False)
    def add(self, values: Mapping[str, Any], n: Any, *, count_n: bool) -> None:
        """Add values of the open batch.

        Args:
            values: tensors of one element, or floats whose `n` is on the device.
            n: how many samples they are the means of: a number, or a tensor of one element.
            count_n: `n` is a tensor and tells the samples of the batch.
        """
        device = self._device or self._move_to(values, n)
        weight: float | torch.Tensor = n
        if isinstance(n, torch.Tensor):
            # What is no number of samples weighs nothing: to complain would be to wait.
            weight = gather([n], device).clamp(min=0).nan_to_num(nan=0.0, posinf=0.0)
            if count_n:
                self._counts_samples = True
                self._batch_samples.copy_(torch.maximum(self._batch_samples, weight[0]))
        if values:
            names = tuple(values)
            if names not in self._groups:
                self._groups[names] = _Group(names, device)
            finite = self._groups[names].add(gather(list(values.values()), device), weight)
            self._batch_ok.mul_(finite.amin())
        self._open = True

    def _move_to(self, values: Mapping[str, Any], n: Any) -> torch.device:
        tensors = (value for value in [*values.values(), n] if isinstance(value, torch.Tensor))
        self._device = device = next(tensors).device
        # A copy from ordinary host memory would wait for the device.
        self._place_scalars(self._scalars.to(device) if self._loaded else _scalars(device))
        for group in self._groups.values():
            group.place(group.rows.to(device))
        return device

    @torch.inference_mode(False)
    def next_batch(self, *, is_counted: bool) -> None:
        """Close the open batch; `is_counted`: the host has counted it as not finite."""
        if not self._open:
            return
        self._open = False
        if not is_counted:
            self._batches += 1
            self._good_batches.add_(self._batch_ok)
        self._batch_ok.fill_(1.0)
        if self._counts_samples:
            self._samples.add_(self._batch_samples)
            self._batch_samples.fill_(0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as numbers, exactly. Waits for the device."""
        good, batch_ok, samples, batch_samples = self._scalars.tolist()
        return {
            "means": [group.state() for group in self._groups.values()],
            "batches": self._batches,
            "bad_batches": self._batches - int(good),
            "is_open": self._open,
            "batch_is_bad": not batch_ok,
            "samples": samples,
            "batch_samples": batch_samples,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, on the device of the values that will come."""
        self._device, self._groups = None, {}
        self._loaded = self._counts_samples = True
        for names, means in state["means"]:
            self._groups[tuple(names)] = group = _Group(tuple(names))
            group.load_state(means)
        self._open, self._batches = state["is_open"], state["batches"]
        good, ok = self._batches - state["bad_batches"], not state["batch_is_bad"]
        scalars = [good, ok, state["samples"], state["batch_samples"]]
        self._place_scalars(torch.tensor(scalars, dtype=torch.float64))
