"""The filter as it is typed: a line editor of a few keys. Pure.

Keys that arrive faster than a widget could be mounted and focused are all kept, because the screen
itself edits the text: a user on a slow link types ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from runstore.runs.run_filter import Query, QueryError, Vocabulary, complete, parse

from ..widgets.typed import DROPPING, edited, pasted


@dataclass(slots=True)
class FilterText:
    """The text of the filter, what it asks for, and whether keys go into it."""

    text: str = ""
    open: bool = False
    known: Callable[[], Vocabulary] = Vocabulary
    """Returns what may be typed, for Tab."""
    query: Query = field(default_factory=Query)
    """What was asked for by the last text that could be understood."""
    problem: str = ""
    """Why the text cannot be understood as it is, in a few words."""
    choices: list[str] = field(default_factory=list)
    """What may follow, after a Tab that left it open."""

    def __post_init__(self) -> None:
        """Understand the text that is there at first."""
        self._understand()

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
        self.choices = []
        if key in DROPPING:
            self.clear()
        elif key == "enter":
            # What cannot be understood stays open, with the reason beside it.
            self.open = bool(self.problem)
        elif key == "tab":
            self.text, self.choices = complete(self.text, self.known())
            self._understand()
        else:
            return self._take(edited(self.text, key, character))
        return True

    def paste(self, text: str) -> bool:
        """Add what is printable of a text; return whether anything was."""
        return self.open and self._take(pasted(self.text, text))

    def _take(self, text: str | None) -> bool:
        if text is None:
            return False
        self.text = text
        self._understand()
        return True

    def clear(self) -> None:
        """Ask for nothing any more."""
        self.text, self.open = "", False
        self._understand()

    def _understand(self) -> None:
        try:
            self.query, self.problem = parse(self.text), ""
        except QueryError as error:
            self.problem = str(error)
            # What is in front of the word that is being typed holds on.
            with suppress(QueryError):
                self.query = parse(self.text.rstrip().rpartition(" ")[0])
