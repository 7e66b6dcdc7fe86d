"""`runstore tail`: the newest metrics rows, and those to come."""

from __future__ import annotations

import time
from pathlib import Path

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import map_option, root_option, run_argument
from runstore.cli.output import print_rows, say
from runstore.cli.progress import watched
from runstore.errors import UnreadableFileError
from runstore.runs.follow import follow as follow_rows
from runstore.runs.lookup import find
from runstore.sources import open_run

FOLLOW_INTERVAL_S = 0.3


MANUAL = Manual(
    examples={
        "What was logged last": "runstore tail latest -n 1",
        "The loss as it comes": "runstore tail -f latest | jq --unbuffered '.[\"train/loss\"]'",
        "Wait for the end of a run": "runstore tail -f -n 0 latest > /dev/null",
    },
    statuses={
        "0": "printed; with -f, the run has ended",
        "1": "no such run, or a file of it cannot be read (with -f it is waited for)",
    },
    variables=READ_VARIABLES,
    see=("runstore cat", "runstore show", "runstore-tui"),
)


@click.command("tail", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on printing rows until the run has ended.")
@click.option("-n", "--lines", default=10, type=click.IntRange(0), help="How many rows.")
@root_option
@map_option
def command(run: str, follow: bool, lines: int, root: Path) -> None:
    """Print the last metrics rows of RUN as JSON lines.

    With -f it goes on, over all attempts, until the run has ended; also behind a file that cannot
    be read for a while.
    """
    ref = find(run, root, watched)
    follower = follow_rows(ref)
    print_rows(follower.newest(lines))
    for path, problem in follower.unread.items() if not follow else ():
        raise UnreadableFileError(path, problem)
    told: dict[Path, str] = {}
    reader = open_run(ref)
    while follow:
        # Asked before the rows are read, so that the last ones are not missed.
        reader.glance()
        status = reader.state.status
        print_rows(follower.poll())
        if follower.unread != told:
            told = follower.unread
            for path, problem in told.items():
                say(str(UnreadableFileError(path, problem)))
        if not status.alive:
            say(f"{ref.id}: {status.word}: {status.reason}".removesuffix(": "))
            return
        time.sleep(FOLLOW_INTERVAL_S)
