"""A search: Optuna chooses the cells, and the runs are all that it remembers."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.files.paths import SweepPaths
from runstore.sources.native import NativeReader
from runstore.sweeps.cells import look
from runstore.sweeps.document import Cell, Sweep, load, write
from runstore.sweeps.plan import plan
from runstore.sweeps.search import SAME_AGAIN, Search

pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[3]
TRAINING = """
import sys, runstore
x, opt = float(sys.argv[1]), sys.argv[2]
if opt == "broken":
    raise SystemExit("broken")
with runstore.init() as run:
    for epoch in run.epochs(3):
        for _ in run.val([0]):
            run.track(loss=(x - 0.3) ** 2 + abs(epoch - 2))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def searched(space: dict[str, str], metric: str = "val/loss:min") -> Sweep:
    search = {"space": space, "metric": metric}
    return write(plan(["true", *(f"{{{n}}}" for n in space)], [], root=Path("runs"), search=search))


def study(sweep: Sweep, trials: int) -> Search:
    return Search(sweep, look(sweep), trials)


def finish(sweep: Sweep, cell: Cell, *losses: float, name: str = "val/loss") -> None:
    """Train a cell, so to say."""
    with runstore.init(resume=sweep.run_dir(cell)) as run:
        for step, loss in enumerate(losses):
            run.log({name: loss}, step=step)


def told(search: Search, sweep: Sweep, cell: Cell) -> None:
    reader = NativeReader(sweep.run_dir(cell))
    reader.glance()
    search.took(cell, reader.state)


def trials_of(search: Search) -> list[tuple[str, dict[str, Any], float | None]]:
    return [(t.state.name, t.params, t.value) for t in search._study.trials]


def next_of(search: Search) -> tuple[Sweep, Cell]:
    found = search.next_cell()
    assert found is not None
    return found


def test_study_is_the_same_when_it_is_made_anew() -> None:
    sweep = searched({"lr": "loguniform:1e-5..1e-1", "n": "int:1..8", "opt": "choice:a,[1,2],3"})
    search = study(sweep, 4)
    for number in range(4):
        sweep, cell = next_of(search)
        assert 1e-5 <= cell.params["lr"] <= 0.1
        assert type(cell.params["n"]) is int
        assert cell.params["opt"] in ("a", [1, 2], 3)
        if number < 3:
            finish(sweep, cell, 3.0, 1.0 + number, 2.0)
            told(search, sweep, cell)
    assert search.next_cell() is None
    anew = study(load(sweep.path), 8)
    assert trials_of(anew) == trials_of(search)
    assert [value for _, _, value in trials_of(anew)] == [1.0, 2.0, 2.0, None]
    assert anew.best == search.best
    assert search.best is not None
    assert search.best[1] == 1.0


def test_suggestions_after_a_restart_are_new_ones() -> None:
    sweep = searched({"lr": "uniform:0..1"})
    for _ in range(6):
        sweep, cell = next_of(study(sweep, 6))
        finish(sweep, cell, 1.0)
    values = [cell.params["lr"] for cell in load(sweep.path).cells]
    assert len(set(values)) == 6


@pytest.mark.parametrize(("metric", "value"), [("val/loss:min", 1.0), ("val/loss:max", 3.0)])
def test_value_of_a_run_is_the_best_of_its_metric(metric: str, value: float) -> None:
    sweep = searched({"lr": "uniform:0..1"}, metric)
    search = study(sweep, 1)
    sweep, cell = next_of(search)
    finish(sweep, cell, 2.0, float("nan"), 3.0, 1.0, float("inf"))
    told(search, sweep, cell)
    assert search.best == (cell, value)


def test_space_of_few_cells_ends_when_all_are_there() -> None:
    sweep = searched({"a": "int:1..3", "b": "choice:x"})
    search = study(sweep, 9)
    while (found := search.next_cell()) is not None:
        sweep, cell = found
        finish(sweep, cell, 1.0)
        told(search, sweep, cell)
    assert sorted(cell.params["a"] for cell in load(sweep.path).cells) == [1, 2, 3]
    assert search.problem.startswith(f"{SAME_AGAIN} suggestions in a row")
    assert not search.has_failed


