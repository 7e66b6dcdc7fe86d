"""Submit the cells of a sweep as job arrays; only those that no process and no job has already."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runstore.errors import MissingPackageError, NotWritableError, SweepError
from runstore.slurm.jobs import JOBS, JobState, SlurmSilentError, longest_array, look_up
from runstore.slurm.script import EARLY_S
from runstore.slurm.submission import OWN_JOB_VARIABLE, write_submission
from runstore.sweeps.cells import Action, CellWatch, Task
from runstore.sweeps.document import Cell, Sweep
from runstore.sweeps.lock import lock
from runstore.sweeps.slurm.announced import adopt, announce, not_known
from runstore.sweeps.slurm.calls import hand_over_call, paths_of
from runstore.sweeps.slurm.job import CellJob
from runstore.sweeps.slurm.options import SlurmOptions
from runstore.sweeps.slurm.script import note_submitted

ARRAY_AT_MOST = 1000
"""Tasks of an array, also where the cluster takes longer ones: each is a file of submitit's."""
UNLIMITED = 1_000_000
"""Time limits that a job may come to: submitit's own default is 3."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a call has done."""

    jobs: tuple[tuple[Cell, str], ...]
    """The cells that were submitted now, each with its job: `123_4`, or `123`."""
    others: tuple[Task, ...]
    """The cells that were left alone, each with why."""
    lost: tuple[str, ...] = ()
    """Jobs, not cancelled by us, that are over and have not begun their cells: submitted anew."""
    adopted: int = 0
    """Cells whose jobs an earlier call had not put on record before it was killed."""


def check_slurm() -> None:
    """Find out whether jobs can be submitted from here at all.

    Raises:
        SweepError: this machine is none of a cluster's.
        MissingPackageError: submitit is not installed.
    """
    for program in ("sbatch", "squeue", "scontrol", "srun"):
        if shutil.which(program) is None:
            raise SweepError(
                f"--slurm: there is no {program} on this machine; go to the login node of a "
                "cluster, or print a script to take there: runstore script SWEEP"
            )
    try:
        import submitit  # noqa: F401  # it is there
    except ModuleNotFoundError as error:
        raise MissingPackageError("'runstore[slurm]'", "--slurm") from error


def submit(sweep: Sweep, options: SlurmOptions, *, retry: bool = False) -> Submitted:
    """Submit the cells that are missing, or were interrupted, and put their jobs on record.

    Args:
        sweep: as it was written: each cell has its directory.
        options: what to ask Slurm for.
        retry: also the cells that have failed.

    Raises:
        SweepError: Slurm does not answer, or refuses the jobs; what it has taken before stays.
        NotWritableError: a job could not be put on record, and was cancelled.
    """
    check_slurm()
    with lock(sweep.path):
        adopted = _adopted(sweep, options)
        watches, tasks = _look(sweep, retry=retry)
        missing = _missing(watches, tasks)
        if missing and _by_script(sweep, missing):
            watches, tasks = _look(sweep, retry=retry)
            missing = _missing(watches, tasks)
        lost = [job for watch in missing if (job := _lost_job(watch)) is not None]
        jobs: list[tuple[Cell, str]] = []
        length = min(ARRAY_AT_MOST, (longest_array() if missing else None) or ARRAY_AT_MOST)
        for start in range(0, len(missing), length):
            jobs += _submit_array(sweep, missing[start : start + length], options)
    others = tuple(task for task in tasks if not task.action.is_start)
    return Submitted(tuple(jobs), others, tuple(lost), adopted)


def _missing(watches: Sequence[CellWatch], tasks: Sequence[Task]) -> list[CellWatch]:
    return [watch for watch, task in zip(watches, tasks, strict=True) if task.action.is_start]


def _by_script(sweep: Sweep, missing: Sequence[CellWatch]) -> int:
    """Put jobs of the sweep's own script on record; return of how many cells."""
    try:
        return note_submitted(sweep, {watch.cell.id: watch.state for watch in missing})
    except SlurmSilentError as error:
        raise not_known(sweep, error) from None
    except OSError as error:
        raise NotWritableError(sweep.path, "the numbers of Slurm's jobs", error) from error


def _adopted(sweep: Sweep, options: SlurmOptions) -> int:
    """Put jobs on record whose submission was cut short; return of how many cells."""

    def hand_over(cell_id: str, folder: Path, job: str) -> None:
        requeues = UNLIMITED if options.requeues is None else options.requeues
        call = _call(sweep, sweep.cell(cell_id), options)
        hand_over_call(call, folder, job, options.time_min, requeues)

    return adopt(sweep, lambda folder, job: paths_of(folder, job).stdout, hand_over)


def _lost_job(watch: CellWatch) -> str | None:
    """Return the job that was to begin a cell and never will, but for `runstore cancel`."""
    job = watch.state.next_job
    is_ours = job is not None and job.is_of(watch.state.path) and job.cancelled is None
    return job.job if job is not None and is_ours else None


