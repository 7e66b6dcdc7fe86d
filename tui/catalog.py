"""The runs on screen: one reader per run, and the state that they keep. No widget is known here.

One thread reads, the screen's thread looks. A lock per run keeps a state whole while it is looked
at; it is held for one bounded read at a time, never for a whole file. A look at thousands of files
takes longer than a key may, so the screen does not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from runstore.errors import RootNotFoundError
from runstore.files.limits import LISTED_READERS
from runstore.hosts.pulled import Pulled, origin_of
from runstore.metrics.ranking import telling_metrics
from runstore.runs.store import root_problem, sort_newest_first, walk
from runstore.sources import RunRef
from runstore.tables.pool import Pool

from .entry import Entry
from .hosts import Hosts
from .renderables.facts import CopyFacts

READ_IN_FULL = 12
"""Runs whose whole history is kept: those that are drawn together, and some to go back to. More
where the means of groups are of more."""
HELD_BYTES = 24 << 20
"""What the kept histories may take in memory, about; those that are drawn are kept in any case. Of
ordinary runs it is enough for all, of some one alone takes as much (`limits`)."""
REMEMBERED_S = 10.0
"""How long a run that is not found any more is kept, in case its root goes as well."""
RANKED_ROWS = 200
"""Runs that decide which metrics the list shows; more would only cost time."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the last look."""

    structure: bool
    """Runs came, went or moved."""
    runs: frozenset[str]
    """Keys of the runs that changed."""

    def __bool__(self) -> bool:
        return self.structure or bool(self.runs)


NO_CHANGES = Changes(structure=False, runs=frozenset())


class RootMounts:
    """Tells an empty root from the folder that is left where a file system was mounted."""

    def __init__(self) -> None:
        self._devices: dict[Path, int] = {}
        """On which device each root was when it had runs."""

    def gone(self, roots: Sequence[Path], entries: Sequence[Entry]) -> dict[Path, str]:
        """Return the roots that are not mounted any more, each with the reason in words."""
        gone = {}
        for root in roots:
            device = _device(root)
            if any(_is_below(entry.key, root) for entry in entries):
                self._devices[root] = device
            elif self._devices.get(root, device) != device:
                gone[root] = "not mounted any more"
        return gone


def _device(root: Path) -> int:
    try:
        return root.stat().st_dev
    except OSError:
        return 0


def _is_below(key: str, root: Path) -> bool:
    """Tell whether a run lies below a root, or is it."""
    place = str(root).rstrip("/")
    return place == "." or key == place or key.startswith(f"{place}/")


