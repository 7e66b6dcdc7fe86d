"""`runstore-tui --once`: the screen as plain text, once. Textual is not imported."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from runstore.sources import RunRef, ask_scheduler
from runstore.store import discover, find

from .catalog import POLL_BYTES, Catalog, Entry
from .renderables import details, run_table
from .renderables.curves import run_chart
from .renderables.facts import facts_of, run_count, status_counts, tell_apart
from .renderables.report import report
from .renderables.text import Line, from_file, plain

CHART_HEIGHT = 14
MAX_EVENTS = 12
READS_AT_LEAST = 16
"""A read takes less than it may where lines are long or files many."""


def once(roots: Sequence[Path], wanted: Sequence[str], width: int) -> Iterable[str]:
    """Yield the lines of the run list, and of the detail of the runs that were asked for.

    Args:
        roots: Where to look.
        wanted: Runs to show in full: paths, ids, unique prefixes or `latest`. Without any, a
            single run is shown in full.
        width: Cells.

    Raises:
        RootNotFoundError: A root is not there.
        RunNotFoundError: A wanted run is not there, or its prefix is not unique.
    """
    discover(roots)  # raises for a missing root, which the catalog would wait for
    shown = [_entry(find(name, roots[0])) for name in wanted]
    catalog = Catalog(roots, patient=False)
    catalog.scan()
    for entry in catalog.entries:
        entry.glance()
    ask_scheduler(entry.listed for entry in (*shown, *catalog.entries))
    yield from _list(catalog, width)
    for entry in shown or (catalog.entries if len(catalog.entries) == 1 else []):
        yield from _detail(entry, width)


def _entry(ref: RunRef) -> Entry:
    entry = Entry(ref, patient=False)
    entry.glance()
    return entry


def _list(catalog: Catalog, width: int) -> Iterable[str]:
    entries = catalog.entries
    places = ", ".join(from_file(str(root)) for root in catalog.roots)
    words = status_counts(entry.word for entry in entries)
    counts = "  ".join(f"{number:,} {word}" for word, number in words)
    yield f"{run_count(len(entries))} in {places}   {counts}".rstrip()
    if not entries:
        yield f"no runs yet: a directory below {places} with a run.json or *.jsonl is one"
        return
    facts = tell_apart([facts_of(entry.listed.state) for entry in entries])
    columns = run_table.plan_columns(
        width,
        catalog.ranked_metrics(),
        max(map(run_table.name_width, facts)),
        max(len(run_table.epoch_text(fact)) for fact in facts),
    )
    yield plain(run_table.header(columns)).rstrip()
    for fact in facts:
        yield plain(run_table.row(fact, columns)).rstrip()


def _detail(entry: Entry, width: int) -> Iterable[str]:
    _read_history(entry)
    with entry.view() as view:
        state = view.full
        yield from _section(from_file(state.name), details.progress(state, width, time.time()))
        yield from _section("chart", run_chart(state, None, min(width, 100), CHART_HEIGHT))
        yield from _section("epochs", details.epochs(state, width))
        yield from _section("report", report(state, width))
        yield from _section("events", details.events(state, width)[:MAX_EVENTS])


def _read_history(entry: Entry) -> None:
    """Read all that is there now; of a run that is written faster than it is read, enough."""
    # Three times, because what a later attempt cuts is read again.
    reads = READS_AT_LEAST + 3 * _row_bytes(entry.ref.path) // POLL_BYTES
    entry.follow()
    while entry.behind and reads > 0:
        entry.follow()
        reads -= 1


def _row_bytes(directory: Path) -> int:
    """Return the size of the files that hold rows; what cannot be looked at has none."""
    with suppress(OSError), os.scandir(directory) as found:
        return sum(file.stat().st_size for file in found if file.name.endswith(".jsonl"))
    return 0


def _section(title: str, lines: Iterable[Line]) -> Iterable[str]:
    yield ""
    yield f"── {title} ──"
    for row in lines:
        yield plain(row).rstrip()
