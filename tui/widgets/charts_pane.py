"""All metrics of the runs that are drawn together: what keys and the mouse do to the charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual import events

from ..entry import RunView
from ..renderables.axes import AXES
from ..renderables.board import SMOOTHINGS, Board, Seen
from ..renderables.drawn_runs import CURVE_ROLES, Identity
from ..renderables.overlay import Settings
from ..renderables.text import Line
from ..scene import Scene, glimpses, line_letters
from ..session import MARK_LETTERS, Session
from .pane import MARGIN, Pane

ZOOM_STEP = 0.6
DRAGGED = 2
"""Cells that the mouse moves at least between button down and up to choose a part."""
TITLE_LINES = 1
RIGHT_BUTTON = 3


class ChartsPane(Pane):
    """A grid of charts; Enter shows one alone."""

    NAME = "charts"

    def __init__(self) -> None:
        super().__init__()
        self.board = Board()
        self._is_new = True
        """Nothing was drawn yet."""
        self._pressed_at: int | None = None
        """Where the mouse button went down, in cells of the pane."""

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return the charts of one run."""
        self.board.take([Seen(Identity(""), view.full, view.reading)], width, height)
        return self.board.draw()

    def body(self, width: int, height: int) -> list[Line]:
        """Return the charts of all runs that are drawn together."""
        entries = self.scene.charted
        if not entries:
            return self.without_run(width)
        board = self.board
        if self._is_new:  # what was chosen the last time
            board.settings, self._is_new = chosen(self.scene.session), False
        board.settings = replace(board.settings, grouped=self.scene.session.grouped)
        keep(board.settings, self.scene.session)
        with glimpses(entries) as views:
            self.is_waiting = None in views
            board.take(
                [
                    Seen(who, None if view is None else view.full, bool(view and view.reading))
                    for who, view in zip(identities(self.scene), views, strict=True)
                ],
                width,
                height,
            )
        return board.draw()

    def subtitle(self) -> str:
        """Return which chart has the keys, and how all are drawn."""
        left_out = self.scene.not_charted
        more = f" · {left_out:,} marked not drawn" if left_out else ""
        return self.board.title() + more

    def idle_hints(self) -> tuple[str, ...]:
        """Return the hint of the key that ends the zoom, while there is none."""
        return () if self.board.settings.zoom is not None else ("no zoom",)

    def step_in_focus(self) -> float | None:
        """Return the step at the cursor."""
        return self.board.step_at_cursor()

    # ---- keys ----------------------------------------------------------------------------------

    def enter(self) -> bool:
        """Show the chart in focus alone; return False when it is already so."""
        entered = not self.board.is_single and bool(self.board.names)
        self.board.is_single = self.board.is_single or entered
        self.redraw()
        return entered

    def leave(self) -> bool:
        """Take the cursor away, or go back to the grid, or show all metrics; False: nothing."""
        board = self.board
        if board.drop_cursor():
            pass
        elif board.is_single:
            board.is_single = False
        elif board.search:
            board.search = ""
        else:
            return False
        self.redraw()
        return True

    def typing(self, text: str) -> None:
        """Show only the metrics with these letters; the arrows go through what was found."""
        self.board.search = text

    def typed(self, text: str | None) -> None:
        """Keep what was found, or show all metrics again."""
        self.board.search = text or ""

    def action_search(self) -> None:
        """Have the name of a metric typed."""
        self.prompt = self.board.search
        self.board.is_single = False

    def action_metric(self, move: int) -> None:
        """Put the chart `move` places further on into focus."""
        self.board.move(move)

    def action_side(self, move: int) -> None:
        """Go one chart to the side; in a chart alone, move the cursor by a column."""
        if self.board.is_single:
            self.board.move_cursor(move)
        else:
            self.board.move(move)

    def action_jump(self, direction: int) -> None:
        """Move the cursor by a tenth of the width."""
        self.board.jump_cursor(direction / 10)

    def action_x_axis(self) -> None:
        """Have the horizontal axis count the next thing."""
        self.board.turn_axis()

    def action_log_y(self) -> None:
        """Turn the logarithmic value axis of the chart in focus on or off."""
        self.board.toggle_log_y()

    def action_log_x(self) -> None:
        """Turn the logarithmic horizontal axis on or off."""
        self.board.toggle_log_x()

    def action_smooth(self, move: int) -> None:
        """Smooth more or less."""
        self.board.smooth(move)

    def action_outliers(self) -> None:
        """Cut outliers off, or show them."""
        self.board.toggle_robust()

    def action_zoom(self, direction: int) -> None:
        """Zoom in (positive) or out; 0: draw the whole axis."""
        if direction:
            self.board.zoom(ZOOM_STEP if direction > 0 else 1 / ZOOM_STEP)
        else:
            self.board.zoom_out()

    def action_pan(self, direction: int) -> None:
        """Go on by a quarter of what is drawn."""
        self.board.pan(direction / 4)

    def scroll_lines(self, lines: int) -> None:
        """Go to the chart above or below."""
        self.board.move_rows(lines)
        self.redraw()

    def scroll_pages(self, pages: int) -> None:
        """Go one screen of charts further on."""
        self.board.move_pages(pages)
        self.redraw()

    def scroll_edge(self, direction: int) -> None:
        """Go to the first or the last chart."""
        self.board.move(direction * len(self.board.names))
        self.redraw()

    # ---- mouse ---------------------------------------------------------------------------------

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to choose a part of the axis; with the right button, show the values there."""
        # None for the right one: a left one may have been let go outside, which nothing tells.
        self._pressed_at = None if event.button == RIGHT_BUTTON else event.x
        if event.button == RIGHT_BUTTON:
            self._point(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Have the cursor go with the right button, in all charts."""
        if event.button == RIGHT_BUTTON:
            self._point(event)

    def _point(self, event: events.MouseEvent) -> None:
        hit = self._hit(event.x, event.y)
        if hit is not None:
            self.board.choose(hit[0])
            self.board.point_at(hit[1])
            self.redraw()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Draw the part that the mouse was drawn across; or put cursor or focus where it is."""
        start, self._pressed_at = self._pressed_at, None
        end = self._hit(event.x, event.y)
        if end is None or start is None:
            return
        name, share = end
        begin = self._hit(start, event.y)
        if abs(event.x - start) >= DRAGGED and begin is not None and begin[0] == name:
            self.board.choose(name)
            self.board.zoom_to(begin[1], share)
        elif self.board.is_single:
            self.board.point_at(share)
        elif self.board.focus == name and self.has_focus:
            self.board.is_single = True
        else:
            self.board.choose(name)
        self.redraw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out of one chart, or go down in the grid."""
        self._wheel(event, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom into one chart, or go up in the grid."""
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, direction: int) -> None:
        event.stop()
        hit = self._hit(event.x, event.y)
        if not self.board.is_single:
            self.board.move_rows(direction)
        elif hit is not None:
            self.board.zoom(ZOOM_STEP**-direction, hit[1])
        self.redraw()

    def _hit(self, x: int, y: int) -> tuple[str, float] | None:
        return self.board.at(x - MARGIN, y - TITLE_LINES)


def chosen(session: Session) -> Settings:
    """Return how charts were drawn the last time; what is not understood is as at first."""
    return Settings(
        axis=session.axis if session.axis in AXES else Settings().axis,
        log_x=session.log_x,
        log_y=frozenset(session.log_y),
        smoothing=session.smoothing if session.smoothing in SMOOTHINGS else 0.0,
        robust=session.robust,
    )


def keep(settings: Settings, session: Session) -> None:
    """Note how charts are drawn; zoom and cursor are for what is looked at now."""
    session.axis, session.log_x = settings.axis, settings.log_x
    session.log_y = sorted(settings.log_y)
    session.smoothing, session.robust = settings.smoothing, settings.robust


def identities(scene: Scene) -> list[Identity]:
    """Return letter and colour of each run that is drawn together, in the same order."""
    lines = line_letters(scene.session, scene.marked)
    letters = [lines.get(entry.key, "") for entry in scene.charted]
    free = next((i for i, letter in enumerate(MARK_LETTERS) if letter not in letters), None)
    return [
        Identity(entry.key, letter, _role(letter, free), entry is scene.entry)
        for entry, letter in zip(scene.charted, letters, strict=True)
    ]


def _role(letter: str, free: int | None) -> str:
    """Return the colour of a letter; the run without one has that of a letter that is not used."""
    at = MARK_LETTERS.index(letter) if letter else free
    return "name" if at is None else CURVE_ROLES[at]
