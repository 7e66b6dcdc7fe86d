"""The list of keys, made from the key map."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.geometry import Size
from textual.screen import ModalScreen

from .. import keymap, views
from ..renderables.text import EMPTY, Line, Span, fit, line
from ..widgets.lines import LinesWidget

_KEYS_WIDTH = 16


class HelpText(LinesWidget, can_focus=True):
    """The keys of a view, and those that work everywhere."""

    def __init__(self, view: str) -> None:
        super().__init__(id="help")
        self._view = view

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the height of the list."""
        return len(self.build(width, viewport.height))

    def build(self, width: int, height: int) -> list[Line]:
        """Return a title and one line per key."""
        keys = list(keymap.shown_in(self._view))
        title = line(Span("Keys", "title"), Span("   any key closes this list", "dim"))
        rows = list(_rows(keys))
        # A low terminal drops the keys that have a digit of their own in the tabs.
        if len(rows) > max(1, height - 1):
            rows = list(_rows([key for key in keys if not key.shown.isdigit()]))
            numbers = f"1 … {len(views.VIEWS)}"
            rows.insert(0, line(Span(fit(numbers, _KEYS_WIDTH), "key"), "view by its number"))
        spaced = [title, EMPTY, *rows]
        return spaced if len(spaced) <= height else [title, *rows]


def _rows(keys: list[keymap.Key]) -> Iterator[Line]:
    for key in keys:
        yield line(Span(fit(key.shown, _KEYS_WIDTH), "key"), key.does)


class HelpScreen(ModalScreen[None]):
    """Covers the main screen until a key is pressed."""

    CSS_PATH = "help.tcss"

    def __init__(self, view: str) -> None:
        """Show the keys of a view first."""
        super().__init__()
        self._view = view

    def compose(self) -> ComposeResult:
        """One widget."""
        yield HelpText(self._view)

    def on_key(self) -> None:
        """Any key closes it."""
        self._close()

    def on_click(self) -> None:
        """A click anywhere closes it."""
        self._close()

    def _close(self) -> None:
        # A second key may have come before the first one has closed it.
        if self.is_active:
            self.dismiss()
