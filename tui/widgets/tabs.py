"""The second line: the views by their numbers, and how many runs are marked."""

from __future__ import annotations

from textual import events

from .. import views
from ..messages import ViewChosen
from ..renderables.text import Line, Span, line, line_width, spread
from .lines import LinesWidget


class TabLine(LinesWidget):
    """One line; a click chooses a view."""

    view = "runs"
    marked = 0

    def update_from(self, view: str, marked: int) -> None:
        """Show another view as the current one, and how many runs are marked."""
        if (view, marked) != (self.view, self.marked):
            self.view, self.marked = view, marked
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the titles, or where they do not fit the numbers with the current title."""
        marked = line(Span(f"{self.marked} marked ", "best")) if self.marked else ()
        for short in (False, True):
            tabs = line(*(Span(text, role) for text, role, _ in self._tabs(short)))
            if line_width(tabs) + line_width(marked) < width:
                break
        return [spread(tabs, marked, width)]

    def _tabs(self, short: bool) -> list[tuple[str, str, str]]:
        """Return the text, role and view of each tab."""
        found = []
        for number, view in enumerate(views.NAMES, 1):
            is_on = view == self.view
            text = str(number) if short and not is_on else views.title(view)
            found.append((f" {text} ", "tab-on" if is_on else "tab", view))
        return found

    def on_click(self, event: events.Click) -> None:
        """Choose the view whose title was clicked."""
        width = sum(len(text) for text, _, _ in self._tabs(short=False))
        right = 0
        for text, _, view in self._tabs(short=width >= self.size.width):
            right += len(text)
            if event.x < right:
                self.post_message(ViewChosen(view))
                return
