"""Keeps copies of other machines' runs up to date: a thread for each machine.

The threads write into a cache of the user's and note what they know; the screen takes that, and
waits for none of them. What goes wrong is one line per host.
"""

from __future__ import annotations

import os
import posixpath
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from runstore.errors import RunStoreError
from runstore.hosts import boxes
from runstore.hosts.remote import Remote
from runstore.hosts.ssh import Link, LinkError
from runstore.pull import Pass, Pull
from runstore.pull.names import Names
from runstore.pull.place import BusyError, cached
from runstore.pull.schedule import Kind, Schedule
from runstore.runs import deliver
from runstore.runs.requests import Kind as RequestKind
from runstore.runs.requests import Request
from runstore.threads import start_daemon

from .hosts import LOOK_S, Hosts, Look

LOOKING_S = 15.0
"""Somebody looks until so long after the last time that it was drawn."""
REST_S = 0.2
BUSY_S = 5.0
"""Another monitor keeps the copy up to date: how often to ask whether it still does."""


class Copy:
    """A directory over there, and its copy here."""

    def __init__(self, source: Remote, place: Path) -> None:
        self.source, self.place = source, place
        self.schedule = Schedule()
        self.pull: Pull | None = None
        self.names: Names | None = None
        self.live: frozenset[str] = frozenset()
        """Folders that the last pull of running runs has brought up to date."""
        self.live_at: float | None = None
        """When that was, in Unix seconds."""
        self.whole_at: float | None = None
        self.problem = ""

    def pulled_at(self, path: str) -> float | None:
        """Return when a run was brought up to date last, in Unix seconds."""
        times = [self.whole_at, self.live_at if path in self.live else None]
        return max((at for at in times if at is not None), default=None)

    def is_gone(self, path: str) -> bool:
        """Tell whether a run was removed over there, as far as is known."""
        return self.names is not None and self.names.is_gone(path)


