"""Loops and stage calls: their order, and what each of them amounts to."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runstore
from runstore import Run, RunManager
from runstore.errors import BadValueError, StageError


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings, without the run's id."""
    return [record.getMessage().rpartition(" (")[0] for record in caplog.records]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    opened = runstore.init(root=tmp_path)
    yield opened
    opened.finish()


def raw(run: Run, stream: str) -> list[dict[str, Any]]:
    path = run.path / f"{stream}-0001.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def end(run: Run) -> dict[str, Any]:
    return raw(run, "events")[-1]


BATCHES = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 512)), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(BATCHES)
def test_epoch_mean_is_numpys_weighted_mean(run: Run, batches: list[tuple[float, int]]) -> None:
    for _ in run.epochs(1):
        for loss, n in run.train(batches):
            run.track(loss=torch.tensor(loss, dtype=torch.float64), n=n)
    values, weights = zip(*batches, strict=True)
    expected = np.average(np.array(values), weights=np.array(weights))
    assert raw(run, "epochs")[-1]["train/loss"] == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("n", [3, np.int64(3), np.float32(3), torch.tensor(3), 3.0])
def test_sample_count_may_be_any_number(run: Run, n: Any) -> None:
    run.begin_split("val")
    run.track(loss=1.0, n=n)
    run.track(loss=5.0, n=1)
    assert run.end_split()["val/loss"] == 2.0
    assert not [e for e in raw(run, "events") if e["event"] == "warning"]


def test_empty_batch_weighs_nothing(run: Run) -> None:
    run.begin_split("val")
    run.track(loss=2.0, n=4)
    run.track(loss=math.nan, n=0)
    run.track(loss=100.0, n=0)
    assert run.end_split()["val/loss"] == 2.0


@pytest.mark.parametrize("n", [-1, math.nan, math.inf, "4"])
def test_impossible_sample_count_is_one_with_a_warning(run: Run, n: Any) -> None:
    run.begin_split("val")
    run.track(loss=1.0, n=n)
    run.track(loss=3.0, n=n)
    assert run.end_split()["val/loss"] == 2.0
    assert len([e for e in raw(run, "events") if e["event"] == "warning"]) == 1


def test_nonfinite_batches_are_counted_and_left_out_of_the_mean(run: Run) -> None:
    for _ in run.epochs(1):
        for loss in run.train([1.0, math.nan, 3.0, math.inf]):
            run.track(loss=loss)
    row = raw(run, "epochs")[0]
    assert row["train/loss"] == 2.0
    assert row["train/nonfinite"] == 2.0
    assert [r["train/loss"] for r in raw(run, "metrics")] == [1.0, None, 3.0, None]
    (warning,) = [e for e in raw(run, "events") if e["event"] == "warning"]
    assert warning["message"] == "2 of 4 train batches were not finite in epoch 1"


def test_epoch_of_nothing_but_nan_has_a_nan_mean(run: Run) -> None:
    for _ in run.epochs(1):
        for loss in run.val([math.nan]):
            run.track(loss=loss)
    assert math.isnan(runstore.load(run.path).epochs()[0]["val/loss"])


def test_summary_has_the_means_of_the_splits_that_ended_in_this_epoch(run: Run) -> None:
    seen = []
    for epoch in run.epochs(2):
        assert run.summary == {}
        for value in run.train([1.0, 3.0]):
            run.track(loss=value * epoch)
        for _ in run.val([1]):
            run.track(loss=math.nan)
            run.track_classification(np.array([0, 1]), np.array([0, 0]))
        found = run.summary
        assert math.isnan(found["val/loss"])
        seen.append((found["train/loss"], found["val/accuracy"]))
        run.summary["train/loss"] = 0.0
    assert seen == [(2.0, 0.5), (4.0, 0.5)]
    assert run.summary["train/loss"] == 4.0


def test_steps_count_train_batches_only(run: Run) -> None:
    for _ in run.epochs(2):
        for _ in run.train(range(3)):
            run.track(loss=1.0)
            run.track(accuracy=0.5)
        for _ in run.val(range(5)):
            run.track(loss=2.0)
    assert run.step == 6
    assert [r["step"] for r in raw(run, "metrics") if "train/loss" in r] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in raw(run, "epochs")] == [3, 6]
    assert [r["step"] for r in raw(run, "metrics") if "val/loss" in r] == [3, 6]


