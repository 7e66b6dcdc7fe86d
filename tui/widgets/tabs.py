"""The second line: the views by their numbers, and how many runs are marked."""

from __future__ import annotations

from textual import events

from .. import views
from ..messages import ViewChosen
from ..renderables.text import Line, Span, line, spread
from .lines import LinesWidget

HOSTS = "hosts"


class TabLine(LinesWidget):
    """One line; a click chooses a view."""

    view = "runs"
    marked = 0
    has_hosts = False
    """Other machines are watched: the view of them has its tab also where it is not looked at."""

    def update_from(self, view: str, marked: int) -> None:
        """Show another view as the current one, and how many runs are marked."""
        if (view, marked) != (self.view, self.marked):
            self.view, self.marked = view, marked
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the titles, or where they do not fit the numbers with the current title."""
        short, marked = self._fitting(width)
        tabs = line(*(Span(text, role) for text, role, _ in self._tabs(short)))
        return [spread(tabs, marked, width)]

    def _fitting(self, width: int) -> tuple[bool, Line]:
        """Return whether the titles are to be short, and how many runs are marked.

        The word `marked` goes before the titles do: whoever marks runs still goes to other views.
        """
        number = self.marked
        told = (f"{number:,} marked ", f"•{number:,} ") if number else ("",)
        size = sum(len(text) for text, _, _ in self._tabs(short=False))
        for text in told:
            if size + len(text) < width:
                return False, line(Span(text, "best"))
        return True, line(Span(told[0], "best"))

    def _tabs(self, short: bool) -> list[tuple[str, str, str]]:
        """Return the text, role and view of each tab."""
        found = []
        for number, view in enumerate(views.NAMES, 1):
            is_on = view == self.view
            if view == HOSTS and not (is_on or self.has_hosts):
                continue  # with it, eight titles no longer fit into 80 columns
            text = str(number) if short and not is_on else views.title(view)
            found.append((f" {text} ", "tab-on" if is_on else "tab", view))
        return found

    def on_click(self, event: events.Click) -> None:
        """Choose the view whose title was clicked."""
        short, _ = self._fitting(self.size.width)
        right = 0
        for text, _, view in self._tabs(short):
            right += len(text)
            if event.x < right:
                self.post_message(ViewChosen(view))
                return
