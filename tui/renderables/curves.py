"""The chart of one run: which metrics share it, and their curves."""

from __future__ import annotations

from runstore.state.run_state import RunState

from .chart import chart, plot_width
from .drawn_runs import Identity, draw_run
from .facts import chart_groups
from .overlay import Settings, picture
from .text import Line, Span, line
from .traces import Kept


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
    name = group if group is not None and group in groups else next(iter(groups))
    kept = Kept()
    run = draw_run(state, series, Identity(""), groups[name], "step", kept)
    drawn = picture(name, groups[name], [run], plot_width(width) * 2, Settings(), kept)
    return chart(drawn.curves, drawn.window, width, height, drawn.look)


def next_group(state: RunState, current: str | None, move: int) -> str | None:
    """Return the chart `move` places after the current one, round and round."""
    names = group_names(state)
    if not names:
        return None
    at = names.index(current) if current in names else 0
    return names[(at + move) % len(names)]
