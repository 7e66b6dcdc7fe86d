"""One run on screen: its place, its readers, and the lock under which it is read and looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runstore.sources import RunRef, open_run
from runstore.sources.glances import unanswered
from runstore.sources.reading import RunReader, guarded
from runstore.state.run_state import RunState
from runstore.state.status import Status
from runstore.tables.pool import Pool

from .kept import UNREAD, Kept
from .renderables.facts import diverged
from .renderables.text import from_file

POLL_BYTES = 256 << 10
"""Read at once from a run that is shown in full; about 25 ms, for which the screen may wait."""
PATIENCE_S = 0.02
"""How long the screen waits for a run that is being read, before it shows what it had."""


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
            if changed and self.full is None:  # what was read of it once may be surpassed
                reader.state.best_read = None
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
            return self._tell_best(reader) or changed

    def _tell_best(self, reader: RunReader) -> bool:
        """Let the list know the best epoch, which a glance may have passed over."""
        if self._listed is None or reader.behind:
            return False
        listed, best = self._listed.state, reader.state.best
        if listed.best_read == best:
            return False
        listed.best_read = best
        self._note(listed)
        return True

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
