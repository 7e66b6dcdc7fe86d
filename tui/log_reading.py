"""Which part of a run's output is on screen: moves, follows and searches, in a thread beside.

Whoever draws asks for moves and takes the newest `Page`; the moves are made where files are read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runstore.environment.mounts import is_network
from runstore.files.output_text import OutputText, Place, Search, TextLine
from runstore.files.regular import why_unreadable
from runstore.files.text_search import Needle

from .renderables.log import Row, shown_text, text_rows

SLICE_S = 0.02
"""Searching and counting at once; a key waits no longer for it."""
LOCAL_S, NETWORK_S = 0.2, 1.0
"""How often to look whether there is more."""


@dataclass(frozen=True, slots=True)
class Hits:
    """How far a search has come."""

    text: str
    count: int
    number: int | None
    """Which of them is marked, from 1; None: none is, or it is not counted yet."""
    searched: float
    """How much of the output was searched, from 0 to 1."""
    is_looking: bool
    """The next one is being looked for."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is on screen of the output."""

    rows: tuple[Row, ...] = ()
    is_there: bool = False
    """There is some output."""
    is_empty: bool = False
    """A file for it is there, with nothing in it."""
    number: int | None = None
    """Of the first line, from 1; None while that is not counted."""
    lines: int | None = None
    """How many there are; None while that is not counted."""
    share: float = 0.0
    """How much of the output is above, from 0 to 1."""
    column: int = 1
    """The first that is shown of lines that are cut, from 1."""
    follows: bool = True
    hits: Hits | None = None
    problem: str = ""
    is_read: bool = False
    """Files were looked at."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How lines become rows."""

    width: int = 80
    height: int = 0
    wrap: bool = False


