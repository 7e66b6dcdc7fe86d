"""All charts of the runs that are drawn together: a grid of them, or one alone.

The board knows what is in focus and how it is drawn, and nothing of keys or widgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from runstore.state.run_state import RunState
from runstore.state.series import Series

from .axes import AXES, NAMES, Window
from .chart import chart, plot_width
from .chart_grid import Grid, beside, grid_for
from .chart_legend import cursor_lines, headline, place_text, runs_legend
from .drawn_runs import DrawnRun, Identity, draw_run, traces_of
from .facts import chart_groups
from .overlay import Picture, Settings, picture, subjects
from .text import EMPTY, Line, Span, from_file, line
from .traces import Kept

SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Weights that the keys go through."""
SMALLEST = 1e-6
"""Of the whole axis; what is drawn of it at least."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as it is found when a frame is drawn."""

    who: Identity
    state: RunState | None
    """Read in full, and kept still; None while it is being read."""
    is_reading: bool = False
    """There is more of it to come."""


class Board:
    """The charts, what is in focus, and the user's choices for them."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.focus = ""
        """The chart that the keys are for; empty before the first frame."""
        self.is_single = False
        """One chart alone is drawn."""
        self.search = ""
        """Only charts whose name, or a metric of them, has it in it."""
        self.names: list[str] = []
        """Of all charts, in order."""
        self._kept = Kept()
        self._groups: Mapping[str, list[str]] = {}
        self._runs: list[DrawnRun] = []
        self._pictures: dict[str, Picture] = {}
        self._grid = Grid(1, 1, 1, 1)
        self._top = 0
        """First row of the grid that is in sight."""
        self._legend: list[Line] = []
        self._columns = 2
        """Dot columns of the charts of the last frame."""

    # ---- a frame -------------------------------------------------------------------------------

    def take(self, seen: Sequence[Seen], width: int, height: int) -> None:
        """Take what the next frame needs of the runs; while they keep still.

        Args:
            seen: As many runs as make nine lines at most.
            width: Cells.
            height: Lines.
        """
        before = {run.who.key: run for run in self._runs}
        taken: list[tuple[DrawnRun, Mapping[str, Sequence[Series]]]] = []
        for one in seen:
            known = before.get(one.who.key)
            if one.state is not None:
                series = one.state.series
                run = draw_run(
                    one.state,
                    series,
                    one.who,
                    (),
                    self.settings.axis,
                    self._kept,
                    is_reading=one.is_reading,
                )
                taken.append((run, series))
            elif known is not None:
                taken.append((replace(known, who=one.who), {}))
        self._runs = [run for run, _ in taken]
        self._find_charts()
        self._arrange(width, height)
        wanted = list(chain.from_iterable(self._groups[name] for name in self._in_sight()))
        self._runs = [
            replace(run, traces=traces_of(series, run.who, wanted, self._kept)) if series else run
            for run, series in taken
        ]

    def _find_charts(self) -> None:
        self._groups = chart_groups(chain.from_iterable(run.metrics for run in self._runs))
        words = self.search.lower().split()
        self.names = [
            name
            for name, metrics in self._groups.items()
            if all(any(word in one.lower() for one in (name, *metrics)) for word in words)
        ]
        if self.focus not in self.names:
            self.focus = self.names[0] if self.names else ""

    def _arrange(self, width: int, height: int) -> None:
        """Find the room for the legend of the runs and the place of each chart."""
        self._legend = []
        if len(self._runs) > 1 and not self.is_single:
            described = [subject for subject, _ in subjects(self._runs, self.settings)]
            self._legend = runs_legend(described, width, max(1, height // 8), values=False)
        self._grid = (
            Grid(1, 1, width, height)
            if self.is_single
            else grid_for(max(1, len(self.names)), width, height - len(self._legend))
        )
        rows = -(-len(self.names) // self._grid.columns)
        focused = self.place // self._grid.columns
        self._top = max(focused - self._grid.rows + 1, min(self._top, focused))
        self._top = max(0, min(self._top, rows - self._grid.rows))
        self._columns = plot_width(self._grid.cell_width) * 2

    def _in_sight(self) -> list[str]:
        if self.is_single:
            return [self.focus] if self.focus else []
        first = self._top * self._grid.columns
        return self.names[first : first + self._grid.in_sight]

    def draw(self) -> list[Line]:
        """Return the frame, of the size that it was taken for."""
        settings = self.settings
        self._pictures = {
            name: picture(name, self._groups[name], self._runs, self._columns, settings, self._kept)
            for name in self._in_sight()
        }
        self._kept.end_frame()
        if not self._pictures:
            return [EMPTY, line("  ", Span(self._why_empty(), "dim"))]
        if self.is_single:
            return self._single(self._pictures[self.focus])
        cells = [self._cell(drawn) for drawn in self._pictures.values()]
        return [*self._legend, *beside(cells, self._grid)]

    def _why_empty(self) -> str:
        if self.search and self._groups:
            return f"no metric has {from_file(self.search)!r} in its name; Esc shows all"
        reading = any(run.is_reading for run in self._runs)
        return "reading the history …" if reading or not self._runs else "no metric yet"

    def _cell(self, drawn: Picture) -> list[Line]:
        width, height = self._grid.cell_width, self._grid.cell_height
        head = headline(drawn, width, is_focused=drawn.group == self.focus)
        return chart(drawn.curves, drawn.window, width, height, drawn.look, [head])

    def _single(self, drawn: Picture) -> list[Line]:
        width, height = self._grid.cell_width, self._grid.cell_height
        head = [headline(drawn, width, is_focused=True, names_runs=not drawn.is_alone)]
        if not drawn.is_alone:
            newest = self.settings.cursor is None
            head += runs_legend(drawn.subjects, width, max(1, height // 4), values=newest)
        below: list[Line] = []
        if self.settings.cursor is not None:
            below = cursor_lines(drawn, self.settings.cursor, width, max(1, height // 6))
        room = height - len(below)
        return [*chart(drawn.curves, drawn.window, width, room, drawn.look, head), *below]

    @property
    def place(self) -> int:
        """The number of the chart in focus, from 0."""
        return self.names.index(self.focus) if self.focus in self.names else 0

    def title(self) -> str:
        """Return what is drawn and how, in a few words."""
        settings, total = self.settings, len(self.names)
        parts = [f"{from_file(self.focus)} {self.place + 1} of {total}"] if total else []
        parts.append(f"x: {NAMES[settings.axis]}{' (log)' if settings.log_x else ''}")
        if settings.smoothing:
            parts.append(f"smoothed {settings.smoothing:g}")
        if not settings.robust:
            parts.append("outliers shown")
        if settings.grouped:
            parts.append("mean ± std over seeds")
        drawn = self._pictures.get(self.focus)
        if settings.zoom is not None and drawn is not None and drawn.window.size:
            parts.append(f"zoom ×{drawn.whole.size / drawn.window.size:.3g}")
        if settings.cursor is not None and drawn is not None and not self.is_single:
            parts.append(f"at {place_text(drawn.window, settings.cursor)}")
        if self.search:
            parts.append(f"only {from_file(self.search)}")
        if any(run.is_reading for run in self._runs):
            parts.append("reading …")
        return " · ".join(parts)

    # ---- what is in focus ----------------------------------------------------------------------

    def move(self, charts: int) -> None:
        """Put a chart further on into focus; the first and the last are the ends."""
        if self.names:
            self.focus = self.names[max(0, min(len(self.names) - 1, self.place + charts))]

    def move_rows(self, rows: int) -> None:
        """Put the chart so many rows further down into focus, or so many charts in a single one."""
        columns = 1 if self.is_single else self._grid.columns
        at = self.place + rows * columns
        if 0 <= at < len(self.names):
            self.move(rows * columns)
        elif rows > 0 and self.place // columns < (len(self.names) - 1) // columns:
            self.move(len(self.names))  # the last row is shorter

    def move_pages(self, pages: int) -> None:
        """Put the chart one screen further on into focus."""
        self.move(pages * self._grid.in_sight)

    def choose(self, name: str) -> None:
        """Put a chart into focus."""
        if name in self.names:
            self.focus = name

    def at(self, x: int, y: int) -> tuple[str, float] | None:
        """Return the chart at a place of the frame, and the share of its plot's width.

        Args:
            x: Cells from the left of the frame.
            y: Lines from its top.
        """
        shown = list(self._pictures)
        cell = self._grid.cell_at(x, y - len(self._legend))
        if cell >= len(shown):
            return None
        width = self._grid.cell_width
        inside = x - cell % self._grid.columns * (width + 1) - (width - plot_width(width))
        return shown[cell], max(0.0, min(1.0, inside / max(1, plot_width(width) - 1)))

    # ---- how it is drawn -----------------------------------------------------------------------

    def turn_axis(self) -> None:
        """Have the horizontal axis count the next thing."""
        axis = AXES[(AXES.index(self.settings.axis) + 1) % len(AXES)]
        self._set_axis(axis, self.settings.log_x)

    def toggle_log_x(self) -> None:
        """Make the horizontal axis logarithmic, or linear again."""
        self._set_axis(self.settings.axis, not self.settings.log_x)

    def _set_axis(self, axis: str, log: bool) -> None:
        self.settings = replace(self.settings, axis=axis, log_x=log, zoom=None, cursor=None)

    def toggle_log_y(self) -> None:
        """Make the value axis of the chart in focus logarithmic, or linear again."""
        log_y = self.settings.log_y ^ {self.focus}
        self.settings = replace(self.settings, log_y=log_y)

    def smooth(self, move: int) -> None:
        """Smooth more or less."""
        at = SMOOTHINGS.index(self.settings.smoothing) + move
        weight = SMOOTHINGS[max(0, min(len(SMOOTHINGS) - 1, at))]
        self.settings = replace(self.settings, smoothing=weight)

    def toggle_robust(self) -> None:
        """Cut outliers off, or show them."""
        self.settings = replace(self.settings, robust=not self.settings.robust)

    def zoom(self, factor: float, share: float | None = None) -> None:
        """Draw a part of the axis that is `factor` times as large.

        Args:
            factor: Below 1 to see more of less.
            share: Of the width, what keeps its place; None: the cursor, or else the middle.
        """
        drawn = self._zoomable()
        if drawn is None:
            return
        window, cursor = drawn.window, self.settings.cursor
        if share is None:
            share = 0.5 if cursor is None else window.share(cursor)
            share = share if 0 <= share <= 1 else 0.5
        if window.size * factor >= drawn.whole.size * SMALLEST:
            self._set_zoom(window.zoomed(factor, share), drawn.whole)

    def zoom_to(self, start: float, end: float) -> None:
        """Draw only the part between two shares of the width."""
        drawn, size = self._zoomable(), abs(end - start)
        if drawn is not None and drawn.window.size * size > drawn.whole.size * SMALLEST:
            left = drawn.window.panned(min(start, end))
            self._set_zoom(left.zoomed(size, 0.0), drawn.whole)

    def zoom_out(self) -> None:
        """Draw the whole axis again."""
        self.settings = replace(self.settings, zoom=None)

    def pan(self, shares: float) -> None:
        """Draw the part that many widths further on."""
        drawn = self._zoomable()
        if drawn is not None and self.settings.zoom is not None:
            self._set_zoom(drawn.window.panned(shares), drawn.whole)

    def _set_zoom(self, window: Window, whole: Window) -> None:
        zoom = None if window.size >= whole.size else window.inside(whole)
        self.settings = replace(self.settings, zoom=zoom)

    def _zoomable(self) -> Picture | None:
        """Return the picture in focus; None where there is none, or a single point."""
        drawn = self._pictures.get(self.focus)
        return drawn if drawn is not None and drawn.whole.size > 0 else None

    # ---- the cursor ----------------------------------------------------------------------------

    def step_at_cursor(self) -> float | None:
        """Return the step of the chosen run at the cursor."""
        cursor = self.settings.cursor
        rulers = (run.ruler for run in self._runs if run.who.is_chosen)
        ruler = next((found for found in rulers if found is not None), None)
        return None if cursor is None or ruler is None else ruler.step_at(cursor)

    def move_cursor(self, columns: int) -> None:
        """Move the cursor by dot columns, in from the right end when there was none."""
        drawn = self._pictures.get(self.focus)
        if drawn is None:
            return
        last = self._columns - 1
        cursor = self.settings.cursor
        at = last if cursor is None else drawn.window.column(cursor, self._columns) + columns
        if at < 0 or at > last:
            self.pan(at / last if at < 0 else (at - last) / last)
        window = self.settings.zoom or drawn.window
        self.set_cursor(window, max(0, min(last, at)) / last)

    def jump_cursor(self, share: float) -> None:
        """Move the cursor by a share of the width."""
        self.move_cursor(round(share * self._columns))

    def set_cursor(self, window: Window, share: float) -> None:
        """Put the cursor to a share of the width of a window."""
        self.settings = replace(self.settings, cursor=window.place(share))

    def point_at(self, share: float) -> None:
        """Put the cursor to a share of the width of the chart in focus."""
        drawn = self._pictures.get(self.focus)
        if drawn is not None:
            self.set_cursor(drawn.window, share)

    def drop_cursor(self) -> bool:
        """Take the cursor away; return whether there was one."""
        had = self.settings.cursor is not None
        self.settings = replace(self.settings, cursor=None)
        return had
