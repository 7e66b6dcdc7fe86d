"""A run's rows as they count: superseded and damaged ones left out, NaN and infinities put back."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstore.errors import RunNotFoundError, UnreadableFileError
from runstore.paths import Stream
from runstore.pieces import Best
from runstore.records import NONFINITE_KEY, JsonObject, metric_values
from runstore.sources import RunReader, RunRef, ask_scheduler, open_run
from runstore.sources.reading import RowLine
from runstore.state import RunState
from runstore.store import find
from runstore.watching import Watch, unwatched

if TYPE_CHECKING:
    import pandas


def read_whole(ref: RunRef, watch: Watch = unwatched) -> RunReader:
    """Return a reader that has read all there is; `watch` sees how far that is.

    Raises:
        FormatError: the run was written in a newer format.
    """
    reader = open_run(ref, patient=False)
    for _ in watch(_polls(reader), "reading MiB"):
        pass
    ask_scheduler([reader])
    if reader.refused is not None:
        raise reader.refused
    return reader


def _polls(reader: RunReader) -> Iterator[bool]:
    """Read all there is, a MiB at a time."""
    yield reader.poll()
    while reader.behind:
        yield reader.poll()


def visible_rows(ref: RunRef, stream: Stream) -> Iterator[RowLine]:
    """Yield the rows of a stream that count, in order.

    Raises:
        UnreadableFileError: a file is there and cannot be read.
    """
    for line in open_run(ref, patient=False).rows(stream):
        if line.error is not None and not line.number:
            raise UnreadableFileError(ref.path / line.file, line.error)
        if line.row is not None and not line.superseded:
            yield line


class RunData:
    """One run, read once. Made by `runstore.load`.

    It is what the files said at that moment; rows are read from them when they are asked for. Also
    a run of plain JSON lines, or of another tool, is one.
    """

    def __init__(self, ref: RunRef) -> None:
        """Read the run that `ref` names."""
        self._ref = ref
        self.state: RunState = read_whole(ref).state

    def __repr__(self) -> str:
        """Return `<runstore run 2026…-digits-… finished, 10 epochs>`."""
        return f"<runstore run {self.id} {self.status}, {len(self.state.epoch_rows)} epochs>"

    @property
    def id(self) -> str:
        """The run's id: its directory's name, unless `run.json` says otherwise."""
        return self.state.id

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.state.path

    @property
    def status(self) -> str:
        """The status when it was read, one of nine words.

        `planned`, `pending`, `running`, `stalled`, `finished`, `failed`, `interrupted`, `crashed`,
        `unknown`; docs/format.md says what evidence decides.
        """
        return self.state.status.word

    @property
    def reason(self) -> str:
        """The evidence for the status, in words; empty when it needs none."""
        return self.state.status.reason

    @property
    def params(self) -> JsonObject:
        """The hyperparameters by name, as JSON has them; empty where none are on record."""
        return self.state.params

    @property
    def best(self) -> Best | None:
        """The best epoch so far: its `epoch` (from 1), `metric` and `value`.

        By the metric that `init(best=…)` named, `val/loss` unless it was told; None while no epoch
        has it.
        """
        return self.state.best

    def metrics(self) -> list[JsonObject]:
        """Return the metrics rows that count, in order; NaN and infinities are floats.

        A dict for each logged step: `step`, `epoch` (inside of one), `time` (Unix seconds UTC), and
        the values by metric name. Rows that a later attempt has replaced, and damaged lines, are
        left out (docs/format.md).

        Raises:
            UnreadableFileError: a file is there and cannot be read.
        """
        return self._rows("metrics")

    def epochs(self) -> list[JsonObject]:
        """Return one row per finished epoch, in order; NaN and infinities are floats.

        `step`, `epoch` (from 1), `time` (Unix seconds UTC), `duration_s`, and the means of its
        splits by `split/name`.

        Raises:
            UnreadableFileError: a file is there and cannot be read.
        """
        return self._rows("epochs")

    def reports(self) -> list[JsonObject]:
        """Return one row per classification report, in order.

        `step`, `epoch`, `time`, `split`, `labels`, `report` (scikit-learn's `output_dict`) and
        `confusion` ([true, predicted, count] of each pair of classes that occurs).

        Raises:
            UnreadableFileError: a file is there and cannot be read.
        """
        return [line.row for line in visible_rows(self._ref, "reports") if line.row is not None]

    def _rows(self, stream: Stream) -> list[JsonObject]:
        lines = visible_rows(self._ref, stream)
        return [with_nonfinite(line.row) for line in lines if line.row is not None]

    def to_pandas(self, stream: Stream = "metrics") -> pandas.DataFrame:
        """Return a stream's rows as a data frame, one column per key.

        A key that a row lacks is NaN there.

        Args:
            stream: `metrics`, `epochs`, `reports`, `events`, `system` or `exec`.

        Raises:
            UnreadableFileError: a file is there and cannot be read.
            ModuleNotFoundError: pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise ModuleNotFoundError("to_pandas needs pandas: pip install pandas")
        import pandas as pd

        rows: list[Any] = self.reports() if stream == "reports" else self._rows(stream)
        return pd.DataFrame(rows)


def with_nonfinite(row: JsonObject) -> JsonObject:
    """Return a row with NaN and infinities as floats, and without the side note."""
    if NONFINITE_KEY not in row:
        return row
    values = metric_values(row)
    return {k: values.get(k, v) for k, v in row.items() if k != NONFINITE_KEY}


def load(path: str | Path, *, root: str | Path = "runs") -> RunData:
    """Read a run.

    Args:
        path: its directory; or, as a string, below `root` its id, a unique prefix or name, or
            `latest`.
        root: the directory of runs to look in.

    Raises:
        RootNotFoundError: the root is not there, or cannot be read.
        RunNotFoundError: there is no such run, or several.
        FormatError: it was written by a newer version.
    """
    run_dir = Path(path)
    if isinstance(path, Path) and not run_dir.is_dir():
        raise RunNotFoundError(str(path), str(run_dir.parent))
    return RunData(find(str(path), Path(root)))
