"""`runstore script`: a batch script for Slurm that requeues itself and goes on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from runstore.cli.manual import Manual, ManualCommand
from runstore.cli.output import say
from runstore.completion.parameters import COMMAND_WORD, DIRECTORY
from runstore.errors import RunStoreError
from runstore.slurm.script import Job, batch_script
from runstore.sweeps.document import load
from runstore.sweeps.find import sweep_dir
from runstore.sweeps.slurm.script import pieces_of, script_of

HAS_DASHES = "runstore.cli.script.has_dashes"

MANUAL = Manual(
    examples={
        "A GPU for four hours at a time": (
            "runstore script --time 4:00:00 --gpus 1 -- python train.py > train.sbatch"
        ),
        "Ten runs, two at once": (
            "runstore script --array 0-9%2 -- bash -c 'python t.py $SLURM_ARRAY_TASK_ID'"
        ),
        "Start it": "sbatch train.sbatch",
        "The cells of a sweep, eight at once": (
            "runstore script --time 4:00:00 --parallel 8 runs/grid > grid.sbatch"
        ),
    },
    statuses={
        "0": "the script was printed",
        "2": "wrong usage, or a value that sbatch would not take",
    },
    variables={"RUNSTORE_ROOT": "the default of --root; the script has it as it is now"},
    see=("runstore sweep", "runstore resume", "docs/training.md", "sbatch(1)"),
)


class _Command(ManualCommand):
    """Notes whether `--` was typed: what follows it is a command, whatever it is called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[HAS_DASHES] = "--" in args
        return super().parse_args(ctx, args)


@click.command(
    "script", cls=_Command, manual=MANUAL, context_settings={"allow_interspersed_args": False}
)
@click.option(
    "--time",
    metavar="LIMIT",
    help="The time limit of one start, as for sbatch.  [default: the cluster's]",
)
@click.option("--partition", metavar="NAME", help="Where it runs.  [default: the cluster's]")
@click.option("--account", metavar="NAME", help="Who is charged.  [default: your own]")
@click.option("--gpus", metavar="N", help="GPUs, or TYPE:N.  [default: none]")
@click.option(
    "--cpus",
    metavar="N",
    help="CPUs of the program, DataLoader workers included.  [default: the cluster's]",
)
@click.option(
    "--memory", metavar="SIZE", help="Memory of a node, as in 32G.  [default: the cluster's]"
)
@click.option(
    "--array",
    metavar="INDEXES",
    help="One run per index: 0-9, or 0-9%2 for two at once.  [default: one run]",
)
@click.option(
    "--parallel",
    metavar="N",
    type=click.IntRange(1),
    help="How many cells of a sweep run at once.  [default: as many as there is room for]",
)
@click.option("--name", help="The job's name.  [default: from COMMAND, or the sweep's]")
@click.option("--output", metavar="FILE", help="The log.  [default: NAME-JOB.out]")
@click.option(
    "--root",
    envvar="RUNSTORE_ROOT",
    default="runs",
    show_default="./runs, or $RUNSTORE_ROOT",
    shell_complete=DIRECTORY.shell_complete,  # kept as it is typed: the job's shell may expand it
    help="The directory of runs.",
)
@click.option(
    "--signal-seconds",
    "signal_s",
    type=click.IntRange(20, 65535),
    default=120,
    help="How long before the time limit the program is asked to save: twice what saving takes.",
)
@click.argument(
    "command_line", metavar="SWEEP | -- COMMAND...", nargs=-1, required=True, type=COMMAND_WORD
)
@click.pass_context
def command(
    context: click.Context, /, command_line: tuple[str, ...], parallel: int | None, **options: Any
) -> None:
    """Print a batch script for Slurm that runs COMMAND, or the cells of SWEEP, until all has ended.

    Before each time limit COMMAND gets SIGTERM, at which a run saves a checkpoint and ends; the job
    goes back into the queue and goes on in the same run directory.

    What no option says is left to the cluster. COMMAND may begin with torchrun or srun. A variable
    that only the job knows needs a shell: -- bash -c 'exec python t.py $SLURM_ARRAY_TASK_ID'

    SWEEP is the directory of a sweep, or its name below --root; `runstore sweep --plan-only` makes
    one. Each task of the array runs one cell.
    """
    job = Job(**options)
    directory = None if context.meta[HAS_DASHES] else _sweep(command_line, Path(job.root))
    try:
        if directory is not None:
            script = _script_of(directory, job, parallel)
        elif parallel is not None:
            raise click.UsageError("--parallel is for the cells of a sweep; use --array 0-9%2")
        else:
            script = batch_script(command_line, job)
    except RunStoreError as error:
        raise click.UsageError(str(error)) from None
    # As bytes: a path need not be UTF-8. A terminal gets them made visible.
    click.echo(script if sys.stdout.isatty() else os.fsencode(script), nl=False)


def _sweep(command_line: Sequence[str], root: Path) -> Path | None:
    if len(command_line) != 1:
        return None
    wanted = command_line[0]
    found = sweep_dir(wanted, root)
    if found is None and shutil.which(wanted) is None:
        # Else the job of a sweep whose name has a slip would fail on a node, hours from now.
        told = f"{wanted!r} is no sweep, also not below {root}, and no command here"
        raise click.UsageError(f"{told}; a command that only a node has stands behind --")
    return found


def _script_of(directory: Path, job: Job, parallel: int | None) -> str:
    sweep = load(directory)
    pieces = pieces_of(sweep)
    is_whole = job.array is None
    if parallel is not None:
        array = job.array or f"0-{pieces.length - 1}"
        job = replace(job, array=f"{array.partition('%')[0]}%{parallel}")
    script = script_of(sweep, job, pieces)
    if is_whole and not pieces.is_one:
        each = f", each with {parallel} at a time" if parallel else ""
        say(
            f"{len(sweep.cells):,} cells are more than an array may have; as several{each}: "
            f"{pieces.submitted('SCRIPT')}"
        )
    return script
