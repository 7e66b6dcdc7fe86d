"""Where everything is on the main screen, for every size of terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MIN_WIDTH, MIN_HEIGHT = 60, 15
EMPTY_ROWS = 5
"""What an empty list takes to say why it is empty."""
BESIDE_WIDTH = 100
"""From here on the list stands beside a view of one run."""
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


def shows_list(width: int, view: str, alone: bool) -> bool:
    """Tell whether the list of runs is on screen."""
    return not alone and (view == "runs" or width >= BESIDE_WIDTH)


def arrange(
    width: int, height: int, runs: int, view: str, alone: str = "", *, has_report: bool = True
) -> Mapping[str, Box]:
    """Return the box of each visible widget; what is missing is hidden.

    Args:
        width: of the terminal.
        height: of the terminal.
        runs: how many runs are listed: a short list leaves its room to the panes.
        view: the current view.
        alone: the pane that has the whole screen; empty when none has.
        has_report: the chosen run has a classification report: room beside the list is for it.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return {"too-small": Box(0, 0, width, height)}
    frame = {
        "header": Box(0, 0, width, 1),
        "tabs": Box(0, 1, width, 1),
        "hints": Box(0, height - 1, width, 1),
    }
    top, inner = 2, height - 3
    if alone:
        return {**frame, alone: Box(0, top, width, inner)}
    if view != "runs":
        return {**frame, **_beside(width, top, inner, view)}
    if is_wide(width, height):
        return {**frame, **_dashboard(width, top, inner, runs, has_report)}
    rows = min(runs + 1 if runs else EMPTY_ROWS, _list_share(inner))
    return {
        **frame,
        "runs": Box(0, top, width, rows),
        "progress": Box(0, top + rows, width, inner - rows),
    }


def _beside(width: int, top: int, inner: int, view: str) -> dict[str, Box]:
    """Put a view beside the list where there is room, or in its place."""
    if width < BESIDE_WIDTH:
        return {view: Box(0, top, width, inner)}
    left = min(60, max(34, width * 3 // 10))
    return {
        "runs": Box(0, top, left, inner),
        view: Box(left + 1, top, width - left - 1, inner),
    }


def _list_share(inner: int) -> int:
    """Rows for a long list above one pane."""
    return max(5, inner * 12 // 20)


def _dashboard(width: int, top: int, inner: int, runs: int, has_report: bool) -> dict[str, Box]:
    """Put list, epochs and events on the left; progress and chart on the right.

    The report stands below the epochs when the list is short, and below the chart otherwise.
    """
    left = min(width * 3 // 5, 120)
    x, right = left + 1, width - left - 1
    rows = min(max(8, runs + 2), inner * (11 if has_report else 13) // 20)
    events = max(6, inner // 6)
    progress = min(16, inner * 9 // 25)
    report = max(12, inner * 3 // 10) if has_report else 0
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
    if not has_report:
        return boxes
    if beside:
        boxes["report"] = Box(0, top + rows + epochs, left, report)
    else:
        boxes["report"] = Box(x, top + inner - report, right, report)
    return boxes
