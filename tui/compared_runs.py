"""What the comparison shows of each run, and the thread that reads what nobody else reads.

The watcher reads the chosen and the first marked runs in full. Of the others, and of patches, a
thread here reads what is needed once, one after the other, and keeps a few facts of each.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from runstore.files.paths import RunPaths
from runstore.files.records import JsonObject, integer
from runstore.files.regular import read_regular, why_unreadable
from runstore.patience import Patience
from runstore.runs.comparison import Compared, compared
from runstore.sources import open_run
from runstore.state.run_state import RunState
from runstore.threads import start_daemon

from .entry import POLL_BYTES, Entry

PATCH_BYTES = 1 << 20
"""As much as a run records (docs/format.md)."""
NO_ANSWER = "its file system does not answer"
ANEW_S = 0.5
"""A run that is still written is looked at again so often."""


@dataclass(frozen=True, slots=True)
class Patch:
    """The uncommitted changes that a run was started with."""

    size_bytes: int = 0
    """0 where it has none."""
    digest: str = ""
    problem: str = ""
    """Why it cannot be read; empty when it can."""


@dataclass(frozen=True, slots=True)
class RunBeside:
    """One column of the comparison."""

    key: str
    facts: Compared
    commit: str
    """The whole hash; empty where none was recorded."""
    dirty: bool | None
    """Whether the working tree differed from the commit; None where nobody noted it."""
    untracked: int
    """How many files in it git does not know, which are in no patch."""
    patch: Patch | None
    """None while it has not been read."""
    reading: bool
    """Its history has not been read to the end: what was best may change."""


@dataclass(slots=True)
class _Seen:
    """A column as it was made."""

    beside: RunBeside
    stamp: tuple[object, ...]
    """Of the state that it was made of."""
    at: float
    """When that state was looked at."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A run whose history was read here."""

    alive: bool
    """It was, at that time: to be read again when it has ended."""
    facts: Compared
    git: JsonObject


class ComparedRuns:
    """Gives what is known of some runs, and reads the rest behind the screen."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._seen: dict[str, _Seen] = {}
        self._read: dict[str, _Read] = {}
        self._patches: dict[str, Patch] = {}
        self._todo: deque[Entry] = deque()
        self._wanted: frozenset[str] = frozenset()
        self._running = False
        self._version = self._looked_at = 0
        """How many runs the thread has read, now and at the last look."""
        self._lock = threading.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether there is more to come than the last look has shown."""
        return self._running or self._version != self._looked_at

    def look(self, entries: Sequence[Entry], followed: Collection[Entry]) -> list[RunBeside]:
        """Return the runs of which something is known, in their order.

        Args:
            entries: The runs.
            followed: Those whose history the watcher reads.
        """
        self._looked_at = self._version
        keys = {entry.key for entry in entries}
        for known in [key for key in self._seen if key not in keys]:
            del self._seen[known]
        found = [self._look(entry, entry in followed) for entry in entries]
        self._read_rest(entries, followed, keys)
        return [beside for beside in found if beside is not None]

    def _look(self, entry: Entry, is_followed: bool) -> RunBeside | None:
        known = self._seen.get(entry.key)
        now = time.monotonic()
        if known is not None and now - known.at < ANEW_S:
            return known.beside
        with entry.glimpse() as view:
            if view is None:
                return known.beside if known else None
            state = view.full if is_followed else view.listed
            told = is_followed or view.known
            stamp = (id(state), state.version, state.status, view.reading, told)
            if known is not None and known.stamp == stamp:
                known.at = now
                return known.beside
            beside = self._made(entry, state if told else None, view.reading or not is_followed)
        self._seen[entry.key] = _Seen(beside, stamp, now)
        return beside

    def _made(self, entry: Entry, state: RunState | None, reading: bool) -> RunBeside:
        """Return a run from its state and, as that is not whole, from what was read of it here.

        Args:
            entry: The run.
            state: None where the list has let its reader go.
            reading: The state is not whole, or not yet.
        """
        read = self._read.get(entry.key) if reading else None
        if state is None:
            state = RunState(entry.ref.path)
            facts, git = read.facts if read else compared(state, entry.ref.id), state.git
        else:
            facts, git = compared(state, entry.ref.id), state.git
            facts = _newest_of(facts, read.facts) if read else facts
        if read is not None:
            git, reading = read.git, False
        commit, dirty = git.get("commit"), git.get("dirty")
        return RunBeside(
            entry.key,
            facts,
            commit if isinstance(commit, str) else "",
            dirty if isinstance(dirty, bool) else None,
            integer(git, "untracked") or 0,
            self._patches.get(entry.key),
            reading,
        )

    # ---- in the thread -------------------------------------------------------------------------

    def _read_rest(
        self, entries: Sequence[Entry], followed: Collection[Entry], keys: set[str]
    ) -> None:
        with self._lock:
            self._wanted = frozenset(keys)
            for known in (self._patches, self._read):
                for key in known.keys() - keys:
                    known.pop(key)
            if self._running:
                return
            self._todo = deque(entry for entry in entries if self._lacks(entry, followed))
            self._running = bool(self._todo)
        if self._running:
            unfollowed = frozenset(keys) - {entry.key for entry in followed}
            start_daemon(lambda: self._work(unfollowed), "runstore-compare")

    def _lacks(self, entry: Entry, followed: Collection[Entry]) -> bool:
        patch = self._patches.get(entry.key)
        if entry.stuck or (patch is not None and patch.problem == NO_ANSWER):
            return False
        read = self._read.get(entry.key)
        has_ended = read is not None and read.alive != entry.alive and not entry.away
        unread = entry not in followed and (read is None or has_ended)
        return unread or patch is None

    def _work(self, unfollowed: frozenset[str]) -> None:
        patience = Patience()
        while (entry := self._next()) is not None:
            patch, read = Patch(), None
            try:
                patch = _patch_in_time(entry, patience)
                if entry.key in unfollowed and patch.problem != NO_ANSWER:
                    read = self._read_whole(entry)
            except Exception as error:  # noqa: BLE001 - the boundary of the thread
                patch = Patch(problem=f"{type(error).__name__}: {error}")
                read = _Read(entry.alive, compared(RunState(entry.ref.path), entry.ref.id), {})
            with self._lock:
                self._version += 1
                if entry.key in self._wanted:
                    self._patches[entry.key] = patch
                    self._seen.pop(entry.key, None)
                    if read is not None:
                        self._read[entry.key] = read
        patience.end()

    def _next(self) -> Entry | None:
        with self._lock:
            self._running = bool(self._todo)
            return self._todo.popleft() if self._todo else None

    def _read_whole(self, entry: Entry) -> _Read:
        """Read a run's history and keep little of it; stop where nobody wants it any more."""
        alive, reader = entry.alive, open_run(entry.ref, patient=False)
        more = True
        while more:
            start = time.monotonic()
            try:
                reader.poll(POLL_BYTES)
            except Exception:  # noqa: BLE001 - what was read until then is shown
                break
            more = reader.behind and entry.key in self._wanted
            # Half of the time is the screen's.
            time.sleep(time.monotonic() - start)
        return _Read(alive, compared(reader.state, entry.ref.id), reader.state.git)


