"""Copying: what of a run, and the text that was copied, to be selected by hand as well."""

from __future__ import annotations

from ..renderables.choices import Choice
from ..renderables.copies import MOST_BYTES, Copy, text_lines
from ..renderables.text import Line
from .overlay import OverlayScreen
from .palette import ChoiceScreen


class CopyScreen(ChoiceScreen):
    """What can be copied of a run; a digit chooses too."""

    CLOSED_BY = frozenset({"escape", "q", "y"})

    def __init__(self, name: str, copies: list[Copy]) -> None:
        """Offer the texts of a run."""
        choices = [
            Choice(copy.what, str(number), value=copy) for number, copy in enumerate(copies, 1)
        ]
        super().__init__(f"Copy of {name}", choices, takes_text=False)


class CopiedScreen(OverlayScreen[None]):
    """Shows the text that went to the clipboard, with nothing beside it."""

    CLOSED_BY = frozenset({"escape", "q", "y"})

    def __init__(self, copy: Copy) -> None:
        """Show a text, and send it to the clipboard unless it is too long."""
        size_bytes = len(copy.text.encode())
        self.is_sent = size_bytes <= MOST_BYTES
        told = "sent to the clipboard" if self.is_sent else f"too long ({size_bytes >> 10} KiB)"
        super().__init__(
            f"{copy.what}: {told}", "or select it: Shift+drag · Esc closes", takes_text=False
        )
        self.box.framed = False
        self._copy = copy

    def on_mount(self) -> None:
        """Send the text: OSC 52 reaches the user's own terminal, also over SSH."""
        if self.is_sent:
            self.app.copy_to_clipboard(self._copy.text)

    def content(self) -> tuple[list[Line], int | None]:
        """Return the text."""
        return text_lines(self._copy.text, self.box.text_width), None
