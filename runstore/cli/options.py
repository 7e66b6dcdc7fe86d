"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

root_option = click.option(
    "--root",
    type=click.Path(readable=False, path_type=Path),  # the store says why, with status 1
    envvar="RUNSTORE_ROOT",
    default=Path("runs"),
    show_default="./runs, or $RUNSTORE_ROOT",
    help="The directory of runs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run")