class Catalog:
    """Every run below some roots, newest first."""

    def __init__(
        self, roots: Sequence[Path], *, patient: bool = True, hosts: Hosts | None = None
    ) -> None:
        """Know the runs below `roots`, some of which may be copies of those on other `hosts`.

        Who looks only once is not `patient` (see `open_run`).
        """
        self.roots = tuple(roots)
        self.hosts = hosts or Hosts()
        self._origins: dict[str, Pulled | None] = {}
        """Of folders that hold runs: whence they were pulled. Replaced as a whole by `scan`."""
        self._patient = patient
        self.entries: list[Entry] = []
        """Replaced as a whole by `scan`, so a reference to it stays consistent."""
        self.missing: tuple[Path, ...] = ()
        """Roots that are not there (yet), or cannot be listed."""
        self.why_missing: tuple[str, ...] = ()
        """What is wrong with each of them."""
        self.scanned = False
        self.folders: frozenset[str] = frozenset()
        """Folders that hold runs."""
        self.followed: frozenset[str] = frozenset()
        """Keys of the runs that are followed now."""
        self.pinned: frozenset[str] = frozenset()
        """Keys of the runs on screen, whose readers stay."""
        self._mounts = RootMounts()
        self._dropped: dict[str, tuple[float, Entry]] = {}
        """Runs that are not found any more, and when that was noticed."""
        self._pool = Pool()
        self._counts: Counter[str] = Counter()
        self._ended: OrderedDict[str, Entry] = OrderedDict()
        """Runs with a reader, the one that was read last at the end."""
        self._alive: OrderedDict[str, Entry] = OrderedDict()
        self._by_key: dict[str, Entry] = {}
        self._in_full: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._structure = False

    def scan(self) -> bool:
        """Look for runs; return whether any came or went, or a root did."""
        problems = {root: root_problem(root) for root in self.roots}
        there = [root for root, problem in problems.items() if problem is None]
        try:
            entries = [self._entry_of(ref) for ref in walk(there)]
        except (
            RootNotFoundError
        ):  # a root went away between the two looks; the next scan tells which
            return False
        problems |= self._mounts.gone(there, entries)
        missing = tuple(root for root, problem in problems.items() if problem is not None)
        why = tuple(filter(None, problems.values()))
        self._come_back(entries)
        sort_newest_first(entries, lambda entry: entry.ref)
        if left := self._left_behind(entries, missing):
            entries += left
            sort_newest_first(entries, lambda entry: entry.ref)
        self._origins = {folder: origin_of(Path(folder) / "run") for folder in _folders(entries)}
        changed = (
            not self.scanned
            or (missing, why) != (self.missing, self.why_missing)
            or entries != self.entries
        )
        if changed:
            self._by_key = {entry.key: entry for entry in entries}
            self.folders = frozenset(_folders(entries))
            with self._lock:
                self._count_anew(entries)
                for kept in (self._ended, self._alive, self._in_full):
                    for key in [key for key, old in kept.items() if self.get(key) is not old]:
                        del kept[key]
            self.entries, self.missing, self.scanned = entries, missing, True
            self.why_missing = why
            with self._lock:
                self._structure = True
        return changed

    def _come_back(self, found: Sequence[Entry]) -> None:
        """Have those read soon that are there again."""
        for entry in found:
            if entry.away:
                entry.away, entry.read_at = False, 0.0

    def _left_behind(self, found: Sequence[Entry], missing: Sequence[Path]) -> list[Entry]:
        """Return the runs that were below roots which are not there now: they stay as they were.

        While a large root is deleted, its runs go one after the other before it does.
        """
        if found == self.entries and not self._dropped:
            return []
        now, there = time.monotonic(), {entry.key for entry in found}
        for entry in self.entries:
            if entry.key not in there:
                self._dropped.setdefault(entry.key, (now, entry))
        self._dropped = {
            key: (at, entry)
            for key, (at, entry) in self._dropped.items()
            if key not in there and now - at < REMEMBERED_S
        }
        left = [
            entry
            for _, entry in self._dropped.values()
            if any(_is_below(entry.key, root) for root in missing)
            and not any(_is_below(entry.key, root) for root in self.roots if root not in missing)
        ]
        for entry in left:
            self._dropped[entry.key] = now, entry
            if not entry.away:
                entry.away, entry.read_at = True, 0.0
        return left

    def told(self, root: Path) -> str:
        """Return a root as the user has named it: a copy by its place on its host."""
        return self.hosts.told.get(str(root), str(root))

    def copy_facts(self, entry: Entry) -> CopyFacts | None:
        """Return how the copy of another machine's run is kept; None for a run of this machine."""
        folder = str(Path(entry.key[: entry.key.rfind("/") + 1]))
        origin, known = self._origins.get(folder), self.hosts.pulled_at(entry.key)
        if origin is None and known is None:
            return None
        at = max((origin.time if origin else None) or 0.0, known or 0.0)
        return CopyFacts(at, self.hosts.is_gone(entry.key))

    def _count_anew(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.counted = entry.word if entry.glanced else None
        self._counts = Counter(entry.counted for entry in entries if entry.counted is not None)

    def _entry_of(self, ref: RunRef) -> Entry:
        """Return the entry that is there, unless the first file has come and says otherwise."""
        known = self._by_key.get(ref.place)
        if known is not None and known.ref.source is ref.source:
            return known
        return Entry(ref, patient=self._patient, pool=self._pool)

    def get(self, key: str | None) -> Entry | None:
        """Return the entry of a run, or None when it is not there any more."""
        return None if key is None else self._by_key.get(key)

    def glance(self, entry: Entry) -> None:
        """Read what the list shows of one run."""
        if entry.glance():
            self._mark(entry)
        # A thread that waited long for a file server may come here beside the one that reads now,
        # with a run that was removed meanwhile.
        with self._lock:
            if self._by_key.get(entry.key) is entry:
                self._count(entry)
                self._keep(entry)

    def _count(self, entry: Entry) -> None:
        if entry.counted is not None:
            self._counts[entry.counted] -= 1
        self._counts[entry.word] += 1
        entry.counted = entry.word

    def open(self, entry: Entry) -> None:
        """Read a run that comes into view and has no reader; it is to be drawn in any case."""
        self.glance(entry)
        self._mark(entry)

    def _keep(self, entry: Entry) -> None:
        """Keep the reader of a run, and let the one go that was not looked at for longest.

        Readers of live runs remember when a heart was last seen to beat: ended runs, which are
        more, do not push them out.
        """
        kept, other = self._alive, self._ended
        if not entry.alive:
            kept, other = other, kept
        other.pop(entry.key, None)
        kept[entry.key] = entry
        kept.move_to_end(entry.key)
        over = len(kept) - LISTED_READERS
        if over > 0:
            oldest = islice(kept, over + len(self.pinned))
            for key in [key for key in oldest if key not in self.pinned][:over]:
                kept.pop(key).let_go()

    def status_counts(self, entries: Sequence[Entry] | None = None) -> dict[str, int]:
        """Return how many of all runs, or of these, that were read have each status word."""
        if entries is None:
            return dict(self._counts)
        return Counter(entry.counted for entry in entries if entry.counted is not None)

    def follow(self, entry: Entry) -> bool:
        """Read on in one run's history; return whether there is more to read at once."""
        self._in_full[entry.key] = entry
        self._in_full.move_to_end(entry.key)
        if entry.follow():
            self._mark(entry)
        self._forget_histories(entry)
        return entry.behind

    def _forget_histories(self, followed: Entry) -> None:
        """Let the histories go that were not followed for longest, while all are too many."""
        held = sum(entry.held_bytes for entry in self._in_full.values())
        for key, entry in list(self._in_full.items()):
            if held <= HELD_BYTES and len(self._in_full) <= READ_IN_FULL:
                return
            if entry is followed or key in self.followed:
                continue
            del self._in_full[key]
            held -= entry.held_bytes
            if not entry.stuck:
                entry.forget_history()

    def set_stuck(self, entry: Entry, stuck: bool) -> None:
        """Note whether a read of a run does not come back."""
        entry.stuck = stuck
        self._mark(entry)

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
        return telling_metrics(name for entry in newest for name in entry.kept.metric_names)


def _folders(entries: Sequence[Entry]) -> set[str]:
    """Return the folders in which runs lie."""
    return {
        str(Path(folder)) for folder in {entry.key[: entry.key.rfind("/") + 1] for entry in entries}
    }
