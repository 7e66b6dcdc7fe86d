"""`runstore export`: runs as one CSV or JSON file."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Literal

import click

from runstore.cli.options import root_option, runs_argument
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.export import Table, write_csv, write_json
from runstore.limits import EXPORT_COLUMNS
from runstore.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.store import find

MANUAL = Manual(
    examples={
        "One table of two runs": "runstore export digits mnist --format csv -o both.csv",
        "An epoch table for a spreadsheet": "runstore export latest --format csv --table epochs",
        "All of a run": "runstore export latest --format json | jq '.[0].metrics | length'",
    },
    statuses={
        "0": "written",
        "1": "no such run, a file of it cannot be read, or FILE cannot be written",
    },
    variables=ROOT_VARIABLE,
    see=("runstore cat", "runstore show --json", "docs/format.md"),
)


@click.command("export", cls=ManualCommand, manual=MANUAL)
@runs_argument
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "json"]),
    required=True,
    help="What is written.",
)
@click.option(
    "--table",
    type=click.Choice(["metrics", "epochs"]),
    default="metrics",
    help="Which rows a CSV holds; JSON holds all.",
)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write FILE, replacing it.  [default: standard output]",
)
@root_option
def command(
    runs: tuple[str, ...],
    file_format: Literal["csv", "json"],
    table: Table,
    output: Path | None,
    root: Path,
) -> None:
    """Write the rows of each RUN into one table or document.

    A CSV is wide: run, step, epoch, time, then a column per metric, over all runs; NaN and
    infinities are nan, inf and -inf, what a row lacks is empty. JSON is an array with an object for
    each run: what `runstore show --json` prints, and the rows. Rows that a later attempt has
    replaced are left out.
    """
    refs = [find(run, root, watched) for run in runs]
    # A bar on a terminal would stand between the rows.
    watch = partial(watched, prints=output is None)
    with _target(output) as file:
        if file_format == "json":
            write_json(refs, file, watch)
            written = None
        else:
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
            written = write_csv(refs, table, text, watch)
            text.detach()
    if written is not None and written.columns_left_out:
        say(f"there are more metrics: only the first {EXPORT_COLUMNS:,} columns are written")
    if output is not None:
        say(f"{written.rows:,} rows written to {output}" if written else f"written to {output}")


@contextlib.contextmanager
def _target(output: Path | None) -> Iterator[IO[bytes]]:
    if output is not None:
        with output.open("wb") as file:
            yield file
        return
    stdout = sys.stdout.buffer
    yield stdout
    # Here, where a closed pipe ends the program quietly; at its exit it would be a complaint.
    stdout.flush()
