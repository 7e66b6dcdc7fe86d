"""A pseudo-terminal between a command's output and the terminal on which it is to be seen.

Only what the command prints goes through it, unchanged. Its input, and with that Ctrl-C, Ctrl-Z and
what the shell does with jobs, stays that of the real terminal, which this process never puts into
another mode by itself: killed, it leaves nothing to be repaired.
"""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from contextlib import suppress

_OUTPUT, _INPUT, _CONTROL, _LOCAL = 1, 0, 2, 3
"""Places of the flags in what tcgetattr returns."""
_FLAGS = (_INPUT, _OUTPUT, _CONTROL, _LOCAL)
_CHARACTERS = 6


class OutputTerminal:
    """Stands in the place of the terminal `real`, in size and modes."""

    def __init__(self, real: int) -> None:
        """Open the pair; `slave` is for the command."""
        self._real = real
        self.master, self.slave = os.openpty()
        self._size = b""
        self._modes = self._set_modes()
        self.follow()

    def _set_modes(self) -> list[object]:
        """Have the real terminal alone translate newlines."""
        modes = termios.tcgetattr(self._real)
        modes[_OUTPUT] &= ~termios.OPOST
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        return termios.tcgetattr(self.slave)

    def follow(self) -> None:
        """Keep the two alike: the size of the real one, the modes that the command sets."""
        with suppress(OSError, termios.error):
            self._follow_size()
            self._follow_modes()

    def _follow_size(self) -> None:
        size = fcntl.ioctl(self._real, termios.TIOCGWINSZ, bytes(8))
        if size == self._size:
            return
        known, self._size = self._size, size
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        if known:
            # Who was told by the real terminal may have looked before this one had the size.
            os.killpg(self._foreground(), signal.SIGWINCH)

    def _foreground(self) -> int:
        try:
            return os.tcgetpgrp(self._real)
        except OSError:
            return os.getpgrp()

    def _follow_modes(self) -> None:
        """Programs on curses set the modes where they print, and mean the keyboard."""
        modes = termios.tcgetattr(self.master)
        if modes == self._modes:
            return
        real = termios.tcgetattr(self._real)
        for place in _FLAGS:
            changed = modes[place] ^ self._modes[place]
            real[place] = real[place] & ~changed | modes[place] & changed
        real[_CHARACTERS] = modes[_CHARACTERS]
        self._modes = modes
        termios.tcsetattr(self._real, termios.TCSADRAIN, real)
