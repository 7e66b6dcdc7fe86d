"""What the keys of the run list do: filter, order, columns, groups and marks."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable

from textual.screen import Screen

from ..catalog import Catalog
from ..entry import Entry
from ..listing import (
    GroupRow,
    Listing,
    Row,
    metric_names,
    param_names,
    starts_ascending,
    vocabulary,
)
from ..messages import ColumnClicked, GroupToggled
from ..renderables.run_columns import PARAM, Column
from ..said import Said
from ..session import Session
from ..widgets.run_list import RunList
from .filter_text import FilterText

TYPED_S = 0.03
"""Where listing takes longer, it waits for a pause between the keys of a filter."""
RANK_EVERY_S = 2.0
"""The list's metric columns are chosen anew at most this often, so that they keep still."""
MOST_MARKED = 1000
"""Runs that can be marked: each is looked up whenever something is drawn."""


class ListKeys(Screen[None]):
    """The part of the main screen that changes how the runs are listed.

    Abstract for the type checker alone, as `Pane`.
    """

    def __init__(self, catalog: Catalog, session: Session) -> None:
        super().__init__()
        self.catalog = catalog
        self.session = session
        self.listing = Listing(catalog.roots)
        self.filter = FilterText()
        self.take_filter(session.filter)
        self.is_filter_new = False
        """It is still to be applied: of a hundred thousand runs not for each key that is typed."""
        self._metrics: list[str] = []
        self._ranked_at = 0.0

    @abstractmethod
    def list_again(self) -> None:
        """List the runs anew, as something else is asked for."""

    said: Said
    """What an action came to, for the last line."""

    @abstractmethod
    def marks_changed(self) -> None:
        """Draw the marked runs, and have them read."""

    @property
    def runs_list(self) -> RunList:
        """The list's widget."""
        return self.query_one("#runs", RunList)

    # ---- rows and filter -----------------------------------------------------------------------

    def fill_list(self, changed: frozenset[str] | None) -> None:
        """Show the rows as they are now; `changed` are the keys of runs, None stands for all."""
        now = time.monotonic()
        if not self._metrics or now - self._ranked_at > RANK_EVERY_S:
            self._metrics, self._ranked_at = self.catalog.ranked_metrics(), now
        self.listing.is_old |= changed is None or bool(changed)
        self.list_rows()
        columns = self.session.columns or self._metrics
        self.runs_list.update_from(self.listing.rows, columns, changed, self.listing.depths)

    def list_rows(self) -> None:
        """Make the rows again if it is time."""
        query = self.filter.query
        self.listing.update(self.catalog.entries, query, self.session, time.monotonic)

    def take_filter(self, text: str) -> None:
        """Take a filter that was typed at another time."""
        self.filter = FilterText(text, known=lambda: vocabulary(self.catalog.entries))

    def filter_again(self) -> None:
        """List what the filter asks for now."""
        self.session.filter = "" if self.filter.problem else self.filter.text
        self.is_filter_new = self.filter.open and self.listing.cost_s > TYPED_S
        if not self.is_filter_new:
            self.list_again()

    def action_filter(self) -> None:
        """Open the filter."""
        self.filter.open = True
        self.filter_again()

    @property
    def leaves_out(self) -> bool:
        """Whether only some runs are asked for."""
        return bool(self.filter.query) or self.session.errors_only

    # ---- order and columns ---------------------------------------------------------------------

    def action_sort(self, move: int) -> None:
        """Sort by the next column that is shown; behind the last comes the newest run first."""
        columns = ["", *self.runs_list.columns.ids]
        at = columns.index(self.session.sort) if self.session.sort in columns else 0
        self.sort_by(columns[(at + move) % len(columns)])

    def action_reverse(self) -> None:
        """Have the other end first."""
        self.session.reverse = not self.session.reverse
        self.runs_list.stay_on_top()
        self.list_again()

    def sort_by(self, column: str) -> None:
        """Sort the list by a column; empty: the newest run first."""
        self.session.sort, self.session.reverse = column, False
        self.runs_list.stay_on_top()
        self.list_again()

    def on_column_clicked(self, message: ColumnClicked) -> None:
        """Sort by a column, then the other way round, then not any more."""
        if message.column != self.session.sort:
            self.sort_by(message.column)
        elif not self.session.reverse:
            self.action_reverse()
        else:
            self.sort_by("")

    def order_note(self) -> str:
        """Say how the runs are sorted where no title tells it; empty where one does."""
        session, columns = self.session, self.runs_list.columns
        if not session.sort:
            return "oldest first" if session.reverse else ""
        if session.sort in columns.ids:
            return ""
        name = Column(session.sort, 0).title
        return f"sort: {name} {'▲' if starts_ascending(session.sort) != session.reverse else '▼'}"

    def action_sideways(self, columns: int) -> None:
        """Scroll the list sideways."""
        self.runs_list.move_sideways(columns)

    def action_columns(self) -> None:
        """Let the user choose the columns."""
        from .columns import ColumnsScreen  # not for the first paint

        entries = self.catalog.entries
        names = [f"{PARAM}{name}" for name in param_names(entries)] + metric_names(entries)
        self.app.push_screen(ColumnsScreen(names, self.session.columns), self._take_columns)

    def _take_columns(self, columns: list[str] | None) -> None:
        if columns is not None:
            self.session.columns = columns
            self.list_again()

    # ---- groups and errors ---------------------------------------------------------------------

    def action_group(self) -> None:
        """Put runs into one row by their parameters, by their folders, or not at all."""
        session = self.session
        grouped, by_folder = session.grouped, session.by_folder
        session.grouped = not grouped and not by_folder
        session.by_folder = grouped
        self.list_again()
        self.say_grouping()

    def say_grouping(self) -> None:
        """Say what one row stands for now, or why no runs are together."""
        session = self.session
        has_groups = any(isinstance(row, GroupRow) for row in self.listing.rows)
        if session.grouped:
            told = "runs that differ in their seed alone are one row"
            told = told if has_groups else "by parameters: no two runs differ in their seed alone"
        elif session.by_folder:
            told = "a row for each folder; Enter opens it"
            told = told if has_groups else "by folder: there is none, all runs lie in the root"
        else:
            told = "no groups"
        self.said.say(told)

    def fold(self, row: GroupRow) -> None:
        """List the runs of a group below it, or fold them away."""
        self.listing.toggle(row)
        self.list_again()

    def on_group_toggled(self, message: GroupToggled) -> None:
        """A group was clicked twice."""
        row = self.runs_list.chosen_row
        if isinstance(row, GroupRow):
            self.fold(row)

    def action_errors(self) -> None:
        """List only runs that went wrong, or all again."""
        self.session.errors_only = not self.session.errors_only
        self.list_again()

    # ---- marks ---------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark the chosen run or all of the group, or take the marks away, and go on."""
        row = self.runs_list.chosen_row
        if row is None:
            return
        keys = [entry.key for entry in _runs_of([row])]
        if all(key in self.session.marks for key in keys):
            self.session.marks = [key for key in self.session.marks if key not in set(keys)]
        else:
            self._mark(keys)
        self.runs_list.move(1)
        self.marks_changed()

    def action_mark_range(self) -> None:
        """Mark the runs from the one that was marked last to the chosen one."""
        marks = self.session.marks
        rows = self.runs_list.rows_from(marks[-1] if marks else "")
        self._mark(entry.key for entry in _runs_of(rows))
        self.marks_changed()

    def action_mark_all(self) -> None:
        """Mark all runs that the filter shows, as many as can be."""
        self._mark(entry.key for entry in self.listing.runs)
        self.marks_changed()

    def action_unmark(self) -> None:
        """Take all marks away."""
        self.session.marks.clear()
        self.marks_changed()

    def _mark(self, keys: Iterable[str]) -> None:
        marked = dict.fromkeys([*self.session.marks, *keys])
        self.session.marks = list(marked)[:MOST_MARKED]


def _runs_of(rows: Iterable[Row]) -> list[Entry]:
    """Return the runs of some rows; those of a group once, also where they are listed below it."""
    found: dict[str, Entry] = {}
    for row in rows:
        members = row.members if isinstance(row, GroupRow) else (row,)
        found |= {entry.key: entry for entry in members}
    return list(found.values())
