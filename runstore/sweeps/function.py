"""`runstore.sweep`: a function over cells, here or by an executor."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runstore.console import say
from runstore.errors import UnfinishedCellsError
from runstore.files.paths import RunPaths
from runstore.launch.attempts import newest_attempt
from runstore.metrics.values import as_json
from runstore.run.exits import describe, stop_left_open
from runstore.sweeps.cell_call import CellCall, Function, Outcome, kept
from runstore.sweeps.cells import Action, Task, look
from runstore.sweeps.document import Cell, Sweep, key_of, write
from runstore.sweeps.executors import (
    LOOK_S,
    Executor,
    is_over,
    job_of_handle,
    note_job,
    outcome_of,
    slurm_executor,
    submit_calls,
)
from runstore.sweeps.grids import Params
from runstore.sweeps.lock import lock
from runstore.sweeps.plan import plan
from runstore.sweeps.slurm.announced import adopt, announce
from runstore.sweeps.slurm.calls import hand_over_call, paths_of, scripts_of

RETURN_S = 3.0
"""So long a function of another process has, behind the end of its run, to return."""


def sweep(
    fn: Function,
    cells: Iterable[Mapping[str, Any]],
    *,
    executor: Executor | None = None,
    root: str | Path = "runs",
    name: str | None = None,
    retry: bool = False,
) -> list[Any]:
    """Call a function for each set of parameters, each a run below one directory of the sweep.

    The first `runstore.init()` inside the function joins the run of its cell, and has its
    parameters; a function without one is a run too, with its end. The same call again calls it only
    for what is missing: cells that were interrupted or have crashed are resumed, those that are
    alive are waited for.

        results = runstore.sweep(train, runstore.grid(lr=[0.1, 0.01], seed=[0, 1]))

    Args:
        fn: gets the parameters of a cell as keyword arguments.
        cells: the sets of parameters, such as `runstore.grid(…)` returns.
        executor: who calls the function: any `concurrent.futures.Executor`, or an executor of
            submitit, which gets the cells as one job array. None calls it here, for one cell after
            the other. To another process the function and what it returns must be picklable.
        root: the directory of runs; the sweep's is below it.
        name: a few words: the name of the sweep's directory. A sweep of that name gets further
            cells. By default it is made of the function and the cells.
        retry: call it also for cells that have failed.

    Returns:
        What the function returned for each cell, in their order. Of a cell that an earlier call has
        finished it is what was kept in its `result.json`: None unless it was JSON.

    Raises:
        UnfinishedCellsError: a SweepError: for some cells the function has raised, now or earlier,
            or they may be alive elsewhere. The other cells have finished; `results`, `reasons` and
            `errors` tell the rest.
        SweepError: the sweep cannot be planned.
        TypeError: `cells` are no sets of parameters.
    """
    sets = [_params(one) for one in cells]
    planned = write(plan([], sets, root=Path(root), name=name, function=_name(fn)))
    ids = {key_of(cell.params): cell for cell in planned.cells}
    asked = [ids[key_of(as_json(one))] for one in sets]
    originals = {cell.id: one for cell, one in zip(asked, sets, strict=True)}
    calls = _Calls(fn, planned, originals, executor)
    calls.run_all([cell for cell in planned.cells if cell.id in originals], retry=retry)
    return calls.results(asked)


def _params(one: Mapping[str, Any]) -> Params:
    if not isinstance(one, Mapping):
        raise TypeError(f"a cell is {one!r}, expected a dict of parameters; see runstore.grid")
    return dict(one)


def _name(fn: Function) -> str:
    """Return `module:function`, as far as it has such names."""
    inner = getattr(fn, "func", fn)  # of a functools.partial
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    module = str(named.__module__)
    if module == "__main__":
        module = Path(getattr(sys.modules["__main__"], "__file__", None) or module).stem
    return f"{module}:{named.__qualname__}"


class _Calls:
    """Calls the function for cells, and keeps what came of it."""

    def __init__(
        self,
        fn: Function,
        planned: Sweep,
        params: Mapping[str, Params],
        executor: Executor | None,
    ) -> None:
        self._fn, self._sweep, self._params, self._executor = fn, planned, params, executor
        self._values: dict[str, Any] = {}
        self._errors: dict[str, BaseException] = {}
        self._reasons: dict[str, str] = {}
        self._called: set[str] = set()
        self._handles: dict[str, Any] = {}
        self._signalled: dict[str, str] = {}
        """Jobs of cells that a signal has ended."""
        self._unreturned: dict[str, float] = {}
        """When cells were seen first whose runs have ended, and whose function has not."""

    def run_all(self, cells: Sequence[Cell], *, retry: bool) -> None:
        """Call it for the cells that it is to be called for, and wait for those that are alive."""
        tasks = self._look(cells, retry=retry)
        while tasks:
            self._run([task.cell for task in tasks if self._is_to_call(task)])
            waiting: list[Cell] = []
            for task in self._look([task.cell for task in tasks]):
                if task.action is Action.WAIT or self._is_to_call(task):
                    waiting.append(task.cell)
                else:
                    self._settle(task)
            if waiting:
                time.sleep(LOOK_S)
            tasks = self._look(waiting)

    def _look(self, cells: Sequence[Cell], *, retry: bool = False) -> list[Task]:
        """Decide what to do, from the runs and from whether the function has returned."""
        tasks = look(self._sweep, retry=retry, cells=cells)
        return [replace(task, action=self._action(task)) for task in tasks]

    def _action(self, task: Task) -> Action:
        if task.action is Action.DONE and not self._has_returned(task.cell):
            return self._without_result(task.cell)
        is_open = task.action not in (Action.DONE, Action.WAIT)
        return Action.WAIT if is_open and self._is_requeued(task.cell) else task.action

    def _is_requeued(self, cell: Cell) -> bool:
        """Tell whether Slurm has ended the cell by a signal, and is to start its job again."""
        job = self._signalled.get(cell.id)
        return job is not None and not is_over(job)

    def _has_returned(self, cell: Cell) -> bool:
        # To us, if not on record: the disk was full, or a file server does not show the file yet.
        return cell.id in self._values or RunPaths(self._sweep.run_dir(cell)).result.exists()

    def _without_result(self, cell: Cell) -> Action:
        """Behind the end of its run a function may still go on, raise, or be killed."""
        since = self._unreturned.setdefault(cell.id, time.monotonic())
        is_new = cell.id not in self._called and time.monotonic() < since + RETURN_S
        return Action.WAIT if is_new else Action.RESUME

    def _is_to_call(self, task: Task) -> bool:
        return task.action.is_start and task.cell.id not in self._called

    def _run(self, cells: Sequence[Cell]) -> None:
        if self._executor is None:
            self._called.update(cell.id for cell in cells)
            for cell in cells:
                outcome = self._call_of(cell)()
                self._take(cell, outcome)
                if outcome.is_interrupted and outcome.error is not None:
                    raise outcome.error
            return
        handles = self._submit(self._executor, cells)
        try:
            for cell, handle in handles:
                self._take(cell, outcome_of(handle))
        except BaseException:
            for _, handle in handles:
                handle.cancel()
            # A thread cannot be cancelled, and Ctrl-C reaches the main one alone.
            for cell, _ in handles:
                stop_left_open(Path(self._call_of(cell).run_dir), "stopped with the sweep")
            raise

    def _call_of(self, cell: Cell) -> CellCall:
        run_dir = self._sweep.run_dir(cell).absolute()
        return CellCall(self._fn, str(run_dir), self._params.get(cell.id, cell.params))

    def _submit(self, executor: Executor, cells: Sequence[Cell]) -> list[tuple[Cell, Any]]:
        """Hand cells over; return what tells how each is."""
        slurm = slurm_executor(executor)
        if slurm is None or not cells:
            handles = submit_calls(executor, [self._call_of(cell) for cell in cells])
            self._called.update(cell.id for cell in cells)
        else:
            with lock(self._sweep.path):
                self._adopt(slurm)
                tasks = self._look(cells, retry=True)
                # Those that another call, or one that was killed, has submitted are waited for.
                cells = [task.cell for task in tasks if task.action.is_start]
                self._called.update(cell.id for cell in cells)
                handles = self._submit_to_slurm(executor, slurm, cells)
        submitted = list(zip(cells, handles, strict=True))
        self._handles.update((cell.id, handle) for cell, handle in submitted)
        return submitted

    def _submit_to_slurm(self, executor: Executor, slurm: Any, cells: Sequence[Cell]) -> list[Any]:
        if not cells:
            return []
        attempts = [(cell.id, newest_attempt(self._sweep.run_dir(cell))) for cell in cells]
        announced = announce(self._sweep, attempts, scripts_of(slurm.folder))
        try:
            handles = submit_calls(executor, [self._call_of(cell) for cell in cells])
        except Exception as error:
            # sbatch may have given up on a Slurm that has taken the jobs.
            if "timed out" not in str(error):
                announced.refused()
            raise
        for cell, handle, (_, number) in zip(cells, handles, attempts, strict=True):
            note_job(self._sweep.run_dir(cell), handle, number)
        announced.done()
        return handles

    def _adopt(self, slurm: Any) -> None:
        """Put jobs on record whose caller was killed before it could do that."""

        def place(folder: Path) -> Path:
            return Path(slurm.folder) if "%" in str(slurm.folder) else folder

        def hand_over(cell_id: str, folder: Path, job: str) -> None:
            limit, timeouts = slurm.parameters.get("time", 5), slurm.max_num_timeout
            call = self._call_of(self._sweep.cell(cell_id))
            hand_over_call(call, place(folder), job, limit, timeouts)

        count = adopt(
            self._sweep, lambda folder, job: paths_of(place(folder), job).stderr, hand_over
        )
        if count:
            say(f"runstore: {count:,} jobs found in Slurm of an earlier call, which was killed")

    def _take(self, cell: Cell, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._errors[cell.id] = outcome.error
        job = job_of_handle(self._handles.get(cell.id))
        if outcome.is_interrupted and job is not None:
            self._signalled[cell.id] = job
        if outcome.problem:
            say(f"runstore: {cell.id}: {outcome.problem}")
        else:
            self._values[cell.id] = outcome.value

    def _settle(self, task: Task) -> None:
        cell = task.cell
        if task.action is not Action.DONE:
            error = self._errors.get(cell.id)
            self._reasons[cell.id] = describe(error) if error else task.why
        elif cell.id not in self._values:
            self._values[cell.id] = self._later_value(cell)

    def _later_value(self, cell: Cell) -> Any:
        """Return what came of an earlier call, of another process, or of a job's later start."""
        handle = self._handles.get(cell.id)
        outcome = outcome_of(handle) if handle is not None and handle.done() else None
        if outcome is not None and not outcome.problem:
            return outcome.value
        return kept(self._sweep.run_dir(cell))

    def results(self, asked: Sequence[Cell]) -> list[Any]:
        """Return what came of the cells, in that order; raise where some have not finished."""
        values = [self._values.get(cell.id) for cell in asked]
        if self._reasons:
            errors = {key: error for key, error in self._errors.items() if key in self._reasons}
            cause = next(iter(errors.values()), None)
            raise UnfinishedCellsError(self._sweep.path, values, self._reasons, errors) from cause
        return values