def test_log_every_thins_the_rows_and_not_the_means(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, log_every=4) as run:
        for _ in run.epochs(1):
            for value in run.train(range(10)):
                run.track(loss=float(value))
    assert [r["step"] for r in raw(run, "metrics")] == [4, 8]
    assert raw(run, "epochs")[0]["train/loss"] == 4.5


def test_epoch_row_has_means_durations_and_the_last_logged_values(run: Run) -> None:
    for epoch in run.epochs(1):
        run.log({"lr": 0.1})
        run.log({"lr": 0.05})
        for _ in run.train([1, 2]):
            run.track(loss=1.0, n=8)
        for _ in run.val([1]):
            run.track(accuracy=0.75, n=8)
        assert run.epoch == epoch == 1
    (row,) = raw(run, "epochs")
    assert (row["epoch"], row["lr"], row["val/accuracy"]) == (1, 0.05, 0.75)
    assert row["duration_s"] >= row["train/duration_s"] >= 0
    assert row["train/samples_per_s"] > 0


def test_tokens_per_second_are_a_fact_of_the_split_and_no_mean(run: Run) -> None:
    for _ in run.epochs(1):
        for length in run.train([3, 40, 7]):
            run.track(loss=0.5, n=1, tokens=torch.tensor(length))
        for _ in run.val([5]):
            run.track(loss=0.5)
    (row,) = raw(run, "epochs")
    assert row["train/tokens_per_s"] == pytest.approx(50 / row["train/duration_s"])
    assert "val/tokens_per_s" not in row
    assert {key for row in raw(run, "metrics") for key in row} == (
        {"step", "epoch", "time", "train/loss", "val/loss"}
    )


@pytest.mark.parametrize("tokens", ["many", [1], math.nan, math.inf, torch.ones(2, 2) * math.nan])
def test_tokens_that_are_no_number_cost_only_the_rate(
    run: Run, tokens: object, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in run.epochs(1):
        for _ in run.train([1, 2]):
            run.track(loss=0.5, tokens=tokens)
    (row,) = raw(run, "epochs")
    assert row["train/loss"] == 0.5
    assert "train/tokens_per_s" not in row
    assert len(caplog.records) <= 1


def test_samples_per_second_needs_the_samples(run: Run) -> None:
    for _ in run.epochs(1):
        for _ in run.train([1, 2]):
            run.track(loss=1.0)
        for _ in run.val([1, 2]):
            run.track(loss=1.0, n=8)
            run.track(accuracy=math.nan, n=8)
    (row,) = raw(run, "epochs")
    assert "train/samples_per_s" not in row
    assert row["val/samples_per_s"] == pytest.approx(16 / row["val/duration_s"])
    assert row["val/nonfinite"] == 2.0


def test_best_epoch_is_found_by_the_rule(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, best="val/accuracy:max") as run:
        for epoch in run.epochs(3):
            for _ in run.val([1]):
                run.track(accuracy=[0.5, 0.9, 0.7][epoch - 1])
    assert run.best == runstore.load(run.path).best
    assert run.best is not None
    assert (run.best.epoch, run.best.value) == (2, 0.9)
    assert end(run)["best"] == {"epoch": 2, "val/accuracy": 0.9}


def epochs_of(run: Run, count: int, evaluated: Callable[[int], dict[str, float]]) -> None:
    with run:
        for epoch in run.epochs(count):
            for _ in run.train(range(2)):
                run.track(loss=1.0)
            means = evaluated(epoch)
            if means:
                for _ in run.val(range(2)):
                    run.track(**means)


THERE = "which epoch 2 did not log; there are: train/loss, val/loss, val/accuracy"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"best": "val/acc:max"}, f"runstore: init(best=…) names val/acc, {THERE}"),
        ({"keep_best": "val/acc:max"}, f"runstore: init(keep_best=…) names val/acc, {THERE}"),
        (
            {"best": "val/acc:max", "keep_best": "val/acc:max"},
            f"runstore: init(best=…, keep_best=…) names val/acc, {THERE}",
        ),
        ({"best": "valid/loss:min"}, f"runstore: init(best=…) names valid/loss, {THERE}"),
        ({"best": "score:max"}, f"runstore: init(best=…) names score, {THERE}"),
    ],
)
def test_metric_that_never_comes_is_told_with_the_first_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: dict[str, str], line: str
) -> None:
    heard: list[list[str]] = []

    def evaluated(epoch: int) -> dict[str, float]:
        heard.append(told(caplog))
        return {"loss": 1.0, "accuracy": 0.5} if epoch % 2 == 0 else {}

    epochs_of(runstore.init(root=tmp_path, **options), 5, evaluated)  # type: ignore[arg-type]
    assert heard == [[], [], [line], [line], [line]]
    assert told(caplog) == [line]


