"""The runs on screen: one reader per run, and the state that they keep. No widget is known here.

One thread reads, the screen's thread looks. A lock per run keeps a state whole while it is looked
at; it is held for one bounded read at a time, never for a whole file.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runstore.errors import RunStoreError
from runstore.ranking import is_bookkeeping, rank_metrics
from runstore.sources import RunReader, RunRef, RunState, open_run
from runstore.status import Status
from runstore.store import discover, root_problem

POLL_BYTES = 256 << 10
"""Read at once from a run that is shown in full; about 25 ms, for which the screen may wait."""
READ_IN_FULL = 4
"""Runs whose whole history is kept; going back to one of them is instant."""
RANKED_ROWS = 200
"""Runs that decide which metrics the list shows; more would only cost time."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run while its lock is held: do not keep it."""

    listed: RunState
    """Status, position and latest values."""
    full: RunState
    """The history as far as it was read; the same as `listed` when it is not being read."""
    reading: bool
    """There is more history to come."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the last look."""

    structure: bool
    """Runs came, went or moved."""
    runs: frozenset[str]
    """Keys of the runs that changed."""

    def __bool__(self) -> bool:
        return self.structure or bool(self.runs)


class Entry:
    """One run: its place, its readers and the lock that guards both."""

    def __init__(self, ref: RunRef, *, patient: bool = True) -> None:
        self.ref = ref
        self._patient = patient
        self.key = str(ref.path)
        self.lock = threading.Lock()
        self.listed: RunReader = open_run(ref, patient=patient)
        self.full: RunReader | None = None
        self.glanced = False
        self.word = "unknown"
        """The status word at the last read, to count runs without taking their locks."""
        self.metrics: tuple[str, ...] = ()
        self.read_at = 0.0
        """Monotonic time of the last read."""

    def glance(self) -> bool:
        """Read what the list shows; return whether anything changed."""
        with self.lock:
            changed = _guarded(self.listed, self.listed.glance)
            self._note()
            first, self.glanced = not self.glanced, True
            return changed or first

    def follow(self) -> bool:
        """Read on in the history; return whether anything changed."""
        with self.lock:
            if self.full is None:
                self.full = open_run(self.ref, patient=self._patient)
            reader = self.full
            return _guarded(reader, lambda: reader.poll(POLL_BYTES))

    def _note(self) -> None:
        state = self.listed.state
        self.word = state.status.word
        if len(state.last) != len(self.metrics):
            self.metrics = tuple(state.last)

    @property
    def behind(self) -> bool:
        """Whether `follow` has more to read at once."""
        return self.full is not None and self.full.behind

    @property
    def read_to_end(self) -> bool:
        """Whether the whole history was read, as far as the last look knows."""
        return self.full is not None and not self.full.behind

    @property
    def alive(self) -> bool:
        """Whether more rows may come."""
        return Status(self.word).alive

    def holds(self, words: Iterable[str]) -> bool:
        """Tell whether each word, in lower case, is in the run's name, path, status or tags."""
        with self.lock:
            state = self.listed.state
            told = (state.name, self.key, state.status.word, *state.tags)
        searched = "\n".join(told).lower()
        return all(word in searched for word in words)

    @contextmanager
    def view(self) -> Iterator[RunView]:
        """Give the run's states while nobody changes them."""
        with self.lock:
            listed = self.listed.state
            full = self.full
            whole = listed if full is None else full.state
            yield RunView(listed, whole, full is None or full.behind)


def _guarded(reader: RunReader, read: Callable[[], bool]) -> bool:
    """Read, and turn an unexpected failure into the run's own status: one run, not the screen."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - the boundary of the reading thread
        status = Status("unknown", f"cannot be read: {type(error).__name__}: {error}")
        changed = reader.state.status != status
        reader.state.status = status
        return changed


class Catalog:
    """Every run below some roots, newest first."""

    def __init__(self, roots: Sequence[Path], *, patient: bool = True) -> None:
        """Know the runs below `roots`; who looks only once is not `patient` (see `open_run`)."""
        self.roots = tuple(roots)
        self._patient = patient
        self.entries: list[Entry] = []
        """Replaced as a whole by `scan`, so a reference to it stays consistent."""
        self.missing: tuple[Path, ...] = ()
        """Roots that are not there (yet), or cannot be listed."""
        self.why_missing: tuple[str, ...] = ()
        """What is wrong with each of them."""
        self.scanned = False
        self._by_key: dict[str, Entry] = {}
        self._in_full: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._structure = False

    def scan(self) -> bool:
        """Look for runs; return whether any came or went, or a root did."""
        problems = {root: root_problem(root) for root in self.roots}
        there = [root for root, problem in problems.items() if problem is None]
        missing = tuple(root for root, problem in problems.items() if problem is not None)
        why = tuple(filter(None, problems.values()))
        try:
            refs = discover(there)
        except RunStoreError:  # a root went away between the two looks; the next scan tells which
            return False
        known = self._by_key
        entries = [known.get(str(ref.path)) or Entry(ref, patient=self._patient) for ref in refs]
        changed = (
            not self.scanned
            or (missing, why) != (self.missing, self.why_missing)
            or entries != self.entries
        )
        if changed:
            self._by_key = {entry.key: entry for entry in entries}
            self.entries, self.missing, self.scanned = entries, missing, True
            self.why_missing = why
            with self._lock:
                self._structure = True
        return changed

    def get(self, key: str | None) -> Entry | None:
        """Return the entry of a run, or None when it is not there any more."""
        return None if key is None else self._by_key.get(key)

    def glance(self, entry: Entry) -> None:
        """Read what the list shows of one run."""
        if entry.glance():
            self._mark(entry)

    def follow(self, entry: Entry) -> bool:
        """Read on in one run's history; return whether there is more to read at once."""
        self._in_full[entry.key] = entry
        self._in_full.move_to_end(entry.key)
        while len(self._in_full) > READ_IN_FULL:
            _, dropped = self._in_full.popitem(last=False)
            with dropped.lock:
                dropped.full = None
        if entry.follow():
            self._mark(entry)
        return entry.behind

    def _mark(self, entry: Entry) -> None:
        with self._lock:
            self._changed.add(entry.key)

    def take_changes(self) -> Changes:
        """Return what changed since the last call; for one caller."""
        with self._lock:
            changes = Changes(self._structure, frozenset(self._changed))
            self._structure = False
            self._changed = set()
        return changes

    def ranked_metrics(self) -> list[str]:
        """Return the metrics of the newest runs, the most telling first."""
        newest = self.entries[:RANKED_ROWS]
        names = rank_metrics(name for entry in newest for name in entry.metrics)
        return [name for name in names if not is_bookkeeping(name)]
