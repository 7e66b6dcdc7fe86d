"""The last line: the keys that are needed most.

Textual's `Footer` leaks a widget for each change of focus, which adds up over days.
"""

from __future__ import annotations

from .. import keymap
from ..renderables.text import Line, Span, line, line_width, shorten, spread
from .lines import LinesWidget

APART = 3
"""Cells between the keys and the note, as between two keys at least."""


class HintLine(LinesWidget):
    """One line of keys, and at its end what stands out about the list."""

    view = "runs"
    note = ""
    going_back = False
    """Esc does something: it takes the place of Enter."""
    idle: tuple[str, ...] = ()
    """Hints of keys that do nothing now."""
    prompt: Line | None = None
    """What is being typed."""
    ends = ""
    """What Enter and Esc do with it."""

    def update_from(
        self,
        view: str,
        note: str,
        going_back: bool,
        prompt: Line | None,
        ends: str,
        idle: tuple[str, ...],
    ) -> None:
        """Show the keys of a view, a note, and what is being typed.

        Without a prompt the note tells the filter in force, with one what is wrong with the text.
        """
        new = (view, note, going_back, prompt, ends, idle)
        old = (self.view, self.note, self.going_back, self.prompt, self.ends, self.idle)
        if new != old:
            self.view, self.note, self.going_back, self.prompt, self.ends, self.idle = new
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the keys, as many as fit, or the filter while it is typed."""
        if self.prompt is not None:
            told = Span(f"{self.note} ", "warn") if self.note else Span(f"{self.ends} ", "dim")
            return [spread(self.prompt, line(told), width)]
        note = line(Span(shorten(self.note, width - 12), "warn"), " ") if self.note else ()
        room = width - (line_width(note) + APART if note else 1)
        return [spread(self._keys(room), note, width)]

    def _keys(self, room: int) -> Line:
        """Return the first hints, as many as fit as a whole; the first alone in any case."""
        spans: list[Span] = []
        for key, does in keymap.hints(self.view, self.going_back, self.idle):
            hint = [Span("   " if spans else " "), Span(key, "key"), Span(f" {does}", "dim")]
            if spans and line_width((*spans, *hint)) > room:
                break
            spans += hint
        return tuple(spans)
