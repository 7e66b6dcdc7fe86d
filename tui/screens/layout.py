"""Where everything is on the main screen, for every size of terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MIN_WIDTH, MIN_HEIGHT = 60, 15
EMPTY_ROWS = 5
"""What an empty list takes to say why it is empty."""
WIDE_WIDTH, WIDE_HEIGHT = 140, 35


class Box(NamedTuple):
    """Cells: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def is_wide(width: int, height: int) -> bool:
    """Tell whether all panes fit side by side."""
    return width >= WIDE_WIDTH and height >= WIDE_HEIGHT


def arrange(width: int, height: int, runs: int, pane: str, alone: bool) -> Mapping[str, Box]:
    """Return the box of each visible widget; what is missing is hidden.

    Args:
        width: Of the terminal.
        height: Of the terminal.
        runs: How many runs are listed: a short list leaves its room to the panes.
        pane: The current pane.
        alone: Whether the current pane has the whole screen.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return {"too-small": Box(0, 0, width, height)}
    frame = {"header": Box(0, 0, width, 1), "hints": Box(0, height - 1, width, 1)}
    top, inner = 1, height - 2
    if alone:
        return {**frame, pane: Box(0, top, width, inner)}
    if is_wide(width, height):
        return {**frame, **_wide(width, top, inner, runs)}
    rows = min(runs + 1 if runs else EMPTY_ROWS, _list_share(inner))
    return {
        **frame,
        "runs": Box(0, top, width, rows),
        pane: Box(0, top + rows, width, inner - rows),
    }


def _list_share(inner: int) -> int:
    """Rows for a long list above one pane: less than half, the chart needs the rest."""
    return max(5, inner * 9 // 20)


def _wide(width: int, top: int, inner: int, runs: int) -> dict[str, Box]:
    """Put list, epochs and events on the left; progress and chart on the right.

    The report stands below the epochs when the list is short, and below the chart otherwise.
    """
    left = min(width * 3 // 5, 120)
    x, right = left + 1, width - left - 1
    rows = min(max(8, runs + 2), inner * 11 // 20)
    events = max(6, inner // 6)
    progress = min(16, inner * 9 // 25)
    report = max(12, inner * 3 // 10)
    beside = inner - rows - events - report >= 8
    epochs = inner - rows - events - report * beside
    chart = inner - progress - report * (not beside)
    boxes = {
        "runs": Box(0, top, left, rows),
        "epochs": Box(0, top + rows, left, epochs),
        "events": Box(0, top + inner - events, left, events),
        "progress": Box(x, top, right, progress),
        "chart": Box(x, top + progress, right, chart),
    }
    if beside:
        boxes["report"] = Box(0, top + rows + epochs, left, report)
    else:
        boxes["report"] = Box(x, top + inner - report, right, report)
    return boxes
