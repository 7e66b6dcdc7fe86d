"""Which GPUs this process has memory on, and the most that each epoch took: PyTorch's allocator.

Without an import: a script that has not loaded torch, or not used CUDA, took none.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

GIB = 1 << 30


def reset_peaks() -> None:
    """Let the peaks of all devices begin anew, as an epoch does."""
    cuda = _used_cuda()
    if cuda is not None:
        for device in range(cuda.device_count()):
            # A device that has failed is the training's to report.
            with suppress(RuntimeError):
                cuda.reset_peak_memory_stats(device)


def peaks() -> dict[str, float]:
    """Return the peaks since `reset_peaks`, of the device with the highest; empty without CUDA.

    `allocated` is what tensors took, `reserved` what the allocator took from the device for them.
    """
    cuda = _used_cuda()
    if cuda is None:
        return {}
    devices = range(cuda.device_count())
    try:
        allocated_bytes = max(map(cuda.max_memory_allocated, devices), default=0)
        reserved_bytes = max(map(cuda.max_memory_reserved, devices), default=0)
    except RuntimeError:
        return {}
    return {
        "gpu/peak_allocated_gib": allocated_bytes / GIB,
        "gpu/peak_reserved_gib": reserved_bytes / GIB,
    }


def devices_in_use() -> frozenset[int] | None:
    """Return the devices, as in `cuda:0`, on which this process has memory; empty without CUDA.

    None where PyTorch cannot tell, as with an allocator of somebody else's
    (`torch.cuda.memory.CUDAPluggableAllocator`, which RAPIDS has).
    """
    cuda = _used_cuda()
    if cuda is None:
        return frozenset()
    try:
        return frozenset(d for d in range(cuda.device_count()) if cuda.memory_reserved(d))
    except RuntimeError:
        return None


def _used_cuda() -> Any:
    """Return `torch.cuda` when this process uses it: the first use takes seconds and memory."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    # False in a forked child, too, where CUDA cannot be used.
    return cuda if cuda is not None and cuda.is_initialized() else None
