"""`runstore.load_all`: all runs below a root, and tables of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from runstore.errors import RunStoreError, UnknownNameError
from runstore.files.paths import Stream
from runstore.files.records import JsonObject
from runstore.metrics.ranking import telling_metrics
from runstore.numbers import NOTHING, count, duration, local_time, metric, of_total
from runstore.runs.reader import known_state
from runstore.runs.store import discover
from runstore.sources import RunRef
from runstore.sources.columns import choose_default
from runstore.sources.glances import glanced
from runstore.tables.columns import Columns
from runstore.tables.frames import pandas_frame, polars_frame, require
from runstore.tables.labels import labels
from runstore.tables.notebook import rows_page
from runstore.tables.run_data import RunData, checked_columns, names_of, read_columns
from runstore.tables.tables import TABLES, Table, columns_of, run_row, runs_table
from runstore.text import printable

if TYPE_CHECKING:
    import pandas
    import polars

RUNS_SHOWN = 20
METRICS_SHOWN = 3


class RunCollection(Sequence[RunData]):
    """Runs, newest first, like a list: `runs[0]`, `runs[:10]`, `for run in runs`, `len(runs)`.

    They were found and not read. Each `RunData` is read when it is asked for, and anew each time:
    keep one that is used more than once. Going through all of them reads a few KiB of each.
    """

    def __init__(self, refs: Sequence[RunRef], root: Path) -> None:
        """Hold runs that were found. `load_all` makes collections.

        Args:
            refs: the runs, newest first.
            root: the directory that they were looked for in.
        """
        self._refs, self._root = refs, root

    def __len__(self) -> int:
        return len(self._refs)

    @overload
    def __getitem__(self, index: int) -> RunData: ...
    @overload
    def __getitem__(self, index: slice) -> RunCollection: ...
    def __getitem__(self, index: int | slice) -> RunData | RunCollection:
        """Return one run, or some of them as a further collection."""
        if isinstance(index, slice):
            return RunCollection(self._refs[index], self._root)
        return RunData(self._refs[index])

    def __iter__(self) -> Iterator[RunData]:
        """Yield the runs, each after one look at it; Slurm is asked about many at once."""
        for ref, reader in zip(self._refs, glanced(self._refs), strict=True):
            yield RunData(ref, reader)

    def __contains__(self, run: object) -> bool:
        """Tell whether a run is one of these, without reading any."""
        return any(RunData(ref) == run for ref in self._refs)

    def __repr__(self) -> str:
        """Return `<runstore runs: 12 below runs, newest 2026…-digits-…>`."""
        newest = f", newest {self._refs[0].name}" if self._refs else ""
        return printable(f"<runstore runs: {len(self):,} below {self._root}{newest}>")

    def filter(self, keep: Callable[[RunData], bool]) -> RunCollection:
        """Return the runs for which `keep` is true: `runs.filter(lambda run: "a" in run.tags)`.

        Args:
            keep: is asked about each run, after one look at it.
        """
        kept = [ref for ref, run in zip(self._refs, self, strict=True) if keep(run)]
        return RunCollection(kept, self._root)

    def to_pandas(
        self, stream: Table = "metrics", *, metrics: Collection[str] | str | None = None
    ) -> pandas.DataFrame:
        """Return one data frame of pandas of all runs.

        Rows are as `RunData.to_pandas` has them, run after run in the order of the collection, with
        a column for each metric that any run has. In front stands `run`: the name of the run's
        directory, which is the id of a native run; where two runs share it, the path below the
        root. A run that cannot be read is left out as a whole, with a warning that names it.

        The table `runs` has one row for each run: `run`, `id`, `name`, `source`, `status`,
        `reason`, `created`, `duration_s`, `attempt`, `epoch`, `epochs`, `step`, `best.epoch`,
        `best.metric`, `best.value`, then `params.NAME` for each parameter (nested names are joined
        by a point), `last.NAME` for the newest value of each metric, `tags` (a JSON list) and
        `path`. A parameter that is a number in one run and a text in another is a column of texts.
        It reads a few KiB of each run; one that cannot be read has the status `unknown`, and a
        reason.

        Args:
            stream: `metrics`, `epochs`, `reports`, `system` or `runs`.
            metrics: the names of the columns besides run, step, epoch and time, or one name; None
                for all, up to 16,384. One that no row has is left out with a warning. Of the
                table `runs` all columns are there.

        Raises:
            MissingPackageError: pandas is not installed; also a ModuleNotFoundError.
            UnknownNameError: there is no such table, or there are rows and none has any of the
                metrics; also a ValueError.
        """
        require("pandas", "to_pandas")
        return pandas_frame(checked_columns(self._table(stream, names_of(metrics))))

    def to_polars(
        self, stream: Table = "metrics", *, metrics: Collection[str] | str | None = None
    ) -> polars.DataFrame:
        """Return one data frame of polars of all runs, as `to_pandas` does.

        Args:
            stream: `metrics`, `epochs`, `reports`, `system` or `runs`.
            metrics: the names of the columns besides run, step, epoch and time, or one name; None
                for all, up to 16,384.

        Raises:
            MissingPackageError: polars is not installed; also a ModuleNotFoundError.
            UnknownNameError: there is no such table, or there are rows and none has any of the
                metrics; also a ValueError.
        """
        require("polars", "to_polars")
        return polars_frame(checked_columns(self._table(stream, names_of(metrics))))

    def _table(self, table: Table, metrics: Collection[str] | None) -> Columns:
        if table not in TABLES:
            raise UnknownNameError("table", table, TABLES)
        names = labels(self._refs, self._root)
        if table == "runs":
            return runs_table(self._known(names))
        return self._rows(table, metrics, names)

    def _known(self, names: Sequence[str]) -> Iterator[JsonObject]:
        for name, reader in zip(names, glanced(self._refs), strict=True):
            yield run_row(known_state(reader), name)

    def _rows(
        self, stream: Stream, metrics: Collection[str] | None, names: Sequence[str]
    ) -> Columns:
        columns = Columns({"run": "text", **columns_of(stream)}, only=metrics)
        for name, ref, reader in zip(names, self._refs, glanced(self._refs), strict=True):
            try:
                run = read_columns(ref, stream, metrics, reader)
            except Exception as error:  # noqa: BLE001 - the boundary between a run and the others
                _warn(name, _in_words(error))
            else:
                columns.extend(run, name)
        return columns

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a line for each of the newest runs."""
        runs = list(self[:RUNS_SHOWN])
        names = telling_metrics(name for run in runs for name in run.last)[:METRICS_SHOWN]
        lines = [_line(run, names) for run in runs]
        more = len(self) - len(runs)
        note = f"and {more:,} more below {self._root}" if more else f"below {self._root}"
        header = ["run", "status", "epoch", "step", *names, "best", "duration", "created"]
        return f"<div>{rows_page(header, lines, left=2, note=note)}</div>"


def _line(run: RunData, names: Sequence[str]) -> list[str]:
    last, best = run.last, run.best
    return [
        run.id,
        run.status,
        of_total(run.epoch, None),
        count(run.step),
        *(metric(last.get(name)) for name in names),
        f"{best.metric} {metric(best.value)} @{best.epoch}" if best else NOTHING,
        duration(run.duration_s),
        local_time(run.created),
    ]


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, RunStoreError) else f"{type(error).__name__}: {error}"


def _warn(name: str, problem: str) -> None:
    warnings.warn(printable(f"run {name} is left out: {problem}"), stacklevel=5)


def load_all(root: str | Path = "runs") -> RunCollection:
    """Return all runs below a directory, newest first; they are found, and read when asked for.

    Folders are searched, also for the logs of other tools, whose columns `RUNSTORE_MAP` may name
    as for `load`; runs are not.

    Args:
        root: the directory of runs.

    Raises:
        RootNotFoundError: it is not there, is a file, or may not be read.
        ColumnMapError: `RUNSTORE_MAP` cannot be understood.
    """
    choose_default()
    return RunCollection(discover([Path(root)]), Path(root))