@pytest.mark.parametrize(
    ("best", "means"),
    [
        ("val/loss:min", {}),
        ("val/loss:min", {"loss": 1.0}),
        ("val/loss:min", {"loss": math.nan}),
        ("val/accuracy:max", {"accuracy": 0.5}),
        ("train/loss:min", {"accuracy": 0.5}),
    ],
)
def test_metric_that_comes_or_the_default_without_evaluation_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, best: str, means: dict[str, float]
) -> None:
    epochs_of(runstore.init(root=tmp_path, best=best), 3, lambda _epoch: means)
    assert told(caplog) == []


def test_metric_that_is_logged_as_nan_has_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runstore.init(root=tmp_path, best="val/score:max") as run:
        for _ in run.epochs(2):
            run.log({"val/score": math.nan, "val/loss": 1.0})
    assert told(caplog) == []


def test_default_is_told_where_an_evaluation_has_no_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs_of(runstore.init(root=tmp_path), 3, lambda _epoch: {"accuracy": 0.5})
    assert told(caplog) == [
        "runstore: init(best=…) names val/loss, which epoch 1 did not log; "
        "there are: train/loss, val/accuracy"
    ]


def test_metric_that_is_not_there_is_told_at_the_end_without_any_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs_of(runstore.init(root=tmp_path, best="val/acc:max"), 3, lambda _epoch: {})
    assert told(caplog) == [
        "runstore: init(best=…) names val/acc, which epoch 3 did not log; there are: train/loss"
    ]


@pytest.mark.parametrize("best", ["val/loss", "val/loss:lowest", ":min", ""])
def test_best_rule_that_makes_no_sense_is_refused_before_anything_is_made(
    tmp_path: Path, best: str
) -> None:
    with pytest.raises(ValueError, match="expected METRIC:min or METRIC:max"):
        runstore.init(root=tmp_path / "runs", best=best)
    assert not (tmp_path / "runs").exists()


def test_break_ends_the_split_and_the_epoch(run: Run) -> None:
    for epoch in run.epochs(10):
        for batch in run.train(range(100)):
            run.track(loss=float(batch))
            if batch == 4:
                break
        for _ in run.val([1]):
            run.track(loss=9.0)
        if epoch == 2:
            break
    run.finish()
    assert [r["train/loss"] for r in raw(run, "epochs")] == [2.0, 2.0]
    assert [r["val/loss"] for r in raw(run, "epochs")] == [9.0, 9.0]
    assert (end(run)["status"], end(run)["reason"]) == ("finished", "")
    assert "open_epoch" not in end(run)


def test_exception_leaves_the_epoch_open_and_says_where(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        runstore.init(root=tmp_path) as run,
    ):
        for epoch in run.epochs(5):
            for batch in run.train(range(10)):
                run.track(loss=1 / (3 - batch) if epoch == 2 else 0.0)
    last = end(run)
    assert last["status"] == "failed"
    assert last["reason"] == "ZeroDivisionError: division by zero"
    assert (last["open_epoch"], last["open_split"], last["batch"]) == (2, "train", 4)
    assert "test_exception_leaves_the_epoch_open" in last["traceback"]
    assert len(raw(run, "epochs")) == 1


def test_exception_of_the_loader_is_the_loops_own(tmp_path: Path) -> None:
    def loader() -> Iterator[int]:
        yield 1
        raise OSError("worker died")

    with pytest.raises(OSError, match="worker died"), runstore.init(root=tmp_path) as run:
        for _ in run.train(loader()):
            run.track(loss=1.0)
    assert end(run)["reason"] == "OSError: worker died"


def raising(error: type[Exception]) -> object:
    """An object whose length cannot be told."""

    class Lengthless:
        def __len__(self) -> int:
            raise error

    return Lengthless()


class Loader:
    """A loader over a dataset, as in PyTorch."""

    def __init__(self, dataset: object) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@pytest.mark.parametrize(
    ("dataset", "samples"),
    [
        (np.zeros(5), 5), (torch.zeros(5, 2), 5), (np.array(1.0), None), (None, None),
        (raising(TypeError), None), (raising(NotImplementedError), None), (raising(OSError), None),
    ],
    ids=["array", "tensor", "0-d", "none", "TypeError", "NotImplementedError", "OSError"],
)  # fmt: skip
def test_any_dataset_is_looped_over(run: Run, dataset: object, samples: int | None) -> None:
    assert list(run.train(Loader(dataset))) == [0, 1, 2]
    (start,) = [e for e in raw(run, "events") if e["event"] == "split_start"]
    assert (start["samples"], start["batches"]) == (samples, None)


