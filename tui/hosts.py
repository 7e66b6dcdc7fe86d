"""Other machines whose runs are on screen, as the screen sees them; `pulling` does the work.

Light to import: most who watch runs watch those of this machine alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstore.errors import RunStoreError
from runstore.runs.requests import Kind, Request
from runstore.threads import start_daemon

if TYPE_CHECKING:
    from runstore.hosts.boxes import Machine

    from .pulling import Copy, Host

LOOK_S = 10.0
"""How often to ask a machine how it does, while somebody looks."""
LOGIN_S = 5.0
"""How long the screen stays closed for hosts that do not answer."""
GOODBYE_S = 3.0
HERE_S = 30.0


@dataclass(slots=True)
class Look:
    """What is known of how a machine does."""

    machine: Machine | None = None
    at: float = float("-inf")
    """Monotonic seconds of the newest look."""
    problem: str = ""


class Here:
    """This machine, looked at by the same script."""

    name = "this machine"

    def __init__(self) -> None:
        self.look = Look()
        self._busy = False

    def wanted(self) -> None:
        """Note that somebody looks."""
        if not self._busy and time.monotonic() - self.look.at >= LOOK_S:
            self._busy = True
            start_daemon(self._look, "runstore-here")

    def _look(self) -> None:
        import subprocess

        from runstore.hosts import boxes

        try:
            done = subprocess.run(
                ["sh"],
                input=boxes.SCRIPT,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=HERE_S,
            )
            machine, why = boxes.parse(done.stdout), "its shell does not answer as a shell does"
        except (OSError, subprocess.TimeoutExpired) as error:
            machine, why = None, str(error)
        self.look = Look(machine, time.monotonic(), "" if machine else why)
        self._busy = False


@dataclass(slots=True)
class Hosts:
    """All of them; empty where only this machine's roots are watched."""

    hosts: Sequence[Host] = ()
    here: Here = field(default_factory=Here)
    names: Mapping[str, str] = field(default_factory=dict)
    """Of each copy's directory: what it is called where runs of several roots are listed."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Of each copy's directory: `hpc1:/scratch/me/runs`."""

    def log_in(self, *, ask: bool, say: Callable[[str], object], patient: bool = False) -> None:
        """Connect to all of them, before the screen opens: ssh may ask on the terminal.

        First to all at once, and nothing is asked; then to those that would ask, one by one.

        Args:
            ask: somebody is there to answer.
            say: is given what is being done, line by line.
            patient: wait for those that do not answer, too, which otherwise go on trying.
        """
        say(f"logging in to {', '.join(host.name for host in self.hosts)} …")
        for host in self.hosts:
            host.begin_login()
        until = time.monotonic() + LOGIN_S
        for host in self.hosts:
            host.wait_for_login(None if patient else max(0.0, until - time.monotonic()))
        # Looked for anew each time: while one is answered, another may have come so far.
        while ask and (asking := next((host for host in self.hosts if host.would_ask), None)):
            say(f"logging in to {asking.name} …")
            asking.log_in(ask=True)

    def pull_once(self) -> list[RunStoreError]:
        """Bring all copies up to date now, and return what went wrong."""
        found: list[RunStoreError] = []
        for host in self.hosts:
            refused = RunStoreError(f"{host.name}: {host.problem}")
            found += [refused] if host.problem else host.pull_once()
        return found

    def start(self) -> None:
        """Begin to pull."""
        for host in self.hosts:
            host.start()

    def stop(self) -> None:
        """End the pulls, and the connections that were begun for them."""
        for host in self.hosts:
            host.stop()
        until = time.monotonic() + GOODBYE_S
        for host in self.hosts:
            host.join(max(0.0, until - time.monotonic()))

    def hurry(self) -> None:
        """Pull everything now."""
        for host in self.hosts:
            host.hurry()

    def wanted(self) -> None:
        """Note that somebody looks at how the machines do."""
        for host in self.hosts:
            host.wanted()
        self.here.wanted()

    def again(self) -> None:
        """Pull everything, and ask all machines how they do, now."""
        for look in (self.here.look, *(host.look for host in self.hosts)):
            look.at = float("-inf")
        self.hurry()
        self.wanted()

    def problems(self) -> list[str]:
        """Return a line for each host with which something is wrong."""
        found = [f"{host.name}: {host.problem}" for host in self.hosts if host.problem]
        copies = [copy for host in self.hosts if not host.problem for copy in host.copies]
        return found + [f"{one.source.host}: {one.problem}" for one in copies if one.problem]

    def pulled_at(self, place: str) -> float | None:
        """Return when a run was brought up to date last, in Unix seconds, as far as is known."""
        found = self.find(place)
        return found[1].pulled_at(found[2]) if found else None

    def is_away(self, place: str) -> bool:
        """Tell whether a place is a copy whose host cannot be reached now."""
        found = self.find(place)
        return found is not None and bool(found[0].problem)

    def is_gone(self, place: str) -> bool:
        """Tell whether the original of a copy was removed, as far as is known."""
        found = self.find(place)
        return found is not None and found[1].is_gone(found[2])

    def find(self, place: str) -> tuple[Host, Copy, str] | None:
        """Return the host and the copy that a run lies in, and its path below that."""
        for host in self.hosts:
            for copy in host.copies:
                root = str(copy.place)
                if place == root or place.startswith(f"{root}/"):
                    return host, copy, place[len(root) + 1 :]
        return None

    # ---- what goes there -----------------------------------------------------------------------

    def add_note(self, place: str, text: str) -> str:
        """Write a note about a run on its machine; return the name of its file.

        Raises:
            RunStoreError: it cannot be put there.
        """
        host, copy, path = self._there(place)
        return host.add_note(copy, path, text)

    def ask(self, place: str, kind: Kind) -> Request:
        """Ask a run on its machine to stop, or for a checkpoint.

        Raises:
            RunStoreError: it cannot be put there.
        """
        host, copy, path = self._there(place)
        return host.ask(copy, path, kind)

    def _there(self, place: str) -> tuple[Host, Copy, str]:
        found = self.find(place)
        if found is None:
            raise RunStoreError(f"{place}: a run of this machine")
        if found[0].problem:
            raise RunStoreError(f"{found[0].name}: {found[0].problem}; nothing was written")
        return found
