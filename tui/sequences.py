"""The shortest escape sequences for a change of colours and for a move of the cursor.

Only what xterm, tmux, GNU screen and the Linux console all know: no repetition of a character, and
no erasing, which leaves another background in some of them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_OFF = {
    "1": "22",
    "2": "22",
    "3": "23",
    "4": "24",
    "5": "25",
    "6": "25",
    "7": "27",
    "8": "28",
    "9": "29",
    "21": "24",
    "51": "54",
    "52": "54",
    "53": "55",
}
"""What switches an attribute off, for all that Rich can switch on."""
_NOT_ON_BLANKS = frozenset("1235")
"""Bold, dim, italic and blinking: of a blank cell nothing of it is seen."""
_SGR = re.compile(
    r"((?:(?:[1-9]|21|5[1-3])(?:;|$))*)"
    r"(38;2;\d+;\d+;\d+|38;5;\d+|3[0-79]|9[0-7])?;?"
    r"(48;2;\d+;\d+;\d+|48;5;\d+|4[0-79]|10[0-7])?"
)
"""Attributes, the colour in front and that behind: the order in which Rich writes them."""


MOST_BACKSPACES = 3
_NONE: frozenset[str] = frozenset()


class Pen(NamedTuple):
    """What SGR parameters say: attributes, and the parameters of either colour."""

    attributes: frozenset[str]
    front: str
    """Empty for the terminal's own."""
    back: str


@lru_cache(maxsize=1 << 14)
def pen_of(sgr: str) -> Pen:
    """Return what parameters of SGR mean that follow a reset."""
    found = _SGR.fullmatch(sgr)
    if found is None:  # not understood: one attribute, which only a reset ends
        return Pen(frozenset([sgr]), "", "")
    codes, front, back = found.groups("")
    attributes = frozenset(codes.rstrip(";").split(";")) if codes else _NONE
    return Pen(attributes, "" if front == "39" else front, "" if back == "49" else back)


@lru_cache(maxsize=1 << 14)
def on_blank(sgr: str) -> str:
    """Return the parameters without what nobody sees of a blank cell."""
    pen = pen_of(sgr)
    return pen.back if pen.attributes <= _NOT_ON_BLANKS else sgr


@lru_cache(maxsize=1 << 14)
def change_pen(old: str, new: str) -> str:
    """Return the sequence that brings a terminal from some SGR parameters to others."""
    before, after = pen_of(old), pen_of(new)
    codes = _changed_attributes(before.attributes, after.attributes)
    if after.front != before.front:
        codes.append(after.front or "39")
    if after.back != before.back:
        codes.append(after.back or "49")
    if not codes:
        return ""
    whole = f"0;{new}" if new else ""
    part = ";".join(codes)
    return f"\x1b[{whole if '0' in codes or len(whole) <= len(part) else part}m"


def _changed_attributes(before: frozenset[str], after: frozenset[str]) -> list[str]:
    """Return the codes that lead from some attributes to others; with 0, only a reset does."""
    if before == after:
        return []
    off = {_OFF.get(code, "0") for code in before - after}
    again = {code for code in before & after if _OFF.get(code) in off}
    return sorted(off) + sorted(again | (after - before))


def move_cursor(x: int | None, y: int, to_x: int, to_y: int) -> str:
    """Return the sequence that moves the cursor; both count from 0.

    Args:
        x: the column it is in; None behind the last column, where terminals differ.
        y: its row; negative where nothing is sure, as behind a character of doubtful width.
        to_x: where it is to be.
        to_y: its row there.
    """
    direct = f"\x1b[{to_y + 1};{to_x + 1}H" if to_x else f"\x1b[{to_y + 1}H"
    if (to_x, to_y) == (0, 0):
        return "\x1b[H"
    if y < 0:
        return direct
    if to_x == 0 and 0 <= to_y - y <= 1:
        return "\r\n" if to_y > y else "\r"
    if x is None:
        return direct
    return min(_steps(to_y - y, "B", "A") + _sideways(to_x - x), direct, key=len)


def _sideways(columns: int) -> str:
    if -MOST_BACKSPACES <= columns < 0:
        return "\b" * -columns
    return _steps(columns, "C", "D")


def _steps(count: int, forward: str, back: str) -> str:
    if count == 0:
        return ""
    number = "" if abs(count) == 1 else abs(count)
    return f"\x1b[{number}{forward if count > 0 else back}"
