"""`runstore export`: runs as one CSV or JSON file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from runstore.cli.options import root_option
from runstore.cli.output import json_text, say
from runstore.export import Table, as_document, write_csv
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
    if file_format == "json":
        _write(json_text(as_document(refs)) + b"\n", output)
        return
    if output is None:
        write_csv(refs, table, sys.stdout)
        # Here, where a closed pipe ends the program quietly; at its exit it would be a complaint.
        sys.stdout.flush()
        return
    with output.open("w", encoding="utf-8", newline="") as file:
        count = write_csv(refs, table, file)
    say(f"{count:,} rows written to {output}")


def _write(data: bytes, output: Path | None) -> None:
    if output is None:
        click.echo(data, nl=False)
    else:
        output.write_bytes(data)
        say(f"written to {output}")
