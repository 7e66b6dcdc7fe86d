"""The list of keys, made from the key map."""

from __future__ import annotations

from ..commands import key_choices
from ..renderables.choices import grouped_lines, matching
from ..renderables.text import Line, Span, line
from .overlay import OverlayScreen


class HelpScreen(OverlayScreen[None]):
    """Covers the main screen; what is typed is looked for in the keys of all views."""

    CLOSED_BY = frozenset({"escape", "question_mark"})

    def __init__(self, view: str) -> None:
        """Show the keys of a view first."""
        super().__init__("Keys", "type to search · Esc closes")
        self._view = view

    def content(self) -> tuple[list[Line], int | None]:
        """Return the keys that match."""
        choices = key_choices(self._view)
        matched = set(matching(choices, self.typed))
        found = [choice for choice in choices if choice in matched]  # grouped as they are
        rows = grouped_lines(found, self.box.text_width)
        return rows or [line(Span("no key does that", "dim"))], None