def _newest_of(listed: Compared, read: Compared) -> Compared:
    """Return what a list knows now, with what only the whole history tells."""
    of_epochs = listed.of_epochs | read.of_epochs
    lows, highs = dict(read.lows), dict(read.highs)
    for name in listed.of_epochs - read.of_epochs:  # its first epoch has ended since
        lows.pop(name, None), highs.pop(name, None)
    for name in listed.last:
        for value in _newest_values(listed, name, of_epochs):
            lows[name] = min(lows.get(name, value), value)
            highs[name] = max(highs.get(name, value), value)
    return replace(
        listed,
        params=read.params or listed.params,
        last={**read.last, **listed.last},
        lows=lows,
        highs=highs,
        of_epochs=of_epochs,
        has_begun_epochs=listed.has_begun_epochs or read.has_begun_epochs,
    )


def _newest_values(listed: Compared, name: str, of_epochs: frozenset[str]) -> tuple[float, ...]:
    """Return what may be the best now; where epochs have the metric no value of a batch."""
    if name in listed.of_epochs:
        return (listed.lows[name], listed.highs[name]) if name in listed.lows else ()
    value = listed.last[name]
    is_finite = value - value == 0
    return (value,) if is_finite and name not in of_epochs else ()


def _patch_in_time(entry: Entry, patience: Patience) -> Patch:
    """Return what a run's patch is; it is read first because a silent server shows itself there."""
    found: list[Patch] = []
    if patience.do(lambda: found.append(read_patch(entry)[1])):
        return found[0]
    return Patch(problem=NO_ANSWER)


def read_patch(entry: Entry) -> tuple[bytes, Patch]:
    """Return a run's patch, and what it is in few words; reads up to 1 MiB."""
    try:
        data = read_regular(RunPaths(entry.ref.path).patch, PATCH_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return b"", Patch()
    except OSError as error:
        return b"", Patch(problem=why_unreadable(error))
    return data, Patch(len(data), sha256(data).hexdigest())
