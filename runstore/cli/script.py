"""`runstore script`: a batch script for Slurm that requeues itself and goes on."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from runstore.completion.parameters import COMMAND_WORD, DIRECTORY
from runstore.errors import RunStoreError
from runstore.manual import Manual, ManualCommand
from runstore.slurm import Job, batch_script

MANUAL = Manual(
    examples={
        "A GPU for four hours at a time": (
            "runstore script --time 4:00:00 --gpus 1 -- python train.py > train.sbatch"
        ),
        "Ten runs, two at once": (
            "runstore script --array 0-9%2 -- bash -c 'python t.py $SLURM_ARRAY_TASK_ID'"
        ),
        "Start it": "sbatch train.sbatch",
    },
    statuses={
        "0": "the script was printed",
        "2": "wrong usage, or a value that sbatch would not take",
    },
    variables={"RUNSTORE_ROOT": "the default of --root; the script has it as it is now"},
    see=("runstore resume", "docs/training.md", "sbatch(1)"),
)


@click.command(
    "script", cls=ManualCommand, manual=MANUAL, context_settings={"allow_interspersed_args": False}
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
@click.option("--name", help="The job's name.  [default: from COMMAND]")
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
@click.argument("command_line", metavar="-- COMMAND...", nargs=-1, required=True, type=COMMAND_WORD)
def command(command_line: tuple[str, ...], **options: Any) -> None:
    """Print a batch script for Slurm that runs COMMAND until it has finished.

    Before each time limit COMMAND gets SIGTERM, at which a run saves a checkpoint and ends; the job
    goes back into the queue and goes on in the same run directory.

    What no option says is left to the cluster. COMMAND may begin with torchrun or srun. A variable
    that only the job knows needs a shell: -- bash -c 'exec python t.py $SLURM_ARRAY_TASK_ID'
    """
    try:
        script = batch_script(command_line, Job(**options))
    except RunStoreError as error:
        raise click.UsageError(str(error)) from None
    # As bytes: a path need not be UTF-8. A terminal gets them made visible.
    click.echo(script if sys.stdout.isatty() else os.fsencode(script), nl=False)
