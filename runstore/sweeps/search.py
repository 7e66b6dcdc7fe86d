"""A sweep that chooses its cells by how the others did: Optuna's ask and tell.

There is no study on disk. Each time it is made anew from the cells: their parameters, and the best
value that the metric has in each run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import orjson

from runstore.errors import MissingPackageError, RunStoreError, SweepError
from runstore.files.records import metric_values
from runstore.metrics.ranking import is_bookkeeping, rank_metrics
from runstore.runs.reader import visible_rows
from runstore.sources import NATIVE, RunRef
from runstore.state.run_state import RunState
from runstore.sweeps.cells import Action, Task
from runstore.sweeps.document import Cell, Sweep, extended, key_of
from runstore.sweeps.grids import Params
from runstore.sweeps.space import Dimension, Objective, dimensions, objective

FAILED_FIRST = 3
"""So many cells that have failed before any has finished: the next ones will fail too."""
SAME_AGAIN = 100
"""So many suggestions in a row that were made before: the space has no others."""
NAMES_TOLD = 8


class Search:
    """Asks Optuna for cells, and tells it what became of them; what a pool is supplied by."""

    def __init__(self, sweep: Sweep, tasks: Sequence[Task], trials: int) -> None:
        """Make the study of a sweep anew.

        Args:
            sweep: it is on disk, and says what is searched.
            tasks: what there is to do with its cells; those that are done with are told.
            trials: how many cells there will be.

        Raises:
            MissingPackageError: Optuna is not installed.
            SweepError: what is searched cannot be read.
        """
        self._optuna = _optuna()
        said = sweep.search or {}
        self._sweep, self._trials = sweep, trials
        self._dimensions = dimensions(said.get("space", {}))
        self._objective = objective(str(said.get("metric", "")))
        self._distributions = {n: self._distribution(d) for n, d in self._dimensions.items()}
        self._numbers: dict[str, int] = {}
        """The study's number of each cell, by its id."""
        self._others: list[Cell] = []
        self._failures = 0
        self.problem = ""
        """Why no further cells are asked for."""
        self.has_failed = False
        """Whether that is for a fault, and not for want of other cells."""
        self.best: tuple[Cell, float] | None = None
        # Not the same seed after a restart, or the same first guesses would come again.
        seed = int.from_bytes(hashlib.sha256(f"{sweep.id} {len(sweep.cells)}".encode()).digest())
        sampler = self._optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
        direction = "minimize" if self._objective.is_lower_better else "maximize"
        self._study = self._optuna.create_study(direction=direction, sampler=sampler)
        for task in tasks:
            self._add(task.cell)
            if task.action is Action.DONE:
                self._tell(task.cell)
            elif task.action in (Action.FAILED, Action.UNKNOWN):
                self._fail(task.cell)

    # ---- what a pool asks ------------------------------------------------------------------------

    def next_cell(self) -> tuple[Sweep, Cell] | None:
        """Return another cell, which is on disk, and the sweep with it; None when there is none."""
        if self.problem:
            return None
        try:
            self._sweep, cell = extended(self._sweep, self._choose)
        except RunStoreError as error:
            # As on a full disk. Those that are under way are waited for all the same.
            self.has_failed = True
            self.problem = f"no cell could be added: {error}"
            return None
        if cell is None:
            return None
        self._add(cell)
        return self._sweep, cell

    def others(self) -> list[Cell]:
        """Return the cells that another process has added since, once."""
        found, self._others = self._others, []
        return found

    def took(self, cell: Cell, state: RunState) -> None:
        """Learn how a cell has ended."""
        if state.status.word == "finished":
            self._tell(cell)
        else:
            self._fail(cell)

    # ---- the study -------------------------------------------------------------------------------

    def _choose(self, sweep: Sweep) -> Params | None:
        """Return the parameters of a new cell, given all that there are now."""
        for cell in sweep.cells:
            if cell.id not in self._numbers:
                # Of another `runstore sweep`, which runs it.
                self._add(cell)
                self._others.append(cell)
        if len(sweep.cells) >= self._trials:
            return None
        known = {key_of(cell.params) for cell in sweep.cells}
        for _ in range(SAME_AGAIN):
            trial = self._study.ask(self._distributions)
            params = {name: self._value(name, value) for name, value in trial.params.items()}
            if key_of(params) not in known:
                self._numbers[key_of(params)] = trial.number
                return params
            self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
        self.problem = f"{SAME_AGAIN} suggestions in a row were cells that there are already"
        return None

    def _add(self, cell: Cell) -> None:
        """Let the study know a cell that it has not asked for itself."""
        asked = self._numbers.pop(key_of(cell.params), None)
        if asked is not None:
            self._numbers[cell.id] = asked
            return
        if cell.params.keys() != self._dimensions.keys():
            return
        try:
            trial = self._optuna.trial.create_trial(
                state=self._optuna.trial.TrialState.RUNNING,
                params={name: self._category(name, v) for name, v in cell.params.items()},
                distributions=self._distributions,
            )
        except ValueError:
            # Beyond the bounds, written there by somebody: no trial of this space.
            return
        self._numbers[cell.id] = len(self._study.trials)
        self._study.add_trial(trial)

    def _number(self, cell: Cell) -> int | None:
        self._add(cell) if cell.id not in self._numbers else None
        return self._numbers.get(cell.id)

    def _tell(self, cell: Cell) -> None:
        value = self._value_of_run(cell)
        if value is None:
            self._fail(cell)
            return
        if self.best is None or self._objective.better(value, self.best[1]) != self.best[1]:
            self.best = cell, value
        if (number := self._number(cell)) is not None:
            self._study.tell(number, value, skip_if_finished=True)

    def _fail(self, cell: Cell) -> None:
        self._failures += 1
        if self.best is None and self._failures >= FAILED_FIRST and not self.problem:
            self.has_failed = True
            self.problem = f"the first {self._failures} cells have not finished"
        if (number := self._number(cell)) is not None:
            state = self._optuna.trial.TrialState.FAIL
            self._study.tell(number, state=state, skip_if_finished=True)

    def _value_of_run(self, cell: Cell) -> float | None:
        """Return the best value of the metric, of its epochs, or else of all rows that count."""
        ref = RunRef(str(self._sweep.run_dir(cell)), NATIVE)
        names: set[str] = set()
        for stream in ("epochs", "metrics"):
            best: float | None = None
            for line in visible_rows(ref, stream):
                values = metric_values(line.row or {})
                names |= values.keys()
                value = values.get(self._objective.metric)
                if value is not None and math.isfinite(value):
                    best = value if best is None else self._objective.better(value, best)
            if best is not None:
                return best
        if self._objective.metric not in names:
            telling = [name for name in rank_metrics(sorted(names)) if not is_bookkeeping(name)]
            told = ", ".join(telling[:NAMES_TOLD]) or "no metric"
            self.has_failed = True
            self.problem = f"{cell.id} has logged no {self._objective.metric}; there is {told}"
        return None

    def _distribution(self, one: Dimension) -> Any:
        kinds = self._optuna.distributions
        if one.kind == "choice":
            return kinds.CategoricalDistribution([_as_category(value) for value in one.choices])
        if one.is_integer:
            step = int(one.step or 1)
            return kinds.IntDistribution(int(one.low), int(one.high), log=one.is_log, step=step)
        return kinds.FloatDistribution(one.low, one.high, log=one.is_log, step=one.step)

    def _value(self, name: str, value: Any) -> Any:
        return orjson.loads(value) if self._dimensions[name].kind == "choice" else value

    def _category(self, name: str, value: Any) -> Any:
        return _as_category(value) if self._dimensions[name].kind == "choice" else value


def check(space: dict[str, str], metric: str) -> Objective:
    """Refuse what cannot be searched, before anything is written.

    Raises:
        SweepError: in one line.
        MissingPackageError: Optuna is not installed.
    """
    if not space:
        raise SweepError("nothing is searched; give --search NAME=KIND:…")
    dimensions(space)
    found = objective(metric)
    _optuna()
    return found


def _as_category(value: Any) -> str:
    """Optuna's categories are plain values: a list would be refused."""
    return orjson.dumps(value).decode()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingPackageError("optuna", "--search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
