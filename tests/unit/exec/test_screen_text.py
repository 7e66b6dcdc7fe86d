"""What of a terminal's output stays as lines of a log."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.exec.screen_text import MOST_CHARS, MOST_ROWS, ScreenText
from tests.conftest import WithinCpuS


def text_of(*pieces: bytes) -> str:
    screen = ScreenText()
    return (b"".join(map(screen.feed, pieces)) + screen.end()).decode()


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"\r  0%|    |\r 50%|##  |\r100%|####|\ndone\n", "100%|####|\ndone\n"),
        # What tqdm does around a line printed in the middle of a bar.
        (b"\r 50%|##  |\r          \rsaved\n\r100%|####|\n", "saved\n100%|####|\n"),
        (b"a long line\rshort\n", "shortg line\n"),
        (b"a long line\r\x1b[Kshort\n", "short\n"),
        (b"a long line\x1b[2K\rshort\n", "short\n"),
        (b"ab\b\bc\n", "cb\n"),
        (b"\x1b[1;31mred\x1b[0m\x1b(B\n", "red\n"),
        (b"\x1b]0;title\x07\x1b]52;c;aGk=\x1b\\text\n", "text\n"),
        (b"bell\x07 nul\x00 del\x7f\n", "bell nul del\n"),
        ("c1\x9b31m bidi\u202e\n".encode(), "c1 bidi\n"),
        (b"tab\there\n", "tab\there\n"),
        (b"\xff\xfe\n", "\ufffd\ufffd\n"),
        (b"no newline", "no newline\n"),
        (b"before\n\x1b[?1049hfull\x1b[5;5Hscreen\x1b[?1049lafter\n", "before\nafter\n"),
        (b"", ""),
    ],
)
def test_what_is_printed_is_kept_as_lines(printed: bytes, kept: str) -> None:
    assert text_of(printed) == kept


def test_several_bars_leave_what_they_showed_last() -> None:
    drawn = [f"\router {n}\n\rinner {n}\x1b[A".encode() for n in range(50)]
    assert text_of(*drawn, b"\n\nbye\n").splitlines() == ["outer 0", "outer 49", "inner 49", "bye"]


def test_lines_behind_several_bars_come_at_once() -> None:
    screen = ScreenText()
    screen.feed(b"outer\n\rinner\x1b[A")
    screen.feed(b"\n\n")
    printed = b"".join(screen.feed(f"line {n}\n".encode()) for n in range(5))
    assert printed.decode().splitlines()[-1] == "line 4"


def test_lines_come_as_soon_as_they_are_ended() -> None:
    screen = ScreenText()
    assert screen.feed(b"one\ntw") == b"one\n"
    assert screen.feed(b"o\n") == b"two\n"


def test_line_without_an_end_is_handed_on_in_pieces_of_bounded_size() -> None:
    screen = ScreenText()
    pieces = [screen.feed(b"x" * 1000) for _ in range(1000)]
    assert max(map(len, pieces)) <= MOST_CHARS + 1000
    assert len(b"".join(pieces) + screen.end()) == 1_000_001


def test_bar_of_many_hours_takes_no_memory_and_ends_as_one_line() -> None:
    screen = ScreenText()
    for n in range(20_000):
        assert screen.feed(f"\r{n:6} |{'#' * 60}|".encode()) == b""
    assert screen.end() == f" 19999 |{'#' * 60}|\n".encode()


@given(
    st.lists(st.sampled_from(["é", "\r", "\n", "ab", "\x1b[31m", "\x1b]0;t\x07", "\x1b[A", "€"])),
    st.integers(1, 7),
)
def test_result_does_not_depend_on_where_the_bytes_are_cut(parts: list[str], size: int) -> None:
    data = "".join(parts).encode()
    assert text_of(*(data[i : i + size] for i in range(0, len(data), size))) == text_of(data)


@given(st.binary())
def test_no_control_is_left_whatever_is_printed(data: bytes) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text_of(data))


def test_moves_upwards_without_end_take_no_memory() -> None:
    text = ScreenText()
    for number in range(1000):
        assert text.feed(b"\x1b[A\rat %d\x1b[50A" % number) == b""
    assert len(text._rows) <= MOST_ROWS + 1
    assert text.end().splitlines()[0] == b"at 999"


def test_hostile_sequences_cost_no_more_than_their_length(within_cpu_s: WithinCpuS) -> None:
    with within_cpu_s(5):
        text_of(*[b"\x1b[9999999999C\x1b[9999A\x1b]" * 200] * 50)
