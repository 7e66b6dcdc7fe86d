"""A line of text as it is typed: a few keys and no widget, so nothing typed ahead is lost. Pure."""

from __future__ import annotations

DROPPING = frozenset({"escape", "ctrl+c"})
"""Keys that drop what is typed: the second one is a reflex, which must not end the monitor too."""
KEEPING = frozenset({"left", "right", "home", "end"})
"""Keys that keep a proposed text, to be edited; the cursor stays at its end."""


def edited(text: str, key: str, character: str | None) -> str | None:
    """Return the text after a key; None for a key that is not for the text.

    Keys that take text away are for it also where none is left.

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
    return pasted(text, character or "")


def pasted(text: str, more: str) -> str | None:
    """Return the text with what is printable of another one behind it; None where nothing is."""
    printable = "".join(character for character in more if character.isprintable())
    return text + printable if printable else None
