"""`run.json` and `patch.diff`: what a run is, written once, by whoever starts it first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from runstore.environment.facts import code
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.paths import RunPaths
from runstore.files.records import FORMAT, escape_controls
from runstore.metrics.values import as_json
from runstore.redaction.redact import redact_params
from runstore.sources.native import recorded_document

START_FACTS = ("command", "command_redacted", "cwd", "versions", "environment")
"""What the `open` event of a later attempt, and of the first of a planned run, has."""
PARAMS_BYTES = 3 << 20
"""The most that params take of `run.json`, which readers take up to 4 MiB of."""


def new_document(
    facts: Mapping[str, Any], name: str | None, tags: Iterable[str], **more: Any
) -> dict[str, Any]:
    """Return the part of `run.json` that is known before the run's directory is."""
    return {"format": FORMAT, "name": name or "", "tags": list(tags), **more, **facts}


def opening_facts(
    run_dir: Path, attempt: int, own: Mapping[str, Any], *, is_watched: bool = False
) -> dict[str, Any]:
    """Return what an attempt's `open` event says of its start: what may differ from `run.json`.

    Nothing of a first attempt that writes `run.json` itself.

    Args:
        run_dir: the run's directory.
        attempt: from 1.
        own: the facts about this process.
        is_watched: `runstore exec` has begun this attempt, and told the same.
    """
    paths = RunPaths(run_dir)
    if attempt == 1 and (is_watched or not paths.document.exists()):
        return {}
    before = recorded_document(run_dir)
    told = {key: own[key] for key in START_FACTS}
    told |= {key: own[key] for key in ("python", "platform") if key not in before}
    git = {} if is_watched else code(Path.cwd()).facts
    if git and git != before.get("git"):
        told["git"] = git
    opening: dict[str, Any] = as_json(told)
    return opening


class Described(Protocol):
    """A run that is begun."""

    @property
    def path(self) -> Path:
        """Its directory, whose name is its id."""

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""

    @property
    def params(self) -> Mapping[str, Any]:
        """The hyperparameters, as the user has them."""

    def now(self) -> float:
        """Return Unix seconds UTC, on the attempt's clock."""

    def write_document(self, name: str, data: bytes) -> None:
        """Write a small document of the run, durably."""

    def complain(self, key: str, message: str) -> None:
        """Warn once per key."""


def describe(run: Described, document: Mapping[str, Any], *, is_watched: bool = False) -> None:
    """Write `run.json`, and `patch.diff` before it, unless an earlier attempt or a launcher has.

    Who plans a run writes `run.json` alone: the patch is that of its first start.

    Args:
        run: the run.
        document: what `new_document` returned.
        is_watched: `runstore exec` has begun this attempt, and done that.

    Raises:
        OSError: the disk does not take it.
    """
    paths = RunPaths(run.path)
    is_planned = paths.document.exists()
    if is_planned and (run.attempt > 1 or is_watched or paths.patch.exists()):
        return
    state = code(Path.cwd())
    if state.distrust:
        run.complain("git", f"the commit and its changes are not on record: {state.distrust}")
    if state.patch:
        run.write_document(paths.patch.name, state.patch)
    if is_planned:
        return
    whole = as_json(
        {
            **document,
            "id": run.path.name,
            "created": run.now(),
            "params": _params_that_fit(redact_params(as_json(run.params)), run.complain),
            "git": state.facts or None,
        }
    )
    run.write_document(paths.document.name, document_bytes(whole))


def document_bytes(document: Any) -> bytes:
    """Return a document's JSON: indented for people, unless readers would find it too long."""
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if len(data) > DOCUMENT_BYTES:
        data = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    return escape_controls(data)


def _params_that_fit(
    params: dict[str, Any], complain: Callable[[str, str], object]
) -> dict[str, Any]:
    """Return the params with the largest values left out, when they would fill `run.json`."""
    sizes = {key: len(orjson.dumps(value)) for key, value in params.items()}
    fitting = dict(params)
    for key in sorted(sizes, key=lambda key: -sizes[key]):
        if sum(sizes.values()) <= PARAMS_BYTES:
            break
        fitting[key] = f"<left out: {sizes[key]:,} bytes>"
        complain(
            f"params {key}", f"params: {key!r} takes {sizes[key]:,} bytes, left out of run.json"
        )
        sizes[key] = 0
    return fitting
