"""`runstore.load`: one run, read back."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from runstore.errors import RunNotFoundError, RunStoreError, UnknownNameError
from runstore.files.limits import EXPORT_COLUMNS
from runstore.files.paths import Stream
from runstore.files.records import JsonObject, with_nonfinite
from runstore.numbers import duration, local_time
from runstore.runs.lookup import find, near
from runstore.runs.notes import Note
from runstore.runs.reader import glance, known_state, read_whole, table_rows, visible_rows
from runstore.runs.summary import measured, notes_of
from runstore.sources import RunRef
from runstore.sources.columns import choose_default
from runstore.sources.glances import glanced
from runstore.sources.reading import RunReader
from runstore.state.pieces import Best
from runstore.state.run_state import RunState
from runstore.tables.columns import Columns
from runstore.tables.frames import pandas_frame, polars_frame, require
from runstore.tables.notebook import EPOCHS_SHOWN, position, run_page
from runstore.tables.tables import columns_of
from runstore.text import printable

if TYPE_CHECKING:
    import pandas
    import polars


class RunData:
    """One run as its files have it: `runstore.load`, or one of `runstore.load_all`.

    What is known of it (status, parameters, position, latest and best values) is read once, from a
    few KiB; rows are read from the files whenever they are asked for, also those that have come
    meanwhile. Rows that a resumed run has replaced, and damaged lines, are left out.
    """

    def __init__(self, ref: RunRef, reader: RunReader | None = None) -> None:
        """Take a run that was found. `load` makes these.

        Args:
            ref: the run.
            reader: one that has had a look at it, if any.
        """
        self._ref = ref
        self._reader = reader

    @cached_property
    def _known(self) -> RunState:
        if self._reader is None:
            (self._reader,) = glanced([self._ref])
        return known_state(self._reader)

    @cached_property
    def state(self) -> RunState:
        """Everything that its rows fold into, read whole.

        Raises:
            FormatError: it was written by a newer version.
        """
        return read_whole(self._ref).state

    def __repr__(self) -> str:
        """Return `<runstore run 2026…-digits-… finished, epoch 10/10, step 6,200>`."""
        stands = ", ".join([self.status, *position(self.epoch, self._known.epochs, self.step)])
        return printable(f"<runstore run {self.id} {stands}>")

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a short table, whatever the run holds."""
        known = self._known
        facts = {
            "status": ": ".join(filter(None, (self.status, self.reason))),
            "position": ", ".join(position(self.epoch, known.epochs, self.step)),
            "created": local_time(self.created),
            "duration": duration(self.duration_s),
            "directory": str(self.path),
        }
        try:
            epochs = deque(table_rows(self._ref, "epochs"), EPOCHS_SHOWN)
        except RunStoreError as error:
            epochs, facts["epochs"] = deque(), str(error)
        return run_page(self.name, facts, self.params, self.last, epochs, self.best)

    def __eq__(self, other: object) -> bool:
        """Two are equal that were read from the same directory."""
        return isinstance(other, RunData) and other._ref.place == self._ref.place

    def __hash__(self) -> int:
        return hash(self._ref.place)

    @property
    def id(self) -> str:
        """The run's id: the directory's name unless `run.json` says otherwise."""
        return self._known.id

    @property
    def name(self) -> str:
        """The name that the user gave, or the id."""
        return self._known.name

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self._ref.path

    @property
    def source(self) -> str:
        """Whose format it has: `native`, or another tool's."""
        return self._known.source

    @property
    def status(self) -> str:
        """The status when it was read, one of nine words (docs/format.md)."""
        return self._known.status.word

    @property
    def reason(self) -> str:
        """The evidence for the status, in words; empty when it needs none."""
        return self._known.status.reason

    @property
    def created(self) -> float | None:
        """When it was created, in Unix seconds UTC."""
        return self._known.created

    @property
    def duration_s(self) -> float | None:
        """Seconds from its creation to its end, or to its last sign of life."""
        return self._known.duration_s

    @property
    def tags(self) -> list[str]:
        """The words that the run was given to be found by, in order; empty where there are none."""
        return self._known.tags

    @property
    def notes(self) -> tuple[Note, ...]:
        """What people wrote about it, the oldest first: each has `time`, `text`, `user`, `host`.

        Read from the files whenever it is asked for; of very many the newest.
        """
        return notes_of(self._known).notes

    @property
    def params(self) -> JsonObject:
        """The hyperparameters."""
        return self._known.params

    @property
    def epoch(self) -> int | None:
        """The epoch that is open or was last, from 1."""
        return self._known.epoch

    @property
    def step(self) -> int | None:
        """The newest optimizer step."""
        return self._known.step

    @property
    def last(self) -> dict[str, float]:
        """The newest value of each metric, of the last step or else of the last epoch.

        NaN and infinities are floats; durations and speeds that a run notes by itself are left out.
        """
        return measured(self._known)

    @property
    def best(self) -> Best | None:
        """The best finished epoch: `epoch`, `metric` and `value`."""
        return self._known.best

    def metrics(self) -> list[JsonObject]:
        """Return the metrics rows that count, in order; NaN and infinities are floats.

        Raises:
            FormatError: the run was written by a newer version.
            UnreadableFileError: a file is there and cannot be read.
        """
        return self._rows("metrics")

    def epochs(self) -> list[JsonObject]:
        """Return one row per finished epoch; raises as `metrics`."""
        return self._rows("epochs")

    def reports(self) -> list[JsonObject]:
        """Return one row per classification report (docs/format.md); raises as `metrics`."""
        return self._rows("reports")

    def _rows(self, stream: Stream) -> list[JsonObject]:
        lines = visible_rows(self._ref, stream, glance(self._ref))
        return [with_nonfinite(line.row) for line in lines if line.row is not None]

    def to_pandas(
        self, stream: Stream = "metrics", *, metrics: Collection[str] | str | None = None
    ) -> pandas.DataFrame:
        """Return a stream's rows as a data frame of pandas, one column per key.

        `step` and `epoch` are integers, of type Int64 where a row lacks one; `time` is float64,
        Unix seconds UTC; metrics are float64, in which NaN also stands for a value that a row does
        not have. Columns are those of all rows, in order of appearance. What is no number is text
        or boolean; lists and objects are JSON. Of `reports` there is a row for each class and each
        average, with `split`, `label`, `precision`, `recall`, `f1-score` and `support`.

        Args:
            stream: `metrics`, `epochs`, `reports`, `system`, `events` or `exec`.
            metrics: the names of the columns besides step, epoch and time, or one name; None for
                all, up to 16,384. One that no row has is left out with a warning.

        Raises:
            MissingPackageError: pandas is not installed; also a ModuleNotFoundError.
            UnknownNameError: there is no such stream, or there are rows and none has any of the
                metrics; also a ValueError.
            FormatError, UnreadableFileError: as `metrics`.
        """
        require("pandas", "to_pandas")
        return pandas_frame(checked_columns(read_columns(self._ref, stream, names_of(metrics))))

    def to_polars(
        self, stream: Stream = "metrics", *, metrics: Collection[str] | str | None = None
    ) -> polars.DataFrame:
        """Return a stream's rows as a data frame of polars.

        As `to_pandas`, with types Int64, Float64, String and Boolean; a value that a row does not
        have is null, and NaN is NaN.

        Args:
            stream: `metrics`, `epochs`, `reports`, `system`, `events` or `exec`.
            metrics: the names of the columns besides step, epoch and time, or one name; None for
                all, up to 16,384. One that no row has is left out with a warning.

        Raises:
            MissingPackageError: polars is not installed; also a ModuleNotFoundError.
            UnknownNameError, FormatError, UnreadableFileError: as `to_pandas`.
        """
        require("polars", "to_polars")
        return polars_frame(checked_columns(read_columns(self._ref, stream, names_of(metrics))))


