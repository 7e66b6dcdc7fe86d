"""Progress bars drawn in text, to an eighth of a cell."""

from __future__ import annotations

import math

from .text import Line, Span, line

ENDED = "bar-done"
"""The role of the bar of a run that has ended."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(fraction: float | None, width: int, role: str = "bar") -> Line:
    """Return a bar of `width` cells; an unknown fraction gives an empty one.

    The bar of an ended run is a thin line, to a whole cell.

    Args:
        fraction: 0 to 1; values outside are clamped.
        width: Cells.
        role: Role of the filled part.
    """
    if width <= 0:
        return ()
    if fraction is None or not math.isfinite(fraction):
        return (Span("─" * width, "faint") if role == ENDED else Span("░" * width, "track"),)
    eighths = math.floor(max(0.0, min(1.0, fraction)) * width * 8 + 1e-9)
    full, rest = divmod(eighths, 8)
    partial = _EIGHTHS[rest] if rest else ""
    if role == ENDED:  # a thin line: blocks of neighbouring rows would touch and look like one
        return line(Span("━" * full, role), Span("─" * (width - full), "faint"))
    # The partly filled cell carries the track as its background, so the bar has no dark notch.
    filled = Span("█" * full, role)
    return line(
        filled, Span(partial, role + "-edge"), Span("░" * (width - full - len(partial)), "track")
    )
