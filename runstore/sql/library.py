"""The views of the runs below a root: what is in them, and the statements that define them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from runstore.files.limits import EXPORT_COLUMNS, METRICS_PER_RUN
from runstore.files.paths import Stream
from runstore.files.records import JsonObject
from runstore.nested import flattened
from runstore.runs.store import discover
from runstore.sql import views
from runstore.sql.files import StreamFiles
from runstore.sql.found import FoundRun, look, name_runs
from runstore.sql.keys import which_occur
from runstore.sql.rows import RUNS_COLUMNS, Column, params_table
from runstore.sql.scratch import Scratch
from runstore.sql.statement import VIEWS, Statement

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WITH_METRICS: tuple[Stream, ...] = ("metrics", "epochs")
STREAMS: tuple[Stream, ...] = (*WITH_METRICS, "reports")


class Library:
    """The runs below a root, looked at as far as somebody asks."""

    def __init__(self, root: Path, scratch: Scratch, *, everything: bool = False) -> None:
        """Find the runs.

        Args:
            root: the directory of runs, or a run.
            scratch: where temporary files go.
            everything: superseded rows are wanted too, marked.

        Raises:
            RootNotFoundError: there is no such root.
        """
        self.root = root
        self._scratch = scratch
        self._everything = everything
        self.runs = [look(name, ref) for name, ref in name_runs(discover([root]), root)]
        self.problems = [problem for run in self.runs for problem in run.problems]
        self.notes: list[str] = []
        self._streams: dict[str, StreamFiles] = {}
        self._params: tuple[list[Column], Path] | None = None
        self._runs_path: Path | None = None

    def columns(self, view: str) -> list[Column]:
        """Return the columns of a view as far as they are known; `run` is not among all."""
        match view:
            case "params":
                return self._params_table()[0]
            case "metrics" | "epochs":
                return [*views.PLACE, *self._metrics(view)]
            case _:
                return views.STANDARD[view]

    def column_names(self, names: Iterable[str]) -> list[str]:
        """Return the names of all columns of some views."""
        found = dict.fromkeys(["run"])
        for view in names:
            found.update(dict.fromkeys(column.name for column in self.columns(view)))
        return list(found)

    def linked_files(self, statement: Statement) -> list[str]:
        """Return the files for a statement that lie elsewhere than their paths say."""
        used = [self._files(stream) for stream in STREAMS if stream in statement.views]
        return [path for files in used for path in files.linked]

    def define(self, connection: DuckDBPyConnection, statement: Statement) -> None:
        """Define all views for a statement: with the columns and the rows that it may use."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {views.INTERNAL}")
        for view in VIEWS:
            if view not in statement.views:
                connection.execute(views.define_empty(view, views.STANDARD[view]))
        for view in ("runs", "params"):
            if view in statement.views:
                connection.execute(self._define_table(view, statement))
        used = [stream for stream in STREAMS if stream in statement.views]
        self._fill_files(connection, used)
        for stream in used:
            if stream in WITH_METRICS and stream in statement.whole:
                self._learn_all_keys(connection, stream)
            connection.execute(self._define_stream(stream, statement))

    def find_column(self, name: str, statement: Statement) -> bool:
        """Look for a metric of that name in every row; tell whether there is one."""
        found = False
        for stream in WITH_METRICS:
            if stream in statement.views:
                files = self._files(stream)
                paths = [file.path for file in files.files]
                keys = which_occur({name} - files.keys.names.keys(), paths)
                files.keys.names.update(dict.fromkeys(keys))
                found = found or bool(keys)
        return found

    def drop_long_lines(self) -> None:
        """Do without the lines that are too long for DuckDB."""
        for files in self._streams.values():
            files.without_long_lines()

    def _files(self, stream: Stream) -> StreamFiles:
        files = self._streams.get(stream)
        if files is None:
            files = StreamFiles(
                stream, self.root, self.runs, self._scratch, everything=self._everything
            )
            self._streams[stream] = files
            self.problems += files.problems
        return files

    def _metrics(self, stream: Stream) -> list[Column]:
        keys = self._files(stream).keys.names
        columns, left_out = views.metric_columns(keys, everything=self._everything)
        for key in left_out:
            note = f"{views.quoted(key)} is left out: to SQL it is the same as another name"
            if note not in self.notes:
                self.notes.append(note)
        return columns

    def _learn_all_keys(self, connection: DuckDBPyConnection, stream: Stream) -> None:
        files = self._files(stream)
        # What was written anew tells its keys while it is written.
        own = [file.path for file in files.files]
        if own:
            found = connection.execute(views.select_keys(own)).fetchall()
            files.keys.note(key for (key,) in found)

    def _fill_files(self, connection: DuckDBPyConnection, used: Sequence[Stream]) -> None:
        table = f"{views.INTERNAL}.files"
        connection.execute(
            f"CREATE OR REPLACE TABLE {table} "
            "(path VARCHAR, run VARCHAR, hidden_from BIGINT, superseded BOOLEAN, rewritten BOOLEAN)"
        )
        files = [file for stream in used for file in self._files(stream).files]
        if files:
            connection.execute(
                f"INSERT INTO {table} SELECT unnest(CAST(? AS VARCHAR[])), "
                "unnest(CAST(? AS VARCHAR[])), unnest(CAST(? AS BIGINT[])), "
                "unnest(CAST(? AS BOOLEAN[])), unnest(CAST(? AS BOOLEAN[]))",
                [
                    [file.path for file in files],
                    [file.run for file in files],
                    [file.hidden_from for file in files],
                    [file.superseded for file in files],
                    [file.is_rewritten for file in files],
                ],
            )

    def _define_stream(self, stream: Stream, statement: Statement) -> str:
        files = self._files(stream).files
        standard = views.STANDARD[stream]
        metrics = self._metrics(stream) if stream in WITH_METRICS else []
        if not files:
            extra = [views.SUPERSEDED] if self._everything else []
            return views.define_empty(stream, [*standard, *extra, *metrics])
        return views.define_stream(
            stream,
            standard,
            self._wanted(metrics, stream, statement),
            [file.path for file in files],
            everything=self._everything,
            has_hidden=any(file.hidden_from is not None for file in files),
            has_rewritten=any(file.is_rewritten for file in files),
        )

    def _wanted(
        self, metrics: Sequence[Column], stream: Stream, statement: Statement
    ) -> list[Column]:
        """Return those that a statement may use; of all, no more than anybody looks at."""
        wanted = [column for column in metrics if statement.wants(stream, column.name)]
        if len(wanted) > METRICS_PER_RUN:
            self.notes.append(f"of {len(wanted):,} metrics the first {METRICS_PER_RUN:,} are shown")
        return wanted[:METRICS_PER_RUN]

    def _define_table(self, view: str, statement: Statement) -> str:
        columns, path = self._runs_table() if view == "runs" else self._params_table()
        if not self.runs:
            return views.define_empty(view, columns)
        wanted = [c for c in columns if c.name == "run" or statement.wants(view, c.name)]
        return views.define_table(view, wanted, str(path))

    def _runs_table(self) -> tuple[list[Column], Path]:
        if self._runs_path is None:
            from runstore.sql.by_reader import runs_rows

            self._runs_path = self._scratch.write(runs_rows(self.runs))
        return RUNS_COLUMNS, self._runs_path

    def _params_table(self) -> tuple[list[Column], Path]:
        if self._params is None:
            columns, lines = params_table(dict(self._params_of_runs()))
            self._params = columns, self._scratch.write(lines)
        return self._params

    def _params_of_runs(self) -> Iterator[tuple[str, JsonObject]]:
        # What the script says beside a launcher is in its events, and of other tools' runs only
        # their readers know.
        asked = [run for run in self.runs if run.through_reader or run.has_launcher]
        told = _told_params(asked) if asked else {}
        for run in self.runs:
            own = {} if run.is_refused else _params(run.document.get("params"))
            yield run.run, told.get(run.run, own)


def _told_params(runs: Sequence[FoundRun]) -> dict[str, JsonObject]:
    from runstore.sql.by_reader import params_of

    return {run: _params(params) for run, params in params_of(runs)}


def _params(params: object) -> JsonObject:
    found = flattened(params) if isinstance(params, dict) else ()
    return dict(islice(found, EXPORT_COLUMNS))
