"""Rows whose values are still on an accelerator, and everything that must wait behind them.

`loss.item()` waits until the GPU has done all that it was told to do; in each step, that costs the
overlap that makes it fast. So the values are copied to the host without waiting, and their row is
written when they are there. Rows keep their order: a row of plain floats waits behind an earlier
one. Knows nothing of PyTorch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

MOST_WAITING = 10_000
"""More than a GPU's queue holds: from here on a row waits for the oldest one."""
MAX_PAUSE_S = 0.005
LATE_WAIT_S = 10.0
"""How long the end of an attempt waits for values that are still on an accelerator."""
REASON_CHARS = 500


class Copy(Protocol):
    """Values on their way to the host."""

    def poll(self) -> list[float] | None:
        """Return the values, or None while they are on their way.

        Raises:
            Exception: they will never come, as after a fault of the device.
        """


Take = Callable[[list[float] | None], object]
"""Told the values of a copy; None when they were lost."""
Entry = tuple[Copy | None, Take]


class LateRows:
    """A queue of copies, and of actions behind them, which happen in order. Thread-safe."""

    def __init__(self, on_lost: Callable[[str], object]) -> None:
        """Wait for nothing.

        Args:
            on_lost: told in words when values will never come. Called with the lock held: it must
                only take a note.
        """
        self._on_lost = on_lost
        self.on_change: Callable[[bool], object] = lambda waiting: None
        """Told whether something waits, when that changes. Called with the lock held."""
        # Re-entrant: a signal handler may log while this thread is inside.
        self._lock = threading.RLock()
        self._entries: deque[Entry] = deque()
        self._busy: int | None = None
        """The thread that is at it."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, copy: Copy, take: Take) -> None:
        """Call `take` with the values of `copy` when they are there, in the order of the calls."""
        if len(self._entries) >= MOST_WAITING:
            self.settle(timeout_s=60.0)
        self._enqueue(copy, take)
        self.look()

    def do(self, action: Callable[[], object]) -> None:
        """Do `action` behind everything that waits: now, when nothing does."""
        self._enqueue(None, lambda _: action())
        self.look()

    def _enqueue(self, copy: Copy | None, take: Take) -> None:
        with self._lock:
            self._entries.append((copy, take))
            self.on_change(True)

    def look(self) -> None:
        """Do what need not wait any longer. Never waits itself."""
        if not self._entries:
            return
        with self._lock:
            # Busy: a signal handler interrupted the loop below, which will see what it added.
            if self._busy is not None:
                return
            self._busy = threading.get_ident()
            try:
                while self._entries and self._finish_oldest():
                    pass
            finally:
                self._busy = None
            if not self._entries:
                self.on_change(False)

    def _finish_oldest(self) -> bool:
        """Tell whether the oldest entry could be done."""
        copy, take = self._entries[0]
        values: list[float] | None = None
        if copy is not None:
            try:
                values = copy.poll()
            except Exception as error:  # noqa: BLE001  # a fault of the device costs this row only
                self._on_lost(_lost_in_words(error))
            else:
                if values is None:
                    return False
        self._entries.popleft()
        try:
            take(values)
        except Exception as error:  # noqa: BLE001  # logging never takes a training down
            self._on_lost(_lost_in_words(error))
        return True

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing waits any more, and tell whether that came.

        Polls instead of blocking in the driver, where Ctrl-C would not be heard and a broken device
        would hold the process for ever.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.0
        while self._entries:
            self.look()
            if not self._entries:
                break
            overdue = deadline is not None and time.monotonic() >= deadline
            # In a signal handler that interrupted this thread at it, nothing would ever come.
            if overdue or self._busy == threading.get_ident():
                return False
            time.sleep(pause_s)
            pause_s = min(MAX_PAUSE_S, pause_s + 0.0001)
        return True

    def give_up(self, timeout_s: float = 0.0) -> None:
        """Wait for at most `timeout_s`; then do without the values that have not come."""
        if self.settle(timeout_s):
            return
        with self._lock:
            self._entries = deque((_overdue(copy), take) for copy, take in self._entries)
        self.look()

    def forget_in_child(self) -> None:
        """Leave everything to the parent, in a forked child."""
        self._lock, self._busy = threading.RLock(), None
        # Kept, not cleared: to free pinned memory calls CUDA, which aborts in a forked child.
        self._left_to_parent = self._entries
        self._entries = deque()


def _lost_in_words(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".partition("\n")[0][:REASON_CHARS]
    return f"rows are lost, their values did not come ({reason})"


class _Overdue:
    """Stands for a copy that was waited for long enough."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    def poll(self) -> list[float]:
        values = self._copy.poll()
        if values is None:
            raise TimeoutError("the device did not deliver them in time")
        return values


def _overdue(copy: Copy | None) -> Copy | None:
    """Return a copy that is lost unless it is there by now."""
    return None if copy is None else _Overdue(copy)
