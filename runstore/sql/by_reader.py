"""What the readers of runs have to tell a query: the view `runs`, and all of other tools' runs.

Most queries do without, and this module, which brings all that a state is made of, is imported by
those that do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runstore.files.paths import Stream
from runstore.files.records import JsonObject, integer, metric_values, number, split_nonfinite
from runstore.runs.reader import visible_rows
from runstore.runs.summary import summary
from runstore.sources import RunRef
from runstore.sources.glances import glanced
from runstore.sql.found import FoundRun
from runstore.sql.keys import Keys, is_name
from runstore.sql.rows import INT64, encode


def rows_of(ref: RunRef, stream: Stream, keys: Keys) -> Iterator[bytes]:
    """Yield the rows of a run that count, by its reader, as lines of format 1, `step` or not.

    Raises:
        UnreadableFileError: a file is there and cannot be read.
    """
    for line in visible_rows(ref, stream):
        row = line.row or {}
        step = integer(row, "step")
        place: JsonObject = {
            "step": step if step is not None and step in INT64 else None,
            "epoch": integer(row, "epoch"),
            "time": number(row, "time"),
        }
        if stream == "reports":
            yield encode({**row, **place})
            continue
        values = {key: value for key, value in metric_values(row).items() if is_name(key)}
        keys.note(values)
        yield encode({**place, **split_nonfinite(values)})


def runs_rows(runs: Sequence[FoundRun]) -> Iterator[bytes]:
    """Yield the line of each run in the view `runs`."""
    for run, reader in zip(runs, glanced([run.ref for run in runs]), strict=True):
        yield runs_row(run.run, summary(reader.state))


def params_of(runs: Sequence[FoundRun]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what each run is called, and its parameters."""
    for run, reader in zip(runs, glanced([run.ref for run in runs]), strict=True):
        yield run.run, reader.state.params


def runs_row(run: str, facts: JsonObject) -> bytes:
    """Return the line of a run; `facts` is its `summary`."""
    best = facts["best"] or {}
    bests = {f"best_{key}": best.get(key) for key in ("epoch", "metric", "value")}
    notes = facts["last"].get("_nonfinite", {})
    last = {key: notes.get(key, value) for key, value in facts["last"].items() if is_name(key)}
    return encode({**facts, **bests, "run": run, "last": last})
