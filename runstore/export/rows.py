"""What is exported: the rows of one table of some runs, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from runstore.files.limits import EXPORT_COLUMNS
from runstore.files.paths import Stream
from runstore.files.records import JsonObject, metric_values
from runstore.runs.reader import glance, known_state, table_rows
from runstore.sources import RunRef
from runstore.tables.columns import ROW_COLUMNS, RUN_METRIC, Kind, kind_of, wider
from runstore.tables.labels import labels
from runstore.tables.tables import Table, columns_of, run_row, runs_table
from runstore.watching import Watch, unwatched

Shape = Literal["wide", "long"]
LONG_TABLES: tuple[Table, ...] = ("metrics", "epochs", "system")
"""Tables whose columns are metrics, which can stand below each other as well."""
LONG_COLUMNS: Mapping[str, Kind] = {
    "run": "text",
    **ROW_COLUMNS,
    "metric": "text",
    "value": "number",
}


class Written(NamedTuple):
    """What a file holds, and what it does not."""

    rows: int
    left_out: str = ""
    """What there was no room for, in words."""


@dataclass(frozen=True)
class Rows:
    """The rows of a table of some runs, run after run; each time they are read anew.

    A row is flat: `run`, `step`, `epoch`, `time`, then one key for each metric that it has, with
    NaN and infinities as floats. In the long shape each value is a row of its own, under `metric`
    and `value`; what is no number is left out there.
    """

    refs: Sequence[RunRef]
    root: Path
    table: Table = "metrics"
    shape: Shape = "wide"
    watch: Watch = unwatched
    """Sees each row that is read."""

    @cached_property
    def names(self) -> list[str]:
        """What each run is called."""
        return labels(self.refs, self.root)

    @cached_property
    def runs(self) -> list[JsonObject]:
        """Each run's row in the table of runs."""
        pairs = zip(self.refs, self.names, strict=True)
        return [run_row(known_state(glance(ref)), name) for ref, name in pairs]

    def __iter__(self) -> Iterator[JsonObject]:
        """Yield the rows.

        Raises:
            FormatError: a run was written in a newer format.
            UnreadableFileError: a file of one is there and cannot be read.
        """
        yield from self.watch(self._rows(), "rows")

    def _rows(self) -> Iterator[JsonObject]:
        if self.table == "runs":
            yield from self.runs
            return
        of_run = _long if self.shape == "long" else _wide
        for ref, name in zip(self.refs, self.names, strict=True):
            yield from of_run(ref, self.table, name)

    def columns(self) -> tuple[dict[str, Kind | None], bool]:
        """Return every column with its kind, and whether there are more than columns of a table.

        One pass over all rows, since a late metric is normal. None is the kind of a column without
        values.
        """
        if self.table == "runs":
            table = runs_table(self.runs)
            return {name: one.kind for name, one in table.finish().items()}, table.left_out
        if self.shape == "long":
            return dict(LONG_COLUMNS), False
        return _columns_of(self, {"run": "text", **columns_of(self.table)})


def _columns_of(rows: Rows, first: Mapping[str, Kind]) -> tuple[dict[str, Kind | None], bool]:
    kinds: dict[str, Kind | None] = dict(first)
    for row in rows:
        for name, value in row.items():
            known = kinds.get(name)
            if known == "number" or name in first or name.startswith("_"):
                continue
            if name not in kinds and len(kinds) >= EXPORT_COLUMNS:
                return kinds, True
            kinds[name] = known if value is None else wider(known or kind_of(value), kind_of(value))
    return kinds, False


def _wide(ref: RunRef, stream: Stream, name: str) -> Iterator[JsonObject]:
    for row in table_rows(ref, stream):
        if "run" in row:
            row = {RUN_METRIC if key == "run" else key: value for key, value in row.items()}
        yield {"run": name, **row}


def _long(ref: RunRef, stream: Stream, name: str) -> Iterator[JsonObject]:
    for row in table_rows(ref, stream):
        place: dict[str, Any] = {"run": name, **{key: row.get(key) for key in ROW_COLUMNS}}
        for metric, value in metric_values(row).items():
            yield {**place, "metric": metric, "value": value}
