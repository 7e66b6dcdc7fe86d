"""Entry points for the launcher: the live screen and `--once`."""

from __future__ import annotations

import gc
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runstore.errors import RunStoreError
from runstore.monitor_settings import Settings, hosts_path, state_path
from runstore.threads import start_daemon

from .heap import give_back_freed
from .remembered import Memory
from .renderables.ascii import as_ascii
from .session import Session

if TYPE_CHECKING:
    from .hosts import Hosts

_NOTHING_SAID = Settings()
_OF_THE_TERMINAL = {"terminal": "ansi-dark", "terminal-light": "ansi-light"}
"""Textual's names of the themes in the terminal's own colours."""
SCREENSHOT_PATIENCE_S = 30.0
HOME_PATIENCE_S = 1.0
"""How long the start waits for the home directory, which may be on a file server as roots are."""
CHANGES_EVERY_S = 0.25
PIPE_WIDTH = 120
"""Cells of a line when the output is no terminal and COLUMNS does not say otherwise."""


def hosts_of(roots: Sequence[Path]) -> tuple[list[Path], Hosts | None]:
    """Return where each root is looked at here, and the other machines that some of them are on.

    Raises:
        RunStoreError: one of them is no name of a host, or there is no place for copies.
    """
    from runstore.hosts.remote import Remote, is_remote
    from runstore.pull import unused
    from runstore.pull.place import cached

    from . import pulling

    remotes = {root: Remote.parse(str(root)) for root in roots if is_remote(str(root))}
    if not remotes:
        return list(roots), None
    cache = hosts_path()
    if cache is None:
        raise RunStoreError("there is no home directory for copies of runs; set $XDG_CACHE_HOME")
    hosts = pulling.hosts_of(list(remotes.values()), cache)
    copies = {root: cached(cache, remote) for root, remote in remotes.items()}
    unused.watch(copies.values())
    start_daemon(lambda: unused.remove_unused(cache, copies.values()), "runstore-unused")
    return [copies.get(root, root) for root in roots], hosts


def log_in(hosts: Hosts, *, patient: bool = False) -> None:
    """Connect to other machines while ssh may still ask on the terminal.

    Args:
        hosts: those machines.
        patient: wait for those that do not answer, too.
    """
    ask = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    hosts.log_in(
        ask=ask,
        say=lambda text: sys.stderr.write(f"runstore-tui: {text}\n"),
        patient=patient,
    )


def run_screen(roots: Sequence[Path], settings: Settings, hosts: Hosts | None = None) -> int:
    """Show the live screen until the user leaves; return the exit status."""
    if has_few_colors(os.environ) and "TEXTUAL_THEME" not in os.environ:
        settings = settings.over(Settings(theme="terminal"))
    prepare_environment(settings)
    give_back_freed()  # before the first thread has a heap of its own
    found: list[tuple[Session, Memory]] = []
    loading = start_daemon(lambda: found.append(_remembered(roots)), "runstore-session")
    gc.disable()  # what the imports make stays: collecting in between costs 20 ms and frees nothing
    from .app import MonitorApp

    gc.freeze()
    gc.enable()
    loading.join(HOME_PATIENCE_S)
    app = MonitorApp(roots, settings, *(found[0] if found else _nothing_remembered()), hosts)
    try:
        app.run(mouse=settings.mouse is not False)
    finally:
        if hosts is not None:
            hosts.stop()
    status = app.return_code or 0
    _leave_if_the_terminal_is_gone(status)
    return status


def _remembered(roots: Sequence[Path]) -> tuple[Session, Memory]:
    """Return what was chosen the last time; the home directory, or a root, may not answer."""
    memory = Memory(state_path(), roots)
    return memory.load(), memory


def _nothing_remembered() -> tuple[Session, Memory]:
    """Return a session that is not kept: what could not be read is not written over."""
    memory = Memory(None, ())
    memory.note = "what you choose is not kept: a file server does not answer"
    return Session(), memory


