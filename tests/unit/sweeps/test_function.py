"""`runstore.sweep`: a function over cells, here and by executors."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.errors import SweepError, UnfinishedCellsError
from tests.conftest import WaitUntil

CELLS = runstore.grid(lr=[0.1, 0.2], n=[1, 2])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for module in ("function", "executors"):
        monkeypatch.setattr(f"runstore.sweeps.{module}.LOOK_S", 0.05)
    monkeypatch.setattr("runstore.sweeps.function.RETURN_S", 0.5)
    return tmp_path


def train(lr: float, n: int) -> dict[str, Any]:
    assert not [name for name in os.environ if name.startswith("RUNSTORE_")]
    with runstore.init({"own": 1}, name="x") as run:
        for epoch in run.epochs(n):
            for _ in run.train(range(2)):
                run.track(loss=lr / epoch)
        params = dict(run.params)
    return {"id": run.id, "params": params, "n": n}


def count(lr: float, n: int) -> int:
    """Return how often it was called with these, without a run of its own."""
    path = Path(f"{lr},{n}")
    path.write_text(path.read_text() + "." if path.exists() else ".")
    if lr == 0.2 and n == 1 and not Path("mended").exists():
        raise ValueError("0.2 is too much")
    return len(path.read_text())


@pytest.fixture(params=["here", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    makers: dict[str, Callable[[], Any]] = {
        "here": nullcontext,
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn")),
    }
    with makers[request.param]() as made:
        yield made


def test_each_cell_is_a_run_and_results_come_in_order(executor: Executor | None) -> None:
    results = runstore.sweep(train, CELLS, executor=executor)
    assert results == [
        {"id": f"lr={p['lr']},n={p['n']}", "params": p | {"own": 1}, "n": p["n"]} for p in CELLS
    ]
    runs = runstore.load_all("runs")
    assert {(run.id, run.status) for run in runs} == {(r["id"], "finished") for r in results}
    assert [run.epoch for run in runs if run.id == "lr=0.1,n=2"] == [2]
    assert not [name for name in os.environ if name.startswith("RUNSTORE_")]


def test_others_go_on_when_one_raises_and_the_error_is_told_at_the_end(
    executor: Executor | None,
) -> None:
    with pytest.raises(UnfinishedCellsError, match=r"1 of 4 .* lr=0.2,n=1 \(ValueError: 0.2 is"):
        runstore.sweep(count, CELLS, executor=executor)
    (failed,) = [run for run in runstore.load_all("runs") if run.status != "finished"]
    assert (failed.id, failed.status, failed.reason) == (
        "lr=0.2,n=1", "failed", "ValueError: 0.2 is too much"
    )  # fmt: skip


def test_same_call_calls_only_for_what_is_missing() -> None:
    with pytest.raises(UnfinishedCellsError) as first:
        runstore.sweep(count, CELLS)
    assert first.value.results == [1, 1, None, 1]
    assert isinstance(first.value.errors["lr=0.2,n=1"], ValueError)
    assert first.value.__cause__ is first.value.errors["lr=0.2,n=1"]
    with pytest.raises(UnfinishedCellsError, match="failed: ValueError") as second:
        runstore.sweep(count, CELLS)
    assert second.value.results == [1, 1, None, 1]
    assert second.value.errors == {}
    Path("mended").touch()
    assert runstore.sweep(count, CELLS, retry=True) == [1, 1, 2, 1]
    assert runstore.sweep(count, CELLS[::-1]) == [1, 2, 1, 1]


def behind(lr: float) -> float:
    with runstore.init():
        pass
    if not Path("mended").exists():
        raise KeyError("behind the run")
    return lr


def test_cell_whose_function_raised_behind_its_run_is_called_again() -> None:
    for _ in range(2):
        with pytest.raises(UnfinishedCellsError, match="KeyError"):
            runstore.sweep(behind, [{"lr": 1}])
    Path("mended").touch()
    assert runstore.sweep(behind, [{"lr": 1}]) == [1]
    assert runstore.sweep(behind, [{"lr": 1}]) == [1]
    (run,) = runstore.load_all("runs")
    assert run.state.attempt == 3


def leave(how: str) -> str:
    run = runstore.init()
    run.log({"x": 1.0}, step=1)
    if how == "exit":
        sys.exit(3)
    return how


def test_run_that_the_function_leaves_open_is_ended() -> None:
    with pytest.raises(UnfinishedCellsError, match="SystemExit: 3"):
        runstore.sweep(leave, [{"how": "return"}, {"how": "exit"}])
    found = {run.params["how"]: (run.status, run.reason) for run in runstore.load_all("runs")}
    assert found == {"return": ("finished", ""), "exit": ("failed", "left by sys.exit(3)")}


@pytest.mark.parametrize("has_run", [True, False])
def test_function_that_leaves_by_exit_0_has_finished_and_is_not_called_again(
    has_run: bool,
) -> None:
    def leave_well(a: int) -> None:
        if has_run:
            with runstore.init():
                pass
        sys.exit(0)

    assert runstore.sweep(leave_well, [{"a": 1}]) == [None]
    assert runstore.sweep(leave_well, [{"a": 1}]) == [None]
    (run,) = runstore.load_all("runs")
    assert (run.status, run.state.attempt) == ("finished", 1)


def test_result_of_an_attempt_that_did_not_finish_is_not_that_of_a_later_one() -> None:
    def leave_inside(a: int) -> None:
        with runstore.init() as run:
            for epoch in run.epochs(2):
                if run.attempt == 1 and epoch == 2:
                    sys.exit(0)
        if run.attempt == 2:
            raise KeyError("killed behind its run, say")

    for _ in range(2):
        with pytest.raises(UnfinishedCellsError):
            runstore.sweep(leave_inside, [{"a": 1}])
    assert runstore.sweep(leave_inside, [{"a": 1}]) == [None]
    (run,) = runstore.load_all("runs")
    assert run.state.attempt == 3


def test_result_that_the_disk_does_not_take_is_the_callers() -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(a: int) -> int:
        with runstore.init():
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        return a

    try:
        assert runstore.sweep(fill, [{"a": 1}]) == [1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(Path("runs").glob("*/*/result.json")) == []


def test_signal_ends_the_sweep_and_the_same_call_goes_on() -> None:
    def stopped(a: int) -> int:
        with runstore.init() as run:
            for _ in run.epochs(2):
                for _ in run.train(range(2)):
                    run.track(loss=a)
                    if a == 1 and run.attempt == 1:
                        os.kill(os.getpid(), signal.SIGTERM)
        return a

    with pytest.raises(SystemExit) as left:
        runstore.sweep(stopped, [{"a": 1}, {"a": 2}])
    assert left.value.code == 128 + signal.SIGTERM
    words = {run.id: run.status for run in runstore.load_all("runs")}
    assert words == {"a=1": "interrupted", "a=2": "planned"}
    assert runstore.sweep(stopped, [{"a": 1}, {"a": 2}]) == [1, 2]


def test_ctrl_c_stops_the_cells_that_run_in_threads() -> None:
    """The signal reaches the main thread alone, and a thread cannot be cancelled."""

    def stopped(a: int) -> int:
        with runstore.init() as run:
            for batch in run.train(range(2000)):
                run.track(loss=a)
                if batch == 5 and a == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        return a

    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        runstore.sweep(stopped, [{"a": 1}, {"a": 2}, {"a": 3}], executor=pool)
    found = {run.id: (run.status, run.reason) for run in runstore.load_all("runs")}
    assert found["a=3"][0] == "planned"
    word, reason = found["a=1"]
    assert (word, reason.partition(";")[0]) == ("interrupted", "stopped with the sweep")


def test_result_that_is_no_json_is_the_callers_and_not_kept() -> None:
    values = {
        1: object(),
        2: float("nan"),
        3: (1, 2),
        4: None,
        5: [{"a": 1.5}],
        6: 2**70,
        7: "\udc80",
    }

    def give(a: int) -> Any:
        return values[a]

    cells = runstore.grid(a=list(values))
    assert runstore.sweep(give, cells) == list(values.values())
    assert runstore.sweep(give, cells) == [None, None, [1, 2], None, [{"a": 1.5}], None, None]
    kept = json.loads(next(Path("runs").glob("*/a=1/result.json")).read_text())
    assert kept == {"format": 1, "value": None, "is_kept": False}


def test_parameters_reach_the_function_as_they_are() -> None:
    marker = object()
    seen = []

    def take(what: object, sizes: tuple[int, ...]) -> None:
        seen.append((what, sizes, runstore.init().params["what"]))

    runstore.sweep(take, [{"what": marker, "sizes": (8, 32)}])
    assert seen == [(marker, (8, 32), marker)]


def test_cells_that_are_equal_are_one_run_with_two_results() -> None:
    assert runstore.sweep(count, [CELLS[0], CELLS[0]]) == [1, 1]


def test_live_cell_is_waited_for(wait_until: WaitUntil) -> None:
    with ThreadPoolExecutor(1) as elsewhere:
        go = Path("go")

        def slow(a: int) -> int:
            with runstore.init():
                while not go.exists():
                    time.sleep(0.01)
            return a

        first: Future[list[int]] = elsewhere.submit(runstore.sweep, slow, [{"a": 1}], name="s")
        wait_until(lambda: list(Path("runs").glob("s/a=1/events-0001.jsonl")))
        with ThreadPoolExecutor(1) as other:
            second = other.submit(runstore.sweep, slow, [{"a": 1}], name="s")
            go.touch()
            assert second.result(30) == first.result(30) == [1]
    (run,) = runstore.load_all("runs")
    assert run.state.attempt == 1


class Arrays:
    """As submitit's executors are: an array of calls without arguments."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def submit(self, fn: Callable[[], Any], /) -> Any:
        raise AssertionError("one by one")

    def submit_array(self, calls: list[Callable[[], Any]]) -> list[Future[Any]]:
        self.sizes.append(len(calls))
        futures: list[Future[Any]] = []
        for call in calls:
            futures.append(Future())
            futures[-1].set_result(call())
        return futures


