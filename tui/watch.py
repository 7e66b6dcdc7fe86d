"""The thread that keeps a catalog up to date while the screen does something else.

What grows is found by reading again; events of the file system are only a hint that runs may have
come or gone, and cost a scan when they arrive. They are never needed: watches are silently lost at
the kernel's limit, on overflow, and on network mounts, and a scan finds what they missed.

A file server may never answer, and no call in Python can be given up. Whoever waits for one too
long is left waiting, and another thread reads the other runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstore.environment.mounts import is_network
from runstore.patience import ANSWER_S
from runstore.slurm.jobs import JOBS

from .catalog import Catalog
from .entry import Entry

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

MAX_WATCHES = 64
"""Folders that are watched; runs lie in few folders, and watches are a shared resource."""
SCAN_SHARE = 0.02
"""Largest share of the time that scanning may take, as far as LONGEST_UNSCANNED_S lets it."""
HINTED_SHARE = 0.5
"""The same while runs come and go during scans."""
LONGEST_UNSCANNED_S = 120.0
"""So long after a scan the next one comes in any case: a server that was silent may be well."""
FOLLOW_S = 0.015
"""Time per turn for the selected run; the screen waits no longer for one that is being read."""
FIRST_LOOK_S = 0.03
"""Time per turn for runs that were never read."""
LONGEST_REST_S = 2.0
MOST_STUCK = 16
"""So many threads may wait so; with all of them waiting nothing is read."""
OFF_SCREEN_S = 0.004
"""Time per turn for runs off screen, so that a thousand of them cost a few percent of a core."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look, in seconds; a look at a run costs about ten metadata calls."""

    turn_s: float
    shown_s: float
    """Runs on screen that may still grow."""
    shown_ended_s: float
    """Runs on screen that have ended: they can be resumed."""
    alive_s: float
    """Runs off screen that may still grow."""
    ended_s: float
    """Everything else."""
    scan_s: float
    per_turn: int
    """Most runs to look at again in one turn."""


LOCAL = Pace(
    turn_s=0.2,
    shown_s=0.4,
    shown_ended_s=4.0,
    alive_s=2.0,
    ended_s=120.0,
    scan_s=2.0,
    per_turn=60,
)
NETWORK = Pace(
    turn_s=0.5,
    shown_s=2.0,
    shown_ended_s=20.0,
    alive_s=10.0,
    ended_s=300.0,
    scan_s=15.0,
    per_turn=4,
)