def read_columns(
    ref: RunRef,
    stream: Stream,
    metrics: Collection[str] | None,
    reader: RunReader | None = None,
) -> Columns:
    """Return the rows of a stream as columns, those besides step, epoch and time by choice.

    Args:
        ref: the run.
        stream: the stream.
        metrics: the names of further columns; None for all.
        reader: one that has had a look at the run, if any.

    Raises:
        UnknownNameError: there is no such stream.
        FormatError: the run was written in a newer format.
        UnreadableFileError: a file is there and cannot be read.
    """
    columns = Columns(columns_of(stream), only=metrics)
    for row in table_rows(ref, stream, reader):
        columns.add(row)
    return columns


def names_of(metrics: Collection[str] | str | None) -> Collection[str] | None:
    """Return the names of the metrics that somebody chose: one may be given as it is."""
    return [metrics] if isinstance(metrics, str) else metrics


def checked_columns(columns: Columns) -> Columns:
    """Return a table for whoever called the caller; warn of what it lacks.

    Raises:
        UnknownNameError: there are rows, and none has any of the chosen metrics.
    """
    absent = columns.absent()
    for name in absent:
        others = list(columns.others)
        unknown = UnknownNameError("metric", name, near(name, others) or others[:3])
        if len(absent) == columns.chosen:
            raise unknown
        warnings.warn(printable(str(unknown)), stacklevel=3)
    if columns.left_out:
        warnings.warn(columns_left_out(), stacklevel=3)
    return columns


def columns_left_out() -> str:
    """Return the words for a table that has fewer columns than there are metrics."""
    return f"there are more metrics: only the first {EXPORT_COLUMNS:,} columns are there"


def load(path: str | Path, *, root: str | Path = "runs") -> RunData:
    """Read a run.

    Columns of other tools' logs that are not known by their names are those that the environment
    variable `RUNSTORE_MAP` names at the last call (docs/sources.md), for all that is read then.

    Args:
        path: its directory, a file in it, or a directory with just this run below; or below
            `root` its id, a unique prefix or name, or `latest`.
        root: the directory of runs to look in.

    Raises:
        RunNotFoundError: there is no such run, or several.
        ColumnMapError: `RUNSTORE_MAP` cannot be understood.
        FormatError: it was written by a newer version.
    """
    choose_default()
    run_dir = Path(path)
    if isinstance(path, Path) and not run_dir.exists():
        raise RunNotFoundError(str(path), str(run_dir.parent))
    ref = find(str(path), Path(root))
    return RunData(ref, glance(ref))