def _leave_if_the_terminal_is_gone(status: int) -> None:
    """End with `status`, where Python would end with 120 because its last words find no reader."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os._exit(status)


def save_screenshot(
    roots: Sequence[Path], target: Path, size: tuple[int, int], settings: Settings
) -> None:
    """Write an SVG picture of the screen as it is once everything was read."""
    # A picture does not depend on the terminal in which it is made.
    settings = settings.over(Settings(ascii=False))
    prepare_environment(settings)
    import asyncio

    from .app import MonitorApp

    async def take() -> str:
        app = MonitorApp(roots, settings)
        async with app.run_test(size=size) as pilot:
            deadline = time.monotonic() + SCREENSHOT_PATIENCE_S
            while not app.is_read and time.monotonic() < deadline:
                await pilot.pause(0.1)
            # Some ticks of the screen later, what was read is drawn; each pause waits for widgets
            # that are behind, on a busy machine too.
            for _ in range(4):
                await pilot.pause(0.15)
            return app.export_screenshot(title="runstore-tui")

    target.write_text(asyncio.run(take()), encoding="utf-8")


def print_once(
    roots: Sequence[Path],
    wanted: Sequence[str],
    settings: Settings,
    hosts: Hosts | None = None,
) -> None:
    """Write the screen as plain text to standard output.

    Raises:
        RunStoreError: A root or a wanted run is not there.
    """
    from .once import once

    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    finish = _finish(settings)
    for line in once(roots, wanted, width, hosts):
        sys.stdout.write(finish(line) + "\n")


def print_once_json(roots: Sequence[Path], wanted: Sequence[str]) -> None:
    """Write the same facts as one JSON document: docs/json.md.

    Raises:
        RunStoreError: A root or a wanted run is not there.
    """
    from .once import once_json

    _make_utf8(sys.stdout)
    for piece in once_json(roots, wanted):
        sys.stdout.write(piece)


def print_changes(
    roots: Sequence[Path],
    wanted: Sequence[str],
    settings: Settings,
    hosts: Hosts | None = None,
) -> int:
    """Write a line for each change until Ctrl-C; return the exit status.

    Args:
        roots: where to look.
        wanted: runs whose changes alone are told; empty for all.
        settings: what the user has said.
        hosts: other machines, copies of whose runs some of the roots are.

    Raises:
        RunStoreError: A wanted run is not there.
        BrokenPipeError: nobody reads any more.
    """
    from runstore.runs.lookup import find

    from . import terminal  # imports asyncio, which --once does without
    from .catalog import Catalog
    from .changes import ChangeLog
    from .watch import Watcher

    finish = _finish(settings)
    catalog = Catalog([find(name, roots[0]).path for name in wanted] or roots, hosts=hosts)
    watcher = Watcher(catalog)
    log = ChangeLog(catalog, time.monotonic())
    watcher.start()
    catalog.hosts.start()
    try:
        while True:
            watcher.look_after()
            for line in log.lines(time.monotonic(), watcher.problem):
                sys.stdout.write(finish(line) + "\n")
            sys.stdout.flush()
            if terminal.is_left(sys.stdout):
                raise BrokenPipeError
            time.sleep(CHANGES_EVERY_S)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        watcher.stop()
        catalog.hosts.stop()


def _finish(settings: Settings) -> Callable[[str], str]:
    """Return what is done last to every line."""
    _make_utf8(sys.stdout)
    return as_ascii if settings.is_ascii(os.environ.get("TERM", "")) else str


def prepare_environment(settings: Settings = _NOTHING_SAID) -> None:
    """Set what Textual reads when it is imported; whatever the user has set stays."""
    defaults = {"TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
    theme = settings.theme
    if "NO_COLOR" in os.environ:  # any other theme would come out as shades of grey
        theme = "terminal"
    if theme is not None:
        os.environ.pop("TEXTUAL_THEME", None)
    if theme in _OF_THE_TERMINAL:  # one of our own is chosen when the app is there
        defaults["TEXTUAL_THEME"] = _OF_THE_TERMINAL[theme]
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _make_utf8(sys.__stderr__)  # the stream that Textual draws on


def has_few_colors(environ: Mapping[str, str]) -> bool:
    """Tell whether the terminal says that it has 16 colours at most, as Rich finds out."""
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return False
    kind = environ.get("TERM", "").strip().lower().rpartition("-")[2]
    return kind not in ("256color", "kitty")


def _make_utf8(stream: object) -> None:
    """Write UTF-8 whatever the locale says: terminals speak it even where LANG=C."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="replace")
