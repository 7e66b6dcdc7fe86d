"""`run.json` and `patch.diff`: what a run is, written once, by whoever starts it first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from runstore.atomic import write_document
from runstore.environment import code
from runstore.paths import RunPaths
from runstore.records import FORMAT, escape_controls
from runstore.redact import redact_params
from runstore.sources.reading import DOCUMENT_BYTES
from runstore.values import as_json

PARAMS_BYTES = 3 << 20
"""The most that params take of `run.json`, which readers take up to 4 MiB of."""


def new_document(
    facts: Mapping[str, Any], name: str | None, tags: Iterable[str], **more: Any
) -> dict[str, Any]:
    """Return the part of `run.json` that is known before the run's directory is."""
    return {"format": FORMAT, "name": name or "", "tags": list(tags), **more, **facts}


def describe(
    run_dir: Path,
    document: Mapping[str, Any],
    params: Mapping[str, Any],
    created: float,
    complain: Callable[[str, str], object],
) -> None:
    """Write `run.json`, and `patch.diff` before it, unless an earlier attempt or a launcher has.

    Args:
        run_dir: the run's directory, whose name is the run's id.
        document: what `new_document` returned.
        params: the hyperparameters, as the user has them.
        created: Unix seconds UTC.
        complain: told `(key, message)` of params that are too large.
    """
    paths = RunPaths(run_dir)
    if paths.document.exists():
        return
    state = code(Path.cwd())
    if state.patch:
        write_document(paths.patch, state.patch)
    whole = as_json(
        {
            **document,
            "id": run_dir.name,
            "created": created,
            "params": _params_that_fit(redact_params(as_json(params)), complain),
            "git": state.facts or None,
        }
    )
    data = orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if len(data) > DOCUMENT_BYTES:
        data = orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)
    write_document(paths.document, escape_controls(data))


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
