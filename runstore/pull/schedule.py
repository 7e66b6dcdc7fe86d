"""When a watched copy is brought up to date: running and new runs often, others now and then. Pure.

Which runs are running is told by the pulls themselves: what has just changed over there is looked
at again soon, whatever tool writes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from runstore.pull.loop import BackOff
from runstore.pull.rsync import Brought

LIVE_S, NAMES_S, WHOLE_S = 5.0, 10.0, 60.0
CALLS_PER_S = 100.0
"""A file server over there is asked about so many names a second at most."""
LISTED_PER_S = 1000.0
"""And names so many: a list of them is some calls."""
QUIET_S = 90.0
"""A run of which nothing has changed for so long is not running: hearts beat every ten seconds."""
APART_S = 120.0
"""Files that were changed so much earlier than the newest one are not those of a running run."""
_INNER = frozenset({"checkpoints", "notes", "samples", "tensorboard", "metrics", "params", "tags"})
"""Folders in a run."""

Kind = Literal["names", "live", "whole"]


class Due(NamedTuple):
    """What is to be done next, and in how many seconds."""

    kind: Kind
    wait_s: float


class Schedule:
    """Of one copy."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a whole pull; `clock` gives monotonic seconds."""
        self._clock = clock
        self._live: dict[str, float] = {}
        """Folders that change, and when a change was last seen."""
        self._names_at = self._whole_at = self._live_at = clock()
        self._back_off = BackOff(LIVE_S)

    @property
    def live(self) -> list[str]:
        """Folders of running runs, as paths below the directory over there."""
        return sorted(self._live)

    @property
    def folders(self) -> set[str]:
        """Where a new run is expected: in the directory itself, and beside those that run."""
        found = {""}
        for path in self._live:
            while path := path.rpartition("/")[0]:
                found.add(path)
        return found

    def due(self) -> Due:
        """Return what comes next."""
        now = self._clock()
        # The names before the first whole pull: what comes while that goes on is then new.
        times: list[tuple[Kind, float]] = [("names", self._names_at), ("whole", self._whole_at)]
        if self._live:
            times.append(("live", self._live_at))
        kind, at = min(times, key=lambda one: one[1])
        return Due(kind, max(0.0, at - now))

    def hurry(self) -> None:
        """Have a whole pull done now."""
        self._whole_at = self._clock()

    def saw(self, new: Iterable[str], number: int, *, again: bool = True) -> None:
        """Note what a look at the names has found.

        Args:
            new: paths that were not there before: they are pulled now, and for a while again.
            number: how many names there are.
            again: False where no look will ever tell anything.
        """
        now = self._clock()
        for path in new:
            self._live[path] = self._live_at = now
        wait_s = max(NAMES_S, number / LISTED_PER_S)
        self._names_at = now + wait_s if again else math.inf

    def came(self, kind: Kind, brought: Brought, modified: Mapping[str, float]) -> None:
        """Note what a pull has brought.

        Args:
            kind: which one.
            brought: what it says.
            modified: of files that came, when they were changed, on any one clock.
        """
        now = self._clock()
        self._back_off.wait_s(failed=False)
        newest = max(modified.values(), default=0.0)
        for file in brought.files:
            if kind == "live" or modified.get(file, 0.0) >= newest - APART_S:
                self._live[folder_of(file)] = now
        self._live = {path: seen for path, seen in self._live.items() if now - seen <= QUIET_S}
        cost_s = brought.looked_at / CALLS_PER_S
        self._live_at = now + max(LIVE_S, cost_s)
        if kind == "whole":
            self._whole_at = now + max(WHOLE_S, cost_s)

    def failed(self) -> float:
        """Note that one has failed, and return the seconds until the next try, a whole one."""
        wait_s = self._back_off.wait_s(failed=True)
        self._whole_at = self._live_at = self._clock() + wait_s
        self._names_at = max(self._names_at, self._whole_at + NAMES_S)
        return wait_s


def folder_of(file: str) -> str:
    """Return the folder of the run that a file is of; the file itself where that is the root."""
    *folders, _ = file.split("/")
    inner = next((at for at, name in enumerate(folders) if name in _INNER), len(folders))
    return "/".join(folders[:inner]) or file
