"""`run.json` and `patch.diff`: what a run is, written once, by whoever starts it first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from runstore.environment import code
from runstore.limits import DOCUMENT_BYTES
from runstore.paths import RunPaths
from runstore.records import FORMAT, escape_controls
from runstore.redact import redact_params
from runstore.values import as_json

PARAMS_BYTES = 3 << 20
"""The most that params take of `run.json`, which readers take up to 4 MiB of."""


def new_document(
    facts: Mapping[str, Any], name: str | None, tags: Iterable[str], **more: Any
) -> dict[str, Any]:
    """Return the part of `run.json` that is known before the run's directory is."""
    return {"format": FORMAT, "name": name or "", "tags": list(tags), **more, **facts}


class Described(Protocol):
    """A run that is begun."""

    @property
    def path(self) -> Path:
        """Its directory, whose name is its id."""

    @property
    def params(self) -> Mapping[str, Any]:
        """The hyperparameters, as the user has them."""

    def now(self) -> float:
        """Return Unix seconds UTC, on the attempt's clock."""

    def write_document(self, name: str, data: bytes) -> None:
        """Write a small document of the run, durably."""

    def complain(self, key: str, message: str) -> None:
        """Warn once per key."""


def describe(run: Described, document: Mapping[str, Any]) -> None:
    """Write `run.json`, and `patch.diff` before it, unless an earlier attempt or a launcher has.

    Args:
        run: the run.
        document: what `new_document` returned.

    Raises:
        OSError: the disk does not take it.
    """
    paths = RunPaths(run.path)
    if paths.document.exists():
        return
    state = code(Path.cwd())
    if state.patch:
        run.write_document(paths.patch.name, state.patch)
    whole = as_json(
        {
            **document,
            "id": run.path.name,
            "created": run.now(),
            "params": _params_that_fit(redact_params(as_json(run.params)), run.complain),
            "git": state.facts or None,
        }
    )
    data = orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if len(data) > DOCUMENT_BYTES:
        data = orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)
    run.write_document(paths.document.name, escape_controls(data))


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
