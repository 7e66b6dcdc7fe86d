"""How a run is opened: a new directory, or one that a launcher hands over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from runstore.atomic import write_document
from runstore.environment import Code, code, facts
from runstore.errors import AttemptError, RunStoreError
from runstore.paths import RunPaths, StreamFile, new_run_id
from runstore.records import FORMAT, escape_controls
from runstore.redact import redact_params
from runstore.run import Run
from runstore.sources.native import NativeReader
from runstore.stages import parse_best
from runstore.store import find
from runstore.values import as_json, as_mapping

RUN_VARIABLE = "RUNSTORE_RUN"
PARAMS_VARIABLE = "RUNSTORE_PARAMS"
ID_TRIES = 100

_handed_over = False


def init(
    params: object = None,
    *,
    root: str | os.PathLike[str] = "runs",
    name: str | None = None,
    tags: Iterable[str] = (),
    resume: str | os.PathLike[str] = "auto",
    log_every: int = 1,
    strict: bool = False,
    best: str = "val/loss:min",
) -> Run:
    """Open a run and return it; use it as a context manager, or call `finish()`.

    Args:
        params: the hyperparameters: a dict, an `argparse.Namespace` or a dataclass.
        root: the directory that gets the run's directory; made when missing.
        name: a few words for people; part of the directory's name.
        tags: words to filter by.
        resume: `auto` joins the run that a launcher hands over (`RUNSTORE_RUN`, a run directory,
            and `RUNSTORE_PARAMS`, JSON; they beat `root`, `name` and `params`) and otherwise
            starts a new run; `must` fails without one; `never` always starts a new run; anything
            else is the run to go on with: a directory, or an id below `root`.
        log_every: a tracked train batch becomes a metrics row every so many steps.
        strict: raise on a value that is no number, instead of leaving it out with a warning.
        best: which epoch is the best one: `METRIC:min` or `METRIC:max`.

    Raises:
        AttemptError: the run that is to go on is alive in another process.
        RunNotFoundError: `resume` names no run.
        OSError: the directory cannot be written.
    """
    parse_best(best)
    given = as_mapping(params)
    run_dir = _resumed_directory(resume, Path(root))
    if run_dir is None:
        run_dir = _new_directory(Path(root), name)
    else:
        given |= _handed_params()
    document = _document(run_dir, given, name, tags, best)
    attempt = _describe_or_next_attempt(run_dir, document)
    return Run(
        run_dir,
        given,
        attempt=attempt,
        log_every=log_every,
        strict=strict,
        best=best,
        opening=_opening(attempt),
    )


def _resumed_directory(resume: str | os.PathLike[str], root: Path) -> Path | None:
    """Return the directory of the run to join, or None for a new run."""
    if resume == "never":
        return None
    if resume in ("auto", "must"):
        handed = _take_handover()
        if handed is None and resume == "must":
            raise RunStoreError(
                f"resume='must', but no launcher gave a run in ${RUN_VARIABLE}; "
                "start it with a launcher, or give resume a run directory"
            )
        return handed
    return find(os.fspath(resume), root).path


def _take_handover() -> Path | None:
    """Return the launcher's run, once: a second run of the same process is a run of its own."""
    global _handed_over
    handed = os.environ.get(RUN_VARIABLE)
    if not handed or _handed_over:
        return None
    _handed_over = True
    run_dir = Path(handed)
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir


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


def _new_directory(root: Path, name: str | None) -> Path:
    """Make a directory that no other process has: mkdir decides."""
    root.mkdir(parents=True, exist_ok=True)
    for _ in range(ID_TRIES):
        run_dir = root / new_run_id(name)
        try:
            run_dir.mkdir()
        except FileExistsError:
            continue
        return run_dir
    raise RunStoreError(f"{root}: {ID_TRIES} run ids in a row were taken; is the clock stuck?")


def _document(
    run_dir: Path, params: Mapping[str, Any], name: str | None, tags: Iterable[str], best: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "id": run_dir.name,
        "name": name or "",
        "created": time.time(),
        "params": redact_params(as_json(params)),
        "tags": [str(tag) for tag in ([tags] if isinstance(tags, str) else tags)],
        "best": best,
        **facts(),
    }


def _describe_or_next_attempt(run_dir: Path, document: dict[str, Any]) -> int:
    """Write `run.json` if this is the first attempt, and return the attempt's number.

    Raises:
        AttemptError: an attempt is alive in another process.
    """
    attempt = _newest_attempt(run_dir)
    if attempt:
        _refuse_if_alive(run_dir)
    paths = RunPaths(run_dir)
    if not paths.document.exists():
        state = code(Path.cwd())
        _write_code(paths, document, state)
    return attempt + 1


def _write_code(paths: RunPaths, document: dict[str, Any], state: Code) -> None:
    if state.patch:
        write_document(paths.patch, state.patch)
    document["git"] = state.facts or None
    data = orjson.dumps(as_json(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_document(paths.document, escape_controls(data))


def _newest_attempt(run_dir: Path) -> int:
    files = (StreamFile.parse(name) for name in os.listdir(run_dir))
    return max((file.attempt for file in files if file and file.stream == "events"), default=0)


def _refuse_if_alive(run_dir: Path) -> None:
    reader = NativeReader(run_dir, patient=False)
    reader.glance()
    if reader.refused is not None:
        raise reader.refused
    status = reader.state.status
    if status.word in ("running", "stalled"):
        raise AttemptError(
            f"{run_dir}: attempt {reader.state.attempt} is {status.word} ({status.reason}); "
            "stop it first, or start a new run with resume='never'"
        )


def _opening(attempt: int) -> dict[str, Any]:
    """Further facts of an attempt's `open` event: what may differ between attempts."""
    if attempt == 1:
        return {}
    own = facts()
    kept = ("command", "command_redacted", "cwd", "versions", "environment")
    return as_json({key: own[key] for key in kept})  # type: ignore[no-any-return]
