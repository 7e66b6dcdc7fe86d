"""The chart of one run: which metrics share it, and their curves."""

from __future__ import annotations

from collections.abc import Sequence

from runstore.series import Series, merge_columns
from runstore.state import RunState

from .chart import Curve, chart, plot_width
from .facts import chart_groups
from .text import Line, Span, from_file, line

CURVE_ROLES = tuple(f"curve{i}" for i in range(8))


def group_names(state: RunState) -> list[str]:
    """Return the charts that a run has, most telling first."""
    return list(chart_groups(state.series))


def run_chart(state: RunState, group: str | None, width: int, height: int) -> list[Line]:
    """Return the chart of a group of metrics (`loss`: training and validation together).

    Args:
        state: The run, read in full.
        group: A name from `group_names`; None or an unknown one means the first.
        width: Cells.
        height: Lines.
    """
    series = state.series
    groups = chart_groups(series)
    if not groups:
        return [line(Span("no metric yet", "dim"))]
    metrics = groups.get(group or "") or next(iter(groups.values()))
    metrics = metrics[: len(CURVE_ROLES)]
    x_min, x_max = _x_range([piece for name in metrics for piece in series[name]])
    curves = [
        _curve(name, series[name], CURVE_ROLES[i], width, x_min, x_max)
        for i, name in enumerate(metrics)
    ]
    return chart(curves, x_min, x_max, width, height)


def _x_range(pieces: Sequence[Series]) -> tuple[float, float]:
    ranges = [piece.x_range for piece in pieces]
    known = [found for found in ranges if found is not None]
    if not known:
        return (0.0, 1.0)
    return (min(low for low, _ in known), max(high for _, high in known))


def _curve(
    name: str, pieces: Sequence[Series], role: str, width: int, x_min: float, x_max: float
) -> Curve:
    columns = merge_columns(pieces, plot_width(width) * 2, x_min, x_max)
    last = next((piece.last for piece in reversed(pieces) if piece.last), None)
    lost = sum(piece.nonfinite for piece in pieces)
    label = from_file(name) + (f" ({lost:,} nan/inf)" if lost else "")
    return Curve(label, role, columns.lows, columns.highs, last[1] if last else None)


def next_group(state: RunState, current: str | None, move: int) -> str | None:
    """Return the chart `move` places after the current one, round and round."""
    names = group_names(state)
    if not names:
        return None
    at = names.index(current) if current in names else 0
    return names[(at + move) % len(names)]
