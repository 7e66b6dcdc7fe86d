"""A question that is answered by y or n; nothing else means yes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.strip import Strip

from ..renderables.text import EMPTY, Line, Span, line, shorten
from ..widgets.lines import LinesWidget


class Question(LinesWidget, can_focus=True):
    """What is asked, about what, and what will happen."""

    def __init__(self, asked: str, facts: Sequence[str], will: str) -> None:
        super().__init__(id="question")
        self._asked, self._facts, self._will = asked, facts, will
        self.is_painted = False

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the height of all lines."""
        return len(self.build(width, viewport.height))

    def build(self, width: int, height: int) -> list[Line]:
        """Return the question, its object and its answers."""
        facts = [shorten(fact, width - 2, keep_end=True) for fact in self._facts]
        return [
            line(Span(self._asked, "title")),
            EMPTY,
            *(line("  ", Span(fact, "dim" if at else "value")) for at, fact in enumerate(facts)),
            EMPTY,
            *(line(row) for row in textwrap.wrap(self._will, max(10, width))),
            EMPTY,
            line(Span("y", "key"), " yes   ", Span("n", "key"), " or ", Span("Esc", "key"), " no"),
        ]

    def render_line(self, y: int) -> Strip:
        """Return one line for the terminal."""
        self.is_painted = True
        return super().render_line(y)


class ConfirmScreen(ModalScreen[bool]):
    """Covers the main screen until it is answered; other keys do nothing."""

    CSS_PATH = "confirm.tcss"

    def __init__(self, asked: str, facts: Sequence[str], will: str) -> None:
        """Ask a question; all strings are safe to draw.

        Args:
            asked: the question.
            facts: what it is about, the name first.
            will: what will happen on a yes.
        """
        super().__init__()
        self._question = Question(asked, facts, will)

    def compose(self) -> ComposeResult:
        """One widget."""
        yield self._question

    def on_key(self, event: events.Key) -> None:
        """Take every key; `q` must not end the program behind the question."""
        event.stop()
        self.press(event.key, event.character)

    def press(self, key: str, character: str | None) -> bool:
        """Take the answer; a yes from before the first paint is none: nobody has read it."""
        # A second key may have come before the first one has closed it.
        if self.is_active:
            if key == "y" and self._question.is_painted:
                self.dismiss(True)
            elif key in ("n", "N", "q", "escape", "ctrl+c"):
                self.dismiss(False)
        return True
