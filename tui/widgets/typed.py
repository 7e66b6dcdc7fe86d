"""A line of text as it is typed: a few keys and no widget, so nothing typed ahead is lost. Pure."""

from __future__ import annotations

EDITING = frozenset({"backspace", "ctrl+h", "ctrl+u", "ctrl+w"})
"""Keys that edit a text, also where there is nothing left to take away."""


def edited(text: str, key: str, character: str | None) -> str:
    """Return the text after a key; the same where the key edits nothing.

    Args:
        text: what was typed before.
        key: Textual's name of the key.
        character: what it prints, if anything.
    """
    match key:
        case "backspace" | "ctrl+h":
            return text[:-1]
        case "ctrl+u":
            return ""
        case "ctrl+w":
            return text.rstrip().rpartition(" ")[0]
    printed = character is not None and character.isprintable()
    return text + character if printed and character is not None else text
