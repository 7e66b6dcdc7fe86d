"""A thread that copies what a command prints, byte for byte, to where it would have gone."""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from runstore.threads import start_daemon

CHUNK_BYTES = 64 << 10
LOOK_S = 0.5
"""How often a silent command is looked after."""
SILENCE_S = 0.5
"""After the command's end, so much silence of what still holds its output is enough."""
LATE_S = 5.0
"""After the command's end, its output is read for so long at most."""


class Pump:
    """Copies one stream. stdout and stderr have one each, since either reader may be slow."""

    def __init__(
        self,
        source: int,
        target: int,
        *,
        take: Callable[[bytes], object],
        look: Callable[[], object] = lambda: None,
    ) -> None:
        """Start to copy.

        Args:
            source: a pipe or the master of a pseudo-terminal; closed at the end.
            target: where it goes.
            take: shown every piece behind its writing, in the thread.
            look: called before every piece, and now and then, in the thread.
        """
        self.source, self.target = source, target
        self._take, self._look = take, look
        self.refused: OSError | None = None
        """Why the target took no more; what came then was not passed on."""
        self.last = b"\n"
        """The last byte that was passed on."""
        self.is_held = False
        """Whether something still held the stream when it was left."""
        self._end: float | None = None
        self._writing_s = 0.0
        """Seconds that the target took since the command's end."""
        self._is_over = threading.Event()
        self._thread = start_daemon(self._serve, "runstore-pump")

    def end(self) -> None:
        """Say that the command has ended: what it left in the stream is all that counts."""
        self._end = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the stream has been copied to its end."""
        return self._is_over.is_set()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the stream, for so many seconds at most."""
        self._is_over.wait(timeout_s)

    def _serve(self) -> None:
        try:
            while self._copy_piece():
                pass
        finally:
            with suppress(OSError):
                os.close(self.source)
            self._is_over.set()

    def _copy_piece(self) -> bool:
        """Copy what is there; tell whether more may come."""
        if not self._await_data():
            return False
        self._look()
        try:
            data = os.read(self.source, CHUNK_BYTES)
        except OSError as error:
            # Of a pseudo-terminal that nobody holds any more.
            if error.errno == errno.EIO:
                return False
            raise
        if not data:
            return False
        go_on = self._pass_on(data)
        self._take(data)
        return go_on

    def _await_data(self) -> bool:
        silent_since = time.monotonic()
        while not select.select([self.source], [], [], LOOK_S if self._end is None else 0.05)[0]:
            self._look()
            if self._end is not None and _is_past(max(silent_since, self._end) + SILENCE_S):
                self.is_held = True
                return False
        self.is_held = self._end is not None and _is_past(self._end + LATE_S + self._writing_s)
        return not self.is_held

    def _pass_on(self, data: bytes) -> bool:
        """Write a piece; tell whether the command should go on writing."""
        if self.refused is not None:
            return True
        begun = time.monotonic()
        try:
            write_patiently(self.target, data)
            self.last = data[-1:]
        except BrokenPipeError as error:
            # With the source closed too, the command is told what it would have been told.
            self.refused = error
            return False
        except OSError as error:
            # A full disk, a terminal that is gone: no reason to end a training.
            self.refused = error
        if self._end is not None:
            self._writing_s += time.monotonic() - begun
        return True


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


def write_patiently(descriptor: int, data: bytes) -> None:
    """Write all of `data`, also to what somebody has made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
