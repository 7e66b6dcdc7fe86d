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
    prompt: str | None = None
    """The filter while it is typed."""

    def update_from(self, note: str, going_back: bool, prompt: str | None) -> None:
        """Show a note (the filter in force), whether Esc leads back, and what is being typed."""
        if (note, going_back, prompt) != (self.note, self.going_back, self.prompt):
            self.note, self.going_back, self.prompt = note, going_back, prompt
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the keys, as many as fit, or the filter while it is typed."""
        if self.prompt is not None:
            typed = line(Span(" /", "key"), self.prompt, Span("▏", "key"))
            help_text = "name, status or tag   Enter keeps   Esc drops "
            return [spread(typed, line(Span(help_text, "dim")), width)]
        spans: list[Span] = [Span(" ")]
        note = line(Span(self.note, "warn"), " ") if self.note else ()
        for key, does in keymap.hints(self.going_back):
            spans += [Span(key, "key"), Span(f" {does}   ", "dim")]
        return [spread(line(*spans), note, width)]
