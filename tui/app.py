"""The app: a table of contents of the parts, and what belongs to no screen."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from rich.text import Text
from textual import events

from runstore.monitor_settings import Settings
from runstore.threads import start_daemon

from . import keymap, terminal
from .catalog import Catalog
from .hosts import Hosts
from .remembered import Memory
from .screens.layout import arrange
from .screens.main import MainScreen
from .session import Session
from .tempo import Tempo
from .themes import DARK_THEME, OWN_THEMES, THEME_NAMES, styles_for
from .watch import Hints, Watcher
from .wire import WireMixin

FIRST_READ_S = 2.0
"""How long the first paint waits for a file server."""
TICK_S = 0.15
"""How often the screen looks for changes, as `Tempo` lets it; what a key does is drawn at once."""
FIRST_ROWS_S = 0.5
"""How long the first paint waits for the rows on it, where runs are slow to look at."""
REMEMBER_EVERY_S = 10.0
"""How often what was chosen is written, so that a terminal that goes away costs little."""
GOODBYE_S = 1.0
"""How long the end waits for the home directory."""
_NOTHING_SAID = Settings()


class MonitorApp(WireMixin):
    """Watches some roots of runs until the user quits."""

    TITLE = "runstore"
    # Textual does not load the style sheet of a default screen by itself.
    CSS_PATH = ["app.tcss", "screens/main.tcss"]  # noqa: RUF012 - Textual's class variable
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = keymap.app_bindings()

    def __init__(
        self,
        roots: Sequence[Path],
        settings: Settings = _NOTHING_SAID,
        session: Session | None = None,
        memory: Memory | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """Watch `roots`, directories that hold runs; they may be missing.

        Args:
            roots: where to look.
            settings: what the user has said of looks and manners.
            session: what was chosen the last time.
            memory: where that is kept; None for nowhere.
            hosts: other machines, copies of whose runs some of the roots are.
        """
        super().__init__(driver_class=terminal.driver_class())
        self.settings = settings
        self.ascii_only = settings.is_ascii(os.environ.get("TERM", ""))
        """Every widget draws with ASCII characters alone."""
        self._memory = memory
        self._saving: Thread | None = None
        self._noted = ""
        """What was last told of it."""
        self.catalog = Catalog(roots, hosts=hosts)
        self.watcher = Watcher(self.catalog)
        self._hints = Hints(self.catalog, self.watcher.hint)
        self._main = MainScreen(self.catalog, self.watcher, session or Session())
        self._main.bell = settings.bell is True
        self._tempo = Tempo() if settings.fps is None else None
        self._add_theme()
        self.hold_frames()

    def _add_theme(self) -> None:
        for theme in OWN_THEMES:
            self.register_theme(theme)
        wanted = None if self.no_color else self.settings.theme
        if wanted is not None:
            self.theme = THEME_NAMES[wanted]
        elif self.theme == "textual-dark":  # nobody asked for another one by TEXTUAL_THEME
            self.theme = DARK_THEME.name
        self.role_styles = styles_for(self.current_theme)

    def get_default_screen(self) -> MainScreen:
        """Return the first screen, with the rows read that its first paint shows.

        A file server that does not answer is waited for a moment; the watcher then does the rest.
        """
        start_daemon(self._read_first, "runstore-first").join(FIRST_READ_S)
        return self._main

    def _read_first(self) -> None:
        self.catalog.scan()
        boxes = arrange(*self.size, len(self.catalog.entries), self._main.session.view)
        rows = boxes["runs"].height - 1 if "runs" in boxes else 0
        end = time.monotonic() + FIRST_ROWS_S
        for entry in self.catalog.entries[:rows]:
            if time.monotonic() < end:
                self.catalog.glance(entry)

    @property
    def is_read(self) -> bool:
        """Whether everything that is shown was read to its end."""
        return self._main.is_read

    def on_mount(self) -> None:
        """Start what runs beside the screen."""
        terminal.exit_on_signals(self)
        self.app_resume_signal.subscribe(self, lambda _: self.redraw_everything())
        self.theme_changed_signal.subscribe(self, lambda _: self._restyle())
        fps = self.settings.fps
        self.set_interval(TICK_S if fps is None else 1 / fps, self._tick)
        if self._memory is not None:
            self.set_interval(REMEMBER_EVERY_S, self._remember)
            self._noted = self._memory.note
            self._main.said.say_until_a_key(self._noted)
        self.set_interval(1.0, self._main.tick_slowly)
        self.set_interval(1.0, self.watcher.look_after)
        self.call_after_refresh(self._after_first_paint)

    def _tick(self) -> None:
        self._main.tick(self._tempo)

    async def on_event(self, event: events.Event) -> None:
        """Have what a key asks for drawn at once."""
        if isinstance(event, events.InputEvent) and self._tempo is not None:
            self._tempo.hurry()
        await super().on_event(event)

    def _after_first_paint(self) -> None:
        self.release_frames()  # those before have no list
        self._main.show_panes()
        self.watcher.start()
        self.catalog.hosts.start()
        if not self.is_headless:
            self.set_interval(terminal.HANGUP_CHECK_S, terminal.exit_on_hangup)
        self.set_timer(0.2, self._watch_folders)
        self.set_interval(5.0, self._watch_folders)

    def _watch_folders(self) -> None:
        if self.watcher.hints_help:
            self._hints.refresh()

    def on_unmount(self) -> None:
        """Stop the threads, and keep what was chosen."""
        if self._saving is not None:
            self._saving.join(GOODBYE_S)
        if (saving := self._remember()) is not None:
            saving.join(GOODBYE_S)
        self.watcher.stop()
        self._hints.stop()
        self.catalog.hosts.stop()

    def _remember(self) -> Thread | None:
        """Write what is chosen now, in a thread: the home directory may be on a file server."""
        memory, session = self._memory, self._main.chosen_session()
        if memory is None or (self._saving is not None and self._saving.is_alive()):
            return self._saving
        if memory.note != self._noted:
            self._noted = memory.note
            self._main.said.say_until_a_key(self._noted)
        self._saving = start_daemon(lambda: memory.save(session), "runstore-session")
        return self._saving

    def _restyle(self) -> None:
        self.role_styles = styles_for(self.current_theme)
        self._main.restyle()

    def _fatal_error(self) -> None:
        """Leave with a plain traceback.

        Textual's own has colours, which standard error takes for escape sequences of a stranger,
        and the values of variables, which are nobody's business in a report.
        """
        self._exit_renderables.append(Text(traceback.format_exc().rstrip()))
        self._close_messages_no_wait()

    def action_suspend_process(self) -> None:
        """Stop until the shell resumes its job; without one nothing could."""
        if terminal.is_job():
            super().action_suspend_process()
        else:
            self._main.said.say("cannot suspend: no shell has started the monitor as its job")

    def action_redraw(self) -> None:
        """Draw everything again: another program wrote into the terminal."""
        self.redraw_everything()

    def action_help(self) -> None:
        """Show the keys."""
        self._main.action_help()
