"""Opens what covers the main screen, and does what was chosen there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runstore.state.run_state import RunState

from ..commands import GoToRun, PressKey, SetTheme, SortBy, command_choices
from ..raw_lines import RawReading
from ..renderables.choices import Choice
from ..renderables.copies import Copy, copies
from ..renderables.text import from_file
from ..themes import THEME_NAMES
from .copy import CopiedScreen, CopyScreen
from .palette import PaletteScreen
from .raw import RawScreen

if TYPE_CHECKING:
    from .main_keys import MainKeys


def open_palette(screen: MainKeys) -> None:
    """Offer everything; what is chosen is done on `screen`."""
    app = screen.app
    themes = [] if app.no_color else list(THEME_NAMES)
    names = {theme: name for name, theme in THEME_NAMES.items()}
    columns = [from_file(name) for name in screen.catalog.ranked_metrics()]
    current = names.get(app.theme, "")
    choices = list(command_choices(screen.session.view, columns, themes, current))

    async def perform(choice: Choice | None) -> None:
        if choice is not None:
            await _perform(screen, choice.value)

    app.push_screen(PaletteScreen(choices, screen.catalog), perform)


async def _perform(screen: MainKeys, command: object) -> None:
    match command:
        case PressKey(key):
            if key.views and screen.session.view not in key.views:
                screen.choose_view(key.views[0])
            await screen.perform(key)
        case SortBy(column):
            screen.sort_by(column)
        case SetTheme(name):
            screen.app.theme = THEME_NAMES[name]
        case GoToRun(key):
            screen.go_to_run(key)


@contextmanager
def _state_of_chosen(screen: MainKeys) -> Iterator[RunState | None]:
    """Hold what is known of the chosen run; None when none is chosen, or it is being read."""
    if screen.selected is None:
        yield None
        return
    with screen.selected.glimpse() as view:
        if view is None:
            screen.said.say("the run is being read: try again in a moment")
            yield None
        else:
            yield view.full if view.full.attempts else view.listed


def open_raw(screen: MainKeys) -> None:
    """Show lines of the chosen run's files; those of a step too where a cursor is on one."""
    with _state_of_chosen(screen) as state:
        if state is None:
            return
        bad, name = list(state.bad_lines), from_file(state.name)
        path, source = state.path, state.source
    pane = screen.current_pane()
    step = None if pane is None else pane.step_in_focus()
    screen.app.push_screen(RawScreen(name, source, RawReading(path, bad, step)))


def open_copy_menu(screen: MainKeys) -> None:
    """Offer what can be copied of the chosen run."""
    with _state_of_chosen(screen) as state:
        if state is None:
            return
        found, name = copies(state), from_file(state.name)

    def show(choice: Choice | None) -> None:
        if choice is not None and isinstance(choice.value, Copy):
            screen.app.push_screen(CopiedScreen(choice.value))

    screen.app.push_screen(CopyScreen(name, found), show)
