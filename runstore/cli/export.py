"""`runstore export`: runs in other formats."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Literal, get_args

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import map_option, root_option, runs_argument
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.errors import RunStoreError
from runstore.export.csv_table import write_csv
from runstore.export.event_files import write_event_files
from runstore.export.json_document import write_json, write_json_lines
from runstore.export.markdown import write_markdown
from runstore.export.parquet import write_parquet
from runstore.export.rows import LONG_TABLES, Rows, Shape, Written
from runstore.files.atomic import replaced_file
from runstore.files.paths import STREAMS, RunPaths
from runstore.runs.lookup import find
from runstore.sources import RunRef, open_run
from runstore.tables.tables import TABLES, Table

Format = Literal["csv", "json", "jsonl", "parquet", "markdown", "tensorboard"]
WITHOUT_TABLES: tuple[Format, ...] = ("json", "tensorboard")
"""They hold whole runs."""

STANDARD_OUTPUT = Path("-")

MANUAL = Manual(
    examples={
        "One table of two runs": "runstore export digits mnist --format csv -o both.csv",
        "An epoch table for a spreadsheet": "runstore export latest --format csv --table epochs",
        "The best runs, for an issue": "runstore export digits mnist --format markdown",
        "All of a run": "runstore export latest --format json | jq '.[0].metrics | length'",
    },
    statuses={
        "0": "written",
        "1": "no such run, a file of it cannot be read, or FILE cannot be written",
    },
    variables=READ_VARIABLES,
    see=("runstore cat", "runstore show --json", "docs/format.md"),
)


@click.command("export", cls=ManualCommand, manual=MANUAL)
@runs_argument
@click.option(
    "--format",
    "file_format",
    type=click.Choice(get_args(Format)),
    required=True,
    help="What is written.",
)
@click.option(
    "--table",
    type=click.Choice(TABLES),
    show_default="metrics; of markdown runs",
    help="Which rows; json and tensorboard hold all.",
)
@click.option(
    "--shape",
    type=click.Choice(get_args(Shape)),
    default="wide",
    help="A column for each metric, or a line for each value.",
)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    help="Write this file, replacing it; for tensorboard a directory.  "
    "[default: -, standard output]",
)
@root_option
@map_option
def command(
    runs: tuple[str, ...],
    file_format: Format,
    table: Table | None,
    shape: Shape,
    output: Path | None,
    root: Path,
) -> None:
    """Write the rows of each RUN into one table or document.

    The tables: metrics, epochs and system have a row for each line of the stream, reports one for
    each class, runs one for each run. Wide, a row has run, step, epoch, time, then a column for
    each metric of any row; long, it has run, step, epoch, time, metric, value.

    \b
    csv          for spreadsheets; NaN is nan
    json         an array of whole runs, as show --json prints them, with all rows
    jsonl        a row on each line, as in docs/format.md
    parquet      for pandas, polars, DuckDB: NaN is NaN, missing is null
    markdown     for an issue or a README: rounded, the most telling columns
    tensorboard  event files, a sub-directory of -o DIR for each run

    A file gets its name when it is complete.
    """
    output = None if output == STANDARD_OUTPUT else output
    _check_usage(file_format, table, shape, output)
    refs = [find(run, root, watched) for run in runs]
    if output is not None:
        _check_is_no_log(output, refs)
    if file_format == "tensorboard" and output is not None:
        written: Written | None = write_event_files(refs, root, output)
    else:
        of_runs = file_format == "markdown" and shape == "wide"
        # A bar on a terminal would stand between the rows.
        watch = partial(watched, prints=output is None)
        rows = Rows(refs, root, table or ("runs" if of_runs else "metrics"), shape, watch)
        with _target(output) as file:
            written = _write(file_format, refs, rows, file)
    if written is not None and written.left_out:
        say(written.left_out)
    if output is not None:
        say(f"{written.rows:,} rows written to {output}" if written else f"written to {output}")


def _check_usage(
    file_format: Format, table: Table | None, shape: Shape, output: Path | None
) -> None:
    """Refuse what makes no sense together."""
    if file_format == "tensorboard" and output is None:
        raise click.UsageError("--format tensorboard writes a directory: name it with -o DIR")
    if file_format == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("parquet is binary: name a file with -o FILE, or pipe it on")
    if file_format != "tensorboard" and output is not None and output.is_dir():
        raise click.UsageError(f"-o {output} is a directory: name a file")
    if shape == "long" and file_format in WITHOUT_TABLES:
        raise click.UsageError(f"{file_format} holds whole runs and has no --shape")
    if shape == "long" and table not in (None, *LONG_TABLES):
        raise click.UsageError(f"--shape long is for the tables {', '.join(LONG_TABLES)}")


def _check_is_no_log(output: Path, refs: Sequence[RunRef]) -> None:
    """Refuse to replace a file that is read."""
    if not output.is_file():
        return
    for ref in refs:
        reader = open_run(ref)
        logs = {path for stream in STREAMS for path in reader.files(stream)}
        logs.add(RunPaths(ref.path).document)
        if any(path.exists() and output.samefile(path) for path in logs):
            raise RunStoreError(f"-o {output} is a log of {ref.id}, which is read: name another")


def _write(
    file_format: Format, refs: Sequence[RunRef], rows: Rows, file: IO[bytes]
) -> Written | None:
    """Write runs in a format; None where that does not count rows."""
    if file_format == "json":
        write_json(refs, file)
        return None
    writers: dict[str, Callable[[Rows, IO[bytes]], Written]] = {
        "csv": _write_csv,
        "jsonl": write_json_lines,
        "parquet": write_parquet,
        "markdown": write_markdown,
    }
    return writers[file_format](rows, file)


def _write_csv(rows: Rows, file: IO[bytes]) -> Written:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
    written = write_csv(rows, text)
    text.detach()
    return written


@contextlib.contextmanager
def _target(output: Path | None) -> Iterator[IO[bytes]]:
    if output is not None:
        with replaced_file(output) as file:
            yield file
        return
    stdout = sys.stdout.buffer
    yield stdout
    # Here, where a closed pipe ends the program quietly; at its exit it would be a complaint.
    stdout.flush()
