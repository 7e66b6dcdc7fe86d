"""The terminal itself: clean exits on signals and hang-ups, and only the mouse that is needed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from textual.app import App
    from textual.driver import Driver

HANGUP_CHECK_S = 1.0
HANGUP_EXIT = 129
"""128 + SIGHUP, as a shell reports it."""


def driver_class() -> type[Driver] | None:
    """Return a driver that reports clicks and drags but not every movement of the mouse.

    A hundred movements over an idle screen make Textual write 12 to 440 KB. None where Textual's
    own choice is kept: on Windows, and when the environment names a driver.
    """
    if sys.platform == "win32" or os.environ.get("TEXTUAL_DRIVER"):
        return None
    from textual.drivers.linux_driver import LinuxDriver

    class QuietMouseDriver(LinuxDriver):
        """A LinuxDriver without mouse mode 1003."""

        def _enable_mouse_support(self) -> None:
            if self._mouse:
                self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")
                self.flush()

        def _disable_mouse_support(self) -> None:
            if self._mouse:
                self.write("\x1b[?1006l\x1b[?1002l\x1b[?1000l")
                self.flush()

        def _enable_mouse_pixels(self) -> None:
            """Cells are fine enough."""

    return QuietMouseDriver


def is_left(stream: TextIO) -> bool:
    """Tell whether nobody reads any more what is written to `stream`: `… | head` has ended."""
    if sys.platform == "win32":
        return False
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # no file behind it
        return False
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return any(happened & gone for _, happened in poll.poll(0))


def exit_on_signals(app: App[Any]) -> None:
    """Leave the terminal as it was on SIGTERM and SIGHUP; Textual would not."""
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, partial(app.exit, return_code=128 + number))


def exit_on_hangup() -> None:
    """End the process when the terminal is gone.

    A terminal can vanish without SIGHUP (a killed sshd, a closed pty); reading it then returns
    nothing at once, for ever, and Textual's input thread would spin. Its threads cannot be
    stopped from here, and nothing needs saving.
    """
    if sys.platform == "win32" or sys.__stdin__ is None:
        return
    poll = select.poll()
    poll.register(sys.__stdin__.fileno(), select.POLLHUP)
    for _, happened in poll.poll(0):
        if happened & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            os._exit(HANGUP_EXIT)
