"""`runstore ls`: the runs below a root, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import filter_option, json_option, map_option, root_argument, root_option
from runstore.cli.output import print_json_array, print_lines, say, table
from runstore.cli.progress import watched
from runstore.files.paths import listed_name, looks_like_run_id
from runstore.hosts.pulled import origin_of
from runstore.metrics.ranking import most_telling, telling_metrics
from runstore.numbers import NOTHING, count, duration, local_time, metric, of_total
from runstore.runs.run_filter import Query, StateSubject
from runstore.runs.store import discover
from runstore.runs.summary import summary
from runstore.sources import NATIVE, looked_for, unread
from runstore.sources.glances import glanced
from runstore.sources.silent import is_silent
from runstore.state.job_facts import job_facts
from runstore.state.run_state import RunState
from runstore.sweeps.find import sweep_dir
from runstore.tables.pool import Packed, Pool
from runstore.text import printable

METRICS_SHOWN = 3
BETWEEN = "\x1f"
"""Between cells that are kept as one text; no printable text has it."""
LEFT_CELLS = 4
"""Cells of a line in front of those of metrics."""


MANUAL = Manual(
    examples={
        "The runs below ./runs": "runstore ls",
        "Those that crashed": "runstore ls --filter status:crashed",
        "The cells of a sweep": "runstore ls digits",
        "The best": "runstore ls --json | jq -r 'max_by(.last[\"val/accuracy\"]) | .id'",
    },
    statuses={"0": "listed, also when there are none", "1": "ROOT is not there, or cannot be read"},
    variables=READ_VARIABLES,
    see=("runstore show", "runstore-tui", "docs/stability.md"),
)


@click.command("ls", cls=ManualCommand, manual=MANUAL)
@root_argument
@root_option
@filter_option
@map_option
@json_option
def command(where: Path | None, root: Path, query: Query, as_json: bool) -> None:
    """List the runs below ROOT (default: --root), newest first; or those of a sweep, by its name.

    Folders are searched, runs are not. A line has the run's status, its position, the newest values
    of the metrics that people look at first, its best epoch, and why it ended as it did; on a
    terminal it is cut at the right edge.

    --json prints one array with an object for each run, all metrics and parameters included.
    """
    directory = _directory(where, root)
    refs = discover([directory], watched)
    # The table is printed behind the last run, the array run by run.
    readers = watched(glanced(refs), "reading runs", len(refs), prints=as_json)
    states = (reader.state for reader in readers if query.holds(StateSubject(reader.state)))
    if as_json:
        print_json_array(summary(state) for state in states)
    elif refs:
        print_lines(_lines(states, directory))
    else:
        say(f"no runs in {directory} yet; looked for {looked_for()}{unread(directory)}")


def _directory(where: Path | None, root: Path) -> Path:
    """Return the directory that is meant: a path as it is typed, or the name of a sweep."""
    if where is None:
        return root
    # Of a name alone: a longer path may be on a file system that is silent.
    is_name = where.name == str(where) and not where.is_dir()
    return (sweep_dir(where.name, root) if is_name else None) or where


class _Listed(NamedTuple):
    """What a line of the list shows; small, because all are there before the first is printed."""

    cells: str
    """Those that are not metrics, with `BETWEEN` in between."""
    last: Packed[float]
    """The latest values; of many metrics those that people look at first."""
    source: str
    pulled: str
    """Whence it was copied, and when; empty for a run that was not."""


def _called(state: RunState, root: Path) -> str:
    """Return what the run is called: a cell of a sweep with the sweep, others by their ids."""
    if state.source == NATIVE.name and not looks_like_run_id(state.path.name):
        below = state.path.relative_to(root)
        return str(below) if len(below.parts) > 1 else state.id
    return listed_name(state.name, state.id)


def _listed(state: RunState, pool: Pool, root: Path) -> _Listed:
    best, last = state.best, state.last
    cells = (
        printable(_called(state, root)),
        state.status.word,
        of_total(state.epoch, state.epochs),
        count(state.step),
        f"{metric(best.value)} @{best.epoch}" if best else NOTHING,
        duration(state.duration_s),
        local_time(state.created),
        printable(_reason(state)),
    )
    return _Listed(
        BETWEEN.join(cells),
        Packed({name: last[name] for name in most_telling(last)}, pool),
        state.source,
        _pulled(state),
    )


def _pulled(state: RunState) -> str:
    origin = origin_of(state.path, answers=not is_silent(state))
    return origin.told() if origin else ""


def _lines(states: Iterable[RunState], root: Path) -> Iterator[str]:
    pool = Pool()
    runs = [_listed(state, pool, root) for state in states]
    metrics = telling_metrics(name for run in runs for name in run.last)[:METRICS_SHOWN]
    header = ["RUN", "STATUS", "EPOCH", "STEP", *metrics, "BEST", "DURATION", "CREATED", "REASON"]
    if any(run.source != NATIVE.name for run in runs):
        header.insert(-1, "SOURCE")
    if any(run.pulled for run in runs):
        header.insert(-1, "PULLED")
    return table(_Rows(header, metrics, runs), right=range(2, LEFT_CELLS + len(metrics) + 2))


class _Rows:
    """The rows of the table, each made when its turn comes."""

    def __init__(
        self, header: Sequence[str], metrics: Sequence[str], runs: Sequence[_Listed]
    ) -> None:
        self._header, self._metrics, self._runs = header, metrics, runs

    def __iter__(self) -> Iterator[Sequence[str]]:
        yield self._header
        for run in self._runs:
            cells = run.cells.split(BETWEEN)
            values = [metric(run.last.get(name)) for name in self._metrics]
            source = [run.source] * ("SOURCE" in self._header)
            pulled = [run.pulled or NOTHING] * ("PULLED" in self._header)
            ends = [*source, *pulled, cells[-1]]
            yield [*cells[:LEFT_CELLS], *values, *cells[LEFT_CELLS:-1], *ends]


def _reason(state: RunState) -> str:
    if state.status.word == "running":
        job = job_facts(state)
        why = job.in_words() if job else ""
    else:
        why = state.status.reason
    return "; ".join(filter(None, (why, state.degraded)))
