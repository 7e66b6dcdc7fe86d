"""Look-alikes in ASCII: as wide as what they stand for, and nothing beyond ASCII."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.renderables.ascii import as_ascii


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_any_text_keeps_its_width(text: str) -> None:
    plain = as_ascii(text)
    assert plain.isascii()
    assert len(plain) == sum(cell_len(char) for char in text)


def test_glyphs_of_states_stay_apart() -> None:
    assert len(set(map(as_ascii, "✓✗▶◌○■·★"))) == 8


def test_bar_shows_where_it_ends() -> None:
    assert as_ascii("████▌░░░") == "#####..."
    assert as_ascii("━━━───") == "===---"


def test_curve_keeps_its_height() -> None:
    assert as_ascii("⣀⠤⠒⠉") == "_--'"
    assert as_ascii("⡇⢸⠀⣿") == "|| #"


def test_letters_lose_their_accents_and_other_scripts_their_letters() -> None:
    assert as_ascii("Übung é 日本") == "Ubung e ????"
