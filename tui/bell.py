"""Which runs have ended, failed or become NaN since they were seen last. Knows no widget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from runstore.state.status import Status
from runstore.text import printable

EVERY_S = 1.0
"""The bell rings at most so often: a sweep that is cancelled ends many runs at once."""
TOLD_S = 60.0
"""How long the header tells what it rang for."""


class Watched(Protocol):
    """What the bell needs of a run of the catalog."""

    glanced: bool
    word: str
    is_nan: bool

    @property
    def key(self) -> str:
        """What tells the run from all others."""

    @property
    def name(self) -> str:
        """What people call it."""


class Bell:
    """Remembers each run as it was seen, and tells what has become of it.

    A run that had ended when it was first seen is no news.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Use `clock`, in seconds."""
        self._clock = clock
        self._seen: dict[str, tuple[str, bool]] = {}
        self._rung_at = -EVERY_S
        self._told = ("", 0.0)

    @property
    def told(self) -> str:
        """What the last ring was for; empty after a minute."""
        text, at = self._told
        return text if self._clock() - at < TOLD_S else ""

    def notice(self, runs: Iterable[Watched]) -> list[str]:
        """Return what has become of runs since they were noticed last, in words, safe to draw."""
        found = []
        for run in runs:
            if not run.glanced:
                continue
            before, now = self._seen.pop(run.key, None), (run.word, run.is_nan)
            if Status(run.word).alive:  # nothing more is heard of the others, and they are many
                self._seen[run.key] = now
            if before is not None and (news := _news(before, now)):
                found.append(f"{printable(run.name)} {news}")
        return found

    def rings(self, found: list[str]) -> bool:
        """Tell whether to ring now for what was noticed, and remember it for the header."""
        if not found:
            return False
        now = self._clock()
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        self._told = found[0] + more, now
        if now - self._rung_at < EVERY_S:
            return False
        self._rung_at = now
        return True


def _news(before: tuple[str, bool], now: tuple[str, bool]) -> str:
    """Return what is new: `finished`, `failed`, …, or `nan`; empty where nothing is."""
    if Status(before[0]).alive and not Status(now[0]).alive:
        return now[0]
    return "nan" if now[1] and not before[1] else ""
