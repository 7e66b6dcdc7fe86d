"""The tables that runs are handed on as: which columns each has, and the rows of one line.

`metrics`, `epochs` and `system` have a row for each line of the stream, `reports` one for each
class and average of a report, `runs` one for each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from runstore.errors import UnknownNameError
from runstore.files.paths import Stream
from runstore.files.records import JsonObject, without_surrogates
from runstore.metrics.reports import COLUMNS
from runstore.nested import flattened
from runstore.runs.summary import measured, summary
from runstore.state.run_state import RunState
from runstore.tables.columns import ROW_COLUMNS, Columns, Kind, of_facts

Table = Literal["metrics", "epochs", "reports", "system", "runs"]
"""A table of one or many runs: the rows of a stream, or a row for each run."""
TABLES: tuple[Table, ...] = get_args(Table)
_EVENT_COLUMNS: Mapping[str, Kind] = {"event": "text", **ROW_COLUMNS}
_COLUMNS: Mapping[Stream, Mapping[str, Kind]] = {
    "metrics": ROW_COLUMNS,
    "epochs": ROW_COLUMNS,
    "system": ROW_COLUMNS,
    "reports": {
        **ROW_COLUMNS,
        "split": "text",
        "label": "text",
        **dict.fromkeys(COLUMNS, "number"),
    },
    "events": _EVENT_COLUMNS,
    "exec": _EVENT_COLUMNS,
}
RUN_COLUMNS: Mapping[str, Kind] = {
    **dict.fromkeys(("run", "id", "name", "source", "status", "reason"), "text"),
    **dict.fromkeys(("created", "duration_s"), "number"),
    **dict.fromkeys(("attempt", "epoch", "epochs", "step", "best.epoch"), "integer"),
    **dict.fromkeys(("best.metric",), "text"),
    **dict.fromkeys(("best.value",), "number"),
}
"""What the table of runs has, in front; behind it `params.X`, `last.X`, `tags` and `path`."""


def columns_of(stream: Stream) -> Mapping[str, Kind]:
    """Return the columns that the table of a stream has whatever its rows hold, in front.

    Raises:
        UnknownNameError: there is no such stream; also a ValueError.
    """
    found = _COLUMNS.get(stream)
    if found is None:
        raise UnknownNameError("stream", stream, list(_COLUMNS))
    return found


def run_row(state: RunState, run: str) -> JsonObject:
    """Return a run's row in the table of runs.

    Args:
        state: what is known of it; a glance is enough.
        run: what it is called in the other tables.
    """
    known = summary(state)
    row = {name: known.get(name) for name in RUN_COLUMNS}
    row["run"] = run
    for name, value in (known["best"] or {}).items():
        row[f"best.{name}"] = value
    row |= {f"params.{name}": value for name, value in flattened(state.params)}
    row |= {f"last.{name}": value for name, value in measured(state).items()}
    # Names of directories need not be UTF-8.
    clean: JsonObject = without_surrogates({**row, "path": str(state.path)})
    return {**clean, "tags": state.tags}


def runs_table(rows: Iterable[JsonObject]) -> Columns:
    """Return rows of runs as columns: those of parameters in front of those of metrics."""
    return of_facts(list(rows), RUN_COLUMNS, _place)


def _place(name: str) -> int:
    group = name.partition(".")[0]
    return {"params": 1, "last": 2, "tags": 3, "path": 3}.get(group, 0)
