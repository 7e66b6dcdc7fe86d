"""Tensors on an accelerator are not waited for, and amount to what they do on the host.

Most of it runs without a GPU: the CPU plays the accelerator, and an event that the test sets plays
its queue.
"""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import runstore
from runstore import Run
from runstore.metrics import values
from runstore.metrics.meters import Meters
from runstore.train import host_copy
from runstore.train.device_sums import DeviceSums
from runstore.train.host_copy import HostCopy


class Event:
    """The device's own clock: set when it has come so far."""

    is_set = False
    error: str | None = None

    def query(self) -> bool:
        if self.error:
            raise RuntimeError(self.error)
        return self.is_set


@pytest.fixture
def event(monkeypatch: pytest.MonkeyPatch) -> Event:
    """The event behind everything that the accelerator is told."""
    event = Event()
    monkeypatch.setattr(host_copy, "_event_behind", lambda device: event)
    return event


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run for which the CPU is an accelerator."""
    monkeypatch.setattr(values, "LATE_DEVICES", frozenset({"cpu"}))
    monkeypatch.setattr("runstore.writer.writer.LATE_WAIT_S", 0.05)
    monkeypatch.setattr("runstore.run.run.FINISH_WAIT_S", 0.05)
    opened = runstore.init(root=tmp_path)
    yield opened
    opened.finish()


def raw(run: Run, stream: str = "metrics") -> list[dict[str, Any]]:
    path = run.path / f"{stream}-0001.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_row_of_tensors_is_written_when_they_come_and_later_rows_behind_it(
    run: Run, event: Event
) -> None:
    run.log({"a": 0.0}, step=1)
    loss = torch.tensor(2.5)
    run.log({"train/loss": loss, "lr": 0.1}, step=2)
    loss.fill_(99.0)
    run.log({"a": 1.0}, step=3)
    assert [row["step"] for row in raw(run)] == [1]
    event.is_set = True
    run.log({"a": 2.0}, step=4)
    assert [row["step"] for row in raw(run)] == [1, 2, 3, 4]
    assert list(raw(run)[1]) == ["step", "time", "train/loss", "lr"]
    assert raw(run)[1]["train/loss"] == 2.5


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (torch.tensor(0.1, dtype=torch.float16), float(torch.tensor(0.1, dtype=torch.float16))),
        (torch.tensor(0.1, dtype=torch.float64), 0.1),
        (torch.tensor(0.1), float(torch.tensor(0.1))),
        (torch.tensor(2**53 - 1), float(2**53 - 1)),
        (torch.tensor(True), 1.0),
        (torch.tensor([[3.0]]), 3.0),
        (torch.tensor(4.0, requires_grad=True), 4.0),
        (torch.nn.Parameter(torch.tensor(5.0)), 5.0),
    ],
)
def test_value_is_that_of_item(run: Run, tensor: torch.Tensor, expected: float) -> None:
    run.log({"beside": torch.tensor(0.25), "x": tensor})
    assert raw(run)[0]["x"] == expected
    assert raw(run)[0]["beside"] == 0.25


def test_nonfinite_tensors_are_noted_as_such(run: Run) -> None:
    run.log({"a": torch.tensor(math.nan), "b": torch.tensor(-math.inf), "c": torch.tensor(1.0)})
    (row,) = raw(run)
    assert (row["a"], row["b"], row["c"]) == (None, None, 1.0)
    assert row["_nonfinite"] == {"a": "nan", "b": "-inf"}


def test_epoch_row_has_the_last_value_whatever_came_late(run: Run, event: Event) -> None:
    for _ in run.epochs(1):
        run.log({"a": torch.tensor(1.0), "b": 1.0})
        run.log({"a": 2.0, "b": torch.tensor(2.0)})
        run.log({"b": torch.tensor(math.nan)})
        event.is_set = True
    (row,) = raw(run, "epochs")
    assert (row["a"], row["b"]) == (2.0, 2.0)


def test_loop_left_by_break_keeps_what_was_logged_before(run: Run, event: Event) -> None:
    for _ in run.epochs(2):
        run.log({"a": torch.tensor(1.0)})
        break
    event.is_set = True
    run.finish()
    assert raw(run, "epochs")[0]["a"] == 1.0


def test_sync_waits_for_rows_that_are_on_the_way(run: Run, event: Event) -> None:
    import threading

    run.log({"a": torch.tensor(1.0)})
    threading.Timer(0.05, lambda: setattr(event, "is_set", True)).start()
    run._writer.sync()
    assert [row["a"] for row in raw(run)] == [1.0]


def test_writers_thread_writes_what_came_while_the_script_does_something_else(
    run: Run, event: Event, wait_until: Any
) -> None:
    run.log({"a": torch.tensor(1.0)})
    event.is_set = True
    assert wait_until(lambda: len(raw(run)) == 1, what="the row")


def test_broken_device_costs_its_rows_one_warning_and_no_time(
    run: Run, event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    run.log({"a": 1.0})
    for _ in range(3):
        run.log({"a": torch.tensor(2.0)})
    run.log({"a": 3.0})
    event.error = "CUDA error: device-side assert triggered\nmore"
    with caplog.at_level(logging.WARNING):
        run.finish()
    assert [row["a"] for row in raw(run)] == [1.0, 3.0]
    told = [record.message for record in caplog.records if "CUDA error" in record.message]
    assert len(told) == 1
    assert raw(run, "events")[-1]["dropped_values"] == 3


def test_fault_at_the_end_of_a_split_costs_what_the_device_held(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: DeviceSums) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    for _ in run.val([0]):
        run.track(loss=torch.tensor(1.0), n=1)
        run.log({"a": 1.0})
        monkeypatch.setattr(DeviceSums, "state_dict", broken)
    assert "unspecified launch failure" in caplog.text
    assert [row["a"] for row in raw(run) if "a" in row] == [1.0]


def test_device_that_hangs_does_not_keep_the_end_from_coming(run: Run, event: Event) -> None:
    run.log({"a": torch.tensor(2.0)})
    run.log({"a": 3.0})
    run.finish()
    assert [row["a"] for row in raw(run)] == [3.0]
    assert raw(run, "events")[-1]["status"] == "finished"


def test_tracked_tensors_make_the_rows_and_means_that_floats_make(tmp_path: Path, run: Run) -> None:
    batches = [(0.5, 3), (math.nan, 2), (0.25, 1), (math.inf, 4)]
    with runstore.init(root=tmp_path / "host") as host:
        for one, make in ((host, float), (run, lambda x: torch.tensor(x, dtype=torch.float64))):
            for _ in one.epochs(2):
                for loss, n in one.train(batches):
                    one.track(loss=make(loss), accuracy=make(loss), n=n)
                for loss, n in one.val(batches):
                    one.track(loss=make(loss), n=n)
    run.finish()
    for stream in ("metrics", "epochs"):
        plain = [
            [{k: v for k, v in row.items() if not k.endswith(("time", "_s"))} for row in rows]
            for rows in (raw(host, stream), raw(run, stream))
        ]
        assert plain[0] == plain[1]


def test_number_of_samples_may_be_on_the_device(run: Run) -> None:
    for loss, n in run.val([(1.0, 3), (5.0, 1)]):
        run.track(loss=torch.tensor(loss), n=torch.tensor(n), flat=2.0)
    (row,) = raw(run)
    assert (row["val/loss"], row["val/flat"]) == (2.0, 2.0)


def test_values_tracked_in_inference_mode_add_up_outside_of_it(run: Run) -> None:
    for value in run.val([1.0, 2.0]):
        with torch.inference_mode(value == 1.0):
            run.track(loss=torch.tensor(value))
    assert raw(run)[0]["val/loss"] == 1.5


def test_complex_and_long_tensors_are_no_numbers(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.log({"a": torch.tensor(1j), "b": torch.ones(2), "c": torch.tensor(1.0)})
    assert set(raw(run)[0]) == {"step", "time", "c"}
    assert len(caplog.records) == 2


def test_ten_tensors_make_one_transfer(run: Run, event: Event) -> None:
    run.log({f"m{index}": torch.tensor(float(index)) for index in range(10)})
    assert len(run._rows._late) == 1
    event.is_set = True


class Asked(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's own
    """The names of the operations that PyTorch is asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


