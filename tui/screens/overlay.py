"""What the overlays have in common: one box, keys that scroll it, and text that is typed."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen

from ..renderables.text import Line, from_file
from ..widgets.lines import guarded
from ..widgets.overlay import Overlay
from .filter_text import FilterText

Result = TypeVar("Result")
_FOR_THE_APP = {"ctrl+c": "quit", "ctrl+l": "redraw", "ctrl+z": "suspend_process"}
"""These mean the same as without an overlay; Textual keeps them from the app."""
_FAR = 10**6
_MOVES = {"up": -1, "down": 1, "ctrl+n": 1, "home": -_FAR, "end": _FAR}
_LETTER_MOVES = {"k": -1, "j": 1, "g": -_FAR, "G": _FAR}
"""Where letters are not typed."""
_PAGES = {"pageup": -1, "pagedown": 1, "ctrl+d": 1}


@runtime_checkable
class TakesKeys(Protocol):
    """A screen above the main one, which may have got the keys that were typed ahead."""

    def press(self, key: str, character: str | None) -> bool:
        """Do what a key does; return whether it does anything."""


class OverlayScreen(ModalScreen[Result]):
    """Covers a part of the main screen until it is closed.

    It edits the text that is typed itself, so that keys which arrive early are not lost.
    """

    CSS_PATH = "overlay.tcss"
    CLOSED_BY = frozenset({"escape"})

    def __init__(self, title: str, hint: str, *, takes_text: bool = True) -> None:
        """Have a title and say which keys do what; `takes_text` where typing means something."""
        super().__init__()
        self.box = Overlay()
        self.box.title, self.box.hint = title, hint
        self.box.typed = "" if takes_text else None
        self._editor = FilterText(open=takes_text)

    @property
    def typed(self) -> str:
        """What was typed."""
        return self._editor.text

    def compose(self) -> ComposeResult:
        """One widget."""
        yield self.box

    def on_mount(self) -> None:
        """Draw what there is once the box has its size."""
        self.call_after_refresh(self.refill)

    def on_resize(self, event: events.Resize) -> None:
        """Lines are made for a width."""
        self.call_after_refresh(self.refill)

    def refill(self) -> None:
        """Give the box its lines anew; an error becomes lines too."""
        place: int | None = None

        def make() -> list[Line]:
            nonlocal place
            rows, place = self.content()
            return rows

        self.box.update_from(guarded(make), place)

    def content(self) -> tuple[list[Line], int | None]:
        """Return the lines of the box, and the one that is to be visible, if any."""
        return [], None

    def text_changed(self) -> None:
        """Something was typed."""
        self.box.top = 0
        self.refill()

    def move(self, lines: int) -> None:
        """Go up or down."""
        self.box.scroll_by(lines)

    def enter(self) -> None:
        """Do what Enter does."""
        self.close(None)

    def close(self, result: Result | None) -> None:
        """Go away, unless that has begun: a second key may have come before it has."""
        if self.is_active:
            self.dismiss(result)

    async def on_key(self, event: events.Key) -> None:
        """Take every key; some of them are for the app."""
        event.stop()
        if event.key in _FOR_THE_APP:
            await self.app.run_action(_FOR_THE_APP[event.key])
        else:
            self.press(event.key, event.character)

    def press(self, key: str, character: str | None) -> bool:
        """Do what a key does; return whether it does anything."""
        moves = _MOVES if self.box.typed is not None else {**_MOVES, **_LETTER_MOVES}
        if key in _FOR_THE_APP:
            return False
        if key in self.CLOSED_BY:
            self.close(None)
        elif key == "enter":
            self.enter()
        elif key in moves:
            self.move(moves[key])
        elif key in _PAGES:
            self.move(_PAGES[key] * self.box.rows)
        elif self._editor.press(key, character, may_open=False):
            self._show_typed()
        else:
            return False
        return True

    def on_paste(self, event: events.Paste) -> None:
        """Paste into the text."""
        event.stop()
        if self._editor.paste(" ".join(event.text.split())):
            self._show_typed()

    def _show_typed(self) -> None:
        if self.box.typed != self.typed:
            self.box.typed = from_file(self.typed)
            self.text_changed()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Three lines down."""
        self.box.scroll_by(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Three lines up."""
        self.box.scroll_by(-3)

    def on_click(self, event: events.Click) -> None:
        """A click beside the box closes it; one on a line is for the line."""
        if event.widget is not self.box:
            self.close(None)
            return
        line = event.screen_y - self.box.region.y - 1 - (self.box.typed is not None)
        if 0 <= line < self.box.rows:
            self.clicked(self.box.top + line)

    def clicked(self, line: int) -> None:
        """A line was clicked, counted from the first one, whether that is visible or not."""
