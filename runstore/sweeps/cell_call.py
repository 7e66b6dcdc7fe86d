"""A function with the parameters of one cell: called, here or in another process, and what came."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstore.console import say
from runstore.errors import RunStoreError
from runstore.files.atomic import write_document
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.paths import RunPaths
from runstore.files.records import FORMAT, RecordError, decode_document
from runstore.files.regular import read_regular
from runstore.launch.attempts import Given, handing_over
from runstore.launch.launch import init
from runstore.launch.run_document import document_bytes
from runstore.run.exits import describe, end_by_exception, end_left_open
from runstore.run.stops import Terminated
from runstore.slurm.submission import OWN_JOB_VARIABLE
from runstore.slurm.variables import job_of
from runstore.sweeps.grids import Params
from runstore.sweeps.preemption import Preemption, putting_off, remove_earlier_results

_TERMINATED = 128 + signal.SIGTERM
Function = Callable[..., Any]
"""Whatever can be called with the parameters of a cell."""


@dataclass(slots=True)
class Outcome:
    """What came of one call."""

    value: Any = None
    error: BaseException | None = None
    problem: str = ""
    """The error in words; empty without one."""
    is_interrupted: bool = False
    """A signal has asked for the end, not the function."""

    def __getstate__(self) -> tuple[Any, BaseException | None, str, bool]:
        """Leave behind what another process could not be sent."""
        error = self.error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - an exception of the user's may do anything
            error = None
        return self.value, error, self.problem, self.is_interrupted

    def __setstate__(self, state: tuple[Any, BaseException | None, str, bool]) -> None:
        self.value, self.error, self.problem, self.is_interrupted = state


@dataclass(frozen=True, slots=True)
class CellCall:
    """The function with the parameters of one cell; may be sent to another process."""

    function: Function
    run_dir: str
    params: Params

    def __call__(self) -> Outcome:
        """Call it, in the run of the cell; a job of submitit is requeued when it was preempted."""
        with putting_off(self) as preemption:
            if preemption.is_own:
                remove_earlier_results()
                # `runstore cancel` may cancel the job.
                os.environ[OWN_JOB_VARIABLE] = job_of(os.environ) or ""
            outcome = self._call(preemption)
            preemption.is_done = not outcome.is_interrupted
        preemption.pass_on()
        if isinstance(outcome.error, SystemExit) and outcome.error.code == _TERMINATED:
            preemption.pass_on_notice()
        return outcome

    def checkpoint(self) -> Any:
        """Return what a job is to call that submitit requeues: the same, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _call(self, preemption: Preemption) -> Outcome:
        run_dir = Path(self.run_dir)
        with suppress(OSError):
            # An earlier call's, whose run goes on: a kill behind the end would make it this one's.
            RunPaths(run_dir).result.unlink()
        with handing_over(run_dir, self.params) as given:
            try:
                try:
                    value = self.function(**self.params)
                finally:
                    preemption.is_inside = False
            except SystemExit as error:
                self._end(given, error)
                if error.code in (None, 0) and not isinstance(error, Terminated):
                    _keep(run_dir, None)
                    return Outcome()
                is_interrupted = isinstance(error, Terminated)
                problem = str(getattr(error, "reason", None) or f"sys.exit({error.code!r})")
                return Outcome(error=error, problem=problem, is_interrupted=is_interrupted)
            except KeyboardInterrupt as error:
                self._end(given, error)
                return Outcome(error=error, problem="KeyboardInterrupt", is_interrupted=True)
            except Exception as error:  # noqa: BLE001 - the others go on, and it is told at the end
                self._end(given, error)
                return Outcome(error=error, problem=describe(error))
            self._end(given, None)
            _keep(run_dir, value)
            return Outcome(value)

    def _end(self, given: Given, error: BaseException | None) -> None:
        """See to it that the run has an end, also that of a function without an `init`."""
        if given.is_taken:
            end_left_open(given.run_dir, error)
            return
        try:
            run = init(system_interval_s=None)
        except (RunStoreError, OSError) as problem:
            say(f"runstore: {given.run_dir}: its end is not on record: {problem}")
            return
        if error is None:
            run.finish()
        else:
            end_by_exception(run, error)


def _keep(run_dir: Path, value: Any) -> None:
    """Write what was returned, for the same call another time, as far as it is JSON."""
    try:
        kept = json.loads(json.dumps(value, allow_nan=False))
        data = document_bytes({"format": FORMAT, "value": kept})
        is_kept = len(data) <= DOCUMENT_BYTES
    except (TypeError, ValueError, RecursionError):
        # A model, say, or an integer beyond 64 bits.
        is_kept = False
    if not is_kept:
        # That it was returned is worth knowing all the same.
        data = document_bytes({"format": FORMAT, "value": None, "is_kept": False})
    try:
        write_document(RunPaths(run_dir).result, data)
    except OSError as error:
        say(f"runstore: {RunPaths(run_dir).result} cannot be written ({error.strerror})")


def kept(run_dir: Path) -> Any:
    """Return what an earlier call of a cell has returned; None where that is not known."""
    try:
        data = read_regular(RunPaths(run_dir).result, DOCUMENT_BYTES)
        return decode_document(data, DOCUMENT_BYTES).get("value")
    except (OSError, RecordError):
        return None
