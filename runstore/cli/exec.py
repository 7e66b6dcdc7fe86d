"""`runstore exec`: a command as a run, with its output, its rows and its end."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runstore.cli.options import root_option
from runstore.completion.parameters import COMMAND_WORD


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--name", help="A few words for people; part of the directory's name.")
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

    \b
      runstore exec --name first -- python train.py --lr 0.1

    The exit status is COMMAND's; 127 and 126 where it cannot be started.
    """
    from runstore.exec.session import NotStartedError, Wishes, execute

    try:
        status = execute(command_line, Wishes(root=root, name=name, tags=tags))
    except NotStartedError as error:
        click.echo(f"runstore: {error}", err=True)
        status = error.status
    sys.exit(status)
