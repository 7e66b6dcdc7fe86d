"""`runstore export`: runs as one CSV or JSON file."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import click

from runstore.cli.options import map_option, root_option
from runstore.cli.output import say
from runstore.export import Table, write_csv, write_json
from runstore.limits import EXPORT_COLUMNS
from runstore.store import find


@click.command("export")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--format", "file_format", type=click.Choice(["csv", "json"]), required=True)
@click.option(
    "--table",
    type=click.Choice(["metrics", "epochs"]),
    default="metrics",
    show_default=True,
    help="Which rows a CSV holds; JSON holds all.",
)
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="A file.")
@root_option
@map_option
def command(
    runs: tuple[str, ...],
    file_format: Literal["csv", "json"],
    table: Table,
    output: Path | None,
    root: Path,
) -> None:
    """Write each RUN into one table or document, on stdout or into -o FILE.

    A CSV is wide: run, step, epoch, time, then a column per metric.
    """
    refs = [find(run, root) for run in runs]
    with _target(output) as file:
        if file_format == "json":
            write_json(refs, file)
            written = None
        else:
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
            written = write_csv(refs, table, text)
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
