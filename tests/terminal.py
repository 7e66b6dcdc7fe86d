"""A terminal in memory: start a program in a pseudo-terminal, press keys, read the screen."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
MONITOR = (sys.executable, "-m", "runstore.tui_launcher")
QUESTION, ANSWER = b"\x1b[6n", b"\x1b[1;1R"
# Sequences that pyte takes for text: private modes with < = >, queries, OSC 22.
_NOT_FOR_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9]+\$p|\x1b\]22;[^\x07]*\x07")


class Terminal:
    """A program in a pseudo-terminal, which answers what a real one would."""

    def __init__(
        self, command: Sequence[str], columns: int, rows: int, env: dict[str, str]
    ) -> None:
        self.columns, self.rows = columns, rows
        self.output = bytearray()
        self.seen = ""
        self._hung_up = False
        self._fd, slave = os.openpty()
        self._set_size(slave)
        terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **terminal, **env},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _set_size(self, fd: int) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))

    def _read(self) -> None:
        before = b""
        while not self._hung_up:
            try:
                # A read that waits would keep the terminal there although its descriptor is closed.
                if not select.select([self._fd], [], [], 0.05)[0]:
                    continue
                data = os.read(self._fd, 65536)
                self.output += data
                # A question may come in two reads; one without an answer is a slow terminal's.
                asked = before + data
                os.write(self._fd, ANSWER * asked.count(QUESTION))
                before = asked[1 - len(QUESTION) :]
            except OSError:  # one of the two sides is closed
                return

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a window manager does."""
        self.columns, self.rows = columns, rows
        self.output.clear()
        self._set_size(self._fd)

    def lines(self) -> list[str]:
        """Return what is on screen now."""
        screen = pyte.Screen(self.columns, self.rows)
        pyte.ByteStream(screen).feed(_NOT_FOR_PYTE.sub(b"", bytes(self.output)))
        return [line.rstrip() for line in screen.display]

    def shows(self, *texts: str) -> Callable[[], bool]:
        """Return a predicate: all texts are on screen."""

        def predicate() -> bool:
            lines = self.lines()
            self.seen = "\n".join(lines)
            return all(text in self.seen for text in texts)

        return predicate

    def finish(self, timeout_s: float) -> bytes:
        """Wait for the program to end, and return all that it wrote."""
        self.process.wait(timeout_s)
        self._reader.join(timeout_s)  # ends when the last process on the terminal has
        return bytes(self.output)

    def hang_up(self) -> None:
        """Take the terminal away."""
        self._hung_up = True
        self._reader.join()
        os.close(self._fd)
        self._fd = -1

    def close(self) -> None:
        """End the program, whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self._fd >= 0:
            self.hang_up()
