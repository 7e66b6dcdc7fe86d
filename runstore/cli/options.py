"""Options that several commands share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from runstore.cli.output import say
from runstore.completion.parameters import DIRECTORY, RUN

if TYPE_CHECKING:
    from runstore.runs.run_filter import Query

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


def _choose_columns(context: click.Context, option: click.Parameter, value: str | None) -> None:
    from runstore.errors import ColumnMapError
    from runstore.sources import columns

    try:
        columns.choose(columns.parse_map(value or ""))
    except ColumnMapError as error:
        raise click.BadParameter(str(error), param=option) from None
    if context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
        # A default is for all logs, of which each has some of its columns.
        context.with_resource(_telling_of_unmet())


@contextlib.contextmanager
def _telling_of_unmet() -> Iterator[None]:
    """Tell at the end which columns were chosen in vain; a command that fails has enough to say."""
    yield
    from runstore.sources import columns

    for column in columns.unmet():
        say(f"--map: no log that was read has a column {column!r}")


map_option = click.option(
    "--map",
    metavar="ROLE=COLUMN,…",
    show_default="$RUNSTORE_MAP",
    envvar="RUNSTORE_MAP",
    expose_value=False,
    callback=_choose_columns,
    help="Columns of other tools' logs that are not known by their names: "
    "step=iter,split=mode (also epoch, time).",
)


def _ask(context: click.Context, option: click.Parameter, value: str | None) -> Query:
    from runstore.runs.run_filter import QueryError, parse

    try:
        return parse(value or "")
    except QueryError as error:
        raise click.BadParameter(str(error), param=option) from None


filter_option = click.option(
    "--filter",
    "query",
    metavar="TEXT",
    callback=_ask,
    show_default="all runs",
    help="Only runs that the filter of the monitor would show: 'tag:demo lr>=1e-3 "
    "-status:failed', docs/monitor.md.",
)
