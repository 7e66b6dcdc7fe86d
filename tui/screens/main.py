"""The main screen: the list of runs and the panes of the selected one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from textual.app import ComposeResult

from .. import keymap
from ..bell import Bell
from ..catalog import NO_CHANGES, Catalog, Changes
from ..messages import RunChosen, ShownRunsChanged
from ..renderables.facts import run_count, status_counts
from ..renderables.root_names import RootNames
from ..renderables.text import Line, from_file, shorten
from ..session import Session
from ..tempo import Tempo
from ..watch import Watcher
from ..widgets.header import HeaderLine, Headline
from ..widgets.hints import HintLine
from ..widgets.lines import LinesWidget
from ..widgets.run_list import RunList
from ..widgets.tabs import TabLine
from .empty_list import cannot_look, missing_roots, why_empty
from .main_keys import MainKeys
from .typed_line import is_typing, typed_line, typing_note

PANES_EVERY_S = 0.5
"""The panes are drawn at most this often while the history of the chosen run is still being read:
reading and drawing share one core."""
ROOT_WIDTH = 30
"""Cells of a root in the last line: what is wrong with it stands behind it."""
TELL_UNREAD = 2000
"""Fewer are read before anybody has wondered at the counts."""


class MainScreen(MainKeys):
    """Shows what the watcher finds: passes changes to the list and the panes, rings, counts."""

    BINDINGS = keymap.main_bindings()
    AUTO_FOCUS = "#runs"

    def __init__(self, catalog: Catalog, watcher: Watcher, session: Session) -> None:
        super().__init__(catalog, session)
        self.watcher = watcher
        self.bell = False
        """Whether the terminal's bell rings for runs that end, fail or become NaN."""
        self._bell = Bell()
        self.paused = False
        self._changed_at: float | None = None
        self._before_empty = ""
        """The run that was chosen when the list became empty: the filter has left all out."""

    def compose(self) -> ComposeResult:
        """Mount what is visible at first; panes come when they are first looked at."""
        yield HeaderLine(id="header")
        yield TabLine(id="tabs")
        yield RunList(id="runs")
        yield HintLine(id="hints")

    def on_mount(self) -> None:
        """Show what the catalog has already."""
        self.runs_list.empty, self.runs_list.session = self._nothing, self.session
        self.runs_list.letters = self.letters
        self.take_filter(self.session.filter)
        self.query_one("#tabs", TabLine).has_hosts = bool(self.catalog.hosts.hosts)
        self._bell.notice(self.catalog.entries)  # as they are drawn first
        self.runs_list.root_names = RootNames(self.catalog.roots, self.catalog.hosts.names)
        self.runs_list.copy_facts = self.catalog.copy_facts
        self.fill_list(None)
        self.update_lines()

    def show_panes(self) -> None:
        """Mount the panes that belong on screen; call it after the first paint."""
        self.painted = True
        self.place()
        if self.session.view != "runs":
            self.choose_view(self.session.view)

    def chosen_session(self) -> Session:
        """Return what the user has chosen, as it is to be found again."""
        self.session.filter = self.filter.text
        if not self.catalog.scanned or self.catalog.missing:
            return self.session
        # A run that is gone keeps no letter. One whose root is away may come back.
        marks = [key for key in self.session.marks if self.catalog.get(key) is not None]
        return replace(self.session, marks=marks)

    @property
    def is_read(self) -> bool:
        """Whether everything that is shown was read to its end."""
        if not self.painted or not self.catalog.scanned:
            return False
        if not all(entry.glanced for entry in self.catalog.entries):
            return False
        chosen = self.runs_list.chosen
        return not self.catalog.entries if chosen is None else chosen.read_to_end

    # ---- what changes --------------------------------------------------------------------------

    def tick(self, tempo: Tempo | None = None) -> None:
        """Pull what changed since the last tick; several times a second, and as `tempo` lets it."""
        if not self._has_list():
            return
        if self.is_filter_new:
            self.is_filter_new = False
            self.list_again()
        if not self.paused:
            may_look = tempo is None or tempo.may_look(time.monotonic())
            changes = self.catalog.take_changes() if may_look else NO_CHANGES
            if changes and tempo is not None:
                tempo.found()
            if changes or self.listing.is_old:
                self._take(changes)
            if self.panes_are_old and self._may_draw_panes():
                self.update_panes()
            for widget in (self.runs_list, *self.visible_panes()):
                if widget.is_waiting:
                    widget.redraw()
        self.update_lines()

    def _has_list(self) -> bool:
        """Whether there is something to update: timers may be quicker than a busy machine mounts
        the list, and outlive it.
        """
        return self.painted and bool(self.query("#runs"))

    def _take(self, changes: Changes) -> None:
        if changes.runs:
            self._changed_at = time.monotonic()
            self._listen(changes.runs)
        if changes.structure:
            self._renew_selected()
        rows = len(self.listing.rows)
        self.fill_list(changes.runs)
        if changes.structure or rows != len(self.listing.rows):
            self.place()
        if not changes.runs.isdisjoint(self.followed()):
            self.panes_are_old = True

    def _listen(self, changed: Iterable[str]) -> None:
        """Ring for what has ended, failed or become NaN since it was seen last."""
        seen = (self.catalog.get(key) for key in changed)
        # What cannot be looked at has not become anything.
        found = self._bell.notice(entry for entry in seen if entry and not entry.away)
        if self.bell and self._bell.rings(found):
            self.app.bell()

    def _renew_selected(self) -> None:
        """Take the entry that is there now: a folder may have become another tool's run."""
        now = self.catalog.get(self.selected.key) if self.selected is not None else None
        if now is not None and now is not self.selected:
            self.selected, self.panes_are_old = now, True

    def _may_draw_panes(self) -> bool:
        is_behind = self.selected is not None and self.selected.behind
        return not is_behind or time.monotonic() - self.panes_at >= PANES_EVERY_S

    def tick_slowly(self) -> None:
        """Update what changes by time alone; once a second."""
        if self._has_list() and not self.paused:
            for pane in self.visible_panes():
                if pane.FOLLOWS_CLOCK:
                    pane.redraw()
            if self.runs_list.shows_ages:
                self.runs_list.redraw()

    def list_again(self) -> None:
        """List the runs anew: something else is asked for."""
        self.list_rows()
        self.place()
        self.fill_list(frozenset())
        self._tell_watcher()  # grouped, more runs are drawn
        self.update_lines()

    def marks_changed(self) -> None:
        """Draw the marked runs, and have them read."""
        self.runs_list.redraw()
        self._tell_watcher()
        self.update_panes()
        self.update_lines()

    # ---- what the first lines and the last one say ---------------------------------------------

    def update_lines(self) -> None:
        """Say anew what the first lines and the last one say."""
        entries, listed = self.catalog.entries, self.listing.runs
        runs_list = self.runs_list
        total, only = run_count(len(entries)), listed if self.leaves_out else None
        since = None if self._changed_at is None else time.monotonic() - self._changed_at
        headline = Headline(
            roots=from_file(" ".join(map(self.catalog.told, self.catalog.roots))),
            runs=f"{len(listed):,} of {total}" if self.leaves_out else total,
            counts=tuple(status_counts(self.catalog.status_counts(only))),
            place=runs_list.place if runs_list.display else "",
            paused=self.paused,
            gone=bool(self.catalog.missing and self.catalog.entries),
            changed_s=None if since is None else float(since > 2) * 2,
            round_trip_s=getattr(self.app, "round_trip_s", None),
            rung=self._bell.told if self.bell else "",
            run=() if runs_list.display else runs_list.label(max(14, self.size.width // 2 - 12)),
        )
        self.query_one("#header", HeaderLine).update_from(headline)
        self.query_one("#tabs", TabLine).update_from(self.session.view, len(self.marked()))
        pane = self.current_pane()
        note = self._note(is_typing=is_typing(self.filter, pane))
        typed, ends, note = typed_line(self.filter, pane, note, self.size.width)
        hints = self.query_one("#hints", HintLine)
        idle = () if pane is None else pane.idle_hints()
        if self.session.view == "runs" and self.keyed_pane() is None:
            idle = ("metric",)  # of all runs there is a chart only in wide terminals
        hints.update_from(self.session.view, note, self._goes_back(), typed, ends, idle)

    def _goes_back(self) -> bool:
        elsewhere = bool(self.alone) or self.session.view != "runs"
        return elsewhere or self.leaves_out or self.focused_pane() is not None

    def _note(self, *, is_typing: bool) -> str:
        said = self.said.text
        if is_typing:
            return typing_note(self.filter, self.size.width) or self._fitting(said)
        if said:
            return self._fitting(said)
        notes = [note] if (note := self.order_note()) and self.runs_list.display else []
        notes += ["errors only"] * self.session.errors_only
        notes += [f"filter: {from_file(self.filter.text)}"] if self.filter.query else []
        notes += self._of_hosts()
        notes += self._of_roots()
        unread = len(self.catalog.entries) - sum(self.catalog.status_counts().values())
        if unread > TELL_UNREAD:
            notes.append(f"{unread:,} runs are still to be read")
        if self.watcher.problem:
            notes.append(cannot_look(self.watcher.problem))
        return "  ".join(notes)

    def _fitting(self, said: str) -> str:
        # Where it would not fit at all, the hints would have the whole line.
        return shorten(said, self.size.width - 12)

    def _of_hosts(self) -> list[str]:
        """Return what is wrong with other machines: one thing, and how many more."""
        problems = self.catalog.hosts.problems()
        more = f" (and {len(problems) - 1} more: 9)" if len(problems) > 1 else ""
        return [f"{from_file(problem)}{more}" for problem in problems[:1]]

    def _of_roots(self) -> list[str]:
        """Return which root is not there, and how many more."""
        missing = missing_roots(self.catalog)
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return [f"{_gone(self.catalog.told(root), why)}{more}" for root, why in missing[:1]]

    def _wanted(self) -> list[str]:
        """Return what each listed run has to be, in words."""
        wanted = ["failed, crashed or has a NaN"] * self.session.errors_only
        return wanted + [f"matches {from_file(self.filter.text)!r}"] * bool(self.filter.query)

    def _nothing(self, width: int) -> list[Line]:
        return why_empty(self.catalog, self._wanted(), self.watcher.problem, width)

    # ---- who is told, and what is switched -----------------------------------------------------

    def on_run_chosen(self, message: RunChosen) -> None:
        """Show another run in the panes; where the list was empty, the one from before again."""
        if message.key is None and self.selected is not None:
            self._before_empty = self.selected.key
        elif message.key is not None and self._before_empty:
            key, self._before_empty = self._before_empty, ""
            self.runs_list.move_to(key)
        self.selected = self.catalog.get(message.key)
        self._tell_watcher()
        self.update_panes()
        self.update_lines()

    def on_shown_runs_changed(self, message: ShownRunsChanged) -> None:
        """Have the visible runs read first."""
        self._tell_watcher(message.keys)

    def _tell_watcher(self, shown: tuple[str, ...] | None = None) -> None:
        self.watcher.show(self.runs_list.shown if shown is None else shown, self.followed())

    def restyle(self) -> None:
        """Draw with the styles of a new theme."""
        for widget in self.query(LinesWidget):
            widget.forget_styles()

    def action_pause(self) -> None:
        """Hold the screen still, or catch up."""
        self.paused = not self.paused
        self.tick()

    def action_bell(self) -> None:
        """Ring the terminal's bell from now on, or be quiet."""
        self.bell = not self.bell
        rings_for = "bell on: a run that ends, fails or becomes NaN"
        self.said.say(rings_for if self.bell else "bell off")
        self.update_lines()

    def action_rescan(self) -> None:
        """Read everything again."""
        self.catalog.hosts.hurry()
        self.watcher.rescan()


def _gone(root: str, why: str) -> str:
    return f"{shorten(from_file(root), ROOT_WIDTH, keep_end=True)}: {why}"
