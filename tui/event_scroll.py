"""Which events of a run are on screen: followed, scrolled and searched. They are all in memory."""

from __future__ import annotations

from collections.abc import Mapping

from runstore.files.text_search import Needle
from runstore.state.attempt_facts import Attempt

from .renderables.log import EventRows, EventTexts, Row
from .renderables.text import from_file


class EventScroll:
    """The events of one run, the newest at the end."""

    def __init__(self, wrap: bool = False, needle: Needle | None = None) -> None:
        """Follow the newest."""
        self.follows = True
        self.wrap = wrap
        self.pan = 0
        self.needle = needle
        """What is marked where it occurs."""
        self._texts = EventTexts()
        self._known: tuple[tuple[int, int, int], ...] | None = None
        self._rows = EventRows([], 1, False, 0, None)
        self._rows_of: object = None
        self._top = self._height = 0
        self._found: int | None = None
        """The event that the search is at."""
        self._holding: list[int] = []
        self._holding_of: object = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._texts.lines)

    def learn(self, attempts: Mapping[int, Attempt]) -> None:
        """Take in what happened since; call it while the run's state is held still."""
        known = tuple(
            (n, attempt.event_count, len(attempt.execution.events) if attempt.execution else 0)
            for n, attempt in sorted(attempts.items())
        )
        if known != self._known:
            self._known = known
            self._texts.take(attempts)

    def rows(self, width: int, height: int, *, newest: bool = False) -> list[Row]:
        """Return the rows that are scrolled into view, or the newest wherever that is."""
        made_of = (width, self.wrap, self.pan, self.needle, self._known)
        if self._rows_of != made_of:
            self._rows_of = made_of
            self._rows = EventRows(self._texts.lines, width, self.wrap, self.pan, self.needle)
        last = max(0, len(self._rows) - height)
        if newest:
            return self._rows.part(last, height)
        self._height = height
        self._top = last if self.follows else max(0, min(self._top, last))
        return self._rows.part(self._top, height, self._found)

    def move(self, rows: int) -> None:
        """Scroll; upwards ends following."""
        self._top += rows
        self.follows = self.follows and rows >= 0

    def go(self, direction: int) -> None:
        """Go to the first, or to the newest and follow."""
        self._top, self.follows = 0, direction > 0

    def search(self, needle: Needle | None) -> None:
        """Mark a text, and go to where it was last, or from the top on first; None: no more."""
        self.needle, self._found = needle, None
        if needle is not None:
            self.look(-1 if self.follows else 1)

    def look(self, way: int) -> None:
        """Go to the next event below (1) or above (-1) that holds the text, and round the end."""
        places = self._places()
        start = self._found
        if start is None:
            at = self._top if not self.follows else len(self._rows)
            start = self._rows.event_of(at) - 1 if at < len(self._rows) else len(self._texts.lines)
        ahead = [at for at in places if (at - start) * way > 0] or places
        self._found = (ahead[0] if way > 0 else ahead[-1]) if ahead else None
        if self._found is not None:
            self.follows = False
            row = self._rows.row_of(self._found)
            if not self._top <= row < self._top + self._height:
                self._top = max(0, row - self._height // 3)

    def _places(self) -> list[int]:
        """Return which events hold the text."""
        made_of = self._known, self.needle
        if self._holding_of != made_of:
            needle, self._holding_of = self.needle, made_of
            texts = enumerate(self._texts.lines) if needle is not None else ()
            self._holding = [
                at for at, event in texts if needle and needle.shown.search(event.text)
            ]
        return self._holding

    def where(self) -> list[str]:
        """Return how it stands with following and the search, in words."""
        told = ["following"] if self.follows else []
        if self.needle is not None:
            number = len(self._places())
            told.append(
                f"{number:,} {'hit' if number == 1 else 'hits'} {from_file(self.needle.text)!r}"
            )
        return told
