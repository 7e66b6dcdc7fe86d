"""The main screen: the list of runs and the panes of the selected one."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from runstore.sources import looked_for

from .. import keymap
from ..catalog import Catalog, Changes, Entry
from ..messages import PaneChosen, RunChosen, ShownRunsChanged
from ..renderables.facts import run_count, status_counts
from ..renderables.text import EMPTY, Line, Span, from_file, line, shorten
from ..watch import Watcher
from ..widgets.header import HeaderLine, Headline
from ..widgets.hints import HintLine
from ..widgets.lines import LinesWidget
from ..widgets.pane import PANES, Pane
from ..widgets.run_list import RunList
from ..widgets.too_small import TooSmall
from .filter_text import FilterText
from .layout import Box, arrange, is_wide

RANK_EVERY_S = 2.0
"""The list's metric columns are chosen anew at most this often, so that they keep still."""
PANES_EVERY_S = 0.5
"""The panes are drawn at most this often while the history of the chosen run is still being read:
reading and drawing share one core."""
TELL_UNREAD = 2000
"""Fewer are read before anybody has wondered at the counts."""

_LOOKED_FOR = f"Looked for: {looked_for()}"


class MainScreen(Screen[None]):
    """Arranges the widgets, and passes each what it shows."""

    BINDINGS = keymap.main_bindings()
    AUTO_FOCUS = "#runs"

    def __init__(self, catalog: Catalog, watcher: Watcher) -> None:
        super().__init__()
        self.catalog = catalog
        self.watcher = watcher
        self.pane = "progress"
        self.alone = False
        self.paused = False
        self.filter = FilterText()
        self.selected: Entry | None = None
        self._metrics: list[str] = []
        self._ranked_at = 0.0
        self._changed_at: float | None = None
        self._panes: dict[str, Pane] = {}
        self._panes_at = 0.0
        """When they were drawn last."""
        self._panes_are_old = False
        self.painted = False
        """The list was drawn once: it does not wait for the panes."""

    def compose(self) -> ComposeResult:
        """Mount what is visible at first; panes come when they are first looked at."""
        yield HeaderLine(id="header")
        yield RunList(id="runs")
        yield HintLine(id="hints")

    def on_mount(self) -> None:
        """Show what the catalog has already."""
        self._list.empty = self._nothing
        self._fill_list(None)
        self._update_header()

    def show_panes(self) -> None:
        """Mount the panes that belong on screen; call it after the first paint."""
        self.painted = True
        self._place()

    @property
    def _list(self) -> RunList:
        return self.query_one("#runs", RunList)

    @property
    def is_read(self) -> bool:
        """Whether everything that is shown was read to its end."""
        if not self.painted or not self.catalog.scanned:
            return False
        if not all(entry.glanced for entry in self.catalog.entries):
            return False
        chosen = self._list.chosen
        return not self.catalog.entries if chosen is None else chosen.read_to_end

    # ---- what is shown -------------------------------------------------------------------------

    def tick(self) -> None:
        """Pull what changed since the last tick; several times a second."""
        if not self.painted or not self.query("#runs"):
            # The timer may be quicker than a busy machine mounts the list, and outlive it.
            return
        if not self.paused:
            changes = self.catalog.take_changes()
            if changes:
                self._take(changes)
            if self._panes_are_old and self._may_draw_panes():
                self._update_panes()
            for widget in (self._list, *self._visible_panes()):
                if widget.is_waiting:
                    widget.redraw()
        self._update_header()

    def _take(self, changes: Changes) -> None:
        if changes.runs:
            self._changed_at = time.monotonic()
        if changes.structure:
            self._renew_selected()
            self._place()
        self._fill_list(changes.runs)
        if self.selected is not None and self.selected.key in changes.runs:
            self._panes_are_old = True

    def _renew_selected(self) -> None:
        """Take the entry that is there now: a folder may have become another tool's run."""
        now = self.catalog.get(self.selected.key) if self.selected is not None else None
        if now is not None and now is not self.selected:
            self.selected, self._panes_are_old = now, True

    def _may_draw_panes(self) -> bool:
        is_behind = self.selected is not None and self.selected.behind
        return not is_behind or time.monotonic() - self._panes_at >= PANES_EVERY_S

    def tick_slowly(self) -> None:
        """Update what changes by time alone; once a second."""
        if self.painted and not self.paused:
            for pane in self._visible_panes():
                if pane.FOLLOWS_CLOCK:
                    pane.redraw()

    def _fill_list(self, changed: frozenset[str] | None) -> None:
        now = time.monotonic()
        if not self._metrics or now - self._ranked_at > RANK_EVERY_S:
            self._metrics, self._ranked_at = self.catalog.ranked_metrics(), now
        self._list.update_from(self._listed(), self._metrics, changed)

    def _listed(self) -> list[Entry]:
        words = self.filter.words
        entries = self.catalog.entries
        return [entry for entry in entries if entry.holds(words)] if words else entries

    def _update_panes(self) -> None:
        self._panes_at, self._panes_are_old = time.monotonic(), False
        for pane in self._visible_panes():
            pane.show(self.selected)

    def _visible_panes(self) -> Iterator[Pane]:
        return (pane for pane in self._panes.values() if pane.display)

    def _update_header(self) -> None:
        entries, listed = self.catalog.entries, self._list.entries
        total = run_count(len(entries))
        since = None if self._changed_at is None else time.monotonic() - self._changed_at
        headline = Headline(
            roots=from_file(" ".join(str(root) for root in self.catalog.roots)),
            runs=f"{len(listed):,} of {total}" if self.filter.words else total,
            counts=tuple(status_counts(self.catalog.status_counts())),
            place=self._list.place,
            paused=self.paused,
            changed_s=None if since is None else float(since > 2) * 2,
            round_trip_s=getattr(self.app, "round_trip_s", None),
        )
        self.query_one("#header", HeaderLine).update_from(headline)
        prompt = from_file(self.filter.text) if self.filter.open else None
        self.query_one("#hints", HintLine).update_from(self._note(), self._goes_back(), prompt)

    def _goes_back(self) -> bool:
        return self.alone or bool(self.filter.words) or self._focused_pane() is not None

    def _note(self) -> str:
        notes = [f"filter: {from_file(self.filter.text)}"] if self.filter.words else []
        notes += [f"{from_file(str(root))}: {why}" for root, why in self._missing()[:1]]
        unread = len(self.catalog.entries) - sum(self.catalog.status_counts().values())
        if unread > TELL_UNREAD:
            notes.append(f"{unread:,} runs are still to be read")
        if self.watcher.problem:
            notes.append(f"cannot look for runs: {from_file(self.watcher.problem)}")
        return "  ".join(notes)

    def _nothing(self, width: int) -> list[Line]:
        """Return what to say in place of an empty list."""
        if self.filter.words:
            text = f"no run matches {from_file(self.filter.text)!r}; Esc shows all"
            return [EMPTY, line("  ", Span(text, "dim"))]
        missing = self._missing()
        if missing:
            return [
                EMPTY,
                *(_missing_line(str(root), why, width) for root, why in missing),
                line("  ", Span("Waiting: it is shown as soon as it can be read.", "dim")),
            ]
        if self.watcher.problem:
            told = f"cannot look for runs: {from_file(self.watcher.problem)}"
            return [EMPTY, *(line("  ", Span(text)) for text in textwrap.wrap(told, width - 4))]
        if not self.catalog.scanned:
            return [EMPTY, line("  ", Span("Looking for runs …", "dim"))]
        places = ", ".join(str(root) for root in self.catalog.roots)
        place = shorten(from_file(places), width - 32, keep_end=True)
        return [
            EMPTY,
            line("  ", Span(f"No runs in {place} yet.", "title")),
            line(
                "  ", Span("A run appears here when its directory is made, for example by", "dim")
            ),
            line("  ", Span(f'runstore.init(root="{place}")', "value")),
            *(line("  ", Span(text, "dim")) for text in textwrap.wrap(_LOOKED_FOR, width - 4)),
        ]

    def _missing(self) -> list[tuple[Path, str]]:
        """Return the roots that cannot be looked into, each with the reason."""
        # Not strict: the thread that scans sets one after the other.
        return list(zip(self.catalog.missing, self.catalog.why_missing, strict=False))

    # ---- where it is ---------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Put everything in its place for the new size."""
        self._place()

    def _place(self) -> None:
        width, height = self.size
        if not width or not height:
            return
        boxes = arrange(width, height, len(self._listed()), self.pane, self.alone)
        for name in PANES if self.painted else ():
            if name in boxes:
                self._pane(name)
        if "too-small" in boxes and not self.query("#too-small"):
            self.mount(TooSmall(id="too-small"))
        tabbed = self.alone or not is_wide(width, height)
        for widget in self.children:
            if isinstance(widget, Pane):
                widget.tabbed = tabbed
            _put(widget, boxes.get(widget.id or ""))
        self._update_panes()

    def _pane(self, name: str) -> Pane:
        """Return a pane, made when it is first needed."""
        from ..widgets.panes import (
            PANE_TYPES,
        )  # with all that they draw: not before the first paint

        pane = self._panes.get(name)
        if pane is None:
            pane = self._panes[name] = PANE_TYPES[PANES.index(name)]()
            pane.entry = self.selected
            self.mount(pane)
        return pane

    def choose_pane(self, name: str) -> None:
        """Make a pane the current one, and give it the keys where it has room of its own."""
        self.pane = name
        self._place()
        if self.alone or is_wide(*self.size):
            self._pane(name).focus()

    def restyle(self) -> None:
        """Draw with the styles of a new theme."""
        for widget in self.query(LinesWidget):
            widget.forget_styles()

    # ---- what widgets say ----------------------------------------------------------------------

    def on_run_chosen(self, message: RunChosen) -> None:
        """Show another run in the panes."""
        self.selected = self.catalog.get(message.key)
        self._tell_watcher()
        self._update_panes()

    def on_shown_runs_changed(self, message: ShownRunsChanged) -> None:
        """Have the visible runs read first."""
        self._tell_watcher(message.keys)

    def _tell_watcher(self, shown: tuple[str, ...] | None = None) -> None:
        keys = self._list.shown if shown is None else shown
        self.watcher.show(keys, self.selected.key if self.selected else None)

    def on_pane_chosen(self, message: PaneChosen) -> None:
        """A tab or a pane was clicked."""
        self.choose_pane(message.pane)

    def on_key(self, event: events.Key) -> None:
        """Let the filter have its keys before they mean anything else."""
        if self.filter.press(event.key, event.character):
            event.stop()
            self._refilter()

    def on_paste(self, event: events.Paste) -> None:
        """Paste into the filter."""
        if self.filter.paste(event.text):
            self._refilter()

    def _refilter(self) -> None:
        self._place()
        self._fill_list(frozenset())
        self._update_header()

    # ---- what keys do --------------------------------------------------------------------------

    def _focused_pane(self) -> Pane | None:
        return self.focused if isinstance(self.focused, Pane) else None

    def action_move(self, lines: int) -> None:
        """Move in the list, or scroll the pane that has the keys."""
        pane = self._focused_pane()
        pane.scroll_lines(lines) if pane else self._list.move(lines)

    def action_page(self, pages: int) -> None:
        """Move by pages."""
        pane = self._focused_pane()
        pane.scroll_pages(pages) if pane else self._list.move_page(pages)

    def action_edge(self, direction: int) -> None:
        """Move to the top or the end."""
        pane = self._focused_pane()
        pane.scroll_edge(direction) if pane else self._list.move_edge(direction)

    def action_pane(self, name: str) -> None:
        """Go to a pane."""
        self.choose_pane(name)

    def action_next_pane(self, move: int) -> None:
        """Go to the next pane; where all are visible, the list is one of them."""
        if self.alone or not is_wide(*self.size):
            self.choose_pane(PANES[(PANES.index(self.pane) + move) % len(PANES)])
            return
        stops = ("runs", *PANES)
        focused = self._focused_pane()
        at = stops.index(focused.NAME) if focused else 0
        name = stops[(at + move) % len(stops)]
        if name == "runs":
            self._list.focus()
        else:
            self.choose_pane(name)

    def action_enlarge(self) -> None:
        """Give the current pane the whole screen; from the wide list that is the chart."""
        if is_wide(*self.size) and self._focused_pane() is None:
            self.pane = "chart"
        self.alone = True
        self.choose_pane(self.pane)

    def action_back(self) -> None:
        """Undo one step: the enlarged pane, the focus on a pane, the filter."""
        if self.alone:
            self.alone = False
            self._place()
            self._list.focus()
        elif self._focused_pane():
            self._list.focus()
        else:
            self.filter.text = ""
            self._refilter()

    def action_metric(self, move: int) -> None:
        """Draw another metric."""
        shown = "chart" in {pane.NAME for pane in self._visible_panes()}
        if not shown:
            self.choose_pane("chart")
        if shown:
            self._pane("chart").next_metric(move)

    def action_filter(self) -> None:
        """Open the filter."""
        self.filter.open = True
        self._refilter()

    def action_pause(self) -> None:
        """Hold the screen still, or catch up."""
        self.paused = not self.paused
        self.tick()

    def action_rescan(self) -> None:
        """Read everything again."""
        self.watcher.rescan()


def _missing_line(root: str, why: str, width: int) -> Line:
    place = shorten(from_file(root), max(10, width - len(why) - 6), keep_end=True)
    return line("  ", Span(f"{place}: {why}", "warn"))


def _put(widget: Widget, box: Box | None) -> None:
    widget.display = box is not None
    if box is not None:
        widget.styles.offset = (box.x, box.y)
        widget.styles.width, widget.styles.height = box.width, box.height
