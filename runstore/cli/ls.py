"""`runstore ls`: the runs below a root, newest first."""

from __future__ import annotations

from pathlib import Path

import click

from runstore.cli.options import json_option, root_option
from runstore.cli.output import print_json, say, table
from runstore.numbers import NOTHING, count, duration, local_time, metric, of_total
from runstore.ranking import is_bookkeeping, rank_metrics
from runstore.sources import RunState, ask_scheduler, open_run
from runstore.store import discover
from runstore.summary import summary

METRICS_SHOWN = 3


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
    readers = [open_run(ref, patient=False) for ref in discover([directory])]
    for reader in readers:
        reader.glance()
    ask_scheduler(readers)
    states = [reader.state for reader in readers]
    if as_json:
        print_json([summary(state) for state in states])
    elif states:
        for line in _lines(states):
            click.echo(line)
    else:
        say(f"no runs in {directory} yet")


def _lines(states: list[RunState]) -> list[str]:
    names = rank_metrics(name for state in states for name in state.last)
    metrics = [name for name in names if not is_bookkeeping(name)][:METRICS_SHOWN]
    header = ["RUN", "STATUS", "EPOCH", "STEP", *metrics, "BEST", "DURATION", "CREATED", "REASON"]
    rows = [header, *(_row(state, metrics) for state in states)]
    return table(rows, right=range(2, 5 + len(metrics) + 1))


def _row(state: RunState, metrics: list[str]) -> list[str]:
    last, best = state.last, state.best
    return [
        state.id,
        state.status.word,
        of_total(state.epoch, state.epochs),
        count(state.step),
        *(metric(last.get(name)) for name in metrics),
        f"{metric(best.value)} @{best.epoch}" if best else NOTHING,
        duration(state.duration_s),
        local_time(state.created),
        _reason(state),
    ]


def _reason(state: RunState) -> str:
    why = "" if state.status.word == "running" else state.status.reason
    return "; ".join(filter(None, (why, state.degraded)))