class Host:
    """One machine, and the thread that asks it."""

    def __init__(self, name: str, copies: Sequence[Copy]) -> None:
        """Know `[user@]host`; nothing is connected yet."""
        self.name, self.copies, self.look = name, copies, Look()
        self.link = Link(name)
        self.problem = ""
        """Why it cannot be reached; empty while it can."""
        self.retry_at = 0.0
        """Monotonic seconds."""
        self.is_reached = False
        """It was reached once."""
        self._looked_for = 0.0
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._login: threading.Thread | None = None
        self.would_ask = False
        """The first login would have asked, and nobody has answered yet."""

    def begin_login(self) -> None:
        """Connect, in a thread, and ask nothing."""
        self._login = start_daemon(self._log_in_first, "runstore-login")

    def wait_for_login(self, wait_s: float | None) -> None:
        """Wait until what `begin_login` has begun is over, at most some seconds."""
        if self._login is not None:
            self._login.join(wait_s)

    def log_in(self, *, ask: bool) -> None:
        """Connect; ssh may ask on the terminal, as long as no screen is open."""
        self.would_ask = False
        try:
            self.link.open(ask=ask)
        except RunStoreError as error:
            self._fail(error)
            self.would_ask = isinstance(error, LinkError) and error.would_ask and not ask
        else:
            self.problem, self.retry_at = "", 0.0

    def pull_once(self) -> list[RunStoreError]:
        """Bring all copies up to date now, and return what went wrong; no thread is begun."""
        found: list[RunStoreError] = []
        for copy in self.copies:
            try:
                copy.pull = copy.pull or Pull(self.link, copy.source, copy.place)
                if (problem := copy.pull.whole().problem) is not None:
                    found.append(problem)
            except BusyError:
                continue  # whoever it is brings the same
            except RunStoreError as error:
                found.append(error)
        return found

    def start(self) -> None:
        """Begin to pull."""
        self._thread = start_daemon(self._work, "runstore-host")

    def stop(self) -> None:
        """End what is at work; `join` waits for it."""
        self._stopped = True
        self._wake.set()
        for copy in self.copies:
            if copy.pull is not None:
                copy.pull.stop()
        self.link.close()

    def join(self, wait_s: float) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            self._thread.join(wait_s)

    def hurry(self) -> None:
        """Pull everything now, also while waiting for a host that was not there."""
        for copy in self.copies:
            copy.schedule.hurry()
        self.retry_at = 0.0
        self._wake.set()

    def wanted(self) -> None:
        """Note that somebody looks at how the machine does."""
        self._looked_for = time.monotonic()
        if self._is_look_due():
            self._wake.set()

    def add_note(self, copy: Copy, path: str, text: str) -> str:
        """Write a note about a run there, and have it come here; return the name of its file.

        Raises:
            RunStoreError: it cannot be put there.
        """
        name = deliver.add_note(self.link, deliver.place_of(copy.source.path, path), text)
        self.hurry()
        return name

    def ask(self, copy: Copy, path: str, kind: RequestKind) -> Request:
        """Ask a run there to stop, or for a checkpoint.

        Raises:
            RunStoreError: it cannot be put there.
        """
        request = deliver.ask(self.link, deliver.place_of(copy.source.path, path), kind)
        self.hurry()
        return request

    # ---- the thread ----------------------------------------------------------------------------

    def _log_in_first(self) -> None:
        try:
            self.log_in(ask=False)
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: told, not lost
            self._fail(_unexpected(error))

    def _work(self) -> None:
        self.wait_for_login(None)
        while not self._stopped:
            try:
                wait_s = self._turn()
            except RunStoreError as error:
                wait_s = self._fail(error)
            except Exception as error:  # noqa: BLE001 - the boundary of the thread: told, not lost
                wait_s = self._fail(_unexpected(error))
            self._wake.wait(min(wait_s, LOOK_S))
            self._wake.clear()
        for copy in self.copies:
            if copy.pull is not None:
                copy.pull.close()

    def _fail(self, error: RunStoreError) -> float:
        self.problem = str(getattr(error, "why", error))
        wait_s = max(copy.schedule.failed() for copy in self.copies)
        self.retry_at = time.monotonic() + wait_s
        return wait_s

    def _turn(self) -> float:
        """Do what is due; return the seconds until the next thing is."""
        if time.monotonic() < self.retry_at:
            return self.retry_at - time.monotonic()
        if not self.link.is_open:
            self.link.open(ask=False)
        copy = min(self.copies, key=lambda one: one.schedule.due().wait_s)
        due = copy.schedule.due()
        if due.wait_s <= 0:
            self._bring(copy, due.kind)
            self.is_reached = self.is_reached or due.kind != "names"
        if self._is_look_due():
            self._look_at_machine()
        self.problem = ""
        return max(REST_S, min(one.schedule.due().wait_s for one in self.copies))

    def _bring(self, copy: Copy, kind: Kind) -> None:
        began = time.time()
        try:
            if copy.pull is not None and not copy.place.is_dir():
                # Somebody has emptied the cache. The lock of what is no longer there locks nothing.
                copy.pull.close()
                copy.pull = None
            if copy.pull is None:
                copy.pull = Pull(self.link, copy.source, copy.place)
            if self._stopped:
                return
            if kind == "names":
                self._look_for_new(copy)
                return
            live = copy.schedule.live
            done = copy.pull.whole() if kind == "whole" else copy.pull.only(live)
        except BusyError:
            self.retry_at, self.is_reached = time.monotonic() + BUSY_S, True
            return
        copy.problem = done.problem.why if done.problem else ""
        if kind == "whole":
            copy.whole_at = began
        else:
            copy.live, copy.live_at = frozenset(live), began
        copy.schedule.came(kind, done.brought, _modified(copy.place, done))

    def _look_for_new(self, copy: Copy) -> None:
        copy.names = copy.names or Names(self.link, copy.source.path, os.listdir(copy.place))
        new = copy.names.new(copy.schedule.folders)
        copy.schedule.saw(new, copy.names.number, again=copy.names.answers)

    def _is_look_due(self) -> bool:
        now = time.monotonic()
        return now - self._looked_for < LOOKING_S and now - self.look.at >= LOOK_S

    def _look_at_machine(self) -> None:
        answer = self.link.run(boxes.SCRIPT)
        machine = boxes.parse(answer.output)
        why = "" if machine else answer.errors or "its shell does not answer as a shell does"
        self.look = Look(machine or self.look.machine, time.monotonic(), why)


def _unexpected(error: Exception) -> RunStoreError:
    return RunStoreError(f"{type(error).__name__}: {error}")


def _modified(place: Path, done: Pass) -> Mapping[str, float]:
    """Return when the files that came were changed over there: rsync has set it."""
    found = {}
    for file in done.brought.files:
        try:
            found[file] = (place / file).stat().st_mtime
        except (OSError, ValueError):
            continue
    return found


def hosts_of(sources: Sequence[Remote], cache: Path) -> Hosts:
    """Watch directories on other machines, with copies in a cache.

    Raises:
        RemoteError: one of them is no name of a host.
    """
    hosts = Hosts()
    several = {one: [other for other in sources if other.host == one.host] for one in sources}
    copies = [Copy(source, cached(cache, source)) for source in dict.fromkeys(sources)]
    with suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)  # whose runs they are is private
    for copy in copies:
        # Until the first pull it is an empty root; what is wrong with it is told by the pull.
        with suppress(OSError):
            copy.place.mkdir(parents=True, exist_ok=True)
    hosts.told = {str(copy.place): str(copy.source) for copy in copies}
    hosts.names = {
        str(copy.place): copy.source.host
        if len(set(several[copy.source])) == 1
        else f"{copy.source.host}:{posixpath.basename(copy.source.path.rstrip('/'))}"
        for copy in copies
    }
    names = dict.fromkeys(source.host for source in sources)
    hosts.hosts = [
        Host(name, [copy for copy in copies if copy.source.host == name]) for name in names
    ]
    return hosts
