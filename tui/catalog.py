"""The runs on screen: one reader per run, and the state that they keep. No widget is known here.

One thread reads, the screen's thread looks. A lock per run keeps a state whole while it is looked
at; it is held for one bounded read at a time, never for a whole file. A look at thousands of files
takes longer than a key may, so the screen does not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from runstore.errors import RootNotFoundError
from runstore.files.limits import LISTED_READERS
from runstore.hosts.pulled import Pulled, origin_of
from runstore.metrics.ranking import telling_metrics
from runstore.runs.store import root_problem, sort_newest_first, walk
from runstore.sources import RunRef, open_run
from runstore.sources.glances import unanswered
from runstore.sources.reading import RunReader, guarded
from runstore.state.run_state import RunState
from runstore.state.status import Status
from runstore.tables.pool import Pool

from .hosts import Hosts
from .kept import UNREAD, Kept
from .renderables.facts import diverged
from .renderables.text import from_file

POLL_BYTES = 256 << 10
"""Read at once from a run that is shown in full; about 25 ms, for which the screen may wait."""
PATIENCE_S = 0.02
"""How long the screen waits for a run that is being read, before it shows what it had."""
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
class RunView:
    """A run while its lock is held: do not keep it."""

    listed: RunState
    """Status, position and latest values."""
    full: RunState
    """The history as far as it was read; the same as `listed` when it is not being read."""
    reading: bool
    """There is more history to come."""
    known: bool = True
    """Whether the run has a reader now; without one both states are empty."""


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


class Entry:
    """One run: its place, its readers and the lock that guards both.

    Without a reader it takes a few hundred bytes.
    """

    __slots__ = (
        "_listed",
        "_patient",
        "_pool",
        "_stamp",
        "away",
        "counted",
        "full",
        "glanced",
        "held_bytes",
        "is_nan",
        "kept",
        "lock",
        "read_at",
        "ref",
        "stuck",
        "word",
    )

    def __init__(self, ref: RunRef, *, patient: bool = True, pool: Pool | None = None) -> None:
        self.ref = ref
        self._patient = patient
        self._pool = pool or Pool()
        self.lock = threading.Lock()
        self._listed: RunReader | None = None
        self._stamp = 0
        """Tells whether the run is as it was when its reader was let go."""
        self.kept = UNREAD
        """What filtering, sorting and grouping need; replaced as a whole by each read."""
        self.full: RunReader | None = None
        self.held_bytes = 0
        """About how much memory the history takes; 0 without one."""
        self.glanced = False
        self.word = "unknown"
        """The status word at the last read, to count runs without taking their locks."""
        self.is_nan = False
        """The newest value of a metric was NaN or infinite at the last read."""
        self.counted: str | None = None
        """The word that its catalog has counted it under."""
        self.read_at = 0.0
        """Monotonic time of the last read."""
        self.stuck = False
        """A read of it does not come back: whoever waits for its lock may do so for ever."""
        self.away = False
        """Its directory cannot be looked into now: what is known of it is from before."""

    @property
    def key(self) -> str:
        """What tells the run from all others."""
        return self.ref.place

    def glance(self) -> bool:
        """Read what the list shows; return whether anything changed."""
        with self.lock:
            again = self.glanced and self._listed is None
            if again and self.away:  # a new reader would know nothing
                return False
            reader = self._listed or open_run(self.ref, patient=self._patient)
            self._listed = reader
            before = self.word, self.away
            changed = _read(reader, reader.glance)
            self._note(reader.state)
            self.away = bool(reader.unlisted)
            changed |= before != (self.word, self.away)
            if again:
                changed = _stamp(reader.state) != self._stamp
            first, self.glanced = not self.glanced, True
            return changed or first

    def let_go(self) -> None:
        """Keep what counting and filtering need, and not the reader, unless that is in use."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            if self._listed is not None:
                self._stamp = _stamp(self._listed.state)
                self._listed = None
        finally:
            self.lock.release()

    def follow(self) -> bool:
        """Read on in the history; return whether anything changed."""
        with self.lock:
            if self.full is None:
                if self.away:
                    return False
                self.full = open_run(self.ref, patient=self._patient)
            reader = self.full
            changed = _read(reader, lambda: reader.poll(POLL_BYTES))
            if changed:
                self.held_bytes = reader.state.held_bytes
            return changed

    def forget_history(self) -> None:
        """Let go of what `follow` has read."""
        with self.lock:
            self.full, self.held_bytes = None, 0

    def _note(self, state: RunState) -> None:
        self.word = state.status.word
        self.is_nan = bool(diverged(state.last))
        self.kept = Kept.of(state, self.kept, self._pool)

    @property
    def is_open(self) -> bool:
        """Whether its reader is kept, so that `view` has something to show."""
        return self._listed is not None

    @property
    def behind(self) -> bool:
        """Whether `follow` has more to read at once."""
        return self.full is not None and self.full.behind

    @property
    def size_bytes(self) -> int:
        """How long the files are whose history is read; 0 before `follow`."""
        return self.full.size_bytes if self.full is not None else 0

    @property
    def read_to_end(self) -> bool:
        """Whether the whole history was read, as far as the last look knows."""
        return self.full is not None and not self.full.behind

    @property
    def alive(self) -> bool:
        """Whether more rows may come."""
        return Status(self.word).alive

    # ---- what a filter asks --------------------------------------------------------------------

    @property
    def searched(self) -> str:
        """Name, tags, path and status, in lower case."""
        return "\n".join((self.kept.told, self.key, self.word)).lower()

    @property
    def name(self) -> str:
        """What the run is called, safe to draw; its id until it was read."""
        return self.kept.name or from_file(self.ref.id)

    @property
    def tags(self) -> Sequence[str]:
        """Its tags."""
        return self.kept.tags

    @property
    def source(self) -> str:
        """Whose format its files have."""
        return self.ref.source.name

    def value(self, name: str) -> str | float | None:
        """Return a parameter as text, or else the newest value of a metric; None without either.

        `params.NAME` is the parameter, also where a metric is called so.
        """
        kept = self.kept
        found = kept.param(name)
        if found is None:
            found = kept.param(name.removeprefix("params."))
        return kept.metric(name) if found is None else found

    # ---- what it shows -------------------------------------------------------------------------

    @contextmanager
    def view(self) -> Iterator[RunView]:
        """Give the run's states while nobody changes them; wait until nobody does."""
        with self.glimpse(wait_s=-1) as view:
            assert view is not None
            yield view

    @contextmanager
    def glimpse(self, wait_s: float = PATIENCE_S) -> Iterator[RunView | None]:
        """Do the same for the thread of the screen; None while a run of many files is read.

        While its file system does not answer, which may be for ever, the states say just that.
        """
        if not self.lock.acquire(timeout=0 if self.stuck else wait_s):
            yield self._unanswered() if self.stuck else None
            return
        try:
            yield self._view()
        finally:
            self.lock.release()

    def _view(self) -> RunView:
        reader, full = self._listed, self.full
        listed = RunState(self.ref.path) if reader is None else reader.state
        whole = listed if full is None else full.state
        return RunView(listed, whole, full is None or full.behind, known=reader is not None)

    def _unanswered(self) -> RunView:
        state = unanswered(self.ref).state
        return RunView(state, state, reading=False)


def _read(reader: RunReader, read: Callable[[], bool]) -> bool:
    """Read on; of a run whose directory is away now, how it has ended stays known."""
    before = reader.state.status
    changed = guarded(reader, read)
    if reader.unlisted and not before.alive:
        reader.state.status = before
    return changed


def _stamp(state: RunState) -> int:
    """Return a number that changes when the run does."""
    return hash((state.status, state.step, state.epoch, state.last_time, len(state.attempts)))


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

    def pulled_at(self, entry: Entry) -> float | None:
        """Return when a run was pulled from another machine, in Unix seconds.

        None for a run of this machine; 0 for one whose copy was never whole.
        """
        folder = str(Path(entry.key[: entry.key.rfind("/") + 1]))
        origin, known = self._origins.get(folder), self.hosts.pulled_at(entry.key)
        if origin is None and known is None:
            return None
        return max((origin.time if origin else None) or 0.0, known or 0.0)

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

    def status_counts(self) -> dict[str, int]:
        """Return how many of the runs that were read have each status word."""
        return dict(self._counts)

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