def test_executor_that_takes_arrays_gets_one() -> None:
    executor = Arrays()
    assert runstore.sweep(count, CELLS[:2], executor=executor) == [1, 1]
    assert executor.sizes == [2]


def test_what_is_no_cell_or_executor_is_refused() -> None:
    with pytest.raises(TypeError, match="a cell is 1, expected a dict"):
        runstore.sweep(count, [1])  # type: ignore[list-item]
    with pytest.raises(SweepError, match=r"expected one with submit\(…\)"):
        runstore.sweep(count, CELLS, executor=3)  # type: ignore[arg-type]
    assert runstore.sweep(count, []) == []


# What submitit's job calls; the signal comes when the function has returned.
JOB = """
import os, signal, sys
from pathlib import Path
import runstore
from runstore.sweeps.cell_call import CellCall
from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission

def near():
    os.kill(os.getpid(), signal.SIGUSR2)

class Kept(dict):
    "It comes while the cell's result is written."
    def items(self):
        near()
        return super().items()

class Sent:
    "It comes while submitit writes what the job has returned."
    def __reduce__(self):
        near()
        return (Sent, ())

def train(x, late=False):
    with open("calls", "a") as file: file.write(f"{x}\\n")
    with runstore.init(system_interval_s=None) as run:
        run.log({"loss": 1.0}, step=1)
    return Sent() if late else Kept(x=x)

class OwnJob:
    def __call__(self):
        return runstore.sweep(train, [{"x": 1}, {"x": 2}], name="own")
    def checkpoint(self):
        return DelayedSubmission(self)

own = CellCall(train, str(Path("runs/cell").absolute()), {"x": 1, "late": sys.argv[1] == "late"})
call = DelayedSubmission(OwnJob() if sys.argv[1] == "own" else own)
call.set_timeout(5, 3)
call.dump("7_submitted.pkl")
process_job(".")
"""


@pytest.mark.parametrize(
    ("job", "calls", "is_requeued"), [("cell", 1, False), ("late", 1, False), ("own", 1, True)]
)
def test_signal_at_the_end_of_a_function_starts_its_own_job_no_more_and_is_kept_for_others(
    here: Path, repo_root: Path, job: str, calls: int, is_requeued: bool
) -> None:
    """A job that is for one cell has nothing left to do; that of a user has other cells."""
    folder = here / "bin"
    folder.mkdir()
    scontrol = folder / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho $* >> {here}/asked\n")
    scontrol.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(repo_root),
        "SUBMITIT_EXECUTOR": "slurm",
        "SLURM_JOB_ID": "7",
    }
    done = subprocess.run(
        [sys.executable, "-c", JOB, job], env=environment, capture_output=True, text=True
    )
    asked = (here / "asked").read_text() if (here / "asked").exists() else ""
    assert ("requeue 7" in asked) == is_requeued, done.stderr
    assert len((here / "calls").read_text().splitlines()) == calls
    assert (here / "7_0_result.pkl").exists() == (not is_requeued), done.stderr
    assert done.returncode == (255 if is_requeued else 0)