class Watcher(threading.Thread):
    """Reads the chosen and the marked runs in full, shown ones often, the others now and then."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="runstore-watcher", daemon=True)
        self.catalog = catalog
        self.network = False
        self.pace = LOCAL
        self.hints_help = False
        """Whether events of the file system arrive: not those of other machines, on a network
        mount, and nobody knows before the mounts were looked at."""
        self.scan_cost_s = 0.0
        self.problem: str | None = None
        """Why a turn failed; None once a scan has succeeded since."""
        self._clock = clock
        self._followed: tuple[str, ...] = ()
        self._next_follow: dict[str, float] = {}
        self._shown: frozenset[str] = frozenset()
        self._next_scan = 0.0
        self._next_looks = 0.0
        self._at = 0
        self._first_of: list[Entry] = []
        self._first = 0
        """Before it, all runs of `_first_of` were read once."""
        self._turns = threading.local()
        self._reader = 0
        """The number of the thread that takes turns now; the others wait for file servers."""
        self._waiting = 0
        self._begun: float | None = None
        """Since when the current thread has been in one read or scan."""
        self._reading: Entry | None = None
        self._scanning = False
        self._hinted = False
        """Something came or went since the last scan began, which may have missed it."""
        self._handover = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()

    def show(self, keys: Iterable[str], followed: Sequence[str]) -> None:
        """Tell which runs are on screen and which ones are read in full, the first one first."""
        shown, wanted = frozenset(keys), tuple(followed)
        if (shown, wanted) != (self._shown, self._followed):
            self._shown, self._followed = shown, wanted
            self._next_follow.clear()
            self.catalog.pinned, self.catalog.followed = shown.union(wanted), frozenset(wanted)
            self._wake.set()

    def rescan(self) -> None:
        """Look for new runs now, and at every run again soon."""
        for entry in self.catalog.entries:
            entry.read_at = 0.0
        self.hint()

    def hint(self) -> None:
        """Look for new runs soon: something in a watched folder came or went."""
        self._hinted = True
        self._next_scan = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End the thread after its current read."""
        self._stopped.set()
        self._wake.set()

    def run(self) -> None:
        """Take turns until stopped, or left behind in a read."""
        self._turns.reader = reader = self._reader
        if reader == 0:
            self._look_at_mounts()
        while not self._stopped.is_set() and self._reader == reader:
            start = self._clock()
            if self._guarded_turn():
                time.sleep(0.002)  # let the screen have the interpreter between two reads
                continue
            # A run of thousands of files is costly to look at: half of the time is the screen's.
            self._wake.wait(max(self.pace.turn_s, min(self._clock() - start, LONGEST_REST_S)))
            self._wake.clear()

    def _look_at_mounts(self) -> None:
        """Learn how often to look; also a path of a silent server is asked for here."""
        with suppress(_LeftBehind, OSError, RuntimeError), self._watched(None):
            self.network = any(is_network(root) for root in self.catalog.roots)
            self.pace = NETWORK if self.network else LOCAL
            self.hints_help = not self.network

    def _guarded_turn(self) -> bool:
        """Take a turn; a failure is told on screen, and the next turn tries again."""
        try:
            return self.turn()
        except _LeftBehind:
            return False
        except Exception as error:  # noqa: BLE001 - the boundary of the thread
            self.problem = f"{type(error).__name__}: {error}"
            return False

    def turn(self) -> bool:
        """Do a bounded amount of reading; return whether more is waiting."""
        now = self._clock()
        if now >= self._next_scan and not self._scanning:
            self._scan(now)
        behind = False
        for place, key in enumerate(self._followed):
            entry = self.catalog.get(key)
            if entry is None or entry.stuck or behind:
                continue
            if place == 0 or entry.behind or now >= self._next_follow.get(key, 0.0):
                self._next_follow[key] = now + self._rest_s(entry)
                behind = self._follow(entry)
        left = self._look_at_shown(now, self._allowance(now))
        waiting, left = self._look_first(left)
        if not waiting:
            self._look_again(now, left)
        JOBS.refresh_soon()
        return behind or waiting

    def _follow(self, entry: Entry) -> bool:
        """Read on in the selected run for some time; return whether there is more."""
        end, behind = self._clock() + FOLLOW_S, True
        while behind:
            with self._watched(entry):
                behind = self.catalog.follow(entry)
            if self._clock() >= end:
                break
        return behind

    def _scan(self, now: float) -> None:
        self._next_scan = now + self.pace.scan_s
        self._scanning, self._hinted = True, False
        try:
            with self._watched(None):
                self.catalog.scan()
            self.problem = None
        except _LeftBehind:  # it came back; what it found is as old as the silence
            self.problem = None
            raise
        finally:
            self._scanning = False
            self.scan_cost_s = self._clock() - now
            rest = self.scan_cost_s / (HINTED_SHARE if self._hinted else SCAN_SHARE)
            rest = min(max(self.pace.scan_s, rest), LONGEST_UNSCANNED_S)
            self._next_scan = now + self.scan_cost_s + rest

    def _allowance(self, now: float) -> int:
        """Return how many runs may be looked at in this turn.

        While the selected run is read, turns follow each other at once; a file server is asked no
        more often for that.
        """
        if self.network:
            if now < self._next_looks:
                return 0
            self._next_looks = now + self.pace.turn_s
        return self.pace.per_turn

    def _look_at_shown(self, now: float, left: int) -> int:
        """Read the runs on screen, new ones at once; return how many looks are left."""
        shown = [entry for key in self._shown if (entry := self.catalog.get(key)) is not None]
        shown = [entry for entry in shown if not entry.stuck]
        due = [entry for entry in shown if entry.is_open and self._due(entry, now)]
        due = sorted(due, key=lambda entry: entry.read_at)[:left]
        for entry in (entry for entry in shown if not entry.is_open):
            with self._watched(entry):
                self.catalog.open(entry)
            entry.read_at = self._clock()
        for entry in due:
            self._look(entry)
        return left - len(due)

    def _look_first(self, left: int) -> tuple[bool, int]:
        """Read runs that were never read; return whether to go on at once, and the looks left."""
        entries = self.catalog.entries
        if entries is not self._first_of:
            self._first_of, self._first = entries, 0
        end = self._clock() + FIRST_LOOK_S
        while self._first < len(entries):
            entry = entries[self._first]
            if not entry.glanced and not entry.stuck:
                if self.network and left <= 0:
                    return False, 0
                if self._clock() > end or self._stopped.is_set():
                    return True, left
                self._look(entry)
                left -= self.network
            self._first += 1
        return False, left

    def _look_again(self, now: float, left: int) -> None:
        """Read runs off screen whose time has come, round and round."""
        entries = self.catalog.entries
        end = self._clock() + OFF_SCREEN_S
        for _ in range(len(entries)):
            if left <= 0 or self._clock() > end:
                return
            self._at = (self._at + 1) % len(entries)
            entry = entries[self._at]
            if entry.glanced and entry.key not in self._shown and self._due(entry, now):
                self._look(entry)
                left -= 1

    def _due(self, entry: Entry, now: float) -> bool:
        return not entry.stuck and now - entry.read_at >= self._interval_s(entry)

    def _interval_s(self, entry: Entry) -> float:
        if entry.key in self._followed[:1]:
            return self.pace.turn_s
        if entry.key in self._shown:
            return self._rest_s(entry)
        return self.pace.alive_s if entry.alive else self.pace.ended_s

    def _rest_s(self, entry: Entry) -> float:
        return self.pace.shown_s if entry.alive else self.pace.shown_ended_s

    def _look(self, entry: Entry) -> None:
        with self._watched(entry):
            self.catalog.glance(entry)
        entry.read_at = self._clock()

    @contextmanager
    def _watched(self, entry: Entry | None) -> Iterator[None]:
        """Note what is being read; raise when another thread has taken over meanwhile."""
        self._reading, self._begun = entry, self._clock()
        reader = self._reader
        try:
            yield
        finally:
            with self._handover:
                left_behind = self._reader != getattr(self._turns, "reader", reader)
                if left_behind:
                    self._waiting -= 1
                else:
                    self._begun = None
        if left_behind:
            if entry is not None:
                self.catalog.set_stuck(entry, False)
            raise _LeftBehind

    def look_after(self) -> None:
        """Have another thread go on when this one does not come back from a read.

        Called now and then by a thread that reads nothing.
        """
        with self._handover:
            begun = self._begun
            if begun is None or self._clock() - begun < ANSWER_S:
                return
            if self._reading is None or self._waiting >= MOST_STUCK:
                self.problem = "a file server does not answer"
            if self._waiting >= MOST_STUCK:
                return
            self._waiting += 1
            self._reader += 1
            self._begun = None
            if self._reading is not None:
                self.catalog.set_stuck(self._reading, True)
        threading.Thread(target=self.run, name="runstore-watcher", daemon=True).start()


