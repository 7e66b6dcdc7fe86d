"""`runstore reproduce`: the code and the command of a run, once more."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import map_option, root_option, run_argument
from runstore.cli.output import print_lines, say
from runstore.cli.progress import watched
from runstore.completion.parameters import DIRECTORY
from runstore.errors import RunStoreError
from runstore.journal.reproduction import (
    Reproduction,
    bash_lines,
    check_command,
    check_out,
    environment,
    reproduction,
)
from runstore.runs.lookup import find
from runstore.runs.reader import known_state
from runstore.sources.glances import glanced
from runstore.text import command_line

MANUAL = Manual(
    examples={
        "How to run it again": "runstore reproduce latest",
        "The code that it ran, to look at": "runstore reproduce latest --into ../then",
        "All of it": "runstore reproduce latest --into ../again --start",
    },
    statuses={
        "0": "printed, or done; nothing of the code is missing",
        "1": "no such run, or something is missing: one line on standard error says what",
        "N": "with --start: that of the command",
    },
    variables=READ_VARIABLES,
    see=("runstore diff", "runstore journal", "runstore resume", "docs/journal.md"),
)


@click.command("reproduce", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.option(
    "--into",
    metavar="DIR",
    type=DIRECTORY,
    show_default="print how",
    help="Make DIR, with the code of the run.",
)
@click.option("--start", "starts", is_flag=True, help="With --into: then start the command in it.")
@click.option(
    "--anyway",
    is_flag=True,
    help="With --into: also where changes to the code are missing or secrets were taken out.",
)
@click.option(
    "--repo",
    metavar="DIR",
    type=DIRECTORY,
    show_default="the one that RUN was started in, or that of the current directory",
    help="A checkout or clone that has the commit.",
)
@root_option
@map_option
def command(
    run: str, into: Path | None, starts: bool, anyway: bool, repo: Path | None, root: Path
) -> None:
    """Print how to run RUN once more: the commit, the patch and the command, as lines for bash.

    With --into it is done: DIR becomes a git worktree of the recorded commit, with the recorded
    changes applied. Your working tree is left alone. What is missing for the same code is told, in
    one line each: no commit on record, a commit that is not in the repository, a patch that was cut
    or from which secrets were taken, files that git did not track. The new run is a run of its own.
    """
    if starts and into is None:
        raise click.UsageError("--start goes with --into DIR")
    (reader,) = glanced([find(run, root, watched)])
    plan = reproduction(known_state(reader), repository=repo, into=into)
    if into is None:
        _print(plan)
        return
    wanted = check_command(plan) if starts else None
    check_out(plan, anyway=anyway)
    _tell(plan)
    say(f"the code of {plan.state.id} is in {into}; to take it away: {_taking_away(plan)}")
    if wanted is not None:
        _execute(plan, wanted)
    print_lines(line for line in bash_lines(plan) if line.startswith("cd "))


def _print(plan: Reproduction) -> None:
    print_lines(bash_lines(plan))
    _tell(plan)
    if not plan.is_whole or plan.origin.command is None or plan.origin.command_redacted:
        sys.exit(1)


def _tell(plan: Reproduction) -> None:
    for lack in plan.lacks:
        say(f"missing: {lack.what}")


def _taking_away(plan: Reproduction) -> str:
    assert plan.repository is not None  # there is code
    top, into = plan.repository.top, plan.into
    return command_line(["git", "-C", top, "worktree", "remove", "--force", into])


def _execute(plan: Reproduction, wanted: Sequence[str]) -> None:
    """Become the command: its streams, signals and exit status are then nobody else's."""
    say(command_line(wanted))
    # Ourselves, also where we are on no path.
    own = [sys.executable, "-m", "runstore.cli"] if wanted[0] == "runstore" else [wanted[0]]
    wanted = [*own, *wanted[1:]]
    try:
        os.chdir(plan.cwd)
        os.execvpe(wanted[0], list(wanted), environment(plan))
    except OSError as error:
        raise RunStoreError(f"{wanted[0]}: cannot be started: {error.strerror}") from None
