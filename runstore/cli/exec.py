"""`runstore exec`: a command as a run, with its output, its rows and its end."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option
from runstore.completion.parameters import COMMAND_WORD

MANUAL = Manual(
    examples={
        "A script that nobody changes": "runstore exec --name first -- python train.py --lr 0.1",
        "A pipe, or several commands": "runstore exec -- sh -c 'python prep.py && python train.py'",
        "Again, after it was killed": "runstore resume latest",
    },
    statuses={
        "N": "that of COMMAND; 128 and the signal's number where a signal ended it",
        "126": "COMMAND cannot be started",
        "127": "COMMAND is not there",
        "1": "the run cannot be made; COMMAND was not started",
    },
    variables={
        **ROOT_VARIABLE,
        "RUNSTORE_RUN": "set for COMMAND: the run's directory, which runstore.init joins",
        "RUNSTORE_ATTEMPT": "set for COMMAND: the attempt's number",
    },
    see=("runstore show", "runstore resume", "docs/exec.md"),
)


@click.command(
    "exec", cls=ManualCommand, manual=MANUAL, context_settings={"allow_interspersed_args": False}
)
@click.option(
    "--name", help="A few words for people; part of the directory's name.  [default: none]"
)
@click.option(
    "--tag", "tags", metavar="TAG", multiple=True, help="A word to filter by; repeatable."
)
@root_option
@click.argument("command_line", metavar="-- COMMAND...", nargs=-1, required=True, type=COMMAND_WORD)
def command(
    command_line: tuple[str, ...], name: str | None, tags: tuple[str, ...], root: Path
) -> None:
    """Run COMMAND as a run: for a script that nobody changes.

    Its output is passed on and kept in the run's output.log. A line of JSON with a `step`
    on its standard output is a row: {"step": 1, "loss": 0.5}. How it ends is on record, also killed
    or out of memory. A `runstore.init` inside joins the run, and then writes its rows.

    Options stand before the command; behind `--` everything is the command's.
    """
    from runstore.exec.session import NotStartedError, Wishes, execute

    try:
        status = execute(command_line, Wishes(root=root, name=name, tags=tags))
    except NotStartedError as error:
        click.echo(f"runstore: {error}", err=True)
        status = error.status
    sys.exit(status)
