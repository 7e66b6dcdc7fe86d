"""A box over the screen: a title, what is typed, and lines that scroll."""

from __future__ import annotations

from ..renderables.text import EMPTY, Line, Span, fit_line, line, line_width
from .lines import LinesWidget

EDGE = "rule-focus"


class Overlay(LinesWidget, can_focus=True):
    """Draws what its screen gives it, in a frame: some themes have no other background for it."""

    def __init__(self) -> None:
        super().__init__(id="overlay")
        self.title, self.hint = "", ""
        self.typed: str | None = None
        """What is typed; None where nothing can be."""
        self.top = 0
        self.framed = True
        """Without a frame, a line is the text alone: it is there to be selected."""
        self._rows: list[Line] = []

    @property
    def rows(self) -> int:
        """How many lines are visible at once."""
        return max(1, self.size.height - 1 - self.framed - (self.typed is not None))

    @property
    def text_width(self) -> int:
        """Cells of a line."""
        return max(1, self.size.width - 4 * self.framed)

    def update_from(self, rows: list[Line], keep_visible: int | None = None) -> None:
        """Show other lines, one of which is to be visible."""
        self._rows = rows
        if keep_visible is not None:
            self.top = max(keep_visible - self.rows + 1, min(self.top, keep_visible))
        self.scroll_by(0)

    def scroll_by(self, lines: int) -> None:
        """Scroll, and stay within the lines."""
        self.top = max(0, min(self.top + lines, len(self._rows) - self.rows))
        self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the title, the prompt, the visible lines and the lower edge."""
        shown = self._rows[self.top : self.top + self.rows]
        if not self.framed:
            return [self._title(width), *shown]
        if self.typed is not None:
            shown = [line(Span("> ", "key"), self.typed, Span("▏", "key")), *shown]
        shown += [EMPTY] * (height - 2 - len(shown))
        lower = line(Span(f"└{'─' * (width - 2)}┘", EDGE))
        return [self._title(width), *(self._between(row, width) for row in shown), lower]

    def _between(self, row: Line, width: int) -> Line:
        """Return a line between the edges; the role of a whole line stays in front."""
        whole, row = (row[:1], row[1:]) if row and not row[0].text else (EMPTY, row)
        text = fit_line((Span(" "), *row), width - 2)
        return (*whole, Span("│", EDGE), *text, Span("│", EDGE))

    def _title(self, width: int) -> Line:
        below = len(self._rows) - self.top - self.rows
        end = f"↓ {below} more " if below > 0 else ""
        left, right = ("┌─ ", "─┐") if self.framed else ("─ ", "─")
        head = line(Span(left, EDGE), Span(self.title, "title"), " ")
        tail = line(Span(f" {self.hint} {end}", "dim"), Span(right, EDGE))
        room = width - line_width(head) - line_width(tail)
        if room < 0:
            head, room = fit_line(head, max(0, width - line_width(tail))), 0
        return line(*head, Span("─" * room, EDGE), *tail)
