"""Rows of a run as its files have them: what a number on screen is made of, and what is damaged."""

from __future__ import annotations

import sys

from runstore.text import printable

from ..raw_lines import RawLine, RawReading
from ..renderables.copies import text_lines
from ..renderables.text import EMPTY, Line, Span, from_file, line
from ..side_reader import SideReader
from .overlay import OverlayScreen

LOOK_S = 0.25


class RawScreen(OverlayScreen[None]):
    """Covers the main screen and follows the files.

    What is typed is looked for in the lines that are here; a number is a step whose rows are read.
    """

    CLOSED_BY = frozenset({"escape"})

    def __init__(self, name: str, source: str, reading: RawReading) -> None:
        """Show what a reading finds.

        Args:
            name: of the run, safe to draw.
            source: which format it is of.
            reading: of its files.
        """
        super().__init__(f"Lines of {name}", "type a step, or to search · Esc closes")
        self._source, self._reading = source, reading
        self._reader = SideReader()
        self._shown: list[RawLine] | None = None

    def on_mount(self) -> None:
        """Read at once, and again and again."""
        self._reader.ask(self._reading, now=True)
        self.set_interval(LOOK_S, self._look)

    def _look(self) -> None:
        self._reader.ask(self._reading)
        if self._reading.lines != self._shown:
            self.refill()

    def text_changed(self) -> None:
        """Read the rows of a step that is typed."""
        if self.typed.isdecimal():
            self._reading.step = float(self.typed)
            self._reader.ask(self._reading, now=True)
        super().text_changed()

    def content(self) -> tuple[list[Line], int | None]:
        """Return the lines that have what was typed in them."""
        found = self._shown = self._reading.lines
        if found is None:
            silent = "its file server does not answer" if self._reader.is_silent else "reading …"
            return [line(Span(silent, "dim"))], None
        wanted = self.typed.lower()
        matching = [one for one in found if wanted in f"{one.place} {one.text}".lower()]
        if not matching:
            none = f"no file of lines is here (source: {from_file(self._source)})"
            return [line(Span("no line has that" if found else none, "dim"))], None
        rows: list[Line] = []
        for one in matching:
            problem = Span(f"  ! {from_file(one.problem)}" if one.problem else "", "bad")
            rows.append(line(Span(from_file(one.place), "head"), problem))
            rows += text_lines(printable(one.text, limit=sys.maxsize), self.box.text_width)
            rows.append(EMPTY)
        return rows[:-1], None