WAITING = {"_local_scalar_dense", "item", "nonzero", "index", "masked_select", "equal", "_unique2"}
"""Operations whose result, or its size, the host must know."""


def test_nothing_is_asked_of_the_device_whose_answer_is_waited_for(run: Run) -> None:
    loss, scores = torch.tensor(1.0), torch.randn(8, 5)
    targets = torch.tensor([0, 1, 2, 3, 4, -100, 1, 2])
    with Asked() as asked:
        for _ in run.train(range(3)):
            run.log({"lr": 0.1, "norm": loss})
            run.track(loss=loss, accuracy=0.5, n=8)
            run.track(tokens=loss, n=targets.sum())
            run.track_classification(scores, targets)
            run.track_regression(scores[:, 0], targets)
            in_loop = set(asked.names)
    assert "index_add_" in in_loop
    assert not in_loop & WAITING
    assert asked.names & WAITING  # the split's end reads what was summed


# ---- sums ----------------------------------------------------------------------------------------

VALUES = st.one_of(st.floats(-1e30, 1e30), st.sampled_from([math.nan, math.inf, -math.inf, -0.0]))
CALLS = st.lists(
    st.tuples(
        st.booleans(),  # the next batch begins
        st.lists(VALUES, min_size=1, max_size=3),
        st.one_of(st.none(), st.integers(0, 512), st.floats(0, 1e6)),
    ),
    max_size=25,
)
Call = tuple[bool, list[float], float | None]


