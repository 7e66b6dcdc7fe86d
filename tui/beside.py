"""What lies beside a run's streams, and goes there by a key: notes and requests.

A run's directory may be on a file server that answers slowly or never, so everything here is done
in threads of its own; the screen takes what is known and asks again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from runstore.errors import NotWritableError, RunStoreError
from runstore.runs import requests
from runstore.runs.notes import Notes, add_note, read_notes
from runstore.runs.requests import Kind, Request
from runstore.sources import NATIVE
from runstore.state.rows_behind import superseded_rows
from runstore.threads import start_daemon

from .entry import Entry
from .hosts import Hosts
from .said import Said

LOOK_EVERY_S = 2.0
RUNS_KEPT = 16
_NO_ANSWER = "the file system does not answer: nothing was written"
JOBS_AT_ONCE = 8
"""Threads; those of a file server that does not answer may stay for ever."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made from this screen."""

    request: Request
    at: float
    """Monotonic seconds."""


@dataclass(slots=True)
class Aside:
    """What is known of one run; replaced part by part."""

    notes: Notes = field(default_factory=Notes)
    pending: tuple[Request, ...] = ()
    asked: tuple[Asked, ...] = ()
    superseded: dict[int, str] = field(default_factory=dict)
    """Attempt to how many of its rows a later one superseded, in words."""
    known: bool = False
    """Whether it was looked at once."""
    looking: bool = False
    looked_at: float = 0.0
    """Monotonic seconds."""


@dataclass(slots=True)
class Writing:
    """A note on its way into a file, which may not take it."""

    entry: Entry
    text: str
    problem: str = ""
    """Why it was not written; the words are still wanted then."""
    ended: bool = False
    """Whether it was written, or has failed."""


class Beside:
    """Reads and writes what lies beside the streams of some runs."""

    def __init__(self, said: Said | None = None, hosts: Hosts | None = None) -> None:
        """Tell `said` what came of a note or a request; runs of other `hosts` get them there."""
        self.said = said or Said()
        self.hosts = hosts or Hosts()
        self._asides: OrderedDict[str, Aside] = OrderedDict()
        self._room = threading.BoundedSemaphore(JOBS_AT_ONCE)

    def of(self, entry: Entry) -> Aside:
        """Return what is known of a run, and have a look at it when the last one is old."""
        aside = self._aside(entry)
        is_old = time.monotonic() - aside.looked_at > LOOK_EVERY_S
        may_look = entry.ref.source is NATIVE and not (aside.looking or entry.stuck or entry.away)
        if is_old and may_look:
            aside.looking = True
            self._start(lambda: self._look(entry, aside), lambda why: self._not_looked(aside, why))
        return aside

    def _not_looked(self, aside: Aside, why: str) -> None:
        aside.looking = False
        if why != _NO_ANSWER:  # threads that do not come back are told where something is written
            self.said.say(why)

    def _aside(self, entry: Entry) -> Aside:
        aside = self._asides.setdefault(entry.key, Aside())
        self._asides.move_to_end(entry.key)
        while len(self._asides) > RUNS_KEPT:
            self._asides.popitem(last=False)
        return aside

    def _start(self, job: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Do a job in a thread; `failed` is told why it came to nothing."""
        if not self._room.acquire(blocking=False):
            failed(_NO_ANSWER)
            return
        start_daemon(lambda: self._do(job, failed), "runstore-beside")

    def _do(self, job: Callable[[], None], failed: Callable[[str], None]) -> None:
        try:
            job()
        except NotWritableError as error:
            failed(f"{error.what} cannot be written there: {error.strerror}")
        except RunStoreError as error:
            failed(str(error))
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: told, not lost
            failed(f"{type(error).__name__}: {error}")
        finally:
            self._room.release()

    def _look(self, entry: Entry, aside: Aside) -> None:
        try:
            if not entry.ref.path.is_dir():  # with its root, perhaps: what was seen last stays
                return
            aside.notes = read_notes(entry.ref.path, aside.notes)
            aside.pending = requests.pending(entry.ref.path)
            with entry.view() as view:
                cuts = dict(view.full.cuts)
            aside.superseded = superseded_rows(entry.ref.path, cuts)
        finally:
            aside.known, aside.looking, aside.looked_at = True, False, time.monotonic()

    def is_elsewhere(self, entry: Entry) -> bool:
        """Whether a run is a copy whose original is written to, on its host."""
        return self.hosts.find(entry.key) is not None

    def place_of(self, entry: Entry) -> str:
        """Return where a run is: its directory, or `host:directory`."""
        found = self.hosts.find(entry.key)
        if found is None:
            return str(entry.ref.path)
        _, copy, path = found
        return f"{copy.source}/{path}" if path else str(copy.source)

    def add_note(self, entry: Entry, text: str) -> Writing:
        """Begin to write a note about a run, and return how far that is."""
        aside, writing = self._aside(entry), Writing(entry, text)

        def failed(why: str) -> None:
            writing.problem, writing.ended = why, True
            self.said.say_until_a_key(why)

        def write() -> None:
            if self.is_elsewhere(entry):
                name = self.hosts.add_note(entry.key, text)
                writing.ended = True
                self.said.say(f"noted on its host: notes/{name}; the next pull brings it")
                return
            try:
                path = add_note(entry.ref.path, text)
            except NotWritableError as error:
                raise RunStoreError(f"not written: {error.strerror}") from None
            except RunStoreError as error:  # its name is shorter than its path
                raise RunStoreError(str(error).replace(str(entry.ref.path), entry.name)) from None
            writing.ended = True
            self.said.say(f"noted: notes/{path.name}")
            aside.notes = read_notes(entry.ref.path, aside.notes)

        if entry.stuck:
            failed(_NO_ANSWER)
        else:
            self._start(write, failed)
        return writing

    def ask(self, entry: Entry, kind: Kind) -> None:
        """Ask a run to stop, or for a checkpoint."""
        aside = self._aside(entry)
        if entry.stuck:
            self.said.say(_NO_ANSWER)
            return

        def write() -> None:
            # Not while its lock is held: the file system may take its time.
            is_elsewhere = self.is_elsewhere(entry)
            with entry.view() as view:
                requests.check(view.listed, kind, is_asked_there=is_elsewhere)
            if is_elsewhere:
                request = self.hosts.ask(entry.key, kind)
            else:
                request = requests.make(entry.ref.path, kind)
            aside.asked = (*aside.asked, Asked(request, time.monotonic()))
            self.said.say(f"{entry.name}: {requests.in_words(kind)}")

        self._start(write, self.said.say)