def test_two_searches_at_once_share_the_trials() -> None:
    sweep = searched({"lr": "uniform:0..1"})
    one, other = study(sweep, 3), study(sweep, 3)
    cells = [next_of(one)[1], next_of(other)[1], next_of(one)[1]]
    assert other.next_cell() is None
    assert len({cell.id for cell in cells}) == 3
    assert [state for state, _, _ in trials_of(one)].count("RUNNING") == 3
    assert one.others() == [cells[1]]
    assert one.others() == []


def test_metric_that_is_never_logged_ends_the_search() -> None:
    sweep = searched({"lr": "uniform:0..1"})
    search = study(sweep, 5)
    sweep, cell = next_of(search)
    finish(sweep, cell, 1.0, name="val/lost")
    told(search, sweep, cell)
    assert search.problem == f"{cell.id} has logged no val/loss; there is val/lost"
    assert search.has_failed
    assert search.next_cell() is None


def test_sweep_that_takes_no_further_cell_waits_for_those_that_run(here: Path) -> None:
    (here / "train.py").write_text(f"import time\ntime.sleep(2)\n{TRAINING}")
    words = ("--search", "x=uniform:0..1", "opt=choice:adam", "--metric", "val/loss:min")
    program = [sys.executable, "-m", "runstore.cli", "sweep", "--jobs", "2", "--trials", "3"]
    call = [*program, *words, "--", sys.executable, "train.py", "{x}", "{opt}"]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as sweep:
        while len(begun := list(here.glob("runs/*/*/events-0001.jsonl"))) < 2:
            time.sleep(0.05)
        lock = SweepPaths(begun[0].parent.parent).lock
        lock.unlink()
        lock.mkdir()  # what root cannot open either
        said = sweep.communicate(timeout=60)[1]
    assert sweep.returncode == 1
    assert "the search has ended early: no cell could be added" in said
    assert "2 of 2 cells have finished" in said
    assert [run.status for run in runstore.load_all("runs")] == 2 * ["finished"]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "runstore.cli", "sweep", *words]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_search_is_typed_run_and_made_longer(here: Path) -> None:
    (here / "train.py").write_text(TRAINING)
    call = ("--search", "x=uniform:0..1", "opt=choice:adam", "--metric", "val/loss:min")
    script = ("--", sys.executable, "train.py", "{x}", "{opt}")
    done = command("--jobs", "2", "--trials", "3", *call, *script)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 cells have finished" in done.stderr
    # Its loss is chosen by chance, and may be 4.1e-05.
    assert re.search(r"best: [0-9]", done.stderr)
    longer = command("--trials", "4", *call, *script)
    assert "3 finished, 1 to be chosen" in longer.stdout
    assert longer.returncode == 0, longer.stderr
    runs = runstore.load_all("runs")
    assert [run.status for run in runs] == 4 * ["finished"]


def test_two_at_once_wait_for_all_trials(here: Path) -> None:
    (here / "train.py").write_text(TRAINING)
    words = ("--search", "x=uniform:0..1", "opt=choice:a", "--metric", "val/loss:min", "--trials")
    program = [sys.executable, "-m", "runstore.cli", "sweep", *words, "4"]
    command = [*program, "--", sys.executable, "train.py", "{x}", "{opt}"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [run.status for run in runstore.load_all("runs")] == 4 * ["finished"]
    assert all("4 of 4 cells have finished" in text for text in said)


def test_search_whose_first_cells_all_fail_stops(here: Path) -> None:
    (here / "train.py").write_text(TRAINING)
    done = command(
        *("--search", "x=uniform:0..1", "opt=choice:broken", "--trials", "20"),
        *("--metric", "val/loss:min", "--", sys.executable, "train.py", "{x}", "{opt}"),
    )
    assert done.returncode == 1
    assert "the first 3 cells have not finished" in done.stderr
    assert len(runstore.load_all("runs")) == 3
