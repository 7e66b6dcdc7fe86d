"""`runstore compare`: runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import json_option, map_option, root_option, runs_argument
from runstore.cli.output import print_json, print_lines, say, table
from runstore.cli.progress import watched
from runstore.errors import RunStoreError, UnreadableFileError
from runstore.export.comparison_table import (
    METRICS_SHOWN,
    csv_lines,
    markdown_lines,
    rows_of,
    shown_params,
)
from runstore.runs.comparison import Compared, Comparison, Sort, compared
from runstore.runs.lookup import find
from runstore.runs.reader import read_whole
from runstore.sources import RunRef
from runstore.state.run_state import RunState
from runstore.tables.labels import labels

CELL_CHARS = 24
"""Of a parameter on a terminal; the other formats have all of it."""

MANUAL = Manual(
    examples={
        "What differs between two runs": "runstore compare digits-a digits-b",
        "The best learning rate of a sweep": "runstore compare runs/sweep/* --sort val/accuracy",
        "A table for an issue": "runstore compare runs/* --sort val/loss --markdown",
        "The parameters of the best": "runstore compare runs/* --sort val/loss --json "
        "| jq '.runs[0].params'",
    },
    statuses={
        "0": "compared",
        "1": "no such run, a run that cannot be read, or no run has the metric of --sort",
    },
    variables=READ_VARIABLES,
    see=("runstore ls", "runstore export --table runs", "docs/json.md"),
)


@click.command("compare", cls=ManualCommand, manual=MANUAL)
@runs_argument
@click.option("--all-params", is_flag=True, help="Show also parameters in which no run differs.")
@click.option(
    "--sort",
    metavar="METRIC",
    help="The best first, by the best value that it had: low for losses and errors, else high, or "
    "as the runs' best epochs have it; METRIC:min and METRIC:max say which.  [default: as given]",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with all metrics.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table in Markdown.")
@root_option
@map_option
def command(
    runs: tuple[str, ...],
    all_params: bool,
    sort: str | None,
    as_json: bool,
    as_csv: bool,
    as_markdown: bool,
    root: Path,
) -> None:
    """Show runs side by side: the parameters that differ, and their metrics.

    Of each metric the table has the newest value and, where that is another one, the best: of the
    run's epochs where these have it. * is the best of all runs. Nested parameters are joined by a
    point.
    """
    if as_json + as_csv + as_markdown > 1:
        raise click.UsageError("--json, --csv and --markdown are one or the other")
    refs = _distinct([find(run, root, watched) for run in runs])
    comparison = Comparison(_read(refs, root))
    if sort:
        by = Sort.parse(sort, comparison.direction)
        comparison = Comparison(comparison.runs, by)
        _check_sorts(comparison, by)
    if as_json:
        print_json(comparison.as_json())
    elif as_csv:
        print_lines(csv_lines(comparison, all_params))
    elif as_markdown:
        print_lines(markdown_lines(comparison, all_params))
    else:
        columns = len(shown_params(comparison, all_params))
        right = range(2, 4 + columns + METRICS_SHOWN)
        print_lines(table(rows_of(comparison, all_params, CELL_CHARS), right=right))
        if not columns:
            say("no parameter differs; --all-params shows them")


def _distinct(refs: Sequence[RunRef]) -> list[RunRef]:
    """Return each run once: a glob and a name may mean the same."""
    return list({ref.place: ref for ref in refs}.values())


def _read(refs: Sequence[RunRef], root: Path) -> list[Compared]:
    names = labels(refs, root)
    pairs = watched(zip(refs, names, strict=True), "reading runs", len(refs))
    return [compared(_readable(read_whole(ref).state, name), name) for ref, name in pairs]


def _readable(state: RunState, name: str) -> RunState:
    """Return what was read of a run; tell which files could not be.

    Raises:
        UnreadableFileError: nothing of it could be read.
    """
    for file, problem in sorted(state.problems.items()):
        if state.status.word == "unknown" and not (state.last or state.params):
            raise UnreadableFileError(state.path / file, problem)
        say(f"{name}: {file}: {problem}")
    return state


def _check_sorts(comparison: Comparison, by: Sort) -> None:
    found = (comparison.best_of(run, by.metric, by.direction) for run in comparison.runs)
    if all(value is None for value in found):
        names = [name for name in comparison.metrics if name != by.metric]
        there = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise RunStoreError(
            f"--sort {by.metric}: no run has such a metric; there are {there or 'none'}"
        )