def test_loaders_exception_that_the_script_catches_ends_the_split(run: Run) -> None:
    def loader() -> Iterator[int]:
        yield 1
        raise OSError("corrupt image")

    for _ in run.epochs(1):
        with contextlib.suppress(OSError):
            for _ in run.train(loader()):
                run.track(loss=1.0)
        for _ in run.val([1, 2]):
            run.track(loss=2.0)
    (row,) = raw(run, "epochs")
    assert (row["train/loss"], row["val/loss"]) == (1.0, 2.0)


def test_validation_may_come_inside_of_training(run: Run) -> None:
    for _ in run.epochs(1):
        for step in run.train(range(6)):
            run.track(loss=float(step))
            if step % 3 == 2:
                for value in run.val([1.0, 3.0]):
                    run.track(loss=value * step)
                assert run._progress()["split"] == "train"
            run.track(accuracy=0.5)
    (row,) = raw(run, "epochs")
    assert (row["train/loss"], row["train/accuracy"], row["val/loss"]) == (2.5, 0.5, 10.0)
    assert row["train/duration_s"] >= row["val/duration_s"]
    assert run.step == 6
    assert [(r["step"], r["val/loss"]) for r in raw(run, "metrics") if "val/loss" in r] == [
        (3, 4.0),
        (6, 10.0),
    ]


def test_break_out_of_an_inner_validation_goes_on_with_training(run: Run) -> None:
    for _ in run.epochs(1):
        for _ in run.train(range(2)):
            for _ in run.val([1, 2, 3]):
                run.track(loss=7.0)
                break
            run.track(loss=1.0)
    (row,) = raw(run, "epochs")
    assert (row["val/loss"], row["train/loss"]) == (7.0, 1.0)


@pytest.mark.parametrize(
    ("outer", "inner"), [("train", "train"), ("val", "train"), ("val", "test"), ("val", "val")]
)
def test_other_splits_do_not_nest(run: Run, outer: str, inner: str) -> None:
    run.begin_split(outer)
    with pytest.raises(StageError, match=f"came inside the split '{outer}'; end_split"):
        run.begin_split(inner)
    run.track(loss=1.0)
    assert run.end_split()[f"{outer}/loss"] == 1.0


def test_third_split_does_not_nest(run: Run) -> None:
    run.begin_split("train")
    run.begin_split("val")
    with pytest.raises(StageError, match="came inside the split 'val'"):
        run.begin_split("test")


def test_numpy_integers_are_integers(run: Run) -> None:
    assert list(run.epochs(np.int64(2))) == [1, 2]
    run.begin_epoch(np.int32(3))
    run.begin_split("val", batches=np.ceil(10 / 3), samples=np.int64(10))
    run.end_split()
    run.end_epoch()
    events = raw(run, "events")
    assert [e["epochs"] for e in events if e["event"] == "epoch_start"] == [2, 2, 3]
    (start,) = [e for e in events if e["event"] == "split_start"]
    assert (start["batches"], start["samples"]) == (4, 10)


@pytest.mark.parametrize("size", [-1, 2.5, math.nan, "many", [3]])
def test_size_that_is_no_count_is_none_with_a_warning(run: Run, size: Any) -> None:
    for _ in range(2):
        run.begin_split("val", batches=size)
        run.end_split()
    starts = [e for e in raw(run, "events") if e["event"] == "split_start"]
    assert [e["batches"] for e in starts] == [None, None]
    assert len([e for e in raw(run, "events") if e["event"] == "warning"]) == 1


def test_run_that_finishes_inside_an_epoch_says_so(run: Run) -> None:
    run.begin_epoch(5)
    run.begin_split("train")
    run.finish()
    assert end(run)["status"] == "finished"
    assert end(run)["reason"] == "inside epoch 1 of 5"
    assert (end(run)["open_epoch"], end(run)["open_split"]) == (1, "train")


