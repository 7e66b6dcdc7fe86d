"""Notices when runs end while they are watched. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from runstore.status import Status

from .catalog import Entry


class Endings:
    """The runs that were seen to be alive."""

    def __init__(self) -> None:
        self._alive: set[str] = set()

    def take(self, changed: Iterable[Entry]) -> list[Entry]:
        """Return those of the changed runs that were alive and have ended."""
        ended = []
        for entry in changed:
            if Status(entry.word).is_proven_alive:
                self._alive.add(entry.key)
            elif entry.key in self._alive and not entry.alive:
                self._alive.discard(entry.key)
                ended.append(entry)
        return ended