class LogReading:
    """The output of one run as it is scrolled. Public methods are for the thread of the screen."""

    every_s = LOCAL_S

    def __init__(self, run_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Show the end of the output of the run in `run_dir`."""
        self.page = Page()
        """The newest; replaced as a whole."""
        self._run_dir, self._clock = run_dir, clock
        self._text = OutputText(run_dir)
        self._asked: deque[Callable[[], None]] = deque()
        self._shape = Shape()
        self._pan = 0
        self._top, self._row = Place(0, 0), 0
        """The line at the top, and which of its rows."""
        self._follows = True
        self._search: Search | None = None
        self._at_rest: object = None
        """The stamp of the text of which nothing is to be read any more."""

    # ---- what is asked for ---------------------------------------------------------------------

    def reshape(self, shape: Shape) -> bool:
        """Draw for another size, or wrap lines; return whether that is news."""
        if shape == self._shape:
            return False
        self._asked.append(lambda: self._take_shape(shape))
        return True

    def move(self, rows: int) -> None:
        """Scroll; upwards ends following."""
        self._asked.append(lambda: self._move(rows))

    def go_to_top(self) -> None:
        """Show the beginning."""
        self._asked.append(lambda: self._go_to(self._text.top))

    def follow(self, follows: bool) -> None:
        """Show the end from now on, or stay where it is."""
        self._asked.append(lambda: self._follow(follows))

    def pan(self, columns: int) -> None:
        """Show what is further right, or left, of lines that are cut."""
        self._asked.append(lambda: self._move_aside(columns))

    def search(self, text: str, *, stay: bool = False) -> None:
        """Look for a text; an empty one ends the search. `stay`: mark and count, and go nowhere."""
        self._asked.append(lambda: self._begin_search(text, stay))

    def next_hit(self, way: int) -> None:
        """Go to the next hit below (1) or above (-1)."""
        self._asked.append(lambda: self._look_on(way))

    # ---- in the thread that reads --------------------------------------------------------------

    def read(self) -> bool:
        """Do what was asked for and read the page; tell whether there is more to do at once."""
        if not self.page.is_read:
            self.every_s = NETWORK_S if is_network(self._run_dir) else LOCAL_S
        text = self._text
        try:
            text.refresh()
            if text.problem and not text.parts and self.page.rows:
                # What was seen last stays on screen.
                self._at_rest = None
                self.page = replace(self.page, problem=text.problem)
                return False
            was_asked = bool(self._asked)
            while self._asked:
                self._asked.popleft()()
            stamp, is_done = text.stamp, False
            if not was_asked and stamp == self._at_rest:
                return False
            if self.page.is_read and not was_asked:
                end = self._clock() + SLICE_S
                is_done = self._go_on(lambda: self._clock() > end)
            self.page = self._make_page()
            self._at_rest = stamp if is_done else None
            return not is_done
        except FileNotFoundError:  # closed, renamed or replaced between two looks
            return False
        except OSError as error:
            self._at_rest = None
            self.page = Page(problem=why_unreadable(error), is_read=True)
            return False
        finally:
            text.close()

    def _go_on(self, is_over: Callable[[], bool]) -> bool:
        search = self._search
        if search is not None:
            was_looking = search.is_looking
            is_done = search.go_on(is_over)
            if was_looking and not search.is_looking and search.hit is not None:
                self._show_hit(search.hit)
            if not is_done:
                return False
        return self._text.count_lines(is_over)

    def _take_shape(self, shape: Shape) -> None:
        if shape.wrap != self._shape.wrap:
            self._row = self._pan = 0
        self._shape = shape

    def _go_to(self, place: Place, row: int = 0) -> None:
        self._top, self._row, self._follows = place, row, False

    def _follow(self, follows: bool) -> None:
        self._follows = follows

    def _move_aside(self, columns: int) -> None:
        if not self._shape.wrap:
            self._pan = max(0, self._pan + columns)

    def _move(self, rows: int) -> None:
        if rows < 0:
            self._settle()
            self._go_to(*self._above(self._top, self._row, -rows))
        else:
            self._go_down(rows)

    def _go_down(self, rows: int) -> None:
        while rows > 0 and (line := self._text.line(self._top)) is not None:
            size = len(self._rows(line))
            if self._row + rows < size:
                self._row += rows
                return
            rows -= size - self._row
            self._top, self._row = line.end, 0

    def _above(self, place: Place, row: int, rows: int) -> tuple[Place, int]:
        """Return the line and the row of it that are so many rows above a row."""
        left = rows - row
        while left > 0:
            line = self._text.line_before(place)
            if line is None:
                return place, 0
            place = line.start
            left -= len(self._rows(line))
        return place, -left

    def _begin_search(self, text: str, stay: bool) -> None:
        self._search = Search(self._text, Needle(text)) if text else None
        if not stay:  # what people look for at the end is what has just gone by
            self._look_on(-1 if self._follows else 1)

    def _look_on(self, way: int) -> None:
        if self._search is None:
            return
        start = self._search.hit
        if start is None:
            at_top = self._top._replace(offset=self._top.offset - 1)
            start = at_top if way > 0 else self._text.end if self._follows else self._top
        self._search.look(start, way)

    def _show_hit(self, hit: Place) -> None:
        """Bring a hit into view; where it is in view already, nothing moves."""
        self._settle()
        self._follows = False
        start = self._text.settled(hit)
        line = self._text.line(start)
        if line is None:
            return
        row = self._row_of(line, hit)
        column = len(shown_text(line.data[: hit.offset - start.offset]))
        width = self._width
        if not self._shape.wrap and not self._pan < column + 1 < self._pan + width - 1:
            self._pan = max(0, column - width // 3) if column + 2 > width else 0
        if not self._is_in_view(start, row):
            self._go_to(*self._above(start, row, self._shape.height // 3))

    def _row_of(self, line: TextLine, hit: Place) -> int:
        """Return which row of its line a hit begins in."""
        if not self._shape.wrap:
            return 0
        before = shown_text(line.data[: hit.offset - line.start.offset])
        return len(text_rows(f"{before}x", self._width, wrap=True, pan=0, needle=None)) - 1

    def _is_in_view(self, start: Place, row: int) -> bool:
        if (start, row) < (self._top, self._row):
            return False
        place, left = self._top, self._shape.height + self._row
        while left > 0 and (line := self._text.line(place)) is not None:
            if line.start == start:
                return row < left
            left -= len(self._rows(line))
            place = line.end
        return False

    def _settle(self) -> None:
        """Be at a line that is there, and not so far down that the page is not full."""
        last = self._above(self._text.end, 0, self._shape.height)
        self._top = self._text.settled(self._top)
        if self._follows or (self._top, self._row) > last:
            self._top, self._row = last

    @property
    def _width(self) -> int:
        return max(1, self._shape.width - 2 * (self._search is not None))

    def _rows(self, line: TextLine) -> list[Row]:
        wrap = self._shape.wrap
        if not wrap:
            return [Row("")]
        text = shown_text(line.data)
        return text_rows(text, self._width, wrap=wrap, pan=0, needle=None)

    def _make_page(self) -> Page:
        self._settle()
        text = self._text
        rows: list[Row] = []
        place, skipped = self._top, self._row
        hit = self._search.hit if self._search else None
        found = None if hit is None else text.settled(hit)
        needle = self._search.needle if self._search else None
        while len(rows) < self._shape.height and (line := text.line(place)) is not None:
            shown = shown_text(line.data)
            made = text_rows(
                shown, self._width, wrap=self._shape.wrap, pan=self._pan, needle=needle
            )
            if hit is not None and line.start == found:
                at = min(self._row_of(line, hit), len(made) - 1)
                made[at] = made[at]._replace(is_found=True)
            rows += made[skipped:]
            place, skipped = line.end, 0
        return Page(
            rows=tuple(rows[: self._shape.height]),
            is_there=bool(text.parts),
            is_empty=text.is_empty,
            number=text.number_of(self._top),
            lines=text.lines if text.is_counted else None,
            share=text.share_before(self._top),
            column=self._pan + 1,
            follows=self._follows,
            hits=self._hits(),
            problem=text.problem,
            is_read=True,
        )

    def _hits(self) -> Hits | None:
        search = self._search
        if search is None:
            return None
        return Hits(
            search.needle.text,
            search.hits,
            search.number_of_hit(),
            1.0 if search.is_counted else search.share_counted,
            search.is_looking,
        )
