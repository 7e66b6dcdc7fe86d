"""`runstore query`: SQL over the runs below a root."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import json_option, map_option, root_argument, root_option
from runstore.cli.output import print_json, print_lines, say, table
from runstore.cli.results import (
    TABLE_ROWS,
    print_csv,
    print_object_lines,
    print_objects,
    print_table,
)
from runstore.sql.database import Answer, query, schema
from runstore.sql.scratch import remove_all

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROBLEMS_SHOWN = 3


MANUAL = Manual(
    examples={
        "The views and their columns": "runstore query",
        "The lowest loss of each run": "runstore query "
        "'SELECT run, min(\"val/loss\") FROM epochs GROUP BY run'",
        "The learning rates of what crashed": "runstore query "
        "\"FROM runs JOIN params USING (run) WHERE status = 'crashed'\"",
        "A question in a file": "runstore query - < question.sql",
    },
    statuses={
        "0": "answered",
        "1": "the SQL is refused, ROOT is not there, or a file of a run cannot be read",
    },
    variables=READ_VARIABLES,
    see=("runstore compare", "runstore export --format parquet", "docs/query.md"),
)


@click.command("query", cls=ManualCommand, manual=MANUAL)
@click.argument("sql", metavar="[SQL]", required=False)
@root_argument
@root_option
@map_option
@click.option("--all", "everything", is_flag=True, help="Add superseded rows, marked.")
@json_option
@click.option("--jsonl", "as_lines", is_flag=True, help="Print JSON, an object a line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def command(
    sql: str | None,
    where: Path | None,
    root: Path,
    everything: bool,
    as_json: bool,
    as_lines: bool,
    as_csv: bool,
) -> None:
    """Ask the runs below ROOT (default: --root) a question in SQL; DuckDB answers.

    The views are runs, params, metrics, epochs and reports; `run` joins them. Names of metrics
    stand in double quotes. Without SQL, the views and their columns are listed. SQL that is `-`
    is read from standard input.
    """
    if as_json + as_lines + as_csv > 1:
        raise click.UsageError("--json, --jsonl and --csv: one of them")
    if sql is None or (where is None and Path(sql).is_dir()):
        _print_schema(Path(sql) if sql else root, as_json=as_json)
        return
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if sql == "-" else sql
    with _leaving_nothing(), query(text, where or root, everything=everything) as answer:
        _print(answer, as_json=as_json, as_lines=as_lines, as_csv=as_csv)
        for note in answer.notes:
            say(note)
        _tell_problems(answer.problems)


def _print(answer: Answer, *, as_json: bool, as_lines: bool, as_csv: bool) -> None:
    if as_json:
        print_objects(answer)
    elif as_lines:
        print_object_lines(answer)
    elif as_csv:
        print_csv(answer)
    elif print_table(answer):
        say(f"only the first {TABLE_ROWS:,} rows are shown; --csv and --jsonl print all")


def _tell_problems(problems: list[str]) -> None:
    """Say what is missing in the answer, and fail: what cannot be read is not nothing."""
    for problem in problems[:PROBLEMS_SHOWN]:
        say(f"left out: {problem}")
    if len(problems) > PROBLEMS_SHOWN:
        say(f"left out: {len(problems) - PROBLEMS_SHOWN:,} more files")
    if problems:
        sys.exit(1)


def _print_schema(root: Path, *, as_json: bool) -> None:
    views = schema(root)
    if as_json:
        print_json({view: {c.name: c.type for c in columns} for view, columns in views.items()})
        return
    rows = [[view, column.name, column.type] for view in views for column in views[view]]
    print_lines(table([["VIEW", "COLUMN", "TYPE"], *rows]))


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Let signals end the process as they do, but remove first what is temporary.

    An exception would not do: DuckDB loses those that come while it prepares a query.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    remove_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
