"""The view `hosts`: each machine with its free GPUs, load, memory, and whose runs are on it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from runstore.files.records import integer

from ..entry import Entry, RunView
from ..hosts import Hosts, Look
from ..renderables.hosts import Runs, Shown, hosts
from ..renderables.text import Line, from_file
from .pane import Pane

if TYPE_CHECKING:
    from ..pulling import Copy

MOST_RUNS = 200
"""Live runs whose processes are looked for on the GPUs."""


class HostsPane(Pane):
    """All machines; which run is chosen makes no difference."""

    NAME = "hosts"
    FOLLOWS_CLOCK = True

    def body(self, width: int, height: int) -> list[Line]:
        """Return what is scrolled into view."""
        watched = self.scene.beside.hosts
        watched.wanted()
        return self.scrolled(hosts(list(self._shown(watched)), width), height)

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return nothing: it is of no run."""
        return []

    def action_again(self) -> None:
        """Pull from all machines, and ask them how they do, without waiting for their time."""
        self.scene.beside.hosts.again()
        self.redraw()

    def subtitle(self) -> str:
        """Return how many GPUs are free on all of them."""
        watched = self.scene.beside.hosts
        looks = [watched.here.look, *(host.look for host in watched.hosts)]
        machines = [look.machine for look in looks if look.machine is not None]
        number = sum(len(machine.gpus) for machine in machines)
        free = sum(machine.free_gpus for machine in machines)
        return f"{free} of {number} GPUs free" if number else ""

    def _shown(self, watched: Hosts) -> Iterable[Shown]:
        now, runs = time.monotonic(), self._runs()
        for host in watched.hosts:
            look = host.look
            retry_s = host.retry_at - now if host.problem else None
            yield Shown(
                host.name,
                look.machine,
                _age(look, now),
                host.problem or look.problem,
                retry_s,
                [(copy.source.path, _copy_age(copy)) for copy in host.copies],
                runs,
            )
        here = watched.here
        yield Shown(
            here.name, here.look.machine, _age(here.look, now), here.look.problem, runs=runs
        )

    def _runs(self) -> Runs:
        """Return the names of live runs by machine and process, as their files have them."""
        found: dict[tuple[str, int], str] = {}
        alive = (entry for entry in self.scene.listed if entry.word in ("running", "stalled"))
        for _, entry in zip(range(MOST_RUNS), alive, strict=False):
            place = _process_of(entry)
            if place is not None:
                found[place] = entry.name
        return found


def _process_of(entry: Entry) -> tuple[str, int] | None:
    with entry.glimpse(wait_s=0) as view:
        newest = view.listed.newest if view is not None else None
        opened = newest.opened if newest is not None else None
        pid = integer(opened, "pid") if opened is not None else None
        return (from_file(str(opened.get("host"))), pid) if opened and pid is not None else None


def _age(look: Look, now: float) -> float | None:
    return now - look.at if look.machine is not None else None


def _copy_age(copy: Copy) -> float | None:
    times = [at for at in (copy.whole_at, copy.live_at) if at is not None]
    return time.time() - max(times) if times else None
