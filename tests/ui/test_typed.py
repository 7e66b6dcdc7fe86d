"""A line of text as it is typed."""

from __future__ import annotations

import pytest

from tui.widgets.typed import edited, pasted


@pytest.mark.parametrize(
    ("text", "key", "character", "after"),
    [
        ("one", "x", "x", "onex"),
        ("one", "space", " ", "one "),
        ("one", "backspace", "\x7f", "on"),
        ("", "ctrl+h", "\b", ""),
        ("one two ", "ctrl+w", "\x17", "one"),
        ("one two", "ctrl+u", "\x15", ""),
        ("one", "down", None, None),
        ("one", "tab", "\t", None),
        ("one", "ctrl+c", "\x03", None),
    ],
)
def test_keys_edit_a_text_or_are_not_for_it(
    text: str, key: str, character: str | None, after: str | None
) -> None:
    assert edited(text, key, character) == after


def test_controls_of_a_pasted_text_are_left_out() -> None:
    assert pasted("a", "b\x1b[31m\nc") == "ab[31mc"
    assert pasted("a", "\x1b") is None
