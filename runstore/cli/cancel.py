"""`runstore cancel`: end a run, or all runs of a sweep, whether they wait or run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option, run_argument
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.errors import RunStoreError
from runstore.runs.cancel import Cancellable, cancel, cancellable
from runstore.runs.lookup import find
from runstore.sources import RunRef
from runstore.sources.formats import NATIVE
from runstore.sources.glances import glanced
from runstore.state.run_state import RunState
from runstore.sweeps.document import load
from runstore.sweeps.find import sweep_dir
from runstore.text import printable

MANUAL = Manual(
    examples={
        "A run": "runstore cancel latest",
        "All cells of a sweep that wait or run": "runstore cancel runs/grid",
        "In a script": "runstore cancel --yes runs/grid",
    },
    statuses={
        "0": "what waits or runs was cancelled, or asked to stop",
        "1": "nothing does, it is a copy, Slurm refuses, or the answer was no",
        "2": "wrong usage, or nobody can be asked and --yes is not given",
    },
    variables=ROOT_VARIABLE,
    see=("runstore sweep", "runstore ls", "scancel(1)"),
)


@click.command("cancel", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@root_option
def command(run: str, yes: bool, root: Path) -> None:
    """End RUN, or all runs of a sweep that wait or run; asks first.

    The Slurm job of a run that has one for itself is cancelled, in the queue or on its node, where
    the run saves a checkpoint before it ends. Any other run is asked to save and stop. Runs that
    have ended stay as they are, and the same `runstore sweep` goes on with what was cancelled.
    """
    directory = sweep_dir(run, root)
    refs = [find(run, root, watched, around=False)] if directory is None else _cells(directory)
    states = [reader.state for reader in glanced(refs)]
    judged = [cancellable(state) for state in states]
    targets = [one for one in judged if isinstance(one, Cancellable)]
    where = printable(str(refs[0].path if directory is None else directory))
    if not targets:
        raise RunStoreError(f"{where}: nothing to cancel; {_why(states, judged)}")
    told = f"{where}: {_in_words(targets)}"
    if not yes and not _is_agreed(told):
        raise RunStoreError("nothing was cancelled")
    cancel(targets)
    say(f"{told}: {_done(targets)}")


def _cells(directory: Path) -> list[RunRef]:
    sweep = load(directory)
    return [RunRef(str(sweep.run_dir(cell)), NATIVE) for cell in sweep.cells]


def _why(states: Sequence[RunState], judged: Sequence[Cancellable | str]) -> str:
    if len(judged) == 1:
        return str(judged[0])
    words = [state.status.word for state in states]
    return ", ".join(f"{words.count(word):,} {word}" for word in dict.fromkeys(words))


def _in_words(targets: Sequence[Cancellable]) -> str:
    counts = {
        "waiting in Slurm": sum(run.job is not None and run.is_pending for run in targets),
        "running in Slurm": sum(run.job is not None and not run.is_pending for run in targets),
        "running": sum(run.job is None for run in targets),
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _is_agreed(told: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("standard input is no terminal, so nobody can be asked: give --yes")
    return click.confirm(f"{told}. Cancel?", err=True)


def _done(targets: Sequence[Cancellable]) -> str:
    jobs = sum(run.job is not None for run in targets)
    asked = len(targets) - jobs
    cancelled = f"cancelled {jobs:,} job{'' if jobs == 1 else 's'}" if jobs else ""
    stopped = f"asked {asked:,} run{'' if asked == 1 else 's'} to stop" if asked else ""
    return ", ".join(filter(None, (cancelled, stopped)))
