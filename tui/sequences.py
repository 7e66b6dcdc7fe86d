"""The shortest escape sequences for a change of colours and for a move of the cursor.

Only what xterm, tmux, GNU screen and the Linux console all know: no repetition of a character, and
no erasing, which leaves another background in some of them.
"""

from __future__ import annotations

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
_EXTENDED = {"5": 3, "2": 5}
"""Parameters of a colour by its number (38;5;n) and by its red, green and blue (38;2;r;g;b)."""


class Pen(NamedTuple):
    """What SGR parameters say: attributes, and the parameters of either colour."""

    attributes: frozenset[str]
    front: str
    """Empty for the terminal's own."""
    back: str


@lru_cache(maxsize=1 << 14)
def pen_of(sgr: str) -> Pen:
    """Return what parameters of SGR mean that follow a reset."""
    attributes, front, back = set(), "", ""
    codes = sgr.split(";") if sgr else []
    while codes:
        code = codes[0]
        length = _EXTENDED.get(codes[1], 1) if code in ("38", "48") and len(codes) > 1 else 1
        whole, codes = ";".join(codes[:length]), codes[length:]
        number = int(code)
        if 30 <= number <= 39 or 90 <= number <= 97:
            front = "" if number == 39 else whole
        elif 40 <= number <= 49 or 100 <= number <= 107:
            back = "" if number == 49 else whole
        else:
            attributes.add(code)
    return Pen(frozenset(attributes), front, back)


@lru_cache(maxsize=1 << 14)
def on_blank(sgr: str) -> str:
    """Return the parameters without what nobody sees of a blank cell."""
    pen = pen_of(sgr)
    return pen.back if pen.attributes <= _NOT_ON_BLANKS else sgr


@lru_cache(maxsize=1 << 14)
def change_pen(old: str, new: str) -> str:
    """Return the sequence that brings a terminal from some SGR parameters to others."""
    before, after = pen_of(old), pen_of(new)
    codes = []
    gone = before.attributes - after.attributes
    if gone:
        off = {_OFF.get(code, "0") for code in gone}
        codes += sorted(off)
        codes += sorted(code for code in after.attributes if _OFF.get(code) in off)
    codes += sorted(after.attributes - before.attributes)
    if after.front != before.front:
        codes.append(after.front or "39")
    if after.back != before.back:
        codes.append(after.back or "49")
    if not codes:
        return ""
    whole = f"0;{new}" if new else ""
    part = ";".join(dict.fromkeys(codes))
    return f"\x1b[{whole if '0' in codes or len(whole) <= len(part) else part}m"


def move_cursor(x: int | None, y: int, to_x: int, to_y: int) -> str:
    """Return the sequence that moves the cursor; both count from 0.

    Args:
        x: the column it is in; None behind the last column, where terminals differ.
        y: its row; negative where nothing is sure, as behind a character of doubtful width.
        to_x: where it is to be.
        to_y: its row there.
    """
    if y == to_y and x is not None:
        if x == to_x:
            return ""
        if to_x == 0:
            return "\r"
        if to_x > x:
            forward = to_x - x
            return f"\x1b[{forward}C" if forward > 1 else "\x1b[C"
    if y >= 0 and to_y == y + 1:
        if to_x == 0:
            return "\r\n"
        if x == to_x:
            return "\x1b[B"
    if to_x:
        return f"\x1b[{to_y + 1};{to_x + 1}H"
    return f"\x1b[{to_y + 1}H" if to_y else "\x1b[H"
