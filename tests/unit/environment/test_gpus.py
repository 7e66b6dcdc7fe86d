"""GPUs through NVML's Python binding: a stand-in driver, and a real one where there is one."""

from __future__ import annotations

import ctypes
import time
from types import SimpleNamespace
from typing import Any

import pytest

from runstore.environment import gpus
from runstore.environment.gpus import GIB, Gpus, load_nvml, open_gpus


class NVMLError(Exception):
    """As in pynvml."""


class FakeNvml:
    """Three GPUs, one of them with a MIG part, with pynvml's function names.

    There is no driver to test with on most machines. `missing` are the calls that the device does
    not support.
    """

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    UUIDS = ("GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3", "MIG-dddd-4")

    def __init__(self, *missing: str, reasons: int = 0) -> None:
        self._missing = missing
        self._reasons = reasons
        self.opened = 0

    def nvmlInit(self) -> None:
        self._check("nvmlInit")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def _check(self, name: str) -> None:
        if name in self._missing:
            raise NVMLError("Not Supported")

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if not 0 <= index < 3:
            raise NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid not in self.UUIDS:
            raise NVMLError("Not Found")
        return self.UUIDS.index(uuid)

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return self.UUIDS[handle]

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        self._check("nvmlDeviceGetName")
        return b"H200"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        self._check("nvmlDeviceGetUtilizationRates")
        if handle == 3:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=90 + handle, memory=40)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        self._check("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(used=3 * GIB, total=140 * GIB)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._check("nvmlDeviceGetPowerUsage")
        return 650_500

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._check("nvmlDeviceGetTemperature")
        return 61

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        self._check("nvmlDeviceGetClockInfo")
        return {1: 1980, 2: 3201}[kind]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        self._check("nvmlDeviceGetCurrentClocksThrottleReasons")
        return self._reasons


WHOLE = {
    "gpu0/busy_percent": 90.0,
    "gpu0/memory_busy_percent": 40.0,
    "gpu0/memory_used_gib": 3.0,
    "gpu0/memory_total_gib": 140.0,
    "gpu0/power_w": 650.5,
    "gpu0/temperature_c": 61.0,
    "gpu0/sm_clock_mhz": 1980.0,
    "gpu0/memory_clock_mhz": 3201.0,
    "gpu0/slowed_by_power": 0.0,
    "gpu0/slowed_by_heat": 0.0,
    "gpu0/slowed_by_hardware": 0.0,
}


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["GPU-cccc-3", "GPU-aaaa-1"]),
        (" 1 ", ["GPU-aabb-2"]),
        ("0,-1,1", ["GPU-aaaa-1"]),
        ("0,7,1", ["GPU-aaaa-1"]),
        ("GPU-cccc-3,GPU-aaaa-1", ["GPU-cccc-3", "GPU-aaaa-1"]),
        ("GPU-cc", ["GPU-cccc-3"]),
        ("GPU-aa", []),  # of two devices
        ("GPU-ffff", []),
        ("MIG-dddd-4", ["MIG-dddd-4"]),
        ("MIG-GPU-aaaa-1/7/0", []),
    ],
)
def test_devices_are_those_that_cuda_shows(visible: str | None, uuids: list[str]) -> None:
    found = Gpus(FakeNvml(), visible).describe()
    assert found == [
        {"index": index, "name": "H200", "uuid": uuid} for index, uuid in enumerate(uuids)
    ]


def test_sample_of_some_devices_keeps_their_numbers() -> None:
    values = Gpus(FakeNvml(), None).sample(only={1, 7})
    assert {name.partition("/")[0] for name in values} == {"gpu1"}


def test_sample_has_every_figure_in_its_unit() -> None:
    assert Gpus(FakeNvml(), "0").sample() == WHOLE


@pytest.mark.parametrize(
    ("call", "names"),
    [
        ("nvmlDeviceGetUtilizationRates", ["busy_percent", "memory_busy_percent"]),
        ("nvmlDeviceGetMemoryInfo", ["memory_used_gib", "memory_total_gib"]),
        ("nvmlDeviceGetPowerUsage", ["power_w"]),
        ("nvmlDeviceGetTemperature", ["temperature_c"]),
        ("nvmlDeviceGetClockInfo", ["sm_clock_mhz", "memory_clock_mhz"]),
        (
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            ["slowed_by_power", "slowed_by_heat", "slowed_by_hardware"],
        ),
    ],
)
def test_figure_that_is_not_supported_is_left_out_alone(call: str, names: list[str]) -> None:
    left_out = {f"gpu0/{name}" for name in names}
    expected = {key: value for key, value in WHOLE.items() if key not in left_out}
    assert Gpus(FakeNvml(call), "0").sample() == expected


def test_part_of_a_device_has_the_figures_it_has() -> None:
    values = Gpus(FakeNvml(), "MIG-dddd-4").sample()
    assert values["gpu0/memory_total_gib"] == 140
    assert "gpu0/busy_percent" not in values


@pytest.mark.parametrize(
    ("reasons", "slowed"),
    [
        (0x1, []),
        (0x2 | 0x10 | 0x100, []),
        (0x4, ["power"]),
        (0x20, ["heat"]),
        (0x8 | 0x40, ["heat", "hardware"]),
        (0x8 | 0x80, ["power", "hardware"]),
    ],
)
def test_reasons_of_low_clocks_are_told_apart(reasons: int, slowed: list[str]) -> None:
    values = Gpus(FakeNvml(reasons=reasons), "0").sample()
    found = [name for name in ("power", "heat", "hardware") if values[f"gpu0/slowed_by_{name}"]]
    assert found == slowed


def test_driver_that_fails_or_shows_nothing_is_none() -> None:
    assert open_gpus(None, None) is None
    assert open_gpus(FakeNvml("nvmlInit"), None) is None
    empty = FakeNvml()
    assert open_gpus(empty, "") is None
    assert empty.opened == 0


def test_nvml_is_let_go() -> None:
    nvml = FakeNvml()
    found = open_gpus(nvml, None)
    assert found is not None
    found.close()
    assert nvml.opened == 0


def has_driver() -> bool:
    try:
        ctypes.CDLL(gpus.LIBRARY)
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_driver(), reason="this machine has NVIDIA's driver")
def test_machine_without_a_driver_pays_less_than_a_millisecond() -> None:
    costs = []
    for _ in range(5):
        begun = time.perf_counter()
        assert load_nvml() is None
        costs.append(time.perf_counter() - begun)
    assert min(costs) < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not has_driver(), reason="this machine has no NVIDIA driver")
def test_real_driver_answers() -> None:
    pytest.importorskip("pynvml")
    found = open_gpus(load_nvml(), None)
    assert found is not None
    values = found.sample()
    found.close()
    assert 0 < values["gpu0/memory_used_gib"] < values["gpu0/memory_total_gib"]


def test_binding_has_every_name_that_is_used() -> None:
    """The stand-in promises nothing that pynvml does not have."""
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in dir(FakeNvml) if name.lower().startswith("nvml")]
    assert len(names) > 10
    assert [name for name in names if not hasattr(pynvml, name)] == []
