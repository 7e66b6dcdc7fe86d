"""Which metrics and parameters have a column in the list: an overlay to choose them in."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.geometry import Size
from textual.screen import ModalScreen

from ..renderables.text import EMPTY, Line, Span, from_file, line, shorten
from ..widgets.lines import LinesWidget
from ..widgets.typed import edited

_HEAD = 3
"""Lines above the names."""
_MOST_ROWS = 20
AUTOMATIC = "as many metrics as fit, the most telling first"


class ColumnChoice(LinesWidget, can_focus=True):
    """The names that contain what was typed, with a cursor; chosen ones have their number."""

    def __init__(self, names: Sequence[str], chosen: Sequence[str]) -> None:
        super().__init__(id="columns")
        known = set(names)
        self._names = [*(name for name in chosen if name not in known), *names]
        self.chosen = list(chosen)
        self.typed = ""
        self._cursor = 0
        self._top = 0

    @property
    def found(self) -> list[str]:
        """The names that are listed; the empty one stands for choosing none."""
        wanted = self.typed.lower()
        return ["", *(name for name in self._names if wanted in name.lower())]

    def type(self, text: str) -> None:
        """Look for other names."""
        self.typed = text
        self._cursor = min(1, len(self.found) - 1) if text else 0
        self.redraw()

    def move(self, lines: int) -> None:
        """Move the cursor."""
        self._cursor = max(0, min(self._cursor + lines, len(self.found) - 1))
        self.redraw()

    def toggle(self) -> None:
        """Choose the name under the cursor, or do so no longer."""
        name = self.found[self._cursor]
        if not name:
            self.chosen.clear()
        elif name in self.chosen:
            self.chosen.remove(name)
        else:
            self.chosen.append(name)
        self.redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return a height that does not change while names are typed."""
        rows = min(_MOST_ROWS, len(self._names) + 1, max(1, viewport.height - _HEAD - 4))
        return _HEAD + rows

    def build(self, width: int, height: int) -> list[Line]:
        """Return a title, what was typed, and the names around the cursor."""
        rows, found = max(1, height - _HEAD), self.found
        self._top = max(self._cursor - rows + 1, min(self._top, self._cursor))
        keys = "Space chooses  Enter done  Esc back"
        title = line(Span("Columns", "title"), Span(f"   {keys}", "dim"))
        prompt = line(Span("find ", "key"), from_file(self.typed), Span("▏", "key"))
        shown = enumerate(found[self._top : self._top + rows], self._top)
        return [title, prompt, EMPTY, *(self._row(at, name, width) for at, name in shown)]

    def _row(self, at: int, name: str, width: int) -> Line:
        number = str(self.chosen.index(name) + 1) if name in self.chosen else ""
        if not name:
            number = "" if self.chosen else "•"
        text = from_file(name) if name else AUTOMATIC
        spans = line(
            Span(f"{number:>3} ", "best"),
            Span(shorten(text, max(1, width - 5), keep_end=True), "name" if number else ""),
        )
        return (Span("", "cursor"), *spans) if at == self._cursor else spans


class ColumnsScreen(ModalScreen[list[str] | None]):
    """Covers the main screen until columns are chosen; gives None when it is left as it was."""

    CSS_PATH = "columns.tcss"

    def __init__(self, names: Sequence[str], chosen: Sequence[str]) -> None:
        """Let choose among `names`; `chosen` ones are so at first."""
        super().__init__()
        self._choice = ColumnChoice(names, chosen)

    def compose(self) -> ComposeResult:
        """One widget."""
        yield self._choice

    def on_key(self, event: events.Key) -> None:
        """All keys are for the choice."""
        event.stop()
        self.press(event.key, event.character)

    def press(self, key: str, character: str | None) -> bool:
        """Do what a key does: letters look for names."""
        choice = self._choice
        match key:
            case "enter":
                self._close(choice.chosen)
            case "escape" | "ctrl+c":
                self._close(None)
            case "space":
                choice.toggle()
            case "down" | "up":
                choice.move(1 if key == "down" else -1)
            case "pagedown" | "pageup":
                choice.move(10 if key == "pagedown" else -10)
            case _:
                text = edited(choice.typed, key, character)
                choice.type(choice.typed if text is None else text)
        return True

    def _close(self, chosen: list[str] | None) -> None:
        # A second key may have come before the first one has closed it.
        if self.is_active:
            self.dismiss(chosen)