def track(meters: Meters, calls: list[Call], first: int = 0, *, late: str = "none") -> int:
    """Add calls to meters: as floats, as tensors, or alternately (`late` none, all, some)."""
    batch = first
    for index, (begins, numbers, n) in enumerate(calls):
        batch += begins
        on_device = late == "all" or (late == "some" and index % 2 == 0)
        given: dict[str, Any] = {
            f"m{at}": torch.tensor(value, dtype=torch.float64) if on_device else value
            for at, value in enumerate(numbers)
        }
        meters.add(batch, given, n)
    return batch


def facts(meters: Meters) -> str:
    """Everything that a split's end asks of its meters; as text, where NaN equals NaN."""
    meters.settle()
    means = {name: mean.state_dict() for name, mean in meters.means.items()}
    return repr((means, meters.nonfinite_batches, meters.samples, meters.batches))


@settings(max_examples=60)
@given(CALLS)
def test_sums_on_the_device_are_those_of_the_host_bit_for_bit(calls: list[Call]) -> None:
    host, device = Meters(), Meters(DeviceSums)
    track(host, calls)
    track(device, calls, late="all")
    # A metric that comes in calls with different others is summed in several parts.
    if len({len(numbers) for _, numbers, _ in calls}) <= 1:
        assert facts(device) == facts(host)
    else:
        device.settle()
        assert device.nonfinite_batches == host.nonfinite_batches
        assert device.samples == host.samples
        for name, mean in host.means.items():
            found = device.means[name]
            assert found.weight == pytest.approx(mean.weight, rel=1e-12)
            assert found.nonfinite == mean.nonfinite


@settings(max_examples=60)
@given(CALLS, CALLS, st.sampled_from(["none", "all", "some"]))
def test_meters_loaded_in_the_middle_go_on_exactly(
    before: list[Call], after: list[Call], late: str
) -> None:
    whole, first, second = Meters(DeviceSums), Meters(DeviceSums), Meters(DeviceSums)
    at = track(whole, before, late=late)
    track(whole, after, at, late=late)
    at = track(first, before, late=late)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    track(second, after, at, late=late)
    assert facts(second) == facts(whole)


@settings(max_examples=40)
@given(st.lists(CALLS, min_size=1, max_size=3))
def test_meters_of_several_processes_add_up(parts: list[list[Call]]) -> None:
    together = Meters()
    at = 0
    for calls in parts:
        at = track(together, calls, at + 1)
    ranks = []
    for calls in parts:
        meters = Meters(DeviceSums)
        track(meters, calls, 1, late="some")
        meters.settle()
        ranks.append(meters)
    gathered: list[Any] = []
    for meters in ranks:  # what each gives, as gather_objects would carry it
        meters.reduce(lambda given: gathered.append(given) or [given])  # type: ignore[func-returns-value]
    found = Meters()
    found.reduce(lambda _: gathered)
    assert found.nonfinite_batches == together.nonfinite_batches
    assert found.batches == together.batches
    assert found.means.keys() == together.means.keys()
    for name, mean in together.means.items():
        assert found.means[name].weight == pytest.approx(mean.weight, rel=1e-9)
        assert found.means[name].nonfinite == mean.nonfinite
    if found.samples is not None and together.samples is not None:
        assert found.samples == pytest.approx(together.samples, rel=1e-9)


def test_bf16_values_do_not_stop_growing() -> None:
    meters = Meters(DeviceSums)
    for batch in range(2000):
        meters.add(batch, {"loss": torch.tensor(9.5, dtype=torch.bfloat16)}, 1)
    meters.settle()
    assert meters.means["loss"].weighted_sum == 19_000.0


def test_host_copy_keeps_the_order_of_values() -> None:
    mixed = [torch.tensor(2**40 + 1), torch.tensor(0.5), torch.tensor(False)]
    assert HostCopy(mixed).poll() == [float(2**40 + 1), 0.5, 0.0]


# ---- a real device -------------------------------------------------------------------------------


@pytest.mark.gpu
def test_hundred_tracked_steps_never_wait_for_the_device(tmp_path: Path) -> None:
    loss = torch.ones((), device="cuda")
    scores = torch.randn(64, 10, device="cuda")
    targets = torch.arange(64, device="cuda") % 10
    targets[0] = -100
    with runstore.init(root=tmp_path) as run:
        for _ in run.epochs(1):
            for step in run.train(range(100)):
                if step == 1:  # the first step allocates
                    torch.cuda.set_sync_debug_mode("error")
                try:
                    run.log({"lr": 0.1, "norm": loss * step})
                    run.track(loss=loss * step, accuracy=0.5, n=64)
                    run.track_classification(scores, targets)
                    run.track_regression(scores[:, 0], targets)
                finally:
                    if step == 99:
                        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.set_sync_debug_mode("default")
    rows = [row for row in raw(run) if "train/loss" in row]
    assert [row["train/loss"] for row in rows] == [float(step) for step in range(100)]
    (epoch,) = raw(run, "epochs")
    assert epoch["train/loss"] == 49.5
    assert epoch["norm"] == 99.0
    assert raw(run, "reports")[0]["report"]["macro avg"]["support"] == 6300.0
