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

    def show_note(self, note: str) -> None:
        """Show a note, such as the filter in force."""
        if note != self.note:
            self.note = note
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the keys, as many as fit."""
        spans: list[Span] = [Span(" ")]
        for key, does in keymap.hints():
            spans += [Span(key, "key"), Span(f" {does}   ", "dim")]
        return [spread(line(*spans), line(Span(self.note, "warn"), " "), width)]
