"""Logging from training code: what reaches the file, and that nothing else can happen."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runstore
from runstore import Run
from runstore.errors import BadValueError, StageError


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    opened = runstore.init({"lr": 0.1}, root=tmp_path, name="t")
    yield opened
    opened.finish()


def raw(run: Run, stream: str = "metrics") -> list[dict[str, Any]]:
    """The rows as any JSON reader sees them."""
    path = run.path / f"{stream}-0001.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def warnings(run: Run) -> list[str]:
    return [e["message"] for e in raw(run, "events") if e["event"] == "warning"]


def end(run: Run) -> dict[str, Any]:
    last = raw(run, "events")[-1]
    assert last["event"] == "end"
    return last


def test_row_is_in_the_file_when_log_returns(run: Run) -> None:
    run.log({"train/loss": 0.5, "lr": 0.1}, step=3)
    (row,) = raw(run)
    assert row["time"] > 0
    del row["time"]
    assert row == {"step": 3, "train/loss": 0.5, "lr": 0.1}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1, 1.0), (True, 1.0), (np.float32(0.5), 0.5), (np.int64(3), 3.0), (np.bool_(True), 1.0),
        (np.array(2.5), 2.5), (np.array([2.5]), 2.5), (torch.tensor(1.5), 1.5),
        (torch.tensor([7]), 7.0), (torch.tensor(0.25, requires_grad=True), 0.25),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5), (Fraction(1, 4), 0.25),
        (2**53, 2.0**53), (-0.0, -0.0), (1e-320, 1e-320),
    ],
    ids=repr,
)  # fmt: skip
def test_any_number_becomes_a_float(run: Run, value: Any, written: float) -> None:
    run.log({"x": value})
    (row,) = raw(run)
    assert type(row["x"]) is float
    assert (row["x"], math.copysign(1, row["x"])) == (written, math.copysign(1, written))
    assert warnings(run) == []


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (math.nan, "nan"), (math.inf, "inf"), (np.float32("-inf"), "-inf"),
        (torch.tensor(math.nan), "nan"), (10**400, "inf"), (-(10**400), "-inf"),
        (Fraction(10**400), "inf"),
    ],
    ids=["nan", "inf", "numpy", "torch", "huge", "-huge", "fraction"],
)  # fmt: skip
def test_nonfinite_value_is_kept_beside_a_null(run: Run, value: Any, name: str) -> None:
    for _ in range(2):  # the second time, the name is a known one
        run.log({"x": value, "y": 1.0})
        assert raw(run)[-1]["x"] is None
        assert raw(run)[-1]["_nonfinite"] == {"x": name}
    run.log({"x": 1.0, "y": 1e308, "z": 1e308})
    assert "_nonfinite" not in raw(run)[-1]


@pytest.mark.parametrize(
    "value",
    [
        None, "0.5", b"1", [1.0], {}, object(), 1j, np.array([1.0, 2.0]), torch.zeros(2, 2),
        torch.empty((), device="meta"), np.datetime64("2026-01-01"), np.str_("5"), float,
    ],
)  # fmt: skip
def test_what_is_no_number_is_left_out_with_one_warning(run: Run, value: Any) -> None:
    run.log({"bad": value, "good": 1.0})
    run.log({"bad": value, "good": 2.0})
    assert [row["good"] for row in raw(run)] == [1.0, 2.0]
    assert all("bad" not in row for row in raw(run))
    assert len(warnings(run)) == 1
    assert "'bad' is " in warnings(run)[0]
    run.finish()
    assert end(run)["dropped_values"] == 2


@pytest.mark.parametrize("name", ["", "_x", "time"])
def test_reserved_name_is_left_out(run: Run, name: str) -> None:
    run.log({name: 1.0, "x": 2.0})
    (row,) = raw(run)
    assert row["x"] == 2.0
    assert row.get(name) != 1.0
    assert len(warnings(run)) == 1


@pytest.mark.parametrize("step", [2**63, 2**70, -(2**60), math.nan, 1.5, "3", None, object()])
def test_step_that_no_reader_could_keep_is_replaced(run: Run, step: Any) -> None:
    run.log({"x": 1.0}, step=5)
    run.log({"x": 2.0}, step=step)
    assert [row["step"] for row in raw(run)] == [5, 5]
    assert len(warnings(run)) == (step is not None)


@pytest.mark.parametrize("step", [7, np.int64(7), torch.tensor(7), 7.0])
def test_step_may_be_any_integer(run: Run, step: Any) -> None:
    run.log({"x": 1.0}, step=step)
    assert (raw(run)[0]["step"], run.step) == (7, 7)
    run.log({"x": 1.0})
    assert raw(run)[1]["step"] == 7


def test_integer_epoch_and_step_fill_the_reserved_keys(run: Run) -> None:
    run.log({"epoch": 2, "step": 40, "x": 1.0})
    row = raw(run)[0]
    assert (row["epoch"], row["step"]) == (2, 40)
    assert type(row["epoch"]) is int


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(), max_size=10), st.floats(), max_size=5))
def test_any_name_and_value_come_back(run: Run, values: dict[str, float]) -> None:
    run.log(values)
    row = runstore.load(run.path).metrics()[-1]
    for name, value in values.items():
        if name in ("", "time", "step", "epoch") or name.startswith("_"):
            continue
        written = row[name.encode("utf-8", "backslashreplace").decode()]
        assert written == value or (math.isnan(written) and math.isnan(value))


def test_strict_run_raises_and_goes_on(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, strict=True) as run:
        with pytest.raises(
            BadValueError, match="'x' is '1', expected a number; log scalars, not str"
        ):
            run.log({"x": "1"})
        with pytest.raises(BadValueError, match=r"'step' is 1\.5"):
            run.log({"x": 1.0}, step=1.5)  # type: ignore[arg-type]
        run.log({"x": 2.0})
    assert [row["x"] for row in raw(run)] == [2.0]
    assert end(run)["status"] == "finished"


@pytest.mark.parametrize("times", [1, 2])
def test_row_too_long_for_a_reader_is_told(run: Run, times: int) -> None:
    values = {f"layer/{n:06}/gradient_norm_of_weights": 0.1 for n in range(30_000)}
    for _ in range(times):
        run.log(values)
    run.log({"x": 1.0})
    data = runstore.load(run.path)
    assert data.state.bad_line_count == 0
    assert len(data.metrics()) == times + 1
    assert "a row cannot be written" in warnings(run)[0]


def test_secret_logged_by_mistake_is_not_in_the_warning(run: Run) -> None:
    run.log({"api_key": "hunter2-is-my-key", "token": "abcdef"})
    assert "hunter2" not in (run.path / "events-0001.jsonl").read_text()
    assert "abcdef" not in (run.path / "events-0001.jsonl").read_text()


class Odd:
    """As a dict has them, so it says."""

    def __init__(self, items: Any) -> None:
        self.items = lambda: items


@pytest.mark.parametrize("values", [None, [1.0], 3, "loss", Odd(None), Odd([1]), Odd([(1, 2, 3)])])
def test_log_of_no_dict_does_not_end_the_training(run: Run, values: Any) -> None:
    run.log(values)
    assert raw(run) == []
    assert len(warnings(run)) == 1


def test_log_of_a_dict_that_changes_meanwhile_does_not_end_the_training(run: Run) -> None:
    class Late:
        """Another thread adds a value while this one is read."""

        def __float__(self) -> float:
            values["api_key"] = "hunter2-is-my-key"
            return 1.0

    values: dict[str, Any] = {"a": Late(), "b": 1.0}
    run.log(values)
    run.log({"c": 1.0})
    assert [sorted(row.keys() - {"step", "time"}) for row in raw(run)] == [["c"]]
    assert "log(a dict): expected a dict" in warnings(run)[0]
    assert "changed size during iteration" in warnings(run)[0]
    assert "hunter2" not in warnings(run)[0]


def test_log_after_the_end_is_said_once_and_writes_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.finish()
    run.log({"x": 1.0})
    run.log({"x": 1.0})
    assert raw(run) == []
    assert caplog.text.count("the run has ended") == 1


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_forked_child_writes_nothing(run: Run) -> None:
    run.log({"x": 1.0}, step=1)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            run.log({"x": 99.0})
            run.begin_epoch()
            run.begin_split("val")
            run.track(loss=1.0)
            run.end_split()
            run.end_epoch()
            run.finish()
        os._exit(0)
    os.waitpid(child, 0)
    run.log({"x": 2.0}, step=2)
    run.finish()
    assert [row["x"] for row in raw(run)] == [1.0, 2.0]
    assert raw(run, "epochs") == []
    assert end(run)["status"] == "finished"
    assert [e["event"] for e in raw(run, "events")] == ["open", "end"]


def test_threads_may_log_to_one_run(run: Run) -> None:
    def log(thread: int) -> None:
        for number in range(500):
            run.log({f"thread{thread}": float(number)}, step=number)

    threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = raw(run)
    for n in range(4):
        assert [r[f"thread{n}"] for r in rows if f"thread{n}" in r] == [
            float(k) for k in range(500)
        ]


def test_signal_handler_may_log_and_track(run: Run) -> None:
    seen = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal seen
        seen += 1
        run.log({"handled": float(seen), f"new{seen}": "no number"})

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for number in range(5000):
            run.log({"x": float(number), "y": object()})
            run.write_event("note", number=number) if number % 10 == 0 else None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    run.finish()
    assert [row["x"] for row in raw(run) if "x" in row] == [float(n) for n in range(5000)]
    assert len([row for row in raw(run) if "handled" in row]) == seen > 2


def test_time_never_runs_backwards(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.log({"x": 1.0})
    monkeypatch.setattr("time.time", lambda: 0.0)
    run.log({"x": 2.0})
    first, second = raw(run)
    assert first["time"] <= second["time"] < first["time"] + 60


def test_several_runs_may_be_open(tmp_path: Path) -> None:
    first, second = runstore.init(root=tmp_path), runstore.init(root=tmp_path)
    first.log({"x": 1.0})
    second.log({"x": 2.0})
    first.finish()
    second.log({"x": 3.0})
    second.finish()
    assert [row["x"] for row in raw(first)] == [1.0]
    assert [row["x"] for row in raw(second)] == [2.0, 3.0]
    assert end(second)["status"] == "finished"


def test_log_every_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log_every is 0"):
        runstore.init(root=tmp_path, log_every=0)


def test_stage_errors_survive_without_strict(run: Run) -> None:
    with pytest.raises(StageError):
        run.track(loss=1.0)
