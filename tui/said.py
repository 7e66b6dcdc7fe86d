"""What is said once in the last line: what an action came to. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

from runstore.text import printable

SAID_S = 8.0
"""How long a message stays in the last line."""


class Said:
    """The message of the last line; any thread may say something."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Use `clock`, in seconds."""
        self._clock = clock
        self._said = ("", 0.0)

    @property
    def text(self) -> str:
        """What is to be read now, safe to draw; empty for nothing."""
        text, until = self._said
        return text if self._clock() < until else ""

    def say(self, text: str) -> None:
        """Show a message for some seconds; nothing by an empty text."""
        self._said = printable(text), self._clock() + SAID_S

    def say_until_a_key(self, text: str) -> None:
        """Show a message to who comes back to the screen much later."""
        self._said = printable(text), float("inf")

    def key_pressed(self) -> None:
        """Take a message away that was there until now."""
        if self._said[1] == float("inf"):
            self._said = ("", 0.0)
