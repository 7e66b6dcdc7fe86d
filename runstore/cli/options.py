"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from runstore.completion.parameters import DIRECTORY, RUN

root_option = click.option(
    "--root",
    type=DIRECTORY,  # the store says why there are no runs, with status 1
    envvar="RUNSTORE_ROOT",
    default=Path("runs"),
    show_default="./runs, or $RUNSTORE_ROOT",
    help="The directory of runs.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs: docs/json.md."
)
run_argument = click.argument("run", metavar="RUN", type=RUN)
runs_argument = click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RUN)
root_argument = click.argument("where", metavar="[ROOT]", required=False, type=DIRECTORY)
