from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.renderables.text import Span, fit, fit_line, from_file, line_width, pack, shorten, width_of

printable = st.text().map(from_file)


@given(printable, st.integers(0, 40))
def test_fit_gives_exactly_the_width(text: str, width: int) -> None:
    assert width_of(fit(text, width)) == width


@given(st.lists(printable, max_size=5), st.integers(0, 40))
def test_fit_line_gives_exactly_the_width(texts: list[str], width: int) -> None:
    assert line_width(fit_line(tuple(Span(text) for text in texts), width)) == width


def test_names_that_differ_in_their_end_stay_apart_when_cut() -> None:
    names = ["resnet50-imagenet-lr3e-4", "resnet50-imagenet-lr1e-3"]
    assert shorten(names[0], 14, keep_end=True) != shorten(names[1], 14, keep_end=True)


def test_nothing_from_a_file_can_drive_the_terminal() -> None:
    hostile = "a\x1b]52;c;aGk=\x07b\nc\x9bd\u202ee\ud800"
    assert from_file(hostile).isprintable()


def test_items_are_packed_into_aligned_columns() -> None:
    rows = pack([(Span(text),) for text in ("a", "bb", "ccc", "dddd", "e")], 12, gap=2)
    assert ["".join(span.text for span in row) for row in rows] == [
        "a     bb  ",
        "ccc   dddd",
        "e   ",
    ]
