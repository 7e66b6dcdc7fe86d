"""Entry points for the launcher: the live screen and `--once`."""

from __future__ import annotations

import gc
import io
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SCREENSHOT_PATIENCE_S = 30.0
PIPE_WIDTH = 120
"""Cells of a line when the output is no terminal and COLUMNS does not say otherwise."""


def run_screen(roots: Sequence[Path]) -> int:
    """Show the live screen until the user leaves; return the exit status."""
    prepare_environment()
    gc.disable()  # what the imports make stays: collecting in between costs 20 ms and frees nothing
    from .app import MonitorApp

    gc.freeze()
    gc.enable()
    app = MonitorApp(roots)
    app.run()
    status = app.return_code or 0
    _leave_if_the_terminal_is_gone(status)
    return status


def _leave_if_the_terminal_is_gone(status: int) -> None:
    """End with `status`, where Python would end with 120 because its last words find no reader."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os._exit(status)


def save_screenshot(roots: Sequence[Path], target: Path, width: int, height: int) -> None:
    """Write an SVG picture of the screen as it is once everything was read."""
    prepare_environment()
    import asyncio

    from .app import MonitorApp

    async def take() -> str:
        app = MonitorApp(roots)
        async with app.run_test(size=(width, height)) as pilot:
            deadline = time.monotonic() + SCREENSHOT_PATIENCE_S
            while not app.is_read and time.monotonic() < deadline:
                await pilot.pause(0.1)
            # Some ticks of the screen later, what was read is drawn; each pause waits for widgets
            # that are behind, on a busy machine too.
            for _ in range(4):
                await pilot.pause(0.15)
            return app.export_screenshot(title="runstore-tui")

    target.write_text(asyncio.run(take()), encoding="utf-8")


def print_once(roots: Sequence[Path], wanted: Sequence[str]) -> None:
    """Write the screen as plain text to standard output.

    Raises:
        RunStoreError: A root or a wanted run is not there.
    """
    from .once import once

    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    _make_utf8(sys.stdout)
    for line in once(roots, wanted, width):
        sys.stdout.write(line + "\n")


def prepare_environment() -> None:
    """Set what Textual reads when it is imported; whatever the user has set stays."""
    defaults = {"TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
    if "NO_COLOR" in os.environ:  # any other theme would come out as shades of grey
        defaults["TEXTUAL_THEME"] = "ansi-dark"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _make_utf8(sys.__stderr__)  # the stream that Textual draws on


def _make_utf8(stream: object) -> None:
    """Write UTF-8 whatever the locale says: terminals speak it even where LANG=C."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="replace")
