"""The last line: the keys that are needed most.

Textual's `Footer` leaks a widget for each change of focus, which adds up over days.
"""

from __future__ import annotations

from .. import keymap
from ..renderables.text import Line, Span, line, spread
from .lines import LinesWidget


class HintLine(LinesWidget):
    """One line of keys, and at its end what stands out about the list."""

    note = ""
    going_back = False
    """Esc does something: it takes the place of Enter."""

    def update_from(self, note: str, going_back: bool) -> None:
        """Show a note, such as the filter in force, and whether Esc leads back."""
        if (note, going_back) != (self.note, self.going_back):
            self.note, self.going_back = note, going_back
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the keys, as many as fit."""
        spans: list[Span] = [Span(" ")]
        note = line(Span(self.note, "warn"), " ") if self.note else ()
        for key, does in keymap.hints(self.going_back):
            spans += [Span(key, "key"), Span(f" {does}   ", "dim")]
        return [spread(line(*spans), note, width)]
