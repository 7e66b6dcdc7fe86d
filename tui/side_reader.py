"""A thread that reads what one pane shows besides the states of runs, while the pane is visible.

The screen never waits for a file longer than a key press can bear. A file server may never answer,
and no call in Python can be given up: a thread that waits for one is left waiting, and another one
reads what the pane shows by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from runstore.threads import start_daemon

PATIENCE_S = 0.03
"""How long a key waits for what it asked for; what comes later is drawn with the next tick."""
IDLE_S = 3.0
"""So long after a pane has asked last, nothing is read for it any more."""
SILENT_S = 2.0
"""A read that takes longer waits for a file server: others take some hundredths of a second."""
MOST_STUCK = 8
"""So many threads may wait so; with all of them waiting nothing is read."""


class Reading(Protocol):
    """What a pane wants to have read. Only the thread calls `read`."""

    every_s: float
    """How often to look when there is nothing more to read at once."""

    def read(self) -> bool:
        """Read for some hundredths of a second; tell whether there is more to read at once."""


class SideReader:
    """Reads for one pane. `ask` is for the thread of the screen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start nothing yet."""
        self._clock = clock
        self._turn = threading.Condition()
        self._reading: Reading | None = None
        self._asked_at = 0.0
        self._wanted = self._served = self._wanted_now = 0
        self._thread = 0
        """The number of the thread that reads now; the others wait for file servers."""
        self.is_running = False
        """A thread reads, or rests between two reads."""
        self._begun: float | None = None
        self._in_read: Reading | None = None
        self._stuck = 0
        self.problem = ""
        """What the last read has raised; empty when it did its work."""

    def ask(self, reading: Reading, *, now: bool = False) -> None:
        """Have `reading` read again and again, for as long as this is called now and then.

        Args:
            reading: what is visible.
            now: it wants something that a key has asked for: read at once, and wait a moment.
        """
        with self._turn:
            self._asked_at = self._clock()
            if reading is not self._reading:
                self._reading, now = reading, True
            self._leave_stuck_thread()
            if not self.is_running and self._stuck < MOST_STUCK:
                self.is_running = True
                number = self._thread
                start_daemon(lambda: self._serve(number), "runstore-side")
            if now:
                self._wanted += 1
                wanted = self._wanted
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._served >= wanted, PATIENCE_S)

    @property
    def is_silent(self) -> bool:
        """Whether what is visible cannot be read, because a file server does not answer."""
        with self._turn:
            return self._stuck >= MOST_STUCK or self._waits_too_long()

    def _waits_too_long(self) -> bool:
        return self._begun is not None and self._clock() - self._begun > SILENT_S

    def _leave_stuck_thread(self) -> None:
        """Have another thread read when this one waits for something that nobody looks at now."""
        if self._waits_too_long() and self._in_read is not self._reading:
            self._stuck += 1
            self._thread += 1
            self._begun, self.is_running = None, False

    def _serve(self, number: int) -> None:
        while (reading := self._next(number)) is not None:
            more = self._read(reading)
            if not self._finish(number, more):
                return
            if more:
                time.sleep(0.001)  # let the screen have the interpreter between two reads

    def _next(self, number: int) -> Reading | None:
        """Wait until there is something to read; None when nobody asks any more."""
        with self._turn:
            reading = self._reading
            if reading is None or self._clock() - self._asked_at > IDLE_S:
                self.is_running = False
                return None
            self._begun, self._in_read = self._clock(), reading
            self._wanted_now = self._wanted
            return reading

    def _read(self, reading: Reading) -> bool:
        try:
            more = reading.read()
        except Exception as error:  # noqa: BLE001 - the boundary of the thread
            self.problem = f"{type(error).__name__}: {error}"
            return False
        self.problem = ""
        return more

    def _finish(self, number: int, more: bool) -> bool:
        """Note the end of a read, and rest; False when another thread reads by now."""
        with self._turn:
            if self._thread != number:
                self._stuck -= 1
                return False
            self._begun = None
            self._served = self._wanted_now
            self._turn.notify_all()
            if not more and self._reading is self._in_read:
                every_s = self._reading.every_s if self._reading is not None else IDLE_S
                self._turn.wait_for(lambda: self._wanted > self._served, every_s)
            return True
