"""`runstore`: one file per command, each imported when it is called.

Data goes to stdout, everything else to stderr. Exit status: 0 ok, 1 not found or failed, 2 usage.
A closed pipe is ok.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from runstore.cli.manual import CONTEXT, ROOT_VARIABLE, Manual
from runstore.errors import RunStoreError
from runstore.text import guard_streams, printable

COMPLETE = "_RUNSTORE_COMPLETE"
"""Set by the scripts of `runstore completion`."""
COMMANDS = {
    "cancel": "End a run, or all runs of a sweep, waiting or running.",
    "cat": "Print a stream of a run as JSON lines.",
    "compare": "Show runs side by side: what differs, and how far they came.",
    "completion": "Print the script that makes a shell complete runs at Tab.",
    "demo": "Train small networks on real digits and watch them.",
    "diff": "Show what was different between two runs.",
    "doctor": "Look for what is wrong with runs, and seal torn files.",
    "exec": "Run a command as a run: its output, its rows, its end.",
    "export": "Write runs as CSV, JSON, Parquet, Markdown, event files.",
    "gif": "Make an animation of a run's image samples.",
    "journal": "Print all runs as commented lines to run again.",
    "ls": "List the runs below a root.",
    "note": "Write a note about a run.",
    "pull": "Copy the runs of another machine, again and again.",
    "query": "Ask the runs below a root a question in SQL.",
    "reproduce": "Print how to run a run again from the same code, or do it.",
    "resume": "Start a run's command again, as its next attempt.",
    "rm": "Remove runs for good.",
    "script": "Print a batch script for Slurm that resumes by itself.",
    "show": "Show one run: position, epochs, report, warnings.",
    "sweep": "Run a command for each cell of a grid of parameters.",
    "tag": "Give tags to runs, and take them away.",
    "tail": "Print the newest rows of a run, and follow it.",
    "tensorboard": "Start TensorBoard on the runs below a root.",
}

MANUAL = Manual(
    statuses={"0": "done", "1": "not found, or failed: one line on standard error says what"},
    variables=ROOT_VARIABLE,
    see=("runstore COMMAND --help", "runstore-tui --help", "docs/"),
)


class LazyGroup(click.Group):
    """Imports a command's module when the command is used, so that `--help` is quick."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments; `--help` prints here."""
        with _closed_pipe_is_enough():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        with _closed_pipe_is_enough():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"runstore.cli.{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Offer the commands without importing them."""
        found = [name for name in sorted(COMMANDS) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in found), *options]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what stands behind the commands."""
        MANUAL.write(formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(package_name="runstore", message="%(prog)s %(version)s")
def cli() -> None:
    """Runs of PyTorch trainings as files: list, read, follow, export.

    RUN is a directory, or below --root an id, a unique prefix or name, or `latest`.
    `runstore-tui [ROOT]` shows the same live. Data goes to standard output, the rest to standard
    error.
    """


def main() -> None:
    """Run the command line; a refusal is one line on stderr and exit status 1."""
    guard_streams()
    if COMPLETE in os.environ:
        from runstore.completion.shells import answer_shells

        answer_shells()
    try:
        cli.main(prog_name="runstore", complete_var=COMPLETE, standalone_mode=True)
    except RunStoreError as error:
        _refuse(str(error))
    except OSError as error:
        # A full disk, a file that may not be written.
        what = error.strerror or str(error)
        _refuse(f"{error.filename}: {what}" if error.filename else what)


@contextlib.contextmanager
def _closed_pipe_is_enough() -> Iterator[None]:
    """Who closes the pipe has read enough (`| head`): no failure, status 0."""
    try:
        yield
    except BrokenPipeError:
        _forget_output()
        sys.exit(0)


def _forget_output() -> None:
    """Let what is still buffered go nowhere: its flush at the exit would be a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def _refuse(message: str) -> NoReturn:
    # Near matches are names of directories, and those may hold anything.
    click.echo(f"runstore: {printable(message)}", err=True)
    sys.exit(1)
