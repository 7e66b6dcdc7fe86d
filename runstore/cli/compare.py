"""`runstore compare`: runs side by side."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from runstore.cli.options import json_option, map_option, root_option, runs_argument
from runstore.cli.output import print_json, print_lines, say, table
from runstore.cli.progress import watched
from runstore.columns import text_of
from runstore.comparison import MISSING, Compared, Comparison, Sort, compared
from runstore.errors import RunStoreError, UnreadableFileError
from runstore.export.cells import csv_cell
from runstore.export.markdown import markdown
from runstore.labels import labels
from runstore.lookup import find
from runstore.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.numbers import NOTHING, duration, metric, of_total
from runstore.reader import read_whole
from runstore.sources import RunRef
from runstore.state import RunState

METRICS_SHOWN = 4
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
    help="The best first, by the best value that it had: low for losses and errors, else high; "
    "METRIC:min and METRIC:max say which.  [default: as given]",
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

    Of each metric the table has the newest value and, where another one was better, the best; * is
    the best of all runs. Nested parameters are joined by a point.
    """
    if as_json + as_csv + as_markdown > 1:
        raise click.UsageError("--json, --csv and --markdown are one or the other")
    refs = _distinct([find(run, root, watched) for run in runs])
    by = Sort.parse(sort) if sort else None
    comparison = Comparison(_read(refs, root), by)
    if by is not None:
        _check_sorts(comparison, by)
    if as_json:
        print_json(comparison.as_json())
    elif as_csv:
        _print_csv(comparison, all_params)
    elif as_markdown:
        print_lines(_markdown_lines(_rows(comparison, all_params, None)))
    else:
        columns = len(_params(comparison, all_params))
        right = range(2, 4 + columns + METRICS_SHOWN)
        print_lines(table(_rows(comparison, all_params, CELL_CHARS), right=right))
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
    if not any(run.best_of(by.metric, by.direction) is not None for run in comparison.runs):
        names = [name for name in comparison.metrics if name != by.metric]
        there = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise RunStoreError(
            f"--sort {by.metric}: no run has such a metric; there are {there or 'none'}"
        )


def _params(comparison: Comparison, all_params: bool) -> list[str]:
    return comparison.params if all_params else comparison.differing


def _rows(comparison: Comparison, all_params: bool, limit: int | None) -> list[list[str]]:
    """Return the cells of a table for people, its header first."""
    params = _params(comparison, all_params)
    metrics = comparison.metrics[:METRICS_SHOWN]
    winners = {name: comparison.winner(name) for name in metrics}
    header = ["RUN", "STATUS", "EPOCH", "DURATION", *params, *metrics]
    return [header, *(_row(comparison, run, params, winners, limit) for run in comparison.runs)]


def _row(
    comparison: Comparison,
    run: Compared,
    params: Sequence[str],
    winners: dict[str, Compared | None],
    limit: int | None,
) -> list[str]:
    position = of_total(run.epoch, run.epochs)
    return [
        run.id,
        run.status,
        position,
        duration(run.duration_s),
        *(_param(run, name, limit) for name in params),
        *(_metric(comparison, run, name, winners[name] is run) for name in winners),
    ]


def _param(run: Compared, name: str, limit: int | None) -> str:
    if name not in run.params:
        return MISSING
    text = text_of(run.params[name])
    return f"{text[: limit - 1]}…" if limit and len(text) > limit else text


def _metric(comparison: Comparison, run: Compared, name: str, is_winner: bool) -> str:
    last, best = run.last.get(name), run.best_of(name, comparison.direction(name))
    if last is None:
        return NOTHING
    mark = "*" if is_winner else ""
    shown, best_shown = metric(last), metric(best)
    return (
        f"{shown}{mark}" if best is None or best_shown == shown else f"{shown} ({best_shown}{mark})"
    )


def _markdown_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    header, *others = rows
    yield f"| {' | '.join(markdown(cell.lower() if cell.isupper() else cell) for cell in header)} |"
    yield f"| {' | '.join(['---', '---', *['---:'] * (len(header) - 2)])} |"
    for row in others:
        yield f"| {' | '.join(map(markdown, row))} |"


def _print_csv(comparison: Comparison, all_params: bool) -> None:
    params, metrics = _params(comparison, all_params), comparison.metrics
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = ["run", "status", "epoch", "step", "duration_s"]
    header += [f"params.{name}" for name in params]
    header += [f"{kind}.{name}" for kind in ("last", "best") for name in metrics]
    writer.writerow(map(csv_cell, header))
    for run in comparison.runs:
        cells: list[Any] = [run.id, run.status, run.epoch, run.step, run.duration_s]
        cells += [run.params.get(name) for name in params]
        cells += [run.last.get(name) for name in metrics]
        cells += [run.best_of(name, comparison.direction(name)) for name in metrics]
        writer.writerow(map(csv_cell, cells))
