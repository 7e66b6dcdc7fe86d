"""`runstore sweep --slurm`: what is said when cells are submitted, and while they are awaited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from runstore.cli.output import say
from runstore.cli.sweep_display import tell_end
from runstore.sweeps.cells import Action, Task
from runstore.sweeps.document import Sweep, write
from runstore.sweeps.slurm.options import SlurmOptions
from runstore.sweeps.slurm.submit import Submitted, check_slurm, submit
from runstore.sweeps.slurm.wait import wait
from runstore.sweeps.standing import Ended
from runstore.text import shell_word

_WORDS = {
    Action.WAIT: "wait or run already",
    Action.DONE: "finished",
    Action.FAILED: "failed (--retry starts them again)",
    Action.UNKNOWN: "may be alive elsewhere (--retry starts them all the same)",
}


def in_slurm(options: SlurmOptions) -> str:
    """Say where the cells of a plan run."""
    at_once = f", {options.parallel} at a time" if options.parallel else ""
    return f"jobs of Slurm, {options.time_min} min each start{at_once}"


def submit_cells(
    sweep: Sweep, options: SlurmOptions, given: dict[str, str], *, retry: bool, waits: bool
) -> int:
    """Submit what is missing and, if asked, wait for all; return the exit status.

    Raises:
        RunStoreError: Slurm is not there, does not answer, or refuses the jobs.
    """
    check_slurm()
    sweep = write(replace(sweep, slurm=given))
    try:
        done = submit(sweep, options, retry=retry)
    except KeyboardInterrupt:
        say("stopped while submitting; the same call finds the jobs that Slurm has taken")
        return 130
    if done.adopted:
        say(
            f"an earlier call was cut short while it submitted: {_cells(done.adopted)} of it found "
            "in Slurm, and put on record"
        )
    if done.lost:
        say(
            f"{_cells(len(done.lost))} had not begun and {_is(done.lost)} no longer in Slurm's "
            f"queue ({_jobs(done.lost)}: cancelled by scancel, or over): submitted again"
        )
    say(_told(done))
    if waits:
        return _wait(sweep)
    if all(task.action is Action.DONE for task in done.others) and not done.jobs:
        return 0
    where = shell_word(sweep.path)
    say(f"watch: runstore-tui {where}, or runstore ls {where}; end: runstore cancel {where}")
    say("the same call again submits what was interrupted or has crashed until then")
    lost = any(task.action in (Action.FAILED, Action.UNKNOWN) for task in done.others)
    return 1 if lost else 0


def _told(done: Submitted) -> str:
    arrays = Counter(job.partition("_")[0] for _, job in done.jobs)
    parts = [f"{_cells(count)} submitted as Slurm job {job}" for job, count in arrays.items()]
    others = Counter(task.action for task in done.others)
    parts += [f"{others[action]:,} {word}" for action, word in _WORDS.items() if others[action]]
    return ", ".join(parts) or "nothing to submit"


def _is(some: Sequence[object]) -> str:
    return "is" if len(some) == 1 else "are"


def _jobs(jobs: Sequence[str]) -> str:
    """Return the numbers of arrays."""
    arrays = list(dict.fromkeys(job.partition("_")[0] for job in jobs))
    return f"job{'s' if len(arrays) > 1 else ''} {', '.join(arrays[:5])}{', …' * (len(arrays) > 5)}"


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"


def _wait(sweep: Sweep) -> int:
    """Wait for all cells; Ctrl-C ends the waiting, and no job."""
    seen: dict[str, str] = {}

    def tell(tasks: Sequence[Task]) -> None:
        for task in tasks:
            if seen.get(task.cell.id, task.status.word) != task.status.word:
                say(f"{task.cell.id} is {task.why}")
            seen[task.cell.id] = task.status.word

    try:
        tasks = wait(sweep, tell)
    except KeyboardInterrupt:
        say(
            f"no longer waiting; the jobs go on: runstore cancel {shell_word(sweep.path)} ends them"
        )
        return 130
    ended = [Ended(task.cell, task.status.word, task.status.reason) for task in tasks]
    return tell_end(sweep, ended, None, None)
