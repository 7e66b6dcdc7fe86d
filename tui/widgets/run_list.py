"""The list of runs: one line each, only the visible ones are formatted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from textual import events

from ..entry import Entry
from ..grouping import is_seed
from ..listing import GroupRow, Row, starts_ascending
from ..messages import ColumnClicked, GroupToggled, RunChosen, ShownRunsChanged, ViewChosen
from ..renderables import run_table
from ..renderables.facts import CopyFacts, Facts, facts_of, short, tell_apart
from ..renderables.root_names import RootNames
from ..renderables.run_columns import (
    INDENT,
    MIN_NAME,
    PARAM,
    PULLED,
    STATUS_WIDTH,
    Choice,
    Columns,
    plan_columns,
)
from ..renderables.run_table import Together
from ..renderables.text import Line, Span, dimmed, fit_line, from_file, line, shorten
from ..session import Session
from .lines import LinesWidget

FACTS_KEPT = 1000
"""Runs whose line need not be made again when they come back into view."""
MARK_WIDTH = 1
DEEPEST = 4
"""Folders further down are not moved further to the right: names need the room."""
NEIGHBOURS = 10
"""Rows above and below that a name on its own is told apart from."""


class RunList(LinesWidget, can_focus=True):
    """A table with a cursor.

    The cursor keeps to its run, not to its line: a run that starts above does not move it. On the
    first line of an unsorted list it stays there, so that the newest run is the one that is looked
    at.
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.metrics: Sequence[str] = ()
        self.depths: Mapping[str, int] = {}
        """How many groups the rows are in, by their keys; without those that are in none."""
        self.empty: Callable[[int], list[Line]] = lambda width: []
        """Returns what to say when there are no runs."""
        self.session = Session()
        self.letters: Callable[[], Mapping[str, str]] = dict
        """Returns the letters of marked runs, by their keys."""
        self.columns = Columns(STATUS_WIDTH, MIN_NAME)
        """As drawn last."""
        self._first_column = 0
        """How many columns are scrolled out to the left."""
        self.root_names = RootNames(())
        self.copy_facts: Callable[[Entry], CopyFacts | None] = _of_this_machine
        """Returns how the copy of another machine's run is kept."""
        self._cursor = 0
        self._top = 0
        self._stays_on_top = False
        self._chosen: str | None = None
        self._chosen_row: str | None = None
        self._shown: tuple[str, ...] = ()
        self._facts: dict[str, Facts] = {}
        self._outdated: set[str] = set()
        """Keys of `_facts` that are to be made again."""
        self._group_facts: dict[str, Facts] = {}
        """Of the groups among `rows`; a group may be of all runs."""

    def update_from(
        self,
        rows: Sequence[Row],
        metrics: Sequence[str],
        changed: frozenset[str] | None,
        depths: Mapping[str, int] | None = None,
    ) -> None:
        """Show other runs, or the same with new values.

        Args:
            rows: The runs and groups, in order.
            metrics: The metrics and parameters worth a column, the most telling first.
            changed: Keys of the runs whose values changed; None means all.
            depths: How many groups the rows are in, by their keys; without those in none.
        """
        is_same = rows is self.rows and metrics is self.metrics
        stay = bool(self._cursor) or (bool(self.session.sort) and not self._stays_on_top)
        self._stays_on_top = False
        if rows is not self.rows:
            self._group_facts = {}
        self.rows, self.metrics, self.depths = rows, metrics, depths or {}
        if changed is None:
            self._facts.clear()
        else:
            self._outdated |= changed & self._facts.keys()
        if len(self._facts) > FACTS_KEPT:
            visible = {row.key for row in self._visible()}
            self._facts = {key: self._facts[key] for key in self._facts.keys() & visible}
        if is_same and changed is not None and changed.isdisjoint(self._shown):
            return
        if stay and not self._at(self._cursor):
            self._cursor = self._place_of_chosen()
        self._settle()
        self.redraw()

    def _at(self, index: int) -> bool:
        return index < len(self.rows) and self.rows[index].key == self._chosen_row

    def _place_of_chosen(self) -> int:
        """Return where the chosen row is now: itself, its run, or the group that its run is in."""
        for wanted in (self._chosen_row, self._chosen):
            for index, row in enumerate(self.rows):
                if row.key == wanted:
                    return index
        groups = (
            index
            for index, row in enumerate(self.rows)
            if isinstance(row, GroupRow) and any(e.key == self._chosen for e in row.members)
        )
        return max(groups, default=self._cursor)  # the innermost one

    @property
    def chosen_row(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self._cursor] if self._cursor < len(self.rows) else None

    @property
    def chosen(self) -> Entry | None:
        """The run under the cursor; of a group its first."""
        row = self.chosen_row
        return row.members[0] if isinstance(row, GroupRow) else row

    @property
    def shown(self) -> tuple[str, ...]:
        """Keys of the visible runs."""
        return self._shown

    @property
    def shows_ages(self) -> bool:
        """Whether copies of other machines' runs are on screen, which become older."""
        return any(column.id == PULLED for column in self.columns.cells)

    @property
    def place(self) -> str:
        """`1-14 of 1,000` when not all rows are visible, else nothing."""
        rows = self._rows
        if len(self.rows) <= rows or not self.size.height:  # it is not on screen yet
            return ""
        return f"{self._top + 1}-{self._top + rows} of {len(self.rows):,}"

    @property
    def _rows(self) -> int:
        return max(1, self.size.height - 1)

    def label(self, width: int) -> Line:
        """Return the chosen run as its row begins: letter, glyph, and name with the difference.

        Args:
            width: Cells that the name may have.
        """
        chosen = self.chosen
        if chosen is None:
            return ()
        # Those around it are compared: the list may have no rows on screen at all.
        around = self.rows[max(0, self._cursor - NEIGHBOURS) : self._cursor + NEIGHBOURS + 1]
        entries = (
            [row for row in around if isinstance(row, Entry)] if chosen in around else [chosen]
        )
        read = {one.key: facts for one in entries if (facts := self._facts_of(one)) is not None}
        facts = self._told_apart(read).get(chosen.key)
        if facts is None:
            return line(Span(shorten(from_file(chosen.name), width, keep_end=True), "name"))
        mark = Span(_Marks(self.session, self.letters()).of(chosen).strip(), "best")
        return line(mark, *run_table.label(facts, width))

    def rows_from(self, key: str) -> Sequence[Row]:
        """Return the rows from the one of a run to the cursor; only the latter without that run."""
        for index, row in enumerate(self.rows):
            if row.key == key:
                first, last = sorted((index, self._cursor))
                return self.rows[first : last + 1]
        return self.rows[self._cursor : self._cursor + 1]

    def stay_on_top(self) -> None:
        """Keep a cursor on the first line there once: the user has asked for another order."""
        self._stays_on_top = not self._cursor

    def move(self, lines: int) -> None:
        """Move the cursor by some lines."""
        self._cursor += lines
        self._settle()
        self.redraw()

    def move_to(self, key: str) -> None:
        """Move the cursor to a run; nothing happens where it is not listed."""
        places = (place for place, row in enumerate(self.rows) if row.key == key)
        self.move(next(places, self._cursor) - self._cursor)

    def move_page(self, pages: int) -> None:
        """Move the cursor by some pages."""
        self.move(pages * max(1, self._rows - 1))

    def move_edge(self, direction: int) -> None:
        """Move the cursor to the first (negative) or the last run."""
        self.move(direction * len(self.rows))

    def move_sideways(self, columns: int) -> None:
        """Scroll to further columns, or back."""
        if columns < 0 or self.columns.right:
            self._first_column = max(0, self._first_column + columns)
            self.redraw()

    def _settle(self) -> None:
        """Keep the cursor on a run and on screen, and say what changed."""
        last = len(self.rows) - 1
        self._cursor = max(0, min(self._cursor, last))
        rows = self._rows
        self._top = max(self._cursor - rows + 1, min(self._top, self._cursor))
        self._top = max(0, min(self._top, len(self.rows) - rows))
        chosen, row = self.chosen, self.chosen_row
        key = None if chosen is None else chosen.key
        self._chosen_row = None if row is None else row.key
        if key != self._chosen:
            self._chosen = key
            self.post_message(RunChosen(key))
        shown = tuple(row.key for row in self._visible() if isinstance(row, Entry))
        if shown != self._shown:
            self._shown = shown
            self.post_message(ShownRunsChanged(shown))

    def _visible(self) -> Sequence[Row]:
        return self.rows[self._top : self._top + self._rows]

    # ---- drawing -------------------------------------------------------------------------------

    def build(self, width: int, height: int) -> list[Line]:
        """Return the titles and the visible rows."""
        visible = self._visible()
        if not visible:
            return self.empty(width)
        self.is_waiting = False
        read = {row.key: fact for row in visible if (fact := self._facts_of(row)) is not None}
        facts = self._told_apart(read)
        columns = self._plan(width, facts)
        facts = self._cut_apart(facts, columns.name)
        title = (Span(" " * MARK_WIDTH), *run_table.header(columns))
        more = Span("→" if columns.right else " ", "key")
        out: list[Line] = [(*fit_line(title, width - 1), more)]
        role = "cursor" if self.has_focus else "cursor-blurred"
        marks, now_s = _Marks(self.session, self.letters()), time.time()
        for index, row in enumerate(visible, self._top):
            line = self._line(row, facts.get(row.key), columns, now_s)
            mark = marks.of(row)
            # A blank of another colour would be seen where the cursor's line is reversed.
            line = fit_line((Span(mark, "best" if mark.strip() else ""), *line), width)
            out.append((Span("", role), *line) if index == self._cursor else line)
        return out

    def _told_apart(self, read: Mapping[str, Facts]) -> dict[str, Facts]:
        """Give each row what tells it from its namesakes; below a row of seeds that is the seed."""
        below = {key for key in read if self.session.grouped and key in self.depths}
        folders = {
            row.key for row in self._visible() if isinstance(row, GroupRow) and row.is_folder
        }
        others = {key: fact for key, fact in read.items() if key not in below | folders}
        told = dict(zip(others, tell_apart(list(others.values())), strict=True))
        told |= {key: replace(read[key], apart=_seeds(read[key])) for key in below}
        return {key: told.get(key, fact) for key, fact in read.items()}

    def _cut_apart(self, facts: Mapping[str, Facts], width: int) -> dict[str, Facts]:
        indent = max((self._indent(key) for key in facts), default=0)
        cut = run_table.cut_apart(list(facts.values()), width - indent)
        return dict(zip(facts, cut, strict=True))

    def _plan(self, width: int, facts: Mapping[str, Facts]) -> Columns:
        session = self.session
        ascending = starts_ascending(session.sort) != session.reverse
        indent = max((self._indent(key) for key in facts), default=0)
        choice = Choice(session.sort, ascending, self._first_column, session.grouped, indent)
        room = width - MARK_WIDTH - 1
        self.columns = plan_columns(room, self.metrics, facts.values(), choice)
        self._first_column = self.columns.left
        return self.columns

    def _line(self, row: Row, facts: Facts | None, columns: Columns, now_s: float) -> Line:
        indent = self._indent(row.key)
        if isinstance(row, GroupRow):
            assert facts is not None
            made = self._group_line(row, facts, columns, now_s)
            return dimmed(made) if all(entry.away for entry in row.members) else made
        if facts is None:
            return run_table.unread_row(from_file(row.ref.id), columns, indent)
        made = run_table.row(facts, columns, now_s, indent)
        return dimmed(made) if row.away else made

    def _indent(self, key: str) -> int:
        return INDENT * min(self.depths.get(key, 0), DEEPEST)

    def _group_line(self, row: GroupRow, facts: Facts, columns: Columns, now_s: float) -> Line:
        # The runs of a folder may be of anything: their means would say nothing.
        names = [] if row.is_folder else self._metrics_of(columns)
        means = [(name, mean) for name in names if (mean := row.mean(name)) is not None]
        spread = {name: mean[1] for name, mean in means if mean[1] is not None}
        together = Together(len(row.members), row.counts, row.folded, spread)
        facts = replace(facts, last={name: mean[0] for name, mean in means})
        return run_table.group_row(facts, together, columns, now_s, self._indent(row.key))

    @staticmethod
    def _metrics_of(columns: Columns) -> list[str]:
        names = (column.id for column in columns.cells)
        return [name for name in names if not name.startswith(("@", PARAM))]

    def _facts_of(self, row: Row) -> Facts | None:
        """Return the facts of a row, from the last time it changed; None before it was read."""
        if isinstance(row, GroupRow):
            if row.key not in self._group_facts:
                self._group_facts[row.key] = _group_facts(row)
            return self._group_facts[row.key]
        facts = self._facts.get(row.key)
        if (row.glanced or row.stuck) and (facts is None or row.key in self._outdated):
            with row.glimpse() as view:
                self.is_waiting |= view is None
                if view is not None and view.known:
                    facts = self.root_names.marked(facts_of(view.listed), row.key)
                    self._facts[row.key] = facts
                    self._outdated.discard(row.key)
        # A copy becomes older, and new again, without a change of the run.
        copy = self.copy_facts(row)
        if facts is not None and facts.copy != copy:
            facts = self._facts[row.key] = replace(facts, copy=copy)
        return facts

    # ---- events --------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Another height shows other runs."""
        self._settle()
        self.redraw()

    def on_focus(self) -> None:
        """The cursor line tells where the keys go."""
        self.redraw()

    def on_blur(self) -> None:
        """The cursor line tells where the keys go."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the clicked run, or sort by the clicked title."""
        if event.y == 0:
            column = self.columns.at(event.x - MARK_WIDTH)
            if column:
                self.post_message(ColumnClicked(column))
            return
        self.move(self._top + event.y - 1 - self._cursor)
        if event.chain == 2:
            is_group = isinstance(self.chosen_row, GroupRow)
            self.post_message(GroupToggled() if is_group else ViewChosen("run"))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Three runs down."""
        event.stop()
        self.move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Three runs up."""
        event.stop()
        self.move(-3)


