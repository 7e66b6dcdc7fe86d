"""Peaks of GPU memory: from torch where it is used, and from nothing where it is not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import runstore
from runstore.environment.device_memory import GIB, devices_in_use, peaks, reset_peaks


class FakeCuda:
    """torch.cuda of a process with two GPUs; most machines that test have none."""

    def __init__(self, initialized: bool = True) -> None:
        self._initialized = initialized
        self.resets: list[int] = []
        self.broken = False

    def is_initialized(self) -> bool:
        return self._initialized

    def device_count(self) -> int:
        assert self._initialized, "to ask would initialise CUDA"
        return 2

    def reset_peak_memory_stats(self, device: int) -> None:
        self._check()
        self.resets.append(device)

    def max_memory_allocated(self, device: int) -> int:
        self._check()
        return (device + 1) * GIB

    def max_memory_reserved(self, device: int) -> int:
        return (4 - device) * GIB

    def memory_reserved(self, device: int) -> int:
        self._check()
        return device * GIB

    def _check(self) -> None:
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")


def use(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> None:
    # What the end of a run asks of torch is imported while it is the real one.
    importlib.import_module("runstore.train.ranks")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_epoch_row_has_the_peaks_of_the_fullest_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    with runstore.init(root=tmp_path) as run:
        use(monkeypatch, cuda)
        for _ in run.epochs(2):
            pass
    rows = runstore.load(run.path).epochs()
    expected = {"gpu/peak_allocated_gib": 2.0, "gpu/peak_reserved_gib": 4.0}
    assert [row.items() & expected.items() for row in rows] == [expected.items()] * 2
    assert cuda.resets == [0, 1, 0, 1]


def test_device_in_use_is_one_on_which_the_process_has_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, FakeCuda())
    assert devices_in_use() == frozenset({1})
    use(monkeypatch, FakeCuda(initialized=False))
    assert devices_in_use() == frozenset()


def test_device_that_has_failed_takes_nothing_down(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    cuda.broken = True
    use(monkeypatch, cuda)
    reset_peaks()
    assert peaks() == {}


def test_devices_in_use_are_unknown_where_the_allocator_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with torch's CUDAPluggableAllocator: the sampler then takes all of them."""
    cuda = FakeCuda()
    cuda.broken = True
    use(monkeypatch, cuda)
    assert devices_in_use() is None


def test_cuda_that_is_not_used_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeCuda(initialized=False))
    reset_peaks()
    assert peaks() == {}


def test_without_torch_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    reset_peaks()
    assert peaks() == {}


@pytest.mark.gpu
def test_peak_of_a_real_device_is_what_was_allocated(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.zeros(1, device="cuda")
    with runstore.init(root=tmp_path) as run:
        for epoch in run.epochs(2):
            if epoch == 1:
                big = torch.zeros(1 << 28, device="cuda")
                del big
    first, second = runstore.load(run.path).epochs()
    assert first["gpu/peak_allocated_gib"] >= 1
    assert second["gpu/peak_allocated_gib"] < 0.5
