"""The main screen: the list of runs and the panes of the selected one."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget

from runstore.requests import Kind
from runstore.sources import looked_for

from .. import keymap
from ..bell import Bell
from ..beside import Beside
from ..catalog import NO_CHANGES, Catalog, Changes, Entry
from ..listing import GroupRow
from ..messages import PaneChosen, RunChosen, ShownRunsChanged, ViewChosen
from ..renderables.facts import run_count, status_counts
from ..renderables.root_names import RootNames
from ..renderables.text import EMPTY, Line, Span, from_file, line, shorten
from ..scene import Scene
from ..session import Session
from ..tempo import Tempo
from ..watch import Watcher
from ..widgets.header import HeaderLine, Headline
from ..widgets.hints import HintLine
from ..widgets.lines import LinesWidget, contained
from ..widgets.pane import Pane
from ..widgets.run_list import RunList
from ..widgets.tabs import TabLine
from ..widgets.too_small import TooSmall
from .asking import ask
from .layout import Box, arrange, shows_list
from .list_keys import ListKeys
from .overlay import OverlayScreen

PANES_EVERY_S = 0.5
"""The panes are drawn at most this often while the history of the chosen run is still being read:
reading and drawing share one core."""
TELL_UNREAD = 2000
"""Fewer are read before anybody has wondered at the counts."""

_FILTER_HELP = "words  lr>=1e-3  status:run  tag:x  -not  a | b  Tab"
_LOOKED_FOR = f"Looked for: {looked_for()}"


class MainScreen(ListKeys):
    """Arranges the widgets, and passes each what it shows."""

    BINDINGS = keymap.main_bindings()
    AUTO_FOCUS = "#runs"

    def __init__(self, catalog: Catalog, watcher: Watcher, session: Session) -> None:
        super().__init__(catalog, session)
        self.watcher = watcher
        self.beside = Beside()
        self.bell = False
        """Whether the terminal's bell rings for runs that end, fail or become NaN."""
        self._bell = Bell()
        self.alone = ""
        """The pane that has the whole screen."""
        self.paused = False
        self.selected: Entry | None = None
        self._before_empty = ""
        """The run that was chosen when the last root vanished, or the filter left all out."""
        self._changed_at: float | None = None
        self._panes: dict[str, Pane] = {}
        self._panes_at = 0.0
        """When they were drawn last."""
        self._panes_are_old = False
        self._notice = ""
        """Said once, until the next key."""
        self.painted = False
        """The list was drawn once: it does not wait for the panes."""

    def compose(self) -> ComposeResult:
        """Mount what is visible at first; panes come when they are first looked at."""
        yield HeaderLine(id="header")
        yield TabLine(id="tabs")
        yield RunList(id="runs")
        yield HintLine(id="hints")

    def on_mount(self) -> None:
        """Show what the catalog has already."""
        self._list.empty, self._list.session = self._nothing, self.session
        self.take_filter(self.session.filter)
        self._bell.notice(self.catalog.entries)  # as they are drawn first
        self._list.root_names = RootNames(self.catalog.roots)
        self.fill_list(None)
        self._update_header()

    def show_panes(self) -> None:
        """Mount the panes that belong on screen; call it after the first paint."""
        self.painted = True
        self._place()
        if self.session.view != "runs":
            self.choose_view(self.session.view)

    def tell(self, text: str) -> None:
        """Say something on the last line, until the next key; nothing is said by an empty text."""
        self._notice = from_file(text)

    def chosen_session(self) -> Session:
        """Return what the user has chosen, as it is to be found again."""
        self.session.filter = self.filter.text
        if not self.catalog.scanned or self.catalog.missing:
            return self.session
        # A run that is gone keeps no letter. One whose root is away may come back.
        marks = [key for key in self.session.marks if self.catalog.get(key) is not None]
        return replace(self.session, marks=marks)

    @property
    def _list(self) -> RunList:
        return self.runs_list

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

    def tick(self, tempo: Tempo | None = None) -> None:
        """Pull what changed since the last tick; several times a second, and as `tempo` lets it."""
        if not self.painted or not self.query("#runs"):
            # The timer may be quicker than a busy machine mounts the list, and outlive it.
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
            if self._panes_are_old and self._may_draw_panes():
                self._update_panes()
            for widget in (self._list, *self._visible_panes()):
                if widget.is_waiting:
                    widget.redraw()
        self._update_header()

    def _take(self, changes: Changes) -> None:
        if changes.runs:
            self._changed_at = time.monotonic()
            self._listen(changes.runs)
        if changes.structure:
            self._renew_selected()
        rows = len(self.listing.rows)
        self.fill_list(changes.runs)
        if changes.structure or rows != len(self.listing.rows):
            self._place()
        if not changes.runs.isdisjoint(self._followed()):
            self._panes_are_old = True

    def _listen(self, changed: Iterable[str]) -> None:
        """Ring for what has ended, failed or become NaN since it was seen last."""
        seen = (self.catalog.get(key) for key in changed)
        found = self._bell.notice(entry for entry in seen if entry is not None)
        if self.bell and self._bell.rings(found):
            self.app.bell()

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

    def list_again(self) -> None:
        """List the runs anew: something else is asked for."""
        self.list_rows()
        self._place()
        self.fill_list(frozenset())
        self._update_header()

    def _update_panes(self) -> None:
        self._panes_at, self._panes_are_old = time.monotonic(), False
        for pane in self._visible_panes():
            with contained(self.tell):
                pane.show(self._scene())

    def _scene(self) -> Scene:
        marked = (self.catalog.get(key) for key in self.session.marks)
        there = tuple(entry for entry in marked if entry is not None)
        return Scene(self.selected, there, self.session, self.listing.runs, self.beside)

    def _followed(self) -> list[str]:
        """Return the keys of the runs whose history is read, the chosen one first."""
        drawn = self._scene().together
        chosen = [entry.key for entry in drawn if entry is self.selected]
        return chosen + [entry.key for entry in drawn if entry is not self.selected]

    def _visible_panes(self) -> Iterator[Pane]:
        return (pane for pane in self._panes.values() if pane.display)

    def _update_header(self) -> None:
        entries, listed = self.catalog.entries, self.listing.runs
        total = run_count(len(entries))
        since = None if self._changed_at is None else time.monotonic() - self._changed_at
        headline = Headline(
            roots=from_file(" ".join(str(root) for root in self.catalog.roots)),
            runs=f"{len(listed):,} of {total}" if self.leaves_out else total,
            counts=tuple(status_counts(self.catalog.status_counts())),
            place=self._list.place,
            paused=self.paused,
            changed_s=None if since is None else float(since > 2) * 2,
            round_trip_s=getattr(self.app, "round_trip_s", None),
            rung=self._bell.told if self.bell else "",
        )
        self.query_one("#header", HeaderLine).update_from(headline)
        self.query_one("#tabs", TabLine).update_from(self.session.view, len(self._scene().marked))
        hints = self.query_one("#hints", HintLine)
        hints.update_from(self.session.view, self._note(), self._goes_back(), *self._prompt())

    def _prompt(self) -> tuple[Line | None, str]:
        """Return what is being typed, the filter or a search in the pane, and what ends it."""
        pane = self._current_pane()
        is_pane = not self.filter.open and pane is not None
        mark = pane.PROMPT if is_pane and pane is not None else "/"
        typed = self.filter.text if self.filter.open else pane.prompt if pane else None
        if typed is None:
            return None, ""
        ends = pane.HELP if is_pane and pane is not None else Pane.HELP
        help_text = Span(_FILTER_HELP, "dim") if self.filter.open and not typed else ""
        room = max(10, self.size.width - len(mark) - len(ends) - 6)
        shown = from_file(typed[-room:])
        start = "…" if len(typed) > room else ""
        return line(Span(f" {mark}", "key"), start + shown, Span("▏", "key"), help_text), ends

    def _goes_back(self) -> bool:
        elsewhere = bool(self.alone) or self.session.view != "runs"
        return elsewhere or self.leaves_out or self._focused_pane() is not None

    def _note(self) -> str:
        if self._notice:
            return self._notice
        if said := self.beside.said:
            # Where it would not fit at all, the hints would have the whole line.
            return shorten(said, self.size.width - 12)
        if self._prompt()[0] is not None:
            told = "  ".join(self.filter.choices) or self.filter.problem
            return shorten(from_file(told), self.size.width // 2) if self.filter.open else ""
        notes = [note] if (note := self.order_note()) and self._list.display else []
        notes += ["errors only"] * self.session.errors_only
        notes += [f"filter: {from_file(self.filter.text)}"] if self.filter.query else []
        notes += [f"{from_file(str(root))}: {why}" for root, why in self._missing()[:1]]
        unread = len(self.catalog.entries) - sum(self.catalog.status_counts().values())
        if unread > TELL_UNREAD:
            notes.append(f"{unread:,} runs are still to be read")
        if self.watcher.problem:
            notes.append(f"cannot look for runs: {from_file(self.watcher.problem)}")
        return "  ".join(notes)

    def _nothing(self, width: int) -> list[Line]:
        """Return what to say in place of an empty list."""
        if self.leaves_out and self.catalog.entries:
            wanted = ["failed, crashed or has a NaN"] * self.session.errors_only
            wanted += [f"matches {from_file(self.filter.text)!r}"] if self.filter.query else []
            text = f"no run {' and '.join(wanted)}; Esc shows all"
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
        boxes = arrange(width, height, len(self.listing.rows), self.session.view, self.alone)
        for name in boxes if self.painted else ():
            if name not in _WITHOUT_PANES:
                self._pane(name)
        if "too-small" in boxes and not self.query("#too-small"):
            self.mount(TooSmall(id="too-small"))
        for widget in self.children:
            _put(widget, boxes.get(widget.id or ""))
        self._update_panes()

    def _pane(self, name: str) -> Pane:
        """Return a pane, made when it is first needed."""
        from ..widgets.view_panes import make_pane  # what they draw is not for the first paint

        pane = self._panes.get(name)
        if pane is None:
            pane = self._panes[name] = make_pane(name)
            pane.scene = self._scene()
            self.mount(pane)
        return pane

    def choose_view(self, name: str) -> None:
        """Show a view, and give it the keys."""
        self.session.view, self.alone = name, ""
        self._place()
        if name == "runs":
            self._list.focus()
        else:
            self._pane(name).focus()

    def restyle(self) -> None:
        """Draw with the styles of a new theme."""
        for widget in self.query(LinesWidget):
            widget.forget_styles()

    # ---- what widgets say ----------------------------------------------------------------------

    def on_run_chosen(self, message: RunChosen) -> None:
        """Show another run in the panes; where the list was empty, the one from before again."""
        if message.key is None and self.selected is not None:
            self._before_empty = self.selected.key
        elif message.key is not None and self._before_empty:
            key, self._before_empty = self._before_empty, ""
            self._list.move_to(key)
        self.selected = self.catalog.get(message.key)
        self._tell_watcher()
        self._update_panes()

    def on_shown_runs_changed(self, message: ShownRunsChanged) -> None:
        """Have the visible runs read first."""
        self._tell_watcher(message.keys)

    def _tell_watcher(self, shown: tuple[str, ...] | None = None) -> None:
        self.watcher.show(self._list.shown if shown is None else shown, self._followed())

    def on_view_chosen(self, message: ViewChosen) -> None:
        """A tab was clicked."""
        self.choose_view(message.view)

    def on_pane_chosen(self, message: PaneChosen) -> None:
        """A pane was clicked."""
        self._pane(message.pane).focus()

    async def on_key(self, event: events.Key) -> None:
        """Let what is being typed have its keys before they mean anything else.

        All is done here and now: bindings are looked at later, behind keys that were typed ahead,
        and no longer by this screen where one of those has opened an overlay.
        """
        above = self.app.screen
        if isinstance(above, OverlayScreen):
            # Typed right behind the key that has opened it: the toolkit sent it here before.
            event.stop()
            above.press(event.key, event.character)
            return
        self._notice = ""
        pane = self._current_pane()
        taken = False
        with contained(self.tell):
            taken = pane is not None and pane.press(event.key, event.character)
        if taken:
            event.stop()
            self._update_header()
        elif self.filter.press(event.key, event.character, may_open=self._may_filter()):
            event.stop()
            self.filter_again()
            self._update_header()
        elif (found := keymap.find(event.key, self.session.view)) is not None:
            event.stop()
            await self.perform(found)

    def show_help(self) -> None:
        """Show the keys."""
        from .help import HelpScreen  # the first paint need not wait for it

        self.app.push_screen(HelpScreen(self.session.view))

    def _may_filter(self) -> bool:
        found = keymap.find("slash", self.session.view)
        return found is not None and found.action == "filter"

    def on_paste(self, event: events.Paste) -> None:
        """Paste into the filter, or into what is being typed into the pane."""
        pane, text = self._current_pane(), " ".join(event.text.split())
        if pane is not None and pane.prompt is not None:
            for character in text:
                pane.press(character, character)
            self._update_header()
        elif self.filter.paste(text):
            self.filter_again()

    # ---- what keys do --------------------------------------------------------------------------

    async def action_key(self, name: str) -> None:
        """Do what a key does in this view: here, or in the view's pane."""
        found = keymap.find(name, self.session.view)
        if found is None:
            return
        await self.perform(found)

    async def perform(self, key: keymap.Key) -> None:
        """Do what a key of the table does: here, in the view's pane, or in the app."""
        if keymap.is_of_app(key):
            await self.app.run_action(key.action)
            return
        target = self._keyed_pane() if key.views and not self._is_of_list(key) else self
        if target is None:
            return
        with contained(self.tell):
            await self.app.run_action(key.action, default_namespace=target)
        if target is not self:
            self._update_panes()
            self._update_header()

    def _is_of_list(self, key: keymap.Key) -> bool:
        """Tell whether a key of the view of all runs is for the list, not for a pane beside it."""
        name = key.action.partition("(")[0]
        return self.session.view == "runs" and hasattr(ListKeys, f"action_{name}")

    def _keyed_pane(self) -> Pane | None:
        """Return the pane that the view's own keys are for."""
        if self.session.view != "runs":
            return self._pane(self.session.view)
        chart = self._panes.get("chart")
        return chart if chart is not None and chart.display else None

    def _current_pane(self) -> Pane | None:
        """Return the pane of the view, if the view has one and it was made."""
        return self._panes.get(self.session.view)

    def _focused_pane(self) -> Pane | None:
        return self.focused if isinstance(self.focused, Pane) else None

    def action_move(self, lines: int) -> None:
        """Move in the list, or scroll the pane that has the keys."""
        pane = self._focused_pane()
        pane.scroll_lines(lines) if pane else self._list.move(lines)

    def action_run(self, runs: int) -> None:
        """Choose another run, whatever has the keys."""
        self._list.move(runs)

    def action_page(self, pages: int) -> None:
        """Move by pages."""
        pane = self._focused_pane()
        pane.scroll_pages(pages) if pane else self._list.move_page(pages)

    def action_edge(self, direction: int) -> None:
        """Move to the top or the end."""
        pane = self._focused_pane()
        pane.scroll_edge(direction) if pane else self._list.move_edge(direction)

    def action_view(self, name: str) -> None:
        """Go to a view."""
        self.choose_view(name)

    def action_next_pane(self, move: int) -> None:
        """Give the keys to the next pane on screen; the list is one of them."""
        stops: list[Widget] = [self._list] if self._list.display else []
        stops += sorted(self._visible_panes(), key=lambda pane: (pane.region.x, pane.region.y))
        if stops:
            at = stops.index(self.focused) if self.focused in stops else 0
            stops[(at + move) % len(stops)].focus()

    def action_open(self) -> None:
        """Show the chosen run; or give the pane that has the keys the whole screen."""
        pane = self._focused_pane()
        row = self._list.chosen_row
        if pane is None and isinstance(row, GroupRow) and self.session.view == "runs":
            self.fold(row)
        elif pane is None:
            self.choose_view("run")
        elif not pane.enter():
            self.alone = "" if self.alone == pane.NAME else pane.NAME
            self._place()
            pane.focus()

    def action_back(self) -> None:
        """Undo one step: in the pane, the enlarged pane, the focus on it, the view, the filter."""
        pane = self._focused_pane()
        if pane is not None and pane.leave():
            return
        if self.alone:
            self.alone = ""
            self._place()
            if not shows_list(self.size.width, self.session.view, bool(self.alone)):
                self._pane(self.session.view).focus()
        elif self.session.view != "runs":
            self.choose_view("runs")
        elif self._focused_pane():
            self._list.focus()
        else:
            self.filter.clear()
            self.session.errors_only = False
            self.filter_again()

    def marks_changed(self) -> None:
        """Draw the marked runs, and have them read."""
        self._list.redraw()
        self._tell_watcher()
        self._update_panes()
        self._update_header()

    def action_palette(self) -> None:
        """Offer everything by its name."""
        from .performing import open_palette  # the first paint need not wait for it

        open_palette(self)

    def action_copy(self) -> None:
        """Offer what can be copied of the chosen run."""
        from .performing import open_copy_menu

        open_copy_menu(self)
        self._update_header()

    def go_to_run(self, key: str) -> None:
        """Put the cursor on a run, whatever the filter hides."""
        if all(entry.key != key for entry in self.listing.runs):
            self.filter.clear()
            self.session.errors_only = False
            self.filter_again()
        self._list.move_to(key)

    def action_pause(self) -> None:
        """Hold the screen still, or catch up."""
        self.paused = not self.paused
        self.tick()

    def action_ask(self, kind: Kind) -> None:
        """Ask the chosen run to stop, or for a checkpoint, once that was confirmed."""
        if self.selected is not None:
            ask(self.app, self.beside, self.selected, kind)
            self._update_header()

    def action_bell(self) -> None:
        """Ring the terminal's bell from now on, or be quiet."""
        self.bell = not self.bell
        self.beside.say(
            "bell on: a run that ends, fails or becomes NaN" if self.bell else "bell off"
        )
        self._update_header()

    def action_rescan(self) -> None:
        """Read everything again."""
        self.watcher.rescan()


_WITHOUT_PANES = frozenset({"header", "tabs", "hints", "runs", "too-small"})


def _missing_line(root: str, why: str, width: int) -> Line:
    place = shorten(from_file(root), max(10, width - len(why) - 6), keep_end=True)
    return line("  ", Span(f"{place}: {why}", "warn"))


def _put(widget: Widget, box: Box | None) -> None:
    widget.display = box is not None
    if box is not None:
        widget.styles.offset = (box.x, box.y)
        widget.styles.width, widget.styles.height = box.width, box.height
