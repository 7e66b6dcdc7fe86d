"""The first line: how many runs are how, in whatever room there is."""

from __future__ import annotations

import pytest

from tui.renderables.text import plain
from tui.widgets.header import HeaderLine, Headline


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
