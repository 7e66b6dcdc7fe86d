"""`runstore-tui --once`: the screen as plain text, once. Textual is not imported."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from runstore.files.records import JsonObject, escape_controls, without_surrogates
from runstore.hosts.pulled import origin_of
from runstore.metrics.ranking import telling_metrics
from runstore.patience import Patience
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.runs.summary import full_summary, summary
from runstore.sources import RunRef, looked_for
from runstore.sources.glances import glanced
from runstore.sources.silent import NO_ANSWER
from runstore.tables.pool import Pool

from .catalog import RANKED_ROWS
from .entry import POLL_BYTES, Entry
from .hosts import Hosts
from .renderables import details, run_columns, run_table
from .renderables.curves import run_chart
from .renderables.epochs import epochs
from .renderables.facts import (
    CopyFacts,
    Facts,
    facts_of,
    packed,
    run_count,
    status_counts,
    tell_apart,
)
from .renderables.report import report
from .renderables.root_names import RootNames
from .renderables.text import Line, from_file, plain

CHART_HEIGHT = 14
MAX_EVENTS = 12
READS_AT_LEAST = 16
"""A read takes less than it may where lines are long or files many."""


def once(
    roots: Sequence[Path], wanted: Sequence[str], width: int, hosts: Hosts | None = None
) -> Iterable[str]:
    """Yield the lines of the run list, and of the detail of the runs that were asked for.

    Args:
        roots: Where to look.
        wanted: Runs to show in full: paths, ids, unique prefixes or `latest`. Without any, a
            single run is shown in full.
        width: Cells.
        hosts: Other machines, copies of whose runs some of the roots are.

    Raises:
        RootNotFoundError: A root is not there.
        RunNotFoundError: A wanted run is not there, or its prefix is not unique.
    """
    refs = discover(roots)
    shown = [find(name, roots[0]) for name in wanted]
    for _ in glanced(shown):  # so that it is known what Slurm says of runs outside of the roots
        pass
    yield from _list(roots, refs, width, hosts or Hosts())
    for ref in shown or (refs if len(refs) == 1 else []):
        yield from _detail(_read(ref), width)


def once_json(roots: Sequence[Path], wanted: Sequence[str]) -> Iterable[str]:
    """Yield the pieces of one JSON document with what `once` shows; no list is kept of the runs.

    Raises:
        RootNotFoundError: A root is not there.
        RunNotFoundError: A wanted run is not there, or its prefix is not unique.
    """
    refs = discover(roots)
    shown = [find(name, roots[0]) for name in wanted]
    counts: Counter[str] = Counter()

    def runs() -> Iterable[JsonObject]:
        for reader in glanced(refs):
            counts[reader.state.status.word] += 1
            yield summary(reader.state)

    def details() -> Iterable[JsonObject]:
        for _ in glanced(shown):
            pass
        for ref in shown or (refs if len(refs) == 1 else []):
            with _read(ref).view() as view:
                yield full_summary(view.full)

    yield f'{{\n"time": {time.time():.3f},\n"roots": {_json([str(root) for root in roots])}'
    yield from _array("runs", runs())
    yield f',\n"counts": {_json(dict(status_counts(counts)))}'
    yield from _array("shown", details())
    yield "\n}\n"


def _array(key: str, values: Iterable[JsonObject]) -> Iterable[str]:
    yield f',\n"{key}": ['
    for number, value in enumerate(values):
        yield f"{',' if number else ''}\n{_json(value)}"
    yield "]"


def _json(value: object) -> str:
    clean = without_surrogates(value)
    return escape_controls(orjson.dumps(clean, option=orjson.OPT_INDENT_2)).decode()


def _read(ref: RunRef) -> Entry:
    """Return a run with all that is there now; nothing if its file system does not answer."""
    entry, patience = Entry(ref, patient=False), Patience()
    entry.stuck = not patience.do(entry.glance)
    patience.end()
    if not entry.stuck:
        _read_history(entry)
    return entry


def _list(roots: Sequence[Path], refs: Sequence[RunRef], width: int, hosts: Hosts) -> Iterable[str]:
    places = _places(roots, hosts)
    metrics, found = _facts(refs, width)
    counts = "  ".join(
        f"{number:,} {word}" for word, number in status_counts(Counter(one.word for one in found))
    )
    yield f"{run_count(len(refs))} in {places}   {counts}".rstrip()
    if not refs:
        reached = [root for root in roots if not hosts.is_away(str(root))]
        if reached:
            yield f"no runs yet in {_places(reached, hosts)}; looked for: {looked_for()}"
        if away := [root for root in roots if root not in reached]:
            yield f"no runs are known of {_places(away, hosts)}, which was not reached"
        return
    names = RootNames(roots, hosts.names)
    found = [_placed(facts, ref, names) for facts, ref in zip(found, refs, strict=True)]
    columns = run_columns.plan_columns(width, metrics, tell_apart(found))
    yield plain(run_table.header(columns)).rstrip()
    for facts in tell_apart(found):
        yield plain(run_table.row(facts, columns, time.time())).rstrip()


def _placed(facts: Facts, ref: RunRef, names: RootNames) -> Facts:
    """Return the facts of a run with what its place tells: its root, and when it was pulled."""
    origin = origin_of(ref.path, answers=facts.reason != NO_ANSWER)
    copy = None if origin is None else CopyFacts(origin.time or 0.0)
    return replace(names.marked(facts, ref.place), copy=copy)


def _places(roots: Sequence[Path], hosts: Hosts) -> str:
    return ", ".join(from_file(hosts.told.get(str(root), str(root))) for root in roots)


def _facts(refs: Sequence[RunRef], width: int) -> tuple[list[str], list[Facts]]:
    """Return the metrics that may have a column, and the facts of each run with these alone."""
    pool, found, metrics = Pool(), list[Facts](), list[str]()
    for number, reader in enumerate(glanced(refs), 1):
        found.append(facts_of(reader.state))
        if number > RANKED_ROWS:
            found[-1] = packed(found[-1], pool, metrics)
        elif number == min(RANKED_ROWS, len(refs)):
            names = telling_metrics(name for facts in found for name in facts.last)
            metrics = names[: width // run_columns.MIN_METRIC]
            found = [packed(facts, pool, metrics) for facts in found]
    return metrics, found


def _detail(entry: Entry, width: int) -> Iterable[str]:
    with entry.view() as view:
        state = view.full
        yield from _section(from_file(state.name), details.progress(state, width, time.time()))
        yield from _section("chart", run_chart(state, None, min(width, 100), CHART_HEIGHT))
        yield from _section("epochs", epochs(state, width))
        yield from _section("report", report(state, width))
        yield from _section("events", details.events(state, width)[:MAX_EVENTS])


def _read_history(entry: Entry) -> None:
    """Read all that is there now; of a run that is written faster than it is read, enough."""
    entry.follow()
    # Three times, because what a later attempt cuts is read again.
    reads = READS_AT_LEAST + 3 * entry.size_bytes // POLL_BYTES
    while entry.behind and reads > 0:
        entry.follow()
        reads -= 1


def _section(title: str, lines: Iterable[Line]) -> Iterable[str]:
    yield ""
    yield f"── {title} ──"
    for row in lines:
        yield plain(row).rstrip()
