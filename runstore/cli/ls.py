"""`runstore ls`: the runs below a root, newest first."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from runstore.cli.options import json_option, root_option
from runstore.cli.output import print_json_array, say, table
from runstore.numbers import NOTHING, count, duration, local_time, metric, of_total
from runstore.ranking import is_bookkeeping, rank_metrics
from runstore.sources import RunRef, RunState, learn_jobs, open_run
from runstore.store import discover
from runstore.summary import summary
from runstore.text import printable

METRICS_SHOWN = 3
RANKED_METRICS = 50
"""Metrics of a run that may become a column."""


@click.command("ls")
@click.argument(
    "where", metavar="[ROOT]", required=False, type=click.Path(readable=False, path_type=Path)
)
@root_option
@json_option
def command(where: Path | None, root: Path, as_json: bool) -> None:
    """List the runs below ROOT (default: --root), newest first.

    Folders are searched, runs are not. --json prints one array of objects with id, name, path,
    status, reason, degraded, created, duration_s, attempt, epoch, epochs, step, params, tags, last
    and best.
    """
    directory = where or root
    refs = discover([directory])
    learn_jobs(refs)
    if as_json:
        print_json_array(summary(state) for state in _glanced(refs))
    elif refs:
        for line in _lines([_listed(state) for state in _glanced(refs)]):
            click.echo(line)
    else:
        say(f"no runs in {directory} yet")


def _glanced(refs: Sequence[RunRef]) -> Iterator[RunState]:
    """Yield each run's state; nobody keeps them, there may be a hundred thousand."""
    for ref in refs:
        reader = open_run(ref, patient=False)
        reader.glance()
        yield reader.state


class _Listed(NamedTuple):
    """What a line of the list shows."""

    front: tuple[str, ...]
    last: dict[str, float]
    """The latest values; of many metrics those that people look at first."""
    back: tuple[str, ...]


def _listed(state: RunState) -> _Listed:
    best, last = state.best, state.last
    if len(last) > RANKED_METRICS:
        last = {name: last[name] for name in rank_metrics(last)[:RANKED_METRICS]}
    return _Listed(
        (
            printable(state.id),
            state.status.word,
            of_total(state.epoch, state.epochs),
            count(state.step),
        ),
        {sys.intern(name): value for name, value in last.items()},
        (
            f"{metric(best.value)} @{best.epoch}" if best else NOTHING,
            duration(state.duration_s),
            local_time(state.created),
            printable(_reason(state)),
        ),
    )


def _lines(runs: list[_Listed]) -> list[str]:
    names = rank_metrics(name for run in runs for name in run.last)
    metrics = [name for name in names if not is_bookkeeping(name)][:METRICS_SHOWN]
    header = ["RUN", "STATUS", "EPOCH", "STEP", *metrics, "BEST", "DURATION", "CREATED", "REASON"]
    rows = [header]
    rows += [[*r.front, *(metric(r.last.get(m)) for m in metrics), *r.back] for r in runs]
    return table(rows, right=range(2, 5 + len(metrics) + 1))


def _reason(state: RunState) -> str:
    why = "" if state.status.word == "running" else state.status.reason
    return "; ".join(filter(None, (why, state.degraded)))
