"""Classification reports of the chosen run: the newest ones, or those of any epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from runstore.state.pieces import ReportPlace

from ..entry import RunView
from ..renderables.class_report import ClassReport, ScoreColumns
from ..renderables.confusion import Look
from ..renderables.report import Made, report
from ..renderables.report_head import Slide, left_out, means, nothing, slider, split_order
from ..renderables.report_parts import PARTS, Part, PartMaker, beside
from ..renderables.report_table import SCORE_NAMES, SORTS, Choice
from ..renderables.text import EMPTY, Line, Span, fit_line, line
from ..report_history import ReportHistory
from ..scene import Scene
from .pane import MARGIN, Pane

READ_S = 0.02
"""How long the screen waits for a report before it says that it is being read."""
TREND_POINTS = 60
"""Of a trend at most, evenly spread: it is a dozen cells wide."""


class ReportPane(Pane):
    """In its view the report of any epoch; beside the list of runs the newest of each split."""

    NAME = "report"

    def __init__(self) -> None:
        super().__init__()
        self._drawn: tuple[int, Mapping[str, object]] = (0, {})
        self._table: list[Line] = []
        self._made: Made = {}
        self._history: ReportHistory | None = None
        self._places: list[ReportPlace] = []
        self._none: list[Line] = []
        """What to say while there is no report."""
        self._split = ""
        """The one that was asked for; empty: the first."""
        self._held: ReportPlace | None = None
        """The report that was asked for; None: the newest is followed."""
        self._first_part = 0
        self._choice = Choice()
        self._shares = False
        self._column = 0
        """The first column of the matrix."""
        self._columns = 1
        """How many are on screen."""
        self._rows = self._all_rows = 1
        """How many lines of the first part are on screen, and there."""
        self._made_of: tuple[object, ...] = ()
        self._parts: list[list[Part]] = []
        """In rows that stand below each other, made of `_made_of`."""

    # ---- the newest reports, beside the list ---------------------------------------------------

    def content(self, view: RunView, width: int, height: int) -> list[Line]:
        """Return the reports, validation first; they change with an epoch, not with a step."""
        drawn = (width, view.full.reports)
        if drawn != self._drawn or not self._table:
            self._table = report(view.full, width, self._made)
            self._drawn = drawn
        return self._table

    # ---- the report of any epoch ---------------------------------------------------------------

    def show(self, scene: Scene) -> None:
        """Show other runs, or the same with new values."""
        if scene.entry is not self.entry:
            self._forget()
        super().show(scene)

    def _forget(self) -> None:
        if self._history is not None:
            self._history.stop()
        self._history, self._places, self._held, self._column = None, [], None, 0
        self._none = [line(Span("reading …", "dim"))]

    def body(self, width: int, height: int) -> list[Line]:
        """Return the slider, the means, and the parts that fit beside each other."""
        if self.scene.session.view != self.NAME or self.entry is None:
            return super().body(width, height)
        self._look_for_places()
        slide = self._slide()
        if slide is None:
            return self._none[:height]
        if self._history is None:
            self._history = ReportHistory(self.entry.ref.path)
        self._history.update(self._places, slide.place)
        found = self._history.report(slide.place, READ_S)
        problem = self._history.problem(slide.place)
        self.is_waiting |= self._history.is_behind or (found is None and not problem)
        top = [slider(slide, width)]
        if found is None:
            told = f"cannot be read: {problem}" if problem else f"reading {slide.when} …"
            return [*top, EMPTY, line(Span(told, "warn" if problem else "dim"))][:height]
        scores = self._scores_until(slide)
        top.append(means(found, scores, width))
        if told := left_out(found):
            top.append(fit_line((Span(told, "warn"),), width))
        return [*top, *self._parts_of_report(found, scores, width, height - len(top))][:height]

    def _look_for_places(self) -> None:
        """Take the places from the run's state; keep those that are known while it is read."""
        assert self.entry is not None
        with self.entry.glimpse() as view:
            self.is_waiting = view is None
            if view is None:
                return
            self._places = view.full.report_places
            room = self.size.width - 2 * MARGIN
            reading = [line(Span("reading …", "dim"))]
            self._none = reading if view.reading else nothing(view.full, room)

    @property
    def _splits(self) -> list[str]:
        return sorted({place.split for place in self._places}, key=split_order)

    def _slide(self) -> Slide | None:
        """Return which report is shown: the one asked for, what took its place, or the newest."""
        splits = self._splits
        if not splits:
            return None
        split = self._split if self._split in splits else splits[0]
        places = [place for place in self._places if place.split == split]
        at = len(places) - 1 if self._held is None else _nearest(places, self._held)
        return Slide(splits, places[at], at, len(places), self._held is None)

    def _scores_until(self, slide: Slide) -> list[ScoreColumns]:
        """Return the scores up to the report that is shown, back to the first that is unknown."""
        assert self._history is not None
        of_split = [place for place in self._places if place.split == slide.place.split]
        found = map(self._history.scores, reversed(of_split[: slide.at + 1]))
        known = list(takewhile(lambda columns: columns is not None, found))[::-1]
        every = 1 + len(known) // TREND_POINTS
        return [c for c in (*known[:-2:every], *known[-2:]) if c is not None]

    def _parts_of_report(
        self, found: ClassReport, scores: list[ScoreColumns], width: int, height: int
    ) -> list[Line]:
        """Return what was asked for, scrolled; beside and below it what else there is room for."""
        look = Look(self._shares, self._has_few_colors)
        version = self._history.version if self._history else 0
        made_of = (id(found), version, self._choice, look, self._column, self._first_part)
        if (*made_of, width, height) != self._made_of:
            make = PartMaker(found, scores, self._choice, look, self._column)
            self._parts = make.rows_of_parts(PARTS[self._first_part], width, height)
            self._column, self._columns = make.column, make.columns
            self._made_of = (*made_of[:4], self._column, self._first_part, width, height)
        first, *below = self._parts
        heads, lines = beside(first)
        self._rows, self._all_rows = height - 1, len(lines)
        shown = [heads, *self.scrolled(lines, self._rows)]
        self._length += self.size.height - height  # what stands above is not scrolled
        for parts in below:
            heads, lines = beside(parts)
            shown += [EMPTY, heads, *lines]
        return shown

    @property
    def _has_few_colors(self) -> bool:
        """Whether backgrounds cannot tell shades apart: 16 colors, or none."""
        return self.app.current_theme.ansi or self.app.console.color_system == "standard"

    def subtitle(self) -> str:
        """Return what is shown, in which order."""
        if self.scene.session.view != self.NAME or not self._places:
            return ""
        unit = " · % of the true class" if self._shares else ""
        part = PARTS[self._first_part]
        return f"{part} · {self._choice.told}{unit if part != 'pairs' else ''}"

    def leave(self) -> bool:
        """Have the classes in their order again; False: they are."""
        if not self._choice.find:
            return False
        self.typed(None)
        self.redraw()
        return True

    # ---- what its keys do ----------------------------------------------------------------------

    def action_epoch(self, move: int) -> None:
        """Show the report `move` places further on; the newest is followed from then on."""
        slide = self._slide()
        if slide is None:
            return
        places = [place for place in self._places if place.split == slide.place.split]
        at = max(0, slide.at + move)
        self._held = places[at] if at < len(places) - 1 else None

    def action_last_epoch(self, direction: int) -> None:
        """Show the first report, or follow the newest."""
        slide = self._slide()
        if slide is not None and direction < 0:
            self.action_epoch(-slide.total)
        else:
            self._held = None

    def action_split(self) -> None:
        """Show the reports of the next split, of the same epoch."""
        slide = self._slide()
        if slide is not None:
            splits = slide.splits
            self._split = splits[(splits.index(slide.place.split) + 1) % len(splits)]

    def action_part(self) -> None:
        """Show the matrix instead of the table, and so on."""
        self._first_part = (self._first_part + 1) % len(PARTS)
        self._top = self._column = 0

    def action_sort(self) -> None:
        """Sort the classes by something else."""
        at = SORTS.index(self._choice.sort)
        self._choice = replace(self._choice, sort=SORTS[(at + 1) % len(SORTS)])

    def action_score(self) -> None:
        """Sort by, and show the change of, another score."""
        self._choice = replace(self._choice, score=(self._choice.score + 1) % len(SCORE_NAMES))

    def action_find(self) -> None:
        """Have the name of a class typed."""
        self.prompt = self._choice.find

    def typing(self, text: str) -> None:
        """Put the classes with these letters in their names first."""
        self._choice = replace(self._choice, find=text)
        self._top = self._column = 0

    def typed(self, text: str | None) -> None:
        """Keep what was found first, or have the order as it was."""
        self.typing(text or "")

    def action_shares(self) -> None:
        """Show percent of the true class, or counts."""
        self._shares = not self._shares

    def scroll_lines(self, lines: int) -> None:
        """Scroll by some lines; the columns come along where the diagonal would go out of sight."""
        top = max(0, min(self._top + lines, self._all_rows - self._rows))
        leaves = self._sees_diagonal(self._top) and not self._sees_diagonal(top)
        if PARTS[self._first_part] == "matrix" and leaves:
            self._column = top
        super().scroll_lines(lines)

    def _sees_diagonal(self, top: int) -> bool:
        """Tell whether some of it is on screen when the matrix is scrolled to a row."""
        return top < self._column + self._columns and self._column < top + self._rows

    def action_column(self, move: int) -> None:
        """Scroll the matrix sideways."""
        self._column = max(0, self._column + move)

    def action_columns(self, pages: int) -> None:
        """Scroll the matrix sideways by what is on screen."""
        self.action_column(pages * self._columns)


def _nearest(places: Sequence[ReportPlace], wanted: ReportPlace) -> int:
    """Return where a report is, or the one of its epoch in another split, or the one before it."""
    if wanted in places:
        return places.index(wanted)
    key = _order(wanted)
    return max((at for at, place in enumerate(places) if _order(place) <= key), default=0)


def _order(place: ReportPlace) -> tuple[int, int]:
    return (place.epoch or 0, place.step or 0)
