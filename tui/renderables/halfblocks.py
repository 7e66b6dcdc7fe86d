"""Pixels as cells: two in each, one upon the other, or a shade where there are no colours."""

from __future__ import annotations

from itertools import groupby

from runstore.images.pictures import Pixels

from .text import Line, Span

HALF = "▀"
"""The upper pixel is its foreground, the lower one its background."""
SHADES = " ░▒▓█"
CHARACTERS = " .:-=+*#%@"
LOOKS = ("colours", "shades", "characters")
"""How an image can be drawn."""

_COARSE = bytes(level & 0xFC | level >> 6 for level in range(256))
"""64 levels of each colour: nobody sees it in cells, and what is nearly flat takes fewer bytes."""


def cells(pixels: Pixels, look: str, dark: bool = True) -> list[Line]:
    """Return an image in `pixels.width` cells by half as many lines as it has rows, rounded up.

    Args:
        pixels: the image, in the size of the screen.
        look: one of `LOOKS`.
        dark: the screen is dark: without colours, ink is light.
    """
    if look == "colours":
        return _half_blocks(pixels)
    return _shaded(pixels, SHADES if look == "shades" else CHARACTERS, dark)


def _half_blocks(pixels: Pixels) -> list[Line]:
    rows = _rows(pixels, pixels.rgb.translate(_COARSE))
    colors = [["#" + row.hex()[at : at + 6] for at in range(0, 2 * len(row), 6)] for row in rows]
    lines: list[Line] = []
    for at in range(0, len(colors) - 1, 2):
        pairs = zip(colors[at], colors[at + 1], strict=True)
        lines.append(tuple(_span(*pair, len(list(same))) for pair, same in groupby(pairs)))
    if len(colors) % 2:
        lines.append(tuple(Span(HALF * len(list(same)), c) for c, same in groupby(colors[-1])))
    return lines


def _span(upper: str, lower: str, cells: int) -> Span:
    if upper == lower:
        return Span(" " * cells, f"on {upper}")
    return Span(HALF * cells, f"{upper} on {lower}")


def _shaded(pixels: Pixels, ramp: str, dark: bool) -> list[Line]:
    """Draw one character for two pixels, by their mean luma (ITU-R BT.709)."""
    ramp = ramp if dark else ramp[::-1]
    rows = [_luma(row) for row in _rows(pixels, pixels.rgb)]
    lines: list[Line] = []
    for at in range(0, len(rows), 2):
        upper, lower = rows[at], rows[min(at + 1, len(rows) - 1)]
        levels = ((a + b) / 510 for a, b in zip(upper, lower, strict=True))
        text = "".join(ramp[min(len(ramp) - 1, int(level * len(ramp)))] for level in levels)
        lines.append((Span(text),))
    return lines


def _luma(row: bytes) -> list[float]:
    reds, greens, blues = row[::3], row[1::3], row[2::3]
    return [
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in zip(reds, greens, blues, strict=True)
    ]


def _rows(pixels: Pixels, rgb: bytes) -> list[bytes]:
    stride = 3 * pixels.width
    return [rgb[at : at + stride] for at in range(0, stride * pixels.height, stride)]
