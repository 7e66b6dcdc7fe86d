"""The view `system`: CPU, memory, disk, network and GPUs, over time and rank by rank."""

from __future__ import annotations

import time
from collections.abc import Sequence

from runstore.numbers import age, percent

from ..entry import Entry, RunView
from ..renderables.system_charts import WINDOWS, View, metric_charts
from ..renderables.text import Line, Span, from_file, line, paragraph
from ..side_reader import SideReader
from ..system_reading import Page, SystemReading
from .pane import Pane

NO_SAMPLES = "no system samples: a run of more than a second has them, every ten seconds"
SILENT = "the file system of the samples does not answer"


class SystemPane(Pane):
    """How the machines of the chosen run do."""

    NAME = "system"

    def __init__(self) -> None:
        super().__init__()
        self._window = 1
        self._rank: int | None = None
        self._rank_hosts: tuple[tuple[int, str], ...] = ()
        self._reader = SideReader()
        self._readings: tuple[Entry | None, SystemReading | None] = (None, None)

    def body(self, width: int, height: int) -> list[Line]:
        """Return what is scrolled into view."""
        self.is_waiting = self.entry is not None  # it grows without anything said: look again soon
        reading = self._reading()
        if reading is None:
            return self.without_run(width)
        view = View(width, self._window, self._rank, self._hosts())
        self._reader.ask(reading, now=reading.look(view))
        page = reading.page
        if page.drawn.lines:
            return self.scrolled(page.drawn.lines, height)
        if self._reader.is_silent:
            return [line(Span(SILENT, "warn"))]
        if page.share_read < 1 or not page.is_read:
            return [line(Span("reading the samples …", "dim"))]
        return self.scrolled(
            self._metrics(width) or _why(page, self._reader.problem, width), height
        )

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return charts of the metrics that another tool has put below `system/`."""
        return metric_charts(view.full, width)

    def _metrics(self, width: int) -> list[Line]:
        if self.entry is None:
            return []
        with self.entry.glimpse() as view:
            return [] if view is None else list(self.content(view, width, 0))

    def _hosts(self) -> tuple[tuple[int, str], ...]:
        """Return the host of each rank, as far as it is known at this moment."""
        if self.entry is not None:
            with self.entry.glimpse() as view:
                if view is not None:
                    self._rank_hosts = tuple(view.full.rank_hosts.items())
        return self._rank_hosts

    def _reading(self) -> SystemReading | None:
        entry, reading = self._readings
        if entry is not self.entry:
            entry = self.entry
            reading = SystemReading(entry.ref) if entry is not None else None
            self._readings = entry, reading
            self._rank, self._rank_hosts = None, ()
        return reading

    def subtitle(self) -> str:
        """Return the time that is drawn, whose charts, and how old the newest sample is."""
        _, reading = self._readings
        page = reading.page if reading is not None else Page()
        if not page.drawn.lines:
            return ""
        told = [WINDOWS[self._window][0]]
        if len(page.drawn.ranks) > 1:
            told.append("all ranks" if self._rank is None else f"rank {self._rank}")
        if page.drawn.time is not None and self.entry is not None and self.entry.alive:
            told.append(f"sampled {age(time.time() - page.drawn.time)}")
        if page.share_read < 1:
            told.append(f"reading {percent(page.share_read)}")
        if page.problem or page.damage:
            told.append(from_file(page.problem or page.damage))
        return " · ".join(told)

    def action_window(self, move: int) -> None:
        """Draw a longer or shorter time."""
        self._window = (self._window + move) % len(WINDOWS)
        self.redraw()

    def action_rank(self, move: int) -> None:
        """Draw the charts of the next rank, or of all together."""
        _, reading = self._readings
        choices: list[int | None] = [None]
        choices += reading.page.drawn.ranks if reading is not None else ()
        at = choices.index(self._rank) if self._rank in choices else 0
        self._rank = choices[(at + move) % len(choices)]
        self.redraw()


def _why(page: Page, failure: str, width: int) -> list[Line]:
    problem = page.problem or failure
    if problem:
        return paragraph(f"the samples cannot be read: {from_file(problem)}", width, "warn")
    if page.damage:
        told = f"no samples that can be read: {from_file(page.damage)}"
        return paragraph(told, width, "warn")
    return paragraph(NO_SAMPLES, width)
