"""What people ask of a run that is alive: to stop, or to write a checkpoint (docs/format.md).

Who asks makes an empty file in `requests/`; the run removes it and writes a `request` event.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from runstore.errors import NotWritableError, RequestError
from runstore.files.paths import RunPaths, new_run_id
from runstore.runs.notes import make_folder
from runstore.sources import NATIVE
from runstore.state.evidence import is_original
from runstore.state.run_state import RunState
from runstore.text import printable

Kind = Literal["stop", "checkpoint"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NAMES_LOOKED_AT = 1000
"""Of those in `requests/`, which may hold anything."""
PENDING_SHOWN = 20
"""Requests that wait; more of them than people say nothing new."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that lies in `requests/`: the run has not taken it yet."""

    kind: Kind
    name: str
    """The file's, safe to print; the run's `request` event has it too."""
    made_at: float
    """When the file was made, in Unix seconds of the file system's clock."""


def why_refused(state: RunState, *, is_asked_there: bool = False) -> str:
    """Return why a run cannot be asked for anything, in a few words; empty when it can.

    Only a run that is seen to be alive: a file that a dead one leaves there would stop its next
    attempt at once.

    Args:
        state: the run.
        is_asked_there: it is a copy that is kept up to date, and asked on its own machine.
    """
    if state.source != NATIVE.name:
        return f"it is a run of {printable(state.source)}, which takes no requests of runstore"
    if not is_asked_there and _is_copy(state):
        return "it is a copy: the run itself is elsewhere"
    if state.status.is_proven_alive:
        return ""
    if state.status.word == "pending":
        return "it is pending: `runstore cancel` takes it out of the queue"
    return f"it is {state.status.word}: only a live run takes requests"


def _is_copy(state: RunState) -> bool:
    """Tell whether the newest attempt's own file has another inode than its `open` says."""
    newest = state.newest
    if newest is None:
        return False
    paths, opened = RunPaths(state.path), newest.opened
    if opened is not None:
        return not is_original(opened, paths.stream("events", newest.number))
    watched = newest.execution.opened if newest.execution else None
    return watched is not None and not is_original(watched, paths.stream("exec", newest.number))


def ask(state: RunState, kind: Kind) -> Request:
    """Ask a live run to stop, or for a checkpoint.

    Raises:
        RequestError: the run is not alive, is a copy, or is another tool's.
        NotWritableError: the directory takes no file.
    """
    check(state, kind)
    return make(state.path, kind)


def check(state: RunState, kind: Kind, *, is_asked_there: bool = False) -> None:
    """Refuse what `why_refused` names.

    Raises:
        RequestError: the run is not alive, is a copy, or is another tool's.
    """
    why = why_refused(state, is_asked_there=is_asked_there)
    if why:
        raise RequestError(printable(state.name), kind, why)


def make(run_dir: Path, kind: Kind) -> Request:
    """Make the file that asks a run, which `check` has let pass.

    Raises:
        NotWritableError: the directory takes no file.
    """
    directory = RunPaths(run_dir).requests
    path = directory / f"{kind}-{new_run_id(None)}"
    try:
        make_folder(directory)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise NotWritableError(directory, "a request", error) from error
    return Request(kind, path.name, time.time())


def in_words(kind: Kind) -> str:
    """Return what a run was asked for."""
    return "asked to stop" if kind == "stop" else "asked for a checkpoint"


def pending(run_dir: Path) -> tuple[Request, ...]:
    """Return the requests that the run has not taken yet, the oldest first; at most 20."""
    found: list[Request] = []
    directory = RunPaths(run_dir).requests
    try:
        if not stat.S_ISDIR(directory.lstat().st_mode):
            return ()
        with os.scandir(directory) as entries:
            for entry in islice(entries, NAMES_LOOKED_AT):
                kind = next((kind for kind in KINDS if entry.name.startswith(kind)), None)
                if kind is not None and len(found) < PENDING_SHOWN:
                    found.append(Request(kind, printable(entry.name), _made_at(entry)))
    except OSError:
        # None was ever asked, or it went away: nothing waits that could be told.
        return ()
    return tuple(sorted(found, key=lambda request: request.made_at))


def _made_at(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # the run has taken it in this moment
        return time.time()
