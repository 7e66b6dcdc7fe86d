"""`runstore resume`: start a run's command again, as the next attempt of the same run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option, run_argument
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.completion.parameters import COMMAND_WORD
from runstore.errors import RunStoreError
from runstore.hosts.pulled import origin_of
from runstore.launch.requeued import was_requeued
from runstore.runs.lookup import find
from runstore.slurm.variables import job_of
from runstore.sources import NATIVE, open_run
from runstore.sources.glances import ask_scheduler
from runstore.sources.native import recorded_document
from runstore.state.run_state import RunState
from runstore.text import shell_word

MANUAL = Manual(
    examples={
        "On from the newest checkpoint": "runstore resume latest",
        "With more epochs": "runstore resume digits -- python train.py --epochs 40",
    },
    statuses={
        "N": "that of the command",
        "1": "no such run, it is alive, or it has finished and no COMMAND is given",
        "2": "wrong usage, or no command is on record",
    },
    variables={
        **ROOT_VARIABLE,
        "RUNSTORE_RUN": "set for the command: the run's directory, which runstore.init joins",
    },
    see=("runstore exec", "runstore script", "docs/training.md"),
)


@click.command("resume", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.argument("command", nargs=-1, type=COMMAND_WORD)
@root_option
def command(run: str, command: tuple[str, ...], root: Path) -> None:
    """Start the recorded command of RUN again, where it was started before.

    The script's first `runstore.init` goes on in the same run directory, from the newest checkpoint
    that is whole, or from the beginning without one. Standard streams and the exit status are the
    command's own. `-- COMMAND` replaces the recorded command.
    """
    ref = find(run, root, watched, around=False)
    reader = open_run(ref)
    reader.glance()
    ask_scheduler([reader])
    state = reader.state
    if ref.source is not NATIVE:
        raise RunStoreError(f"{ref.path}: only a run that runstore wrote can be resumed")
    if reader.refused is not None:
        raise reader.refused
    _refuse_copy(state)
    _refuse_if_alive(state)
    if not command and state.status.word == "finished":
        raise RunStoreError(
            f"{ref.path}: finished; to train further, have its script ask for more epochs, and "
            f"give the command: runstore resume {shell_word(run)} -- COMMAND"
        )
    arguments = list(command) or _recorded_command(state, run)
    cwd = None if command else _recorded_directory(state)
    say(f"attempt {state.attempt + 1} of {ref.name}: {shlex.join(arguments)}")
    if state.newest is not None and state.newest.execution is not None:
        _execute_again(arguments, cwd, ref.path)
    _execute(arguments, cwd, ref.path)


def _refuse_copy(state: RunState) -> None:
    """Refuse a run that goes on elsewhere: the next pull would write over what is done here."""
    origin = origin_of(state.path)
    if origin is not None:
        raise RunStoreError(
            f"{state.path}: a copy that runstore pull made of a run on {origin.host}; resume it "
            "there, or copy its directory to another place and resume that"
        )


def _refuse_if_alive(state: RunState) -> None:
    if state.status.is_proven_alive and not was_requeued(state):
        raise RunStoreError(
            f"{state.path}: attempt {state.attempt} is {state.status.word} "
            f"({state.status.reason}); stop it first: "
            f"touch {shell_word(state.path / 'requests' / 'stop')}"
        )
    if state.status.word == "pending" and not _is_in_its_job(state):
        raise RunStoreError(
            f"{state.path}: {state.status.reason}; to go on with it here, take it out of the queue "
            f"first: runstore cancel {shell_word(state.path)}"
        )


def _is_in_its_job(state: RunState) -> bool:
    """Tell whether this process is in the very job that the run waits for."""
    return was_requeued(state) or (
        state.next_job is not None and state.next_job.job == job_of(os.environ)
    )


def _facts(state: RunState) -> dict[str, Any]:
    """Return what the newest attempt says of its start; the first one's is in run.json."""
    begun = state.newest.begun if state.newest else None
    return {**recorded_document(state.path), **(begun or {})}


def _recorded_command(state: RunState, run: str) -> list[str]:
    facts = _facts(state)
    recorded = facts.get("command")
    if not isinstance(recorded, list) or not recorded:
        raise click.UsageError(
            f"{state.path} has no command on record; give it: "
            f"runstore resume {shell_word(run)} -- COMMAND"
        )
    arguments = [str(argument) for argument in recorded]
    if facts.get("command_redacted"):
        raise click.UsageError(
            f"secrets were taken out of the recorded command ({shlex.join(arguments)}); "
            f"give it again: runstore resume {shell_word(run)} -- COMMAND"
        )
    return arguments


def _recorded_directory(state: RunState) -> Path | None:
    recorded = _facts(state).get("cwd")
    if not isinstance(recorded, str):
        return None
    if not Path(recorded).is_dir():
        raise RunStoreError(
            f"{recorded}: the directory that the command ran in is not there; go to where it "
            "should run, and give the command behind --"
        )
    return Path(recorded)


def _execute_again(arguments: list[str], cwd: Path | None, run_dir: Path) -> NoReturn:
    """Run the command under `runstore exec`, as it was before."""
    from runstore.exec.session import NotStartedError, Wishes, execute

    os.environ.pop("RUNSTORE_PARAMS", None)
    wishes = Wishes(root=run_dir.parent, run_dir=run_dir.absolute())
    if cwd is not None:
        os.chdir(cwd)
    try:
        sys.exit(execute(arguments, wishes))
    except NotStartedError as error:
        say(str(error))
        sys.exit(error.status)


def _execute(arguments: list[str], cwd: Path | None, run_dir: Path) -> NoReturn:
    """Become the command: its streams, signals and exit status are then nobody else's."""
    environment = {**os.environ, "RUNSTORE_RUN": str(run_dir.absolute())}
    # A launcher's, of another run.
    environment.pop("RUNSTORE_PARAMS", None)
    if cwd is not None:
        os.chdir(cwd)
    try:
        os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        raise RunStoreError(f"{arguments[0]}: cannot be started: {error.strerror}") from None
