"""Errors of a regression, summed in float64 where the model runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from runstore.metrics import values
from runstore.train.given import as_tensor, described

_N, _ORIGIN, _MEAN, _SQUARES, _LEFT_OUT = range(5)
_ZEROS = [0.0] * 7


class Regression:
    """Mean squared error, mean absolute error and R² of all elements of all batches.

    R² needs the spread of the targets around their mean. Two plain sums would lose all digits of it
    when the targets lie far from 0, so each batch has its own mean and squared distances from it,
    and batches are merged as in Chan, Golub and LeVeque (1979). The mean itself is kept as its
    distance from an origin nearby. Pairs that are not finite are left out and counted.
    """

    def __init__(self) -> None:
        """Add up nothing yet."""
        self._sums: torch.Tensor | None = None
        """Pairs, origin, mean of the targets less that, squared distances from the mean, pairs that
        were left out, squared errors, absolute errors: float64 [7]."""

    @torch.inference_mode(False)
    def add(self, predictions: Any, targets: Any) -> None:
        """Add a batch; any shapes with as many elements. Never waits for an accelerator.

        Raises:
            ValueError: the numbers of elements differ.
        """
        predicted, target = _tensor("predictions", predictions), _tensor("targets", targets)
        if predicted.numel() != target.numel():
            raise ValueError(
                f"{described('predictions', predicted)} and {described('targets', target)}, "
                "expected as many elements"
            )
        if not target.numel():
            return
        device = _device(predicted, target)
        self._merge(_sums(_flat(predicted, device), _flat(target, device)))

    def _merge(self, batch: torch.Tensor) -> None:
        if self._sums is None:
            self._sums = batch
        else:
            self._sums = _merged(self._sums.to(batch.device), batch)

    def values(self) -> dict[str, float]:
        """Return `mse`, `mae` and `r2`; nothing without a finite pair. Waits for the device.

        As in scikit-learn, R² is 1 or 0 when all targets are equal; of one sample it is NaN.
        """
        n, _, _, squares, _, squared_error, absolute_error = self.state_dict()["sums"]
        if not n:
            return {}
        if n < 2:
            r2 = math.nan
        elif squares:
            r2 = 1.0 - squared_error / squares
        else:
            r2 = 0.0 if squared_error else 1.0
        return {"mse": squared_error / n, "mae": absolute_error / n, "r2": r2}

    @property
    def left_out(self) -> int:
        """Pairs that were not finite. Waits for the device."""
        return int(self.state_dict()["sums"][_LEFT_OUT])

    def reduce(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Become the sum of the `state_dict`s of all processes, merged in the order given."""
        self._sums = None
        for state in states:
            if any(state["sums"]):
                self._merge(torch.tensor(state["sums"], dtype=torch.float64))

    def state_dict(self) -> dict[str, Any]:
        """Return everything as numbers, exactly. Waits for the device."""
        return {"sums": list(_ZEROS) if self._sums is None else self._sums.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._sums = None
        if any(state["sums"]):
            self._sums = torch.tensor(state["sums"], dtype=torch.float64)


def _tensor(name: str, numbers: Any) -> torch.Tensor:
    # PyTorch would make float32 of Python's floats.
    dtype = None if hasattr(numbers, "dtype") else torch.float64
    tensor = as_tensor(name, numbers, dtype)
    if tensor.is_complex():
        raise ValueError(f"{described(name, tensor)}, expected real numbers")
    return tensor


def _device(predicted: torch.Tensor, target: torch.Tensor) -> torch.device:
    """Return the accelerator where one of them is, if it knows float64; the host otherwise."""
    for tensor in (predicted, target):
        if tensor.device.type in values.LATE_DEVICES:
            return tensor.device
    return torch.device("cpu")


def _flat(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    # First to the device: Apple's knows no float64.
    return tensor.detach().reshape(-1).to(device, non_blocking=device.type != "cpu").double()


def _sums(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the sums of one batch, float64 [6]; without selecting, which would wait."""
    error = predicted - target
    is_bad = (error - error) != 0
    error.masked_fill_(is_bad, 0.0)
    left_out = is_bad.sum().double()
    n = is_bad.numel() - left_out
    origin = target.masked_fill(is_bad, 0.0).sum() / n.clamp(min=1)
    target = (target - origin).masked_fill_(is_bad, 0.0)
    mean = target.sum() / n.clamp(min=1)
    squares = (target - mean).masked_fill_(is_bad, 0.0).square().sum()
    errors = [error.square().sum(), error.abs().sum()]
    return torch.stack([n, origin, mean, squares, left_out, *errors])


def _merged(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the sums over the pairs of both."""
    n = a[_N] + b[_N]
    share = b[_N] / n.clamp(min=1)
    # Between numbers that are near each other the first difference is exact.
    distance = (b[_ORIGIN] - a[_ORIGIN]) + (b[_MEAN] - a[_MEAN])
    merged = a + b
    merged[_ORIGIN] = a[_ORIGIN]
    merged[_MEAN] = a[_MEAN] + distance * share
    merged[_SQUARES] += distance.square() * a[_N] * share
    return merged
