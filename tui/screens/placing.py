"""Where the list and the panes of the main screen are, and which of them has the keys."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator

from textual import events
from textual.widget import Widget

from ..beside import Beside
from ..catalog import Catalog
from ..entry import Entry
from ..messages import PaneChosen, ViewChosen
from ..said import Said
from ..scene import Scene, line_letters
from ..session import Session
from ..widgets.lines import contained
from ..widgets.pane import Pane
from ..widgets.too_small import TooSmall
from .layout import Box, arrange
from .list_keys import ListKeys

_WITHOUT_PANES = frozenset({"header", "tabs", "hints", "runs", "too-small"})


class PlacedPanes(ListKeys):
    """The part of the main screen that makes panes, puts them in their place, and fills them."""

    def __init__(self, catalog: Catalog, session: Session) -> None:
        super().__init__(catalog, session)
        self.said = Said()
        """What an action came to, for the last line."""
        self.beside = Beside(self.said, catalog.hosts)
        self.alone = ""
        """The pane that has the whole screen."""
        self.selected: Entry | None = None
        self.painted = False
        """The list was drawn once: it does not wait for the panes."""
        self._panes: dict[str, Pane] = {}
        self.panes_at = 0.0
        """When they were drawn last."""
        self.panes_are_old = False
        self._has_report = False
        """Whether there is room for the chosen run's classification report beside the list."""

    @abstractmethod
    def update_lines(self) -> None:
        """Say anew what the first lines and the last one say."""

    # ---- what they show ------------------------------------------------------------------------

    def scene_now(self) -> Scene:
        """Return what the panes are to draw."""
        listed = self.listing.runs
        return Scene(self.selected, self.marked(), self.session, listed, self.beside, self.said)

    def marked(self) -> tuple[Entry, ...]:
        """Return the marked runs that are there, in the order of marking."""
        marked = (self.catalog.get(key) for key in self.session.marks)
        return tuple(entry for entry in marked if entry is not None)

    def letters(self) -> dict[str, str]:
        """Return what stands before the marked runs, by their keys."""
        return line_letters(self.session, self.marked())

    def followed(self) -> list[str]:
        """Return the keys of the runs whose history is read, the chosen one first."""
        drawn = self.scene_now().charted
        chosen = [entry.key for entry in drawn if entry is self.selected]
        return chosen + [entry.key for entry in drawn if entry is not self.selected]

    def visible_panes(self) -> Iterator[Pane]:
        """Yield the panes on screen."""
        return (pane for pane in self._panes.values() if pane.display)

    def update_panes(self) -> None:
        """Draw the panes on screen with what is chosen and known now."""
        if self._is_report_news() and self.session.view == "runs":
            self.place()
            return
        self.panes_at, self.panes_are_old = time.monotonic(), False
        for pane in self.visible_panes():
            with contained(self.said.say):
                pane.show(self.scene_now())

    def _is_report_news(self) -> bool:
        """Tell whether the chosen run has a report and the one before had none, or the reverse."""
        if self.selected is None:
            return False
        with self.selected.glimpse() as view:
            if view is None or view.reading:  # not known yet; nothing is moved for a moment
                return False
            before, self._has_report = self._has_report, bool(view.full.reports)
            return before != self._has_report

    # ---- where they are ------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Put everything in its place for the new size."""
        self.place()
        if self.painted:
            self.update_lines()

    def place(self) -> None:
        """Put everything in its place, and make the panes that are needed for the first time."""
        width, height = self.size
        if not width or not height:
            return
        rows, view = len(self.listing.rows), self.session.view
        boxes = arrange(width, height, rows, view, self.alone, has_report=self._has_report)
        for name in boxes if self.painted else ():
            if name not in _WITHOUT_PANES:
                self.pane(name)
        if "too-small" in boxes and not self.query("#too-small"):
            self.mount(TooSmall(id="too-small"))
        for widget in self.children:
            _put(widget, boxes.get(widget.id or ""))
        if isinstance(self.focused, Pane) and not self.focused.display and "runs" in boxes:
            self.runs_list.focus()
        self.update_panes()

    def pane(self, name: str) -> Pane:
        """Return a pane, made when it is first needed."""
        from ..widgets.view_panes import make_pane  # what they draw is not for the first paint

        pane = self._panes.get(name)
        if pane is None:
            pane = self._panes[name] = make_pane(name)
            pane.scene = self.scene_now()
            self.mount(pane)
        return pane

    def choose_view(self, name: str) -> None:
        """Show a view, and give it the keys."""
        self.session.view, self.alone = name, ""
        self.place()
        if name == "runs":
            self.runs_list.focus()
        else:
            self.pane(name).focus()

    # ---- which has the keys ----------------------------------------------------------------------

    def keyed_pane(self) -> Pane | None:
        """Return the pane that the view's own keys are for."""
        if self.session.view != "runs":
            return self.pane(self.session.view)
        chart = self._panes.get("chart")
        return chart if chart is not None and chart.display else None

    def current_pane(self) -> Pane | None:
        """Return the pane of the view, if the view has one and it was made."""
        return self._panes.get(self.session.view)

    def focused_pane(self) -> Pane | None:
        """Return the pane that has the keys; None where the list has them."""
        return self.focused if isinstance(self.focused, Pane) else None

    def action_next_pane(self, move: int) -> None:
        """Give the keys to the next pane on screen; the list is one of them."""
        stops: list[Widget] = [self.runs_list] if self.runs_list.display else []
        stops += sorted(self.visible_panes(), key=lambda pane: (pane.region.x, pane.region.y))
        if stops:
            at = stops.index(self.focused) if self.focused in stops else 0
            stops[(at + move) % len(stops)].focus()

    def on_view_chosen(self, message: ViewChosen) -> None:
        """A tab was clicked."""
        self.choose_view(message.view)

    def on_pane_chosen(self, message: PaneChosen) -> None:
        """A pane was clicked."""
        self.pane(message.pane).focus()


def _put(widget: Widget, box: Box | None) -> None:
    widget.display = box is not None
    if box is not None:
        widget.styles.offset = (box.x, box.y)
        widget.styles.width, widget.styles.height = box.width, box.height
