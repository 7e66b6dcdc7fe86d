"""Which directory a run gets, and which attempt of it: a new one, a launcher's, or a named one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from runstore.errors import AttemptError, RunStoreError, UnusableDirectoryError
from runstore.files.paths import RunPaths, StreamFile, new_run_id
from runstore.launch.requeued import was_requeued
from runstore.metrics.values import as_json, shown_as_text
from runstore.redaction.redact import redact_params
from runstore.runs.lookup import find
from runstore.sources.native import NativeReader

RUN_VARIABLE = "RUNSTORE_RUN"
ATTEMPT_VARIABLE = "RUNSTORE_ATTEMPT"
PARAMS_VARIABLE = "RUNSTORE_PARAMS"
ID_TRIES = 100
OPEN_EVENT_S = 1.0

_handed_over = False


class Handover(NamedTuple):
    """The run that a process joins."""

    run_dir: Path | None = None
    """None: a new run."""
    params: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    """The launcher's."""
    attempt: int | None = None
    """The one that `runstore exec` has begun, and this process is the command of."""


@dataclass(slots=True)
class Given:
    """A run that is handed over within this process, to one `init`."""

    run_dir: Path
    params: dict[str, Any]
    is_taken: bool = False


_given: ContextVar[Given | None] = ContextVar("runstore_given", default=None)
"""Of the thread, or task: cells of a sweep may run in several threads, with one environment."""


@contextmanager
def handing_over(run_dir: Path, params: dict[str, Any]) -> Iterator[Given]:
    """Have the first `init` inside join a run, whatever the environment says."""
    given = Given(run_dir, params)
    token = _given.set(given)
    try:
        yield given
    finally:
        _given.reset(token)


def run_to_join(resume: str | os.PathLike[str], root: Path) -> Handover:
    """Return the run to join, as a launcher or the script names it."""
    if resume == "never":
        return Handover()
    if resume in ("auto", "must"):
        given = _given.get()
        if given is not None and not given.is_taken:
            given.is_taken = True
            given.run_dir.mkdir(parents=True, exist_ok=True)
            return Handover(given.run_dir, given.params)
        handed = _handed_run()
        if handed is None and resume == "must":
            raise RunStoreError(
                f"resume='must', but no launcher gave a run in ${RUN_VARIABLE}; "
                "start it with a launcher, or give resume a run directory"
            )
        return Handover() if handed is None else _take_handover(handed)
    return Handover(find(os.fspath(resume), root, around=False).path)


def _handed_run() -> Path | None:
    """Return the launcher's run, once: a second run of the same process is a run of its own."""
    handed = os.environ.get(RUN_VARIABLE)
    return Path(handed) if handed and not _handed_over else None


def _take_handover(run_dir: Path) -> Handover:
    global _handed_over
    params = _handed_params()
    attempt = os.environ.get(ATTEMPT_VARIABLE, "")
    run_dir.mkdir(parents=True, exist_ok=True)
    _handed_over = True
    # A script that this one starts is not the run.
    for variable in (RUN_VARIABLE, PARAMS_VARIABLE, ATTEMPT_VARIABLE):
        os.environ.pop(variable, None)
    return Handover(run_dir, params, int(attempt) if attempt.isdecimal() else None)


def _handed_params() -> dict[str, Any]:
    text = os.environ.get(PARAMS_VARIABLE)
    if not text:
        return {}
    try:
        params = json.loads(text)
    except ValueError as error:
        raise RunStoreError(f"${PARAMS_VARIABLE} is {text!r}, not JSON: {error}") from None
    if not isinstance(params, dict):
        raise RunStoreError(f"${PARAMS_VARIABLE} is {text!r}, expected a JSON object")
    return params


def new_directory(root: Path, name: str | None) -> Path:
    """Make a directory that no other process has: mkdir decides."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for _ in range(ID_TRIES):
            run_dir = root / new_run_id(name)
            with suppress(FileExistsError):
                run_dir.mkdir()
                return run_dir
    except OSError as error:
        raise UnusableDirectoryError(root, error) from error
    raise RunStoreError(f"{root}: {ID_TRIES} run ids in a row were taken; is the clock stuck?")


def next_attempt(run_dir: Path, begun: int | None = None) -> tuple[int, dict[str, Any]]:
    """Return the number of the attempt to claim, and the params on record.

    Args:
        run_dir: the run's directory.
        begun: the attempt that `runstore exec` has begun for this process; when it is the newest,
            and no other process of the command has claimed its events, it is the one to claim.

    Raises:
        AttemptError: an attempt is alive in another process.
    """
    # The number before the look: who claims it in between makes our claim fail, and is not missed.
    newest = newest_attempt(run_dir)
    paths = RunPaths(run_dir)
    events = paths.stream("events", newest)
    is_begun = begun is not None and newest == begun and not events.exists()
    for file in (paths.stream("exec", newest), events):
        _await_open_event(file)
    reader = NativeReader(run_dir, patient=False)
    reader.glance()
    if reader.refused is not None:
        raise reader.refused
    status = reader.state.status
    if status.is_proven_alive and not is_begun and not was_requeued(reader.state):
        raise AttemptError(
            f"{run_dir}: attempt {reader.state.attempt} is {status.word} ({status.reason}); "
            "stop it first, or start a new run with resume='never'"
        )
    return newest if is_begun else newest + 1, dict(reader.state.params)


def recorded(stored: dict[str, Any], given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the script's params without those that the run has otherwise, and which these are.

    A launcher starts the script anew, and one that trains a grid gives its first cell's params to
    whatever run it is made to resume. A script that names the run to go on with means what it says.
    """
    plain = redact_params(as_json(given))
    changed = [key for key in given if key in stored and stored[key] != plain[key]]
    kept = {key: value for key, value in given.items() if key not in changed}
    told = [
        f"params: {key} is {shown_as_text(stored[key])} as recorded, not "
        f"{shown_as_text(plain[key])} as in the script"
        for key in changed
    ]
    return kept, told


def _await_open_event(events: Path) -> None:
    """An attempt that was claimed a moment ago has no `open` event yet, and looks dead till then.

    Without one after a second, whoever claimed it has died in that moment.
    """
    deadline = time.monotonic() + OPEN_EVENT_S
    while time.monotonic() < deadline:
        try:
            if events.stat().st_size:
                return
        except OSError:
            return
        time.sleep(0.01)


def newest_attempt(run_dir: Path) -> int:
    """Return the number of the newest attempt of all streams, 0 for none."""
    # Of all: a stray file of an attempt without events is not to be appended to.
    files = (StreamFile.parse(name) for name in os.listdir(run_dir))
    return max((file.attempt for file in files if file), default=0)
