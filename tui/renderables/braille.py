"""Lines of braille dots: each cell is a grid of 2 x 4 dots (Unicode chapter 21.1).

A curve is a layer of its own until all are there, so none erases another: in a shared cell the
dots of all are seen, in the colour of the curve that has most of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .text import Line, Span

Layer = list[int]
"""For each dot column, two per cell, the rows that have a dot: bit 0 is the topmost."""

_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Of each dot of a cell, by column and row."""
_CELLS = tuple(
    sum(_BITS[dot >> 2][dot & 3] for dot in range(8) if both >> dot & 1) for both in range(256)
)
"""The bits of a cell by four rows of its left column and, in the upper half, of its right one."""
_COUNTS = bytes(dots.bit_count() for dots in range(256))

PATTERNS = ((1, 1), (1, 4), (4, 7), (1, 2))
"""(dots that are drawn, of how many) of a line: solid, dotted, dashed, finely dotted."""
TALL = 3
"""Dots of a column from which on they are values and no line, and drawn in any pattern."""

Point = tuple[int, int, int]
"""Column, top row and bottom row of the values of a column."""


def draw(
    layer: Layer,
    points: Sequence[Point],
    breaks: Sequence[tuple[int, int]],
    pattern: tuple[int, int],
) -> None:
    """Draw a line through points.

    Args:
        layer: Its dots so far.
        points: In the order of columns; all inside.
        breaks: First and last column of stretches that the line does not cross.
        pattern: One of `PATTERNS`.
    """
    on, of = pattern
    left = iter(breaks)
    stretch = next(left, None)
    before: Point | None = None
    for point in points:
        x, top, bottom = point
        is_broken = False
        while stretch is not None and stretch[0] < x:
            is_broken = is_broken or (before is not None and stretch[1] >= before[0])
            if stretch[1] >= x:
                break
            stretch = next(left, None)
        first, last = top, bottom
        if before is not None and not is_broken:
            first, last = _join(layer, before, point, pattern)
        is_dense = before is not None and before[0] == x - 1
        if not is_dense or x % of < on or bottom - top >= TALL - 1:
            layer[x] |= (2 << last) - (1 << first)
        before = point


def _join(layer: Layer, start: Point, end: Point, pattern: tuple[int, int]) -> tuple[int, int]:
    """Draw the columns between two points, and return the rows that the second one takes."""
    x0, top0, bottom0 = start
    x1, top1, bottom1 = end
    if x1 == x0 + 1 and top1 <= bottom0 + 1 and top0 <= bottom1 + 1:
        return top1, bottom1
    y0 = min(max(top1, top0), bottom0)
    y1 = min(max(y0, top1), bottom1)
    (on, of), slope, at = pattern, (y1 - y0) / (x1 - x0), y0
    for x in range(x0 + 1, x1):
        y = round(y0 + slope * (x - x0))
        # From beside the dot before: a steep line has no holes.
        first = at + (y > at) - (y < at)
        if x % of < on:
            layer[x] |= (2 << max(first, y)) - (1 << min(first, y))
        at = y
    first = at + (y1 > at) - (y1 < at)
    return min(top1, first), max(bottom1, first)


def stipple(layer: Layer, points: Iterable[Point]) -> None:
    """Set every fourth dot of an area."""
    for x, top, bottom in points:
        rows = (2 << bottom) - (1 << top)
        every_fourth = ((1 << (bottom + 4)) - 1) // 15 << x * 2 % 4
        layer[x] |= rows & every_fourth


def compose(
    layers: Sequence[tuple[str, Layer]],
    under: Sequence[tuple[str, Layer]],
    signs: Mapping[int, tuple[str, str]],
    behind: Mapping[int, tuple[str, str]],
    width: int,
    height: int,
) -> list[Line]:
    """Return the rows of a plot.

    Args:
        layers: (role, dots), mixed in the cells that they share; of as many dots the later wins.
        under: Drawn only in cells that no layer is in.
        signs: Cell, counted row by row, to (character, role); on top of all.
        behind: Cell to (character, role), where there is nothing else.
        width: Cells.
        height: Cells.
    """
    chars, roles = [" "] * (width * height), [""] * (width * height)
    for cell, (char, role) in behind.items():
        chars[cell], roles[cell] = char, role
    for part in (under, layers):
        _put(chars, roles, part, width)
    for cell, (char, role) in signs.items():
        chars[cell], roles[cell] = char, role
    starts = range(0, width * height, width)
    return [_row(chars[at : at + width], roles[at : at + width]) for at in starts]


def _put(
    chars: list[str], roles: list[str], layers: Sequence[tuple[str, Layer]], width: int
) -> None:
    bits, most = [0] * len(chars), bytearray(len(chars))
    for role, layer in layers:
        for x in range(width):
            left, right = layer[2 * x], layer[2 * x + 1]
            both = left | right
            if not both:
                continue
            first = ((both & -both).bit_length() - 1) >> 2
            cell = first * width + x
            left, right = left >> 4 * first, right >> 4 * first
            while left or right:
                dots = _CELLS[left & 15 | (right & 15) << 4]
                left, right = left >> 4, right >> 4
                if dots:
                    count = _COUNTS[dots]
                    if count >= most[cell]:
                        most[cell], roles[cell] = count, role
                    bits[cell] |= dots
                cell += width
    for cell, dots in enumerate(bits):
        if dots:
            chars[cell] = chr(0x2800 + dots)


def _row(chars: Sequence[str], roles: Sequence[str]) -> Line:
    spans: list[Span] = []
    start, role = 0, ""
    for x, own in enumerate(roles):
        if own != role and own:
            if x > start:
                spans.append(Span("".join(chars[start:x]), role))
            start, role = x, own
    spans.append(Span("".join(chars[start:]), role))
    return tuple(spans)
