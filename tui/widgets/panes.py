"""The small panes of the runs view; what they draw is in `renderables`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..entry import RunView
from ..renderables import details
from ..renderables.curves import group_names, next_group, run_chart
from ..renderables.epochs import epochs
from ..renderables.text import Line, Span, from_file, line
from .around import stands_out
from .pane import Pane


class ProgressPane(Pane):
    """Status, bars, parameters, and the last step in full."""

    NAME = "progress"
    FOLLOWS_CLOCK = True

    def content(self, view: RunView, width: int, height: int) -> list[Line]:
        """Return the facts of the run."""
        assert self.entry is not None  # there is a view of it
        told = stands_out(self.scene.beside, self.entry, view, width)
        return details.progress(view.listed, width, time.time(), told)


class ChartPane(Pane):
    """A live chart of one group of metrics."""

    NAME = "chart"

    def __init__(self) -> None:
        super().__init__()
        self.group: str | None = None
        """The metrics that are drawn (`loss`); None: the most telling ones."""
        self._where = ""

    def content(self, view: RunView, width: int, height: int) -> list[Line]:
        """Return a chart that fills the pane."""
        names = group_names(view.full)
        at = names.index(self.group) if self.group in names else 0
        self._where = f"{names[at]} {at + 1}/{len(names)}" if names else ""
        if view.reading:
            self._where += " · reading …"
        lines = run_chart(view.full, self.group, width, height)
        if view.reading and len(lines) < 2:
            return [line(Span("reading the history …", "dim"))]
        return lines

    def action_metric(self, move: int) -> None:
        """Draw the metric `move` places further on."""
        if self.entry is not None:
            with self.entry.glimpse() as view:
                if view is not None:
                    self.group = next_group(view.full, self.group, move)
            self.redraw()

    def subtitle(self) -> str:
        """Return which of how many charts this is."""
        return from_file(self._where)


class EpochsPane(Pane):
    """One line per finished epoch."""

    NAME = "epochs"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return the epoch table, newest first."""
        return epochs(view.full, width)


class EventsPane(Pane):
    """What happened, newest first."""

    NAME = "events"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return the events of all attempts."""
        return details.events(view.full, width)


PANE_TYPES: Mapping[str, type[Pane]] = {
    pane.NAME: pane for pane in (ProgressPane, ChartPane, EpochsPane, EventsPane)
}