class _LeftBehind(Exception):
    """Another thread reads on: this one came back from a read that took too long."""


class Hints:
    """Watches the folders that hold runs, and calls back when entries come or go."""

    def __init__(self, catalog: Catalog, notify: Callable[[], None]) -> None:
        self._catalog = catalog
        self._notify = notify
        self._observer: BaseObserver | None = None
        self._watched: set[str] = set()

    def _start(self) -> bool:
        try:
            from watchdog.observers import Observer

            observer = Observer()
            observer.daemon = True
            observer.start()
        except (ImportError, OSError, RuntimeError):  # no descriptor or no thread is to be had now
            return False
        self._observer = observer
        return True

    def refresh(self) -> None:
        """Watch the folders that hold runs now.

        Call it after the first paint: the import alone costs 30 ms.
        """
        if self._observer is None and not self._start():
            return
        roots = [str(root) for root in self._catalog.roots if root not in self._catalog.missing]
        for folder in (*roots, *sorted(self._catalog.folders - set(roots))[:MAX_WATCHES]):
            if folder not in self._watched and len(self._watched) < MAX_WATCHES:
                self._watch(folder)

    def stop(self) -> None:
        """End watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=1.0)

    def _watch(self, folder: str) -> None:
        from watchdog import events

        notify = self._notify

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: events.FileSystemEvent) -> None:
                notify()

        structural = [
            events.DirCreatedEvent,
            events.DirDeletedEvent,
            events.DirMovedEvent,
        ]
        assert self._observer is not None
        try:
            self._observer.schedule(Handler(), folder, recursive=False, event_filter=structural)
        except OSError:  # the limit is reached or the folder went: scans find what comes
            return
        self._watched.add(folder)
