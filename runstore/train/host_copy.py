"""Values of an accelerator, brought to the host without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def gather(values: Sequence[Any], device: torch.device) -> torch.Tensor:
    """Return scalars as one tensor, float64 [m] on `device`, without waiting for it.

    Args:
        values: tensors of one element on any device, or Python floats.
        device: knows float64, so it is none of Apple's.
    """
    tensors = [
        value.detach().reshape(()).to(device, non_blocking=True)
        if isinstance(value, torch.Tensor)
        # Filled by a kernel: a copy from ordinary host memory would wait.
        else torch.full((), value, dtype=torch.float64, device=device)
        for value in values
    ]
    if len({tensor.dtype for tensor in tensors}) > 1:
        # Stacked as they are, an int64 would become a float32.
        tensors = [tensor.double() for tensor in tensors]
    return torch.stack(tensors).double()


class TensorCopy:
    """A tensor on its way to the host: one transfer and an event behind it."""

    @torch.inference_mode(False)
    def __init__(self, source: torch.Tensor) -> None:
        """Begin to copy; whatever happens to `source` from now on is not in the copy.

        Args:
            source: on the CPU, or on a device whose events are known here.
        """
        source = source.detach()
        # Into pageable memory the driver would copy synchronously. The caching allocator gives
        # this block to nobody else before the copy is done.
        pinned = source.device.type != "cpu"
        self._host = torch.empty(
            source.shape, dtype=source.dtype, device="cpu", pin_memory=pinned
        ).copy_(source, non_blocking=True)
        self._event = _event_behind(source.device)

    def arrived(self) -> torch.Tensor | None:
        """Return the copy, or None while it is on its way.

        Raises:
            RuntimeError: the device has failed.
        """
        if self._event is not None and not self._event.query():
            return None
        return self._host


class HostCopy:
    """Some scalars on their way to the host."""

    @torch.inference_mode(False)
    def __init__(self, values: Sequence[torch.Tensor]) -> None:
        """Begin to copy.

        Args:
            values: tensors of one element, of any dtype but a complex one; at least one.
        """
        self._copy = TensorCopy(gather(values, values[0].device))

    def poll(self) -> list[float] | None:
        """Return the values in float64, or None while they are on their way.

        Raises:
            RuntimeError: the device has failed.
        """
        host = self._copy.arrived()
        if host is None:
            return None
        values: list[float] = host.tolist()
        return values


def _event_behind(device: torch.device) -> Any:
    """Return an event behind what the device was told so far; None where copies are at once."""
    if device.type == "cpu":
        return None
    backend = torch.xpu if device.type == "xpu" else torch.cuda
    event = backend.Event()
    event.record(backend.current_stream(device))
    return event
