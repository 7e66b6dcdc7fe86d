"""A locked DuckDB with the views of some runs, and one question to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstore.errors import RunStoreError
from runstore.sql import engine
from runstore.sql.library import Library
from runstore.sql.messages import explain, is_long_line, missing_column
from runstore.sql.rows import Column
from runstore.sql.scratch import Scratch
from runstore.sql.statement import VIEWS, Statement, parse
from runstore.sql.views import STANDARD, literal
from runstore.threads import start_daemon

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS_AT_ONCE = 1000
WITH_ZONE = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gives."""

    columns: list[str]
    types: list[str]
    """As DuckDB writes them: `DOUBLE`, `VARCHAR`, `BIGINT[]` …"""
    rows: Iterator[tuple[Any, ...]]
    """Each is fetched when its turn comes, while the query is open."""
    problems: list[str]
    """Files whose rows are missing in it, and why."""
    notes: list[str]
    """What else is worth a word."""


@contextmanager
def query(text: str, root: Path, *, everything: bool = False) -> Iterator[Answer]:
    """Answer a question in SQL about the runs below a root.

    Args:
        text: one statement that reads the views `runs`, `params`, `metrics`, `epochs`, `reports`.
        root: the directory of runs, or a run.
        everything: rows that a later attempt has replaced are there too, `superseded`.

    Raises:
        RunStoreError: DuckDB is not installed, or the statement is refused.
        RootNotFoundError: there is no such root.
    """
    with Scratch() as scratch, _Opening(scratch) as opening:
        library = Library(root, scratch, everything=everything)
        connection = opening.connection()
        statement = _parsed(connection, text)
        _lock(connection, [scratch.path, root.absolute()], library.linked_files(statement))
        columns, types = _execute(connection, library, statement)
        yield Answer(columns, types, _rows(connection), library.problems, library.notes)


class _Opening:
    """An empty database in memory, which is opened while files are looked at."""

    def __init__(self, scratch: Scratch) -> None:
        self._spill = str(scratch.path / "spill")
        self._opened: DuckDBPyConnection | None = None
        self._error: Exception | None = None
        self._thread = start_daemon(self._open, "runstore-duckdb")

    def __enter__(self) -> _Opening:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._opened is not None:
            self._opened.close()

    def _open(self) -> None:
        try:
            self._opened = engine.load().connect(
                config={
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    "allow_persistent_secrets": False,
                    "python_enable_replacements": False,
                    "temp_directory": self._spill,
                }
            )
        except Exception as error:  # noqa: BLE001 - it is raised where the database is asked for
            self._error = error

    def connection(self) -> DuckDBPyConnection:
        """Wait until it is open, and return it.

        Raises:
            ImportError, duckdb.Error: it cannot be opened.
        """
        self._thread.join()
        if self._opened is None:
            raise self._error or RunStoreError("DuckDB has not opened a database")
        return self._opened


def _lock(connection: DuckDBPyConnection, directories: list[Path], files: list[str]) -> None:
    """Let a database read in some places only; it loads nothing, and does not reach the network.

    In these places it could write too, but `parse` lets nothing through that does.
    """
    readable = ", ".join(literal(path) for path in map(str, directories) if _is_text(path))
    also = ", ".join(map(literal, files))
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET allowed_directories = [{readable}]")
    connection.execute(f"SET allowed_paths = [{also}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _is_text(path: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in path)


def _parsed(connection: DuckDBPyConnection, text: str) -> Statement:
    if not _is_text(text):
        raise RunStoreError("the SQL is not UTF-8")
    try:
        return parse(connection, text)
    except engine.load().Error as error:
        raise RunStoreError(explain(error, [])) from None


def _execute(
    connection: DuckDBPyConnection, library: Library, statement: Statement
) -> tuple[list[str], list[str]]:
    """Start the query, and return the names and types of its columns."""
    is_clean = False
    while True:
        try:
            library.define(connection, statement)
            return _started(connection, statement.text)
        except engine.load().Error as error:
            missing = missing_column(error)
            if is_long_line(error) and not is_clean:
                library.drop_long_lines()
                is_clean = True
            # A metric that is logged in the middle only is not known before somebody asks for it.
            elif missing is None or not library.find_column(missing, statement):
                names = library.column_names(sorted(statement.views))
                raise RunStoreError(explain(error, names)) from None


def _started(connection: DuckDBPyConnection, text: str) -> tuple[list[str], list[str]]:
    cursor = connection.execute(text)
    columns = [name for name, *_ in cursor.description or ()]
    types = [str(kind) for _, kind, *_ in cursor.description or ()]
    if any(WITH_ZONE in kind for kind in types):
        # Python gets such a time only with a further package, and as a text without.
        names = [f"c{index}" for index in range(len(columns))]
        texts = [
            f"CAST({name} AS VARCHAR)" if WITH_ZONE in kind else name
            for name, kind in zip(names, types, strict=True)
        ]
        connection.execute(f"SELECT {', '.join(texts)} FROM ({text}\n) t({', '.join(names)})")
    return columns, types


def _rows(connection: DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := connection.fetchmany(ROWS_AT_ONCE):
        yield from rows


def schema(root: Path) -> dict[str, list[Column]]:
    """Return the columns of each view of the runs below a root.

    Metrics that are neither in the first nor in the last rows of any file are not among them.

    Raises:
        RootNotFoundError: there is no such root.
    """
    with Scratch() as scratch:
        library = Library(root, scratch)
        run = STANDARD["params"]
        return {
            view: [*(() if view in ("runs", "params") else run), *library.columns(view)]
            for view in VIEWS
        }
