"""All metrics of the runs that are drawn together."""

from __future__ import annotations

from .panes import ChartPane


class ChartsPane(ChartPane):
    """One chart at a time."""

    NAME = "charts"
