"""The list of runs: one line each, only the visible ones are formatted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events

from ..catalog import Entry
from ..messages import RunChosen, ShownRunsChanged, ViewChosen
from ..renderables import run_table
from ..renderables.facts import Facts, facts_of, tell_apart
from ..renderables.root_names import RootNames
from ..renderables.text import Line, Span, fit_line, from_file
from ..session import Session
from .lines import LinesWidget

FACTS_KEPT = 1000
"""Runs whose line need not be made again when they come back into view."""


class RunList(LinesWidget, can_focus=True):
    """A table with a cursor.

    The cursor keeps to its run, not to its line: a run that starts above does not move it. On the
    first line it stays there, so that the newest run is the one that is looked at.
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.entries: Sequence[Entry] = ()
        self.metrics: Sequence[str] = ()
        self.empty: Callable[[int], list[Line]] = lambda width: []
        """Returns what to say when there are no runs."""
        self.session = Session()
        self.root_names = RootNames(())
        self._cursor = 0
        self._top = 0
        self._chosen: str | None = None
        self._shown: tuple[str, ...] = ()
        self._facts: dict[str, Facts] = {}
        self._outdated: set[str] = set()
        """Keys of `_facts` that are to be made again."""

    def update_from(
        self, entries: Sequence[Entry], metrics: Sequence[str], changed: frozenset[str] | None
    ) -> None:
        """Show other runs, or the same with new values.

        Args:
            entries: The runs, in order.
            metrics: The metrics worth a column, the most telling first.
            changed: Keys of the runs whose values changed; None means all.
        """
        stay = self._chosen if self._cursor else None
        is_same = entries is self.entries and metrics is self.metrics
        self.entries, self.metrics = entries, metrics
        if changed is None:
            self._facts.clear()
        else:
            self._outdated |= changed & self._facts.keys()
        if len(self._facts) > FACTS_KEPT:
            visible = {entry.key for entry in self._visible()}
            self._facts = {key: self._facts[key] for key in self._facts.keys() & visible}
        if is_same and changed is not None and changed.isdisjoint(self._shown):
            return
        if stay is not None and not self._at(self._cursor, stay):
            self._cursor = next((i for i, e in enumerate(entries) if e.key == stay), self._cursor)
        self._settle()
        self.redraw()

    def _at(self, index: int, key: str) -> bool:
        return index < len(self.entries) and self.entries[index].key == key

    @property
    def chosen(self) -> Entry | None:
        """The run under the cursor."""
        return self.entries[self._cursor] if self._cursor < len(self.entries) else None

    @property
    def shown(self) -> tuple[str, ...]:
        """Keys of the visible runs."""
        return self._shown

    @property
    def place(self) -> str:
        """`1-14 of 1,000` when not all runs are visible, else nothing."""
        rows = self._rows
        if len(self.entries) <= rows:
            return ""
        return f"{self._top + 1}-{self._top + rows} of {len(self.entries):,}"

    @property
    def _rows(self) -> int:
        return max(1, self.size.height - 1)

    def move(self, lines: int) -> None:
        """Move the cursor by some lines."""
        self._cursor += lines
        self._settle()
        self.redraw()

    def move_to(self, key: str) -> None:
        """Move the cursor to a run; nothing happens where it is not listed."""
        places = (place for place, entry in enumerate(self.entries) if entry.key == key)
        self.move(next(places, self._cursor) - self._cursor)

    def move_page(self, pages: int) -> None:
        """Move the cursor by some pages."""
        self.move(pages * max(1, self._rows - 1))

    def move_edge(self, direction: int) -> None:
        """Move the cursor to the first (negative) or the last run."""
        self.move(direction * len(self.entries))

    def _settle(self) -> None:
        """Keep the cursor on a run and on screen, and say what changed."""
        last = len(self.entries) - 1
        self._cursor = max(0, min(self._cursor, last))
        rows = self._rows
        self._top = max(self._cursor - rows + 1, min(self._top, self._cursor))
        self._top = max(0, min(self._top, len(self.entries) - rows))
        chosen = self.chosen
        key = None if chosen is None else chosen.key
        if key != self._chosen:
            self._chosen = key
            self.post_message(RunChosen(key))
        shown = tuple(entry.key for entry in self._visible())
        if shown != self._shown:
            self._shown = shown
            self.post_message(ShownRunsChanged(shown))

    def _visible(self) -> Sequence[Entry]:
        return self.entries[self._top : self._top + self._rows]

    def build(self, width: int, height: int) -> list[Line]:
        """Return the titles and the visible runs."""
        visible = self._visible()
        if not visible:
            return self.empty(width)
        self.is_waiting = False
        read = {e.key: fact for e in visible if (fact := self._facts_of(e)) is not None}
        facts = dict(zip(read, tell_apart(list(read.values())), strict=True))
        columns = run_table.plan_columns(width - 2, self.metrics, facts.values())
        out: list[Line] = [(Span(" "), *run_table.header(columns))]
        role = "cursor" if self.has_focus else "cursor-blurred"
        for index, entry in enumerate(visible, self._top):
            name, fact = from_file(entry.ref.id), facts.get(entry.key)
            row = run_table.row(fact, columns) if fact else run_table.unread_row(name, columns)
            mark = self._mark(entry)
            # A blank of another colour would be seen where the cursor's line is reversed.
            row = fit_line((Span(mark, "best" if mark.strip() else ""), *row), width)
            out.append((Span("", role), *row) if index == self._cursor else row)
        return out

    def _mark(self, entry: Entry) -> str:
        """Return the letter of a marked run, or a dot for one beyond the letters."""
        key = entry.key
        return self.session.letter(key) or ("•" if key in self.session.marks else " ")

    def _facts_of(self, entry: Entry) -> Facts | None:
        """Return the facts of a run, from the last time it changed; None before it was read."""
        facts = self._facts.get(entry.key)
        if (entry.glanced or entry.stuck) and (facts is None or entry.key in self._outdated):
            with entry.glimpse() as view:
                self.is_waiting |= view is None
                if view is not None and view.known:
                    facts = self.root_names.marked(facts_of(view.listed), entry.key)
                    self._facts[entry.key] = facts
                    self._outdated.discard(entry.key)
        return facts

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
        """Put the cursor on the clicked run."""
        if event.y > 0:
            self.move(self._top + event.y - 1 - self._cursor)
        if event.chain == 2:
            self.post_message(ViewChosen("run"))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Three runs down."""
        event.stop()
        self.move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Three runs up."""
        event.stop()
        self.move(-3)