def test_splits_may_come_outside_of_epochs(run: Run) -> None:
    for _ in run.test([1, 2]):
        run.track(loss=3.0)
    assert raw(run, "metrics")[0]["test/loss"] == 3.0
    assert raw(run, "epochs") == []


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (["track"], "track() came outside of a split; begin_split() was expected"),
        (["classify"], "track_classification() came outside of a split"),
        (["end_split"], "end_split() came outside of a split; begin_split() was expected"),
        (["end_epoch"], "end_epoch() came outside of an epoch; begin_epoch() was expected"),
        (["epoch", "epoch"], "begin_epoch() came inside epoch 1; end_epoch() was expected"),
        (["epoch", "split", "epoch"], "inside epoch 1; end_split() was expected"),
        (["split", "epoch"], "inside the split 'train'; end_split() was expected"),
        (["split", "split"], "inside the split 'train'; end_split() was expected"),
        (["epoch", "split", "end_epoch"], "end_epoch() came inside the split 'train'; end_split()"),
        (["epoch", "split", "end_split", "track"], "track() came outside of a split"),
    ],
)
def test_call_out_of_order_names_the_one_that_was_expected(
    tmp_path: Path, calls: list[str], message: str
) -> None:
    manager = RunManager(tmp_path)
    run = manager.begin_run()
    call: dict[str, Callable[[], object]] = {
        "track": lambda: manager.track(loss=1.0),
        "classify": lambda: manager.track_classification([0], [0]),
        "epoch": manager.begin_epoch,
        "split": lambda: manager.begin_split("train"),
        "end_split": manager.end_split,
        "end_epoch": manager.end_epoch,
    }
    for name in calls[:-1]:
        call[name]()
    with pytest.raises(StageError) as caught:
        call[calls[-1]]()
    assert message in str(caught.value)
    manager.end_run()
    assert end(run)["status"] == "finished"


@pytest.mark.parametrize("call", ["begin_epoch", "end_split", "end_epoch", "end_run", "run"])
def test_manager_without_a_run_asks_for_one(tmp_path: Path, call: str) -> None:
    manager = RunManager(tmp_path)
    with pytest.raises(StageError, match=r"came outside of a run; begin_run\(\) was expected"):
        getattr(manager, call)() if call != "run" else manager.run
    assert list(tmp_path.iterdir()) == []


def test_second_run_before_the_end_of_the_first_is_refused(tmp_path: Path) -> None:
    manager = RunManager(tmp_path)
    manager.begin_run()
    with pytest.raises(StageError, match=r"end_run\(\) was expected"):
        manager.begin_run()
    manager.end_run()


def test_run_that_ended_itself_makes_room_for_the_next(tmp_path: Path) -> None:
    manager = RunManager(tmp_path)
    first = manager.begin_run()
    manager.run.finish()
    assert first.ended
    second = manager.begin_run()
    manager.end_run()
    assert (end(first)["status"], end(second)["status"]) == ("finished", "finished")


def test_explicit_calls_write_what_the_loops_write(tmp_path: Path) -> None:
    manager = RunManager(tmp_path)
    first = manager.begin_run({"lr": 0.1}, name="explicit")
    for _ in range(2):
        manager.begin_epoch(2)
        manager.begin_split("train", batches=3)
        for loss in (1.0, 2.0, 3.0):
            manager.track(loss=loss, n=2)
        manager.end_split()
        manager.begin_split("val")
        manager.track(loss=0.5)
        manager.end_split()
        manager.end_epoch()
    manager.end_run()
    with runstore.init({"lr": 0.1}, root=tmp_path, name="loops") as second:
        for _ in second.epochs(2):
            for loss in second.train([1.0, 2.0, 3.0]):
                second.track(loss=loss, n=2)
            for loss in second.val([0.5]):
                second.track(loss=loss)
    for stream in ("metrics", "epochs"):
        assert _timeless(raw(first, stream)) == _timeless(raw(second, stream))
    kinds = [[e["event"] for e in raw(run, "events")] for run in (first, second)]
    assert kinds[0] == kinds[1]


def _timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = ("time", "duration_s", "samples_per_s")
    return [{k: v for k, v in row.items() if not k.endswith(timed)} for row in rows]


@pytest.mark.parametrize("name", ["", "_x", "a/b"])
def test_split_name_that_would_break_metric_names_is_refused(run: Run, name: str) -> None:
    with pytest.raises(StageError, match="a split's name has no /"):
        run.begin_split(name)


def test_tracked_nonsense_is_left_out_once_told(run: Run) -> None:
    run.begin_split("train")
    run.track(loss="high", accuracy=0.5)
    run.track(loss=None, accuracy=1.0)
    assert run.end_split()["train/accuracy"] == 0.75
    assert len([e for e in raw(run, "events") if e["event"] == "warning"]) == 1


