"""NVIDIA GPUs through NVML: which ones this process sees, and how they do.

Without a driver, or without the package nvidia-ml-py, there are none, which is found out in less
than a millisecond. Each figure is asked for by itself: what a device does not support (MIG parts
have no load of their own, laptops no power) is left out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
GIB = 1 << 30

# nvml.h, nvmlClocksEventReasons: what slows a GPU down; the other bits (idle, clocks set by the
# user, display) are no trouble.
_POWER_BITS = 0x4 | 0x80
_HEAT_BITS = 0x20 | 0x40
_HARDWARE_BIT = 0x8

# What NVML calls raise, beside NVMLError: the installed driver is older than the function, or the
# bytes of a name are no UTF-8.
_Failures = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device that CUDA shows to this process."""

    index: int
    """As in `cuda:0`."""
    handle: Any


class Gpus:
    """The devices that this process may use, in CUDA's order."""

    def __init__(self, nvml: Any, visible: str | None) -> None:
        """Start NVML and find the devices.

        CUDA's own order is NVML's (the PCI bus) wherever all GPUs of a machine are alike, or with
        `CUDA_DEVICE_ORDER=PCI_BUS_ID`.

        Args:
            nvml: the module `pynvml`.
            visible: the value of `CUDA_VISIBLE_DEVICES`; None shows all devices.

        Raises:
            nvml.NVMLError: there is no usable driver.
        """
        self._nvml = nvml
        self._failures: _Failures = (nvml.NVMLError, AttributeError, ValueError)
        nvml.nvmlInit()
        handles = self._visible_handles(visible)
        self._gpus = [Gpu(index, handle) for index, handle in enumerate(handles)]

    def close(self) -> None:
        """Let NVML go; other users of it in this process keep it."""
        self._try(self._nvml.nvmlShutdown)

    def _visible_handles(self, visible: str | None) -> list[Any]:
        """Return NVML's devices as CUDA counts them (CUDA C++ Programming Guide, env. variables).

        The first entry that names no device ends the list: `0,-1,1` shows one device.
        """
        if visible is None:
            count = self._try(self._nvml.nvmlDeviceGetCount) or 0
            found = [self._handle(str(index)) for index in range(count)]
            return [handle for handle in found if handle is not None]
        handles = []
        for entry in visible.split(","):
            handle = self._handle(entry.strip())
            if handle is None:
                break
            handles.append(handle)
        return handles

    def _handle(self, entry: str) -> Any:
        """Return the device that an index, a UUID or the beginning of one names, or None."""
        if entry.isdecimal():
            return self._try(self._nvml.nvmlDeviceGetHandleByIndex, int(entry))
        if not entry.startswith(("GPU-", "MIG-")):
            return None
        exact = self._try(self._nvml.nvmlDeviceGetHandleByUUID, entry)
        return exact if exact is not None else self._by_prefix(entry)

    def _by_prefix(self, prefix: str) -> Any:
        found = []
        for index in range(self._try(self._nvml.nvmlDeviceGetCount) or 0):
            handle = self._try(self._nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None and (self._text("UUID", handle) or "").startswith(prefix):
                found.append(handle)
        return found[0] if len(found) == 1 else None

    def describe(self) -> list[dict[str, Any]]:
        """Return `index`, `name` and `uuid` of each device."""
        return [
            {
                "index": gpu.index,
                "name": self._text("Name", gpu.handle),
                "uuid": self._text("UUID", gpu.handle),
            }
            for gpu in self._gpus
        ]

    def _text(self, what: str, handle: Any) -> str | None:
        found = self._try(getattr(self._nvml, f"nvmlDeviceGet{what}", None), handle)
        # Older versions of the package return bytes.
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found

    def sample(self, only: Collection[int] | None = None) -> dict[str, float]:
        """Return what each device says now, under `gpu0/…`, `gpu1/…`; or `only` some of them."""
        return {
            f"gpu{gpu.index}/{name}": float(value)
            for gpu in self._gpus
            if only is None or gpu.index in only
            for name, value in self._figures(gpu.handle).items()
            if value is not None
        }

    def _figures(self, handle: Any) -> Mapping[str, float | None]:
        nvml = self._nvml
        load = self._try(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._try(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = self._try(nvml.nvmlDeviceGetPowerUsage, handle)
        celsius = self._try(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
        return {
            "busy_percent": load and load.gpu,
            "memory_busy_percent": load and load.memory,
            "memory_used_gib": memory and memory.used / GIB,
            "memory_total_gib": memory and memory.total / GIB,
            "power_w": None if milliwatts is None else milliwatts / 1000,
            "temperature_c": celsius,
            "sm_clock_mhz": self._try(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._try(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            **self._slowed(handle),
        }

    def _slowed(self, handle: Any) -> dict[str, float]:
        """Return 1.0 for each thing that slows the device down at this moment, 0.0 for others."""
        ask = getattr(self._nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", None)
        reasons = self._try(ask, handle)
        if reasons is None:
            return {}
        return {
            "slowed_by_power": float(bool(reasons & _POWER_BITS)),
            "slowed_by_heat": float(bool(reasons & _HEAT_BITS)),
            "slowed_by_hardware": float(bool(reasons & _HARDWARE_BIT)),
        }

    def _try(self, call: Callable[..., Any] | None, *arguments: Any) -> Any:
        """Return what a call of NVML returns; None where the device or the driver has no answer."""
        if call is None:
            return None
        try:
            return call(*arguments)
        except self._failures:
            return None


def load_nvml() -> Any:
    """Return the module `pynvml`, or None without a driver or without nvidia-ml-py."""
    try:
        # Before the import, which is a hundred times the price: most machines have no driver.
        ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def open_gpus(nvml: Any, visible: str | None) -> Gpus | None:
    """Return the devices, or None when NVML cannot be used or shows none."""
    if nvml is None:
        return None
    try:
        gpus = Gpus(nvml, visible)
    except nvml.NVMLError:
        return None
    if gpus.describe():
        return gpus
    gpus.close()
    return None
