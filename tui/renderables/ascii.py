"""Lines for terminals that have nothing but ASCII: other characters by look-alikes, cell for cell.

Applied last, where text leaves the program, so that nothing else need know of it.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

_BRAILLE = range(0x2800, 0x2900)
_LOOKS = {
    **dict.fromkeys("─╌╍┄┅┈┉╴╶╸╺", "-"),
    **dict.fromkeys("━═", "="),
    **dict.fromkeys("│┃║╎╏┆┇┊┋╵╷╹╻", "|"),
    **dict.fromkeys("█▉▊▋▌▐■", "#"),
    **dict.fromkeys("▍▎▏", "|"),
    **dict.fromkeys("▓▒", "%"),
    "░": ".",
    **dict.fromkeys("▁▂▃", "_"),
    **dict.fromkeys("▄▅▆▇", "="),
    **dict.fromkeys("▀▔", '"'),
    "✓": "+",
    "✗": "x",
    "×": "x",
    "▶": ">",
    "▸": ">",
    "▹": ">",
    "◀": "<",
    "▲": "^",
    "▼": "v",
    "◌": "~",
    "○": "o",
    "●": "*",
    "•": "*",
    "★": "*",
    "☆": "*",
    "◆": "*",
    "◇": "o",
    "□": "o",
    "·": ".",
    "∙": ".",
    "…": "~",
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    "→": ">",
    "←": "<",
    "↑": "^",
    "↓": "v",
    "⏎": "$",
    "␍": "$",
    "Δ": "d",
    "µ": "u",
    "μ": "u",
    "σ": "s",
    "±": "~",
    "≤": "<",
    "≥": ">",
    "∞": "8",
    "°": "o",
    **dict.fromkeys("\u2018\u2019\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e", '"'),
}
"""Each as wide as what it stands for: one cell."""


def as_ascii(text: str) -> str:
    """Return `text` in as many cells, without any character beyond ASCII.

    Letters lose their accents; what has no look-alike becomes `?`, as often as it is wide.
    """
    return text if text.isascii() else text.translate(_TABLE)


class _Table(dict[int, str]):
    """Works a character out when it is first met."""

    def __missing__(self, code: int) -> str:
        found = chr(code) if code < 0x80 else _look_alike(chr(code))
        if len(self) < 4096:  # a log may hold every character there is
            self[code] = found
        return found


def _look_alike(char: str) -> str:
    if ord(char) in _BRAILLE:
        return _dots(ord(char) - _BRAILLE.start)
    if "\u2500" <= char <= "\u257f":  # corners and crossings of lines
        return "+"
    width = cell_len(char)
    plain = "".join(one for one in unicodedata.normalize("NFKD", char) if one.isascii())
    if not plain.isprintable() or not 0 < len(plain) <= width:
        plain = "?"
    return plain.ljust(width, plain[-1] if plain == "?" else " ")[:width]


def _dots(pattern: int) -> str:
    """Return a character that looks like a braille pattern: a piece of a curve.

    Args:
        pattern: a bit for each dot, as Unicode numbers them: bits 0, 1, 2 and 6 are the left
            column from the top, bits 3, 4, 5 and 7 the right one.
    """
    left = [row for row, bit in enumerate((0, 1, 2, 6)) if pattern >> bit & 1]
    right = [row for row, bit in enumerate((3, 4, 5, 7)) if pattern >> bit & 1]
    if len(left) + len(right) >= 6:
        return "#"
    if not left and not right:
        return " "
    if max(len(left), len(right)) >= 3:
        return "|"
    if left and right:
        rise = sum(left) / len(left) - sum(right) / len(right)
        if abs(rise) >= 1.5:
            return "/" if rise > 0 else "\\"
    rows = left + right
    height = sum(rows) / len(rows)
    return "'" if height < 1 else "-" if height < 2.5 else "_" if len(rows) > 1 else "."


_TABLE = _Table({ord(char): look for char, look in _LOOKS.items()})
