"""The list of keys, made from the key map."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.geometry import Size
from textual.screen import ModalScreen

from .. import keymap
from ..renderables.text import EMPTY, Line, Span, fit, line
from ..widgets.lines import LinesWidget

_KEYS_WIDTH = 16


class HelpText(LinesWidget, can_focus=True):
    """All keys; two to a line where that is needed to show all of them."""

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the height of the list."""
        return len(self.build(width, viewport.height))

    def build(self, width: int, height: int) -> list[Line]:
        """Return a title and one line per key."""
        keys = keymap.KEYS
        rows = [_row(key) for key in keys]
        title = line(Span("Keys", "title"), Span("   any key closes this list", "dim"))
        room = max(1, height - 1)
        # A low terminal drops the keys that have a digit of their own in the tabs.
        if len(rows) > room:
            rows = [_row(key) for key in keys if not key.shown.isdigit()]
            rows.insert(0, line(Span(fit("1 … 5", _KEYS_WIDTH), "key"), "pane by its number"))
        spaced = [title, EMPTY, *rows]
        return spaced if len(spaced) <= height else [title, *rows]


def _row(key: keymap.Key) -> Line:
    return line(Span(fit(key.shown, _KEYS_WIDTH), "key"), key.does)


class HelpScreen(ModalScreen[None]):
    """Covers the main screen until a key is pressed."""

    CSS_PATH = "help.tcss"

    def compose(self) -> ComposeResult:
        """One widget."""
        yield HelpText(id="help")

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
