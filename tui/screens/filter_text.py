"""The filter as it is typed: a line editor of a few keys. Pure.

Keys that arrive faster than a widget could be mounted and focused are all kept, because the screen
itself edits the text: a user on a slow link types ahead.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class FilterText:
    """The text of the filter, and whether keys go into it."""

    text: str = ""
    open: bool = False

    def press(self, key: str, character: str | None, *, may_open: bool = True) -> bool:
        """Take a key; return False when it is not for the filter.

        Args:
            key: Textual's name of the key.
            character: What it prints, if anything.
            may_open: `/` opens it here.
        """
        if not self.open:
            self.open = may_open and character == "/"
            return self.open
        match key:
            case "enter":
                self.open = False
            case "escape":
                self.text, self.open = "", False
            case "backspace" | "ctrl+h":
                self.text = self.text[:-1]
            case "ctrl+u":
                self.text = ""
            case "ctrl+w":
                self.text = self.text.rstrip().rpartition(" ")[0]
            case _:
                return self.paste(character or "")
        return True

    def paste(self, text: str) -> bool:
        """Add what is printable of a text; return whether anything was."""
        printable = "".join(char for char in text if char.isprintable()) if self.open else ""
        self.text += printable
        return bool(printable)

    @property
    def words(self) -> list[str]:
        """The words that a run must hold, in lower case."""
        return self.text.lower().split()
