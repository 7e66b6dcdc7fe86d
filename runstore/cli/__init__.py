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

from runstore.errors import RunStoreError
from runstore.text import guard_streams, printable

COMMANDS = {
    "cat": "Print a stream of a run as JSON lines.",
    "demo": "Train small networks on real digits and watch them.",
    "doctor": "Look for what is wrong with runs, and seal torn files.",
    "exec": "Run a command as a run: its output, its rows, its end.",
    "export": "Write runs as one CSV or JSON file.",
    "ls": "List the runs below a root.",
    "query": "Ask the runs below a root a question in SQL.",
    "resume": "Start a run's command again, as its next attempt.",
    "script": "Print a batch script for Slurm that resumes by itself.",
    "show": "Show one run: position, epochs, report, warnings.",
    "tail": "Print the newest rows of a run, and follow it.",
    "tensorboard": "Start TensorBoard on the runs below a root.",
}


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runstore", message="%(prog)s %(version)s")
def cli() -> None:
    """Runs of PyTorch trainings as files: list, read, follow, export.

    RUN is a directory, or below --root an id, a unique prefix or name, or `latest`.
    `runstore-tui [ROOT]` shows the same live.
    """


def main() -> None:
    """Run the command line; a refusal is one line on stderr and exit status 1."""
    guard_streams()
    try:
        cli.main(prog_name="runstore", standalone_mode=True)
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
