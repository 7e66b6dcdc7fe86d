"""The first line and the last one, in whatever room there is."""

from __future__ import annotations

import pytest

from tui.renderables.text import plain
from tui.widgets.header import HeaderLine, Headline
from tui.widgets.hints import HintLine


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (120, "▶ 1 running  ✗ 2 failed  ✗ 1 crashed  ✓ 21 finished"),
        (80, "▶ 1  ✗ 2 failed  ✗ 1 crashed  ✓ 21"),
        (60, "▶ 1  ✗ 3  ✓ 21"),
    ],
)
def test_one_glyph_never_stands_for_two_numbers(width: int, told: str) -> None:
    counts = (("running", 1), ("failed", 2), ("crashed", 1), ("finished", 21))
    header = HeaderLine()
    header.headline = Headline("runs", "25 runs", counts)
    (row,) = header.build(width, 1)
    assert f"  {told}  " in plain(row)


def test_note_of_the_last_line_is_never_read_as_one_with_the_keys() -> None:
    hints = HintLine()
    hints.note = "errors only"
    for width in range(24, 160):
        (row,) = hints.build(width, 1)
        assert plain(row).startswith(" ? help") and "   errors only" in plain(row), width