def looked(sweep: Sweep) -> list[Task]:
    """Return what is to be done with each cell; a cell whose job has not ended waits.

    Raises:
        SweepError: Slurm does not answer.
    """
    return _look(sweep, retry=False)[1]


def _look(sweep: Sweep, *, retry: bool) -> tuple[list[CellWatch], list[Task]]:
    """Look at all cells, and insist on an answer of Slurm where it has to know of one."""
    watches = [CellWatch(sweep, cell) for cell in sweep.cells]
    for watch in watches:
        watch.look(retry=retry)
    jobs = {job for watch in watches if (job := _job_of(watch)) is not None}
    try:
        known = look_up(sorted(jobs))
    except SlurmSilentError as error:
        raise not_known(sweep, error) from None
    JOBS.learn(known)
    for watch in watches:
        watch.reader.judge()
    return watches, [_task(watch, known, retry=retry) for watch in watches]


def _task(watch: CellWatch, known: Mapping[str, JobState | None], *, retry: bool) -> Task:
    """Decide about a cell; one whose own job has not ended yet is left to it."""
    task, job = watch.task(retry=retry), _job_of(watch)
    told = known.get(job) if job is not None else None
    if not task.action.is_start or told is None or told.is_over:
        return task
    if watch.state.environment.get(OWN_JOB_VARIABLE) != job:
        return task
    return replace(task, action=Action.WAIT)


def _job_of(watch: CellWatch) -> str | None:
    state = watch.state
    if state.status.word == "finished":
        return None
    if state.next_job is not None and state.next_job.is_of(state.path):
        return state.next_job.job
    return state.job


def _submit_array(
    sweep: Sweep, watches: Sequence[CellWatch], options: SlurmOptions
) -> list[tuple[Cell, str]]:
    announced = announce(sweep, [(watch.cell.id, watch.state.attempt) for watch in watches])
    executor = _executor(sweep, announced.scripts, options)
    calls = [_call(sweep, watch.cell, options) for watch in watches]
    try:
        # submitit prints what sbatch complains of, which is told once below.
        with redirect_stderr(io.StringIO()):
            jobs = executor.submit_array(calls)
    except (RuntimeError, OSError) as error:
        told = _in_one_line(error)
        if "timed out" in told:
            raise SweepError(
                f"Slurm did not say whether it took the jobs ({told}); the same call again asks it"
            ) from None
        announced.refused()
        raise SweepError(f"Slurm refused the job: {told}") from None
    try:
        for watch, job in zip(watches, jobs, strict=True):
            run_dir, attempts = sweep.run_dir(watch.cell), watch.state.attempt
            write_submission(run_dir, job.job_id, attempts=attempts, log=job.paths.stdout)
    except BaseException as error:
        # A job that nobody knows of would run beside the one that is submitted next.
        array = jobs[0].job_id.partition("_")[0]
        subprocess.run(["scancel", array], check=False)
        announced.done()
        if isinstance(error, OSError):
            what = f"the number of Slurm job {array}, which was cancelled,"
            raise NotWritableError(sweep.path, what, error) from error
        raise
    announced.done()
    return [(watch.cell, job.job_id) for watch, job in zip(watches, jobs, strict=True)]


def _call(sweep: Sweep, cell: Cell, options: SlurmOptions) -> CellJob:
    return CellJob(
        str(sweep.path.absolute()),
        cell.id,
        grace_s=options.grace_s,
        full_start_s=options.time_s - options.signal_s - 1.5 * EARLY_S,
    )


def _executor(sweep: Sweep, folder: Path, options: SlurmOptions) -> Any:
    from submitit import AutoExecutor
    from submitit.slurm.slurm import SlurmJobEnvironment

    number = SlurmJobEnvironment.USR_SIG
    requeues = UNLIMITED if options.requeues is None else options.requeues
    executor = AutoExecutor(
        folder,
        cluster="slurm",
        slurm_max_num_timeout=requeues,
        # In the place of the batch shell: Slurm's signal reaches it, and nothing else (B:). -P: no
        # file in the current directory is to be taken for submitit.
        slurm_python=f"exec {shlex.quote(sys.executable)} -P",
    )
    executor.update_parameters(
        name=options.name or sweep.id,
        timeout_min=options.time_min,
        stderr_to_stdout=True,
        # One process for each cell, whose command may begin with srun.
        slurm_use_srun=False,
        slurm_array_parallelism=options.parallel or ARRAY_AT_MOST,
        # Before Python handles it, the signal would be the end of the job.
        slurm_setup=[f"trap '' {number}"],
        slurm_additional_parameters={
            "signal": f"B:{number}@{options.signal_s}",
            "requeue": True,
            **options.sbatch,
        },
    )
    return executor


def _in_one_line(error: Exception) -> str:
    """Return what sbatch said without its own name, each thing once."""
    lines = [line.strip().removeprefix("sbatch: ") for line in str(error).splitlines()]
    told = [re.sub(r"^error: (Batch job submission failed: )?", "", line) for line in lines if line]
    return "; ".join(dict.fromkeys(told)) or type(error).__name__
