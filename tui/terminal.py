"""The terminal itself: left clean on signals and hang-ups, and only the mouse that is needed."""

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

    A hundred movements over an idle screen make Textual write 12 to 440 KB. It also suspends the
    whole job. None where Textual's
    own choice is kept: on Windows, and when the environment names a driver.
    """
    if sys.platform == "win32" or os.environ.get("TEXTUAL_DRIVER"):
        return None
    from textual.drivers.linux_driver import LinuxDriver

    class QuietMouseDriver(LinuxDriver):
        """A LinuxDriver without mouse mode 1003, which suspends all of its job."""

        def _sigtstp_application(self, *_: object) -> None:
            # Textual stops its own process alone. A shell waits for the one that it started, such
            # as `make` or a script around the monitor, and would give no prompt before it stops.
            if self._auto_restart:
                self.suspend_application_mode()
                self._must_signal_resume = True
            os.killpg(0, signal.SIGSTOP)

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


def is_job() -> bool:
    """Tell whether a shell is there that can resume this process: whether it is a job of one.

    Behind `ssh -t host runstore-tui`, in a container or a terminal of its own there is none, and
    what is stopped there stays so (POSIX calls that an orphaned process group).
    """
    if sys.platform == "win32":
        return False
    import psutil

    for pid in (os.getpgrp(), os.getpid()):  # the first of the job, which may be a script
        try:
            parent = psutil.Process(pid).ppid()
            if parent and os.getsid(parent) == os.getsid(0) and os.getpgid(parent) != os.getpgrp():
                return True
        except (psutil.Error, OSError):  # it has ended, or is not ours to look at
            continue
    return False


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