class _Marks:
    """Which letter stands before a row; looked up for many rows."""

    def __init__(self, session: Session, letters: Mapping[str, str]) -> None:
        self._letters = letters
        self._marked = frozenset(session.marks)

    def of(self, row: Row) -> str:
        """Return the letter of a marked run, a dot for one beyond the letters, or a blank."""
        runs = row.members if isinstance(row, GroupRow) else (row,)
        marked = [run.key for run in runs if run.key in self._marked]
        if not marked:
            return " "
        letters = {self._letters.get(key, "•") for key in marked}
        return letters.pop() if len(letters) == 1 else "•"


def _of_this_machine(_: Entry) -> CopyFacts | None:
    return None


def _group_facts(row: GroupRow) -> Facts:
    """Return what a group's row shows of its runs together: the one furthest behind counts."""
    last = min(row.members, key=lambda entry: entry.kept.position("fraction") or 0.0).kept
    epoch, epochs = last.position("epoch"), last.position("epochs")
    eta_s, job_end = _least_time(row)
    took = row.mean("@took")
    return Facts(
        name=row.name,
        word=row.counts[0][0],
        reason="",
        epoch=None if epoch is None else int(epoch),
        epochs=None if epochs is None else int(epochs),
        fraction=last.position("fraction"),
        it_per_s=None,
        eta_s=eta_s,
        duration_s=None if took is None else took[0],
        last={},
        damaged=False,
        id=row.key,
        source=row.members[0].source,
        job_end=job_end,
        best=None if row.is_folder else _mean_best(row),
        params={name: _shortened(value) for name, value in row.params.items()},
    )


def _mean_best(row: GroupRow) -> float | None:
    """Return the mean of the best values of runs that differ in their seed, if all have one."""
    found = [entry.kept.position("best") for entry in row.members]
    known = [value for value in found if value is not None]
    return fmean(known) if len(known) == len(found) else None


def _least_time(row: GroupRow) -> tuple[float | None, float | None]:
    """Return ETA and end of the job of the run that has least time to spare, or needs longest."""
    kept = [entry.kept for entry in row.members]
    etas = [(eta, one.position("job_end")) for one in kept if (eta := one.position("eta_s"))]
    limited = [(end - eta, eta, end) for eta, end in etas if end is not None]
    if limited:
        return min(limited)[1:]
    return max((eta for eta, _ in etas), default=None), None


def _seeds(facts: Facts) -> tuple[str, str]:
    found = {name: value for name, value in facts.params.items() if is_seed(name)}
    return " ".join(f"{name}={value}" for name, value in found.items()), " ".join(found.values())


def _shortened(value: str) -> str:
    """Return a parameter as a run's own row shows it."""
    try:
        return value if value.lstrip("+-").isdigit() else short(float(value))
    except ValueError:
        return value
