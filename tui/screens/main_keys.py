"""What keys do on the main screen: they are typed into something, or mean what the table says."""

from __future__ import annotations

from abc import abstractmethod

from textual import events

from runstore.runs.requests import Kind

from .. import keymap
from ..listing import GroupRow
from ..widgets.lines import contained
from ..widgets.pane import NO_RUN
from .asking import ask
from .layout import shows_list
from .overlay import TakesKeys
from .placing import PlacedPanes


class MainKeys(PlacedPanes):
    """The part of the main screen that knows what a key is for: list, pane, overlay or screen."""

    @abstractmethod
    def update_lines(self) -> None:
        """Say anew what the first lines and the last one say."""

    # ---- typed into something ------------------------------------------------------------------

    async def on_key(self, event: events.Key) -> None:
        """Let what is being typed have its keys before they mean anything else.

        All is done here and now: bindings are looked at later, behind keys that were typed ahead,
        and no longer by this screen where one of those has opened an overlay.
        """
        above = self.app.screen
        if isinstance(above, TakesKeys):
            # Typed right behind the key that has opened it: the toolkit sent it here before.
            event.stop()
            above.press(event.key, event.character)
            return
        self.said.key_pressed()
        pane = self.current_pane()
        taken = False
        with contained(self.said.say):
            taken = pane is not None and pane.press(event.key, event.character)
        if taken:
            event.stop()
            self.update_lines()
        elif self.filter.press(event.key, event.character, may_open=self._may_filter()):
            event.stop()
            self.filter_again()
            self.update_lines()
        elif (found := keymap.find(event.key, self.session.view)) is not None:
            event.stop()
            await self.perform(found)

    def _may_filter(self) -> bool:
        found = keymap.find("slash", self.session.view)
        return found is not None and found.action == "filter"

    def on_paste(self, event: events.Paste) -> None:
        """Paste into the filter, or into what is being typed into the pane."""
        pane, text = self.current_pane(), " ".join(event.text.split())
        if pane is not None and pane.paste(text):
            self.update_lines()
        elif self.filter.paste(text):
            self.filter_again()

    # ---- what the table says -------------------------------------------------------------------

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
        target = self.keyed_pane() if key.views and not self._is_of_screen(key) else self
        if target is None:
            return
        with contained(self.said.say):
            await self.app.run_action(key.action, default_namespace=target)
        if target is not self:
            self.update_panes()
        self.update_lines()

    def _is_of_screen(self, key: keymap.Key) -> bool:
        """Tell whether a key of the view of all runs is done here, not by a pane beside it."""
        name = key.action.partition("(")[0]
        return self.session.view == "runs" and hasattr(MainKeys, f"action_{name}")

    def action_move(self, lines: int) -> None:
        """Move in the list, or scroll the pane that has the keys."""
        pane = self.focused_pane()
        pane.scroll_lines(lines) if pane else self.runs_list.move(lines)

    def action_run(self, runs: int) -> None:
        """Choose another run, whatever has the keys."""
        self.runs_list.move(runs)

    def action_page(self, pages: int) -> None:
        """Move by pages."""
        pane = self.focused_pane()
        pane.scroll_pages(pages) if pane else self.runs_list.move_page(pages)

    def action_edge(self, direction: int) -> None:
        """Move to the top or the end."""
        pane = self.focused_pane()
        pane.scroll_edge(direction) if pane else self.runs_list.move_edge(direction)

    def action_view(self, name: str) -> None:
        """Go to a view."""
        self.choose_view(name)

    def action_open(self) -> None:
        """Show the chosen run; or give the pane that has the keys the whole screen."""
        pane = self.focused_pane()
        row = self.runs_list.chosen_row
        if pane is None and isinstance(row, GroupRow) and self.session.view == "runs":
            self.fold(row)
        elif pane is None:
            self.choose_view("run")
        elif not pane.enter():
            self.alone = "" if self.alone == pane.NAME else pane.NAME
            self.place()
            pane.focus()

    def action_back(self) -> None:
        """Undo one step: in the pane, the enlarged pane, the focus on it, the view, the filter."""
        pane = self.focused_pane()
        if pane is not None and pane.leave():
            return
        if self.alone:
            self.alone = ""
            self.place()
            if not shows_list(self.size.width, self.session.view, bool(self.alone)):
                self.pane(self.session.view).focus()
        elif self.session.view != "runs":
            self.choose_view("runs")
        elif self.focused_pane():
            self.runs_list.focus()
        else:
            self.filter.clear()
            self.session.errors_only = False
            self.filter_again()

    def action_help(self) -> None:
        """Show the keys."""
        from .help import HelpScreen  # the first paint need not wait for it

        self.app.push_screen(HelpScreen(self.session.view))

    def action_palette(self) -> None:
        """Offer everything by its name."""
        from .performing import open_palette  # the first paint need not wait for it

        open_palette(self)

    def action_copy(self) -> None:
        """Offer what can be copied of the chosen run."""
        from .performing import open_copy_menu

        open_copy_menu(self)
        self.update_lines()

    def action_raw(self) -> None:
        """Show lines of the chosen run's files."""
        from .performing import open_raw

        open_raw(self)
        self.update_lines()

    def go_to_run(self, key: str) -> None:
        """Put the cursor on a run, whatever the filter hides."""
        if all(entry.key != key for entry in self.listing.runs):
            self.filter.clear()
            self.session.errors_only = False
            self.filter_again()
        if self.session.grouped or self.session.by_folder:
            self.listing.reveal(key)
            self.list_again()
        self.runs_list.move_to(key)

    async def action_note(self) -> None:
        """Begin a note about the run at the cursor, on its page."""
        if self.selected is None:
            self.said.say(NO_RUN)
        elif isinstance(self.runs_list.chosen_row, GroupRow):
            self.said.say("a note is about one run: Enter lists those of this row")
        else:
            self.choose_view("run")
            await self.app.run_action("note", default_namespace=self.pane("run"))

    def action_ask(self, kind: Kind) -> None:
        """Ask the chosen run to stop, or for a checkpoint, once that was confirmed."""
        if self.selected is not None:
            ask(self.app, self.beside, self.selected, kind)
            self.update_lines()