def test_classification_writes_a_report_row_and_its_headline(run: Run) -> None:
    for _ in run.epochs(1):
        for scores, y in run.val([(torch.eye(3), [0, 1, 2]), (np.array([0, 1]), [1, 1])]):
            run.track_classification(scores, y, target_names=["a", "b", "c"])
    (report,) = runstore.load(run.path).reports()
    assert report["split"] == "val"
    assert report["labels"] == ["a", "b", "c"]
    assert report["confusion"] == [[0, 0, 1], [1, 0, 1], [1, 1, 2], [2, 2, 1]]
    assert raw(run, "epochs")[0]["val/accuracy"] == report["report"]["accuracy"] == 0.8


def test_batch_that_cannot_be_classified_is_left_out_once_told(run: Run) -> None:
    run.begin_split("val")
    run.track_classification([0, 1], [0])
    run.track_classification(torch.rand(4, 1), [0, 1, 0, 1])
    run.track_classification([0, 1], [0, 1])
    run.end_split()
    assert raw(run, "reports")[0]["confusion"] == [[0, 0, 1], [1, 1, 1]]
    assert len([e for e in raw(run, "events") if e["event"] == "warning"]) == 1


@pytest.mark.parametrize("names", [5, Loader], ids=["number", "class"])
def test_odd_class_names_are_told_and_not_raised(run: Run, names: Any) -> None:
    run.begin_split("val")
    run.track_classification([0, 1], [0, 1], target_names=names)
    run.end_split()
    assert len([e for e in raw(run, "events") if e["event"] == "warning"]) == 1


def test_report_without_torch_asks_for_it_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "runstore.train.classification", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    for _ in run.val([1, 2]):
        run.track_classification([0, 1], [0, 1])
    (warning,) = [e for e in raw(run, "events") if e["event"] == "warning"]
    assert "pip install torch" in warning["message"]


def test_strict_run_raises_where_a_batch_does_not_fit(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, strict=True) as run:
        run.begin_split("val")
        with pytest.raises(
            BadValueError, match=r"predictions are int64 \[2\] and targets are int64 \[1\]"
        ):
            run.track_classification([0, 1], [0])
        run.track_classification([0, 1], [0, 1])
        run.end_split()


def test_position_is_that_of_the_loop(run: Run) -> None:
    seen = {}
    for _ in run.epochs(4):
        for batch in run.train(range(6)):
            run.track(loss=1.0)
            if batch == 2:
                seen = run._progress()
        break
    assert (seen["epoch"], seen["epochs"], seen["split"]) == (1, 4, "train")
    assert (seen["batch"], seen["batches"], seen["step"]) == (3, 6, 3)


def test_time_to_go_is_known_in_the_first_epoch_from_its_first_batch_on(run: Run) -> None:
    known = []
    for _ in run.epochs(3):
        for split in (run.val(range(1)), run.train(range(4)), run.val(range(2))):
            for _ in split:
                known.append("eta_s" in run._progress())
    of_epoch = [False, True, True, True, True, True, True]
    assert known == of_epoch + [True] * 14


def test_position_names_the_best_epoch_so_far(run: Run) -> None:
    assert "best" not in run._progress()
    for epoch in run.epochs(3):
        for _ in run.val([1]):
            run.track(loss=[0.5, 0.25, 0.75][epoch - 1])
    assert run._progress()["best"] == {"epoch": 2, "metric": "val/loss", "value": 0.25}


def test_longest_gap_is_that_between_two_calls(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("runstore.run.recording._monotonic", lambda: now)
    run.log({"a": 1.0})
    begun = run._progress()["longest_gap_s"]
    assert begun < 10
    for pause_s in (1.0, 40.0, 2.0):
        now += pause_s
        run.log({"a": 1.0})
    assert run._progress()["longest_gap_s"] == 40.0
    run.begin_split("train")
    now += 50.0
    run.track(loss=1.0)
    now += 100.0
    assert run._progress()["longest_gap_s"] == 50.0
    assert run._progress()["idle_s"] == 100.0


def test_second_loop_over_epochs_goes_on_counting(run: Run) -> None:
    assert [*run.epochs(2), *run.epochs(3)] == [1, 2, 3, 4, 5]
    run.finish()
    state = runstore.load(run.path).state
    assert (state.epoch, state.epochs) == (5, 5)
