"""`runstore-tui --plain`: a line for each change, for screen readers, logs and pipes. No Textual.

It looks at the same catalog as the screen, kept up to date by the same watcher.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runstore.files.paths import short_id
from runstore.metrics.ranking import telling_metrics
from runstore.numbers import clock, count, duration, metric, of_total
from runstore.state.run_state import RunState
from runstore.state.status import Status

from .catalog import Catalog
from .entry import Entry
from .renderables.facts import live_progress, run_count, status_counts
from .renderables.root_names import RootNames
from .renderables.text import from_file

RUN_EVERY_S = 5.0
"""A run has one line in that time at most; a change of its status has one at once."""
FIRST_LOOK_S = 10.0
"""How long the first line waits for all runs to be read."""
METRICS_SHOWN = 4


@dataclass(slots=True)
class _Told:
    """What was last said of a run."""

    label: str
    word: str = ""
    text: str = ""
    at: float = float("-inf")


class ChangeLog:
    """Turns what the catalog learns into lines."""

    def __init__(self, catalog: Catalog, now: float) -> None:
        """Tell what changes in `catalog` from the monotonic time `now` on."""
        self._catalog = catalog
        self._roots = RootNames(catalog.roots, catalog.hosts.names)
        self._begun = now
        self._told: dict[str, _Told] = {}
        self._labels: dict[str, str] = {}
        """Which run each label belongs to."""
        self._known: set[str] | None = None
        """Keys of the runs that are there; None before the first line."""
        self._waiting: set[str] = set()
        """Keys of runs of which there is something to tell."""
        self._problems: dict[str, str] = {}

    def lines(self, now: float, problem: str | None = None) -> Iterator[str]:
        """Yield what there is to tell now.

        Args:
            now: monotonic time.
            problem: why runs cannot be looked for, if so.
        """
        changes = self._catalog.take_changes()
        self._waiting |= changes.runs
        yield from self._problem_lines(problem)
        if self._known is None:
            if not self._may_begin(now):
                return
            yield self._first_line()
            self._known = {entry.key for entry in self._catalog.entries}
            entries = self._catalog.entries
            # Of a thousand others only the number is told.
            self._waiting = {e.key for e in entries if Status(e.word).is_proven_alive}
        elif changes.structure:
            yield from self._gone(self._known)
        for key in sorted(self._waiting):
            entry = self._catalog.get(key)
            if entry is None or (entry.away and self._problems):
                # That a root is not there is told once, and not of each of its runs.
                self._waiting.discard(key)
            elif entry.glanced:
                yield from self._line_of(entry, now)

    def _may_begin(self, now: float) -> bool:
        if not self._catalog.scanned:
            return False
        is_late = now - self._begun > FIRST_LOOK_S
        return is_late or all(entry.glanced or entry.stuck for entry in self._catalog.entries)

    def _first_line(self) -> str:
        counts = Counter(entry.word for entry in self._catalog.entries if entry.glanced)
        words = ", ".join(f"{number:,} {word}" for word, number in status_counts(counts))
        places = ", ".join(from_file(self._catalog.told(root)) for root in self._catalog.roots)
        total = f"{run_count(len(self._catalog.entries))} in {places}"
        return _stamped(f"{total}: {words}" if words else total)

    def _problem_lines(self, problem: str | None) -> Iterator[str]:
        # Not strict: the thread that scans sets one after the other.
        found = dict(zip(map(str, self._catalog.missing), self._catalog.why_missing, strict=False))
        found |= {host.name: host.problem for host in self._catalog.hosts.hosts if host.problem}
        if problem is not None:
            found["runs"] = f"cannot be looked for: {problem}"
        for place in self._problems.keys() - found.keys():
            yield _stamped(f"{from_file(place)}: is there again")
        for place, why in found.items():
            if self._problems.get(place) != why:
                yield _stamped(f"{from_file(place)}: {from_file(why)}; waiting")
        self._problems = found

    def _gone(self, known: set[str]) -> Iterator[str]:
        there = {entry.key for entry in self._catalog.entries}
        for key in sorted(known - there):
            label = self._told[key].label if key in self._told else from_file(Path(key).name)
            self._told.pop(key, None)
            yield _stamped(f"{label} is gone")
        self._waiting |= there - known
        self._known = there

    def _line_of(self, entry: Entry, now: float) -> Iterator[str]:
        told = self._told.get(entry.key)
        may_tell = told is None or now - told.at >= RUN_EVERY_S
        if not may_tell and told is not None and told.word == entry.word:
            return
        with entry.glimpse() as view:
            if view is None:  # it is being read; the next look comes soon
                return
            self._waiting.discard(entry.key)
            if not view.known:
                return
            state = view.listed
            word, text = state.status.word, position(state)
            if told is None:
                told = self._told[entry.key] = _Told(self._label(entry, state))
            if word != told.word:
                yield _stamped(" ".join(filter(None, (told.label, _status(state), text))))
            elif text != told.text:
                yield _stamped(f"{told.label} {text}")
            else:
                return
            told.word, told.text, told.at = word, text, now

    def _label(self, entry: Entry, state: RunState) -> str:
        """Return the run's name; with the end of its id when another run has that name."""
        label = self._roots.put_before(from_file(state.name), entry.key)
        if self._labels.setdefault(label, entry.key) != entry.key:
            label = f"{label}-{from_file(short_id(state.id).rpartition('-')[2])}"
        return label


def position(state: RunState) -> str:
    """Return `epoch 3/30 step 1,200 train/loss 0.3100 val/accuracy 0.9100`."""
    parts = []
    if state.epoch is not None:
        parts.append(f"epoch {of_total(state.epoch, state.epochs)}")
    if state.step is not None:
        parts.append(f"step {count(state.step)}")
    for name in telling_metrics(state.last)[:METRICS_SHOWN]:
        parts.append(f"{from_file(name)} {metric(state.last[name])}")
    progress = live_progress(state)
    if progress is not None and progress.eta_s is not None:
        parts.append(f"eta {duration(progress.eta_s)}")
    return " ".join(parts)


def _status(state: RunState) -> str:
    """Return `finished after 02:41`, or `crashed (no heartbeat for 5 min) after 02:41`."""
    word, reason = state.status.word, from_file(state.status.reason)
    if state.status.alive:
        return word
    took = f" after {duration(state.duration_s)}" if state.duration_s is not None else ""
    return f"{word} ({reason}){took}" if reason else f"{word}{took}"


def _stamped(text: str) -> str:
    return f"{clock(time.time())} {text}"
