"""`runstore sweep`: a command over a grid of parameters, one run each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual
from runstore.cli.options import root_option
from runstore.cli.output import say
from runstore.cli.progress import drawn, watched
from runstore.cli.sweep_display import Display, in_places, plan_lines, tell_end
from runstore.cli.sweep_slurm import in_slurm, submit_cells
from runstore.cli.words import WORDS, WordsCommand
from runstore.completion.parameters import COMMAND_WORD
from runstore.errors import MissingPackageError, SweepError
from runstore.exec.session import NotStartedError, check_program
from runstore.sweeps.asked import Asked, from_file, planned
from runstore.sweeps.cells import Action, Task, look
from runstore.sweeps.devices import Slot, slots, visible_gpus
from runstore.sweeps.document import Sweep, load, write
from runstore.sweeps.local import Pool
from runstore.sweeps.search import Search
from runstore.text import shell_word

MANUAL = Manual(
    examples={
        "Four runs": (
            "runstore sweep --grid lr=1e-3,1e-4 seed=0,1 -- python t.py --lr {lr} {seed}"
        ),
        "What that would do": "runstore sweep --dry-run --grid seed=0..4 -- python t.py {seed}",
        "Values that go together": "runstore sweep --zip a=1,2 b=3,4 -- python t.py {a} {b}",
        "On, after it was stopped or killed": "runstore sweep --name NAME",
        "On a cluster, eight cells at once": (
            "runstore sweep --grid x=1..32 --slurm time=4:00:00 parallel=8 -- t {x}"
        ),
        "Nine runs, chosen by the results so far": (
            "runstore sweep --search x=uniform:0..1 --trials 9 --metric loss:min -- t {x}"
        ),
    },
    statuses={
        "0": "all cells have finished; with --slurm, or Slurm has them",
        "1": "not all of them: one line for each says why",
        "2": "wrong usage: what is asked for cannot be read, or does not go together",
        "126": "COMMAND cannot be started",
        "127": "COMMAND is not there",
        "N": "128 and the signal's number, after Ctrl-C (130) or SIGTERM (143)",
    },
    variables={
        **ROOT_VARIABLE,
        "CUDA_VISIBLE_DEVICES": "the GPUs that are handed out; set for COMMAND",
        "OMP_NUM_THREADS": "set for COMMAND, unless it is set, to its share of the cores",
        "RUNSTORE_RUN": "set for COMMAND: the cell's run directory, which runstore.init joins",
        "RUNSTORE_PARAMS": "set for COMMAND: the cell's parameters, as JSON",
    },
    see=("runstore exec", "runstore resume", "runstore-tui", "docs/sweeps.md"),
)


@click.command(
    "sweep",
    cls=WordsCommand,
    manual=MANUAL,
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "--grid",
    "grids",
    metavar="NAME=A,B…",
    type=WORDS,
    multiple=True,
    help="Values of a parameter: a list, or A..B for whole numbers; each with each of the others. "
    "Repeatable, also several NAME=… behind one.",
)
@click.option(
    "--zip",
    "zips",
    metavar="NAME=A,B… NAME=C,D…",
    type=WORDS,
    multiple=True,
    help="Values that go together, A with C and B with D.",
)
@click.option(
    "--file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A sweep as TOML.  [default: none]",
)
@click.option(
    "--search",
    "searches",
    metavar="NAME=KIND:…",
    type=WORDS,
    multiple=True,
    help="Let Optuna choose: uniform:0..1, loguniform:1e-5..1e-1, int:1..8, logint:8..512, "
    "choice:a,b.",
)
@click.option(
    "--trials",
    metavar="N",
    type=click.IntRange(1),
    help="How many cells a --search has in all; it needs this.  [default: none]",
)
@click.option(
    "--metric",
    metavar="NAME:min|max",
    help="What a --search is for, which it needs: val/loss:min.  [default: none]",
)
@click.option(
    "--name",
    help="A few words: the directory of the sweep. A sweep of that name grows, or goes on.  "
    "[default: from COMMAND and the cells]",
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1),
    help="Cells at once.  [default: one for each GPU, or 1]",
)
@click.option(
    "--gpus",
    metavar="N",
    type=click.IntRange(0),
    help="GPUs of a cell; 0 shows all of them to each.  [default: 1]",
)
@click.option(
    "--slurm",
    "slurms",
    metavar="KEY=VALUE…",
    type=WORDS,
    multiple=True,
    help="Submit the cells to Slurm, as job arrays: time=4:00:00 partition=gpu gpus=1 cpus=8 "
    "parallel=8 and other options of sbatch. time is required.",
)
@click.option("--wait", "waits", is_flag=True, help="With --slurm: wait for the cells.")
@click.option("--plan-only", is_flag=True, help="Make the runs, which are planned; start none.")
@click.option("--retry", is_flag=True, help="Start cells again that have failed.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and do nothing.")
@root_option
@click.argument("command_line", metavar="-- COMMAND...", nargs=-1, type=COMMAND_WORD)
def command(
    command_line: tuple[str, ...],
    grids: Sequence[tuple[str, ...]],
    zips: Sequence[tuple[str, ...]],
    file: Path | None,
    searches: Sequence[tuple[str, ...]],
    trials: int | None,
    metric: str | None,
    name: str | None,
    jobs: int | None,
    gpus: int | None,
    slurms: Sequence[tuple[str, ...]],
    waits: bool,
    plan_only: bool,
    retry: bool,
    dry_run: bool,
    root: Path,
) -> None:
    """Run COMMAND for each cell of a grid: {NAME} in it is the cell's value.

    A cell is a run in a directory of its own below ROOT/SWEEP, with what it printed in its
    output.log. The same call again runs only what is missing: it resumes what was interrupted or
    has crashed, and waits for what is alive. Ctrl-C has the cells save and end.

    With --slurm cells are submitted, and not waited for. Before its time limit a cell saves, goes
    back into the queue and goes on in the same run; the same call again submits what no job has.

    Options stand before the command; behind `--` everything is the command's, in which {{ and }}
    are braces.
    """
    try:
        asked = from_file(file) if file else Asked()
        asked.add_grids([word for words in grids for word in words])
        for words in zips:
            asked.add_zip(words)
        asked.add_search([word for words in searches for word in words])
        asked.add_slurm([word for words in slurms for word in words])
        asked.override(
            command=list(command_line),
            name=name,
            trials=trials,
            metric=metric,
            jobs=jobs,
            gpus=gpus,
        )
        options = asked.slurm_options()
        if waits and options is None:
            raise SweepError("--wait is for --slurm: without it cells are waited for anyway")
        sweep = planned(asked, root)
    except (SweepError, MissingPackageError) as error:
        say(str(error))
        sys.exit(2)
    tasks = look(sweep, retry=retry, cells=watched(sweep.cells, "reading cells", len(sweep.cells)))
    gpus_each = 1 if asked.gpus is None else asked.gpus
    places = slots(asked.jobs, visible_gpus(os.environ) if gpus_each else [], gpus_each)
    where = in_slurm(options) if options else in_places(places)
    for line in plan_lines(sweep, tasks, where, asked.trials, is_whole=dry_run):
        click.echo(line)
    if dry_run:
        return
    if plan_only:
        where = shell_word(write(sweep).path)
        say(f"planned; a script for Slurm: runstore script {where} > sweep.sbatch")
    elif options is not None:
        sys.exit(submit_cells(sweep, options, asked.slurm, retry=retry, waits=waits))
    else:
        sys.exit(_run_here(sweep, tasks, places, asked.trials, retry=retry))


def _run_here(
    sweep: Sweep, tasks: Sequence[Task], places: Sequence[Slot], trials: int | None, *, retry: bool
) -> int:
    """Run the cells on this machine; return the exit status."""
    is_over = all(task.action is Action.DONE for task in tasks) and len(tasks) >= (trials or 0)
    if is_over:
        return 0
    try:
        check_program(sweep.command[0], Path(sweep.cwd))
    except NotStartedError as error:
        say(str(error))
        return error.status
    sweep = write(sweep)
    search = Search(sweep, tasks, trials) if sweep.search and trials else None
    total = max(len(tasks), trials or 0)
    display = Display(total, sweep.path)
    pool = Pool(sweep, tasks, places, display, retry=retry, supply=search, total=total)
    with drawn(display.line):
        signal = pool.run()
    return tell_end(load(sweep.path), pool.ended, search, signal)
