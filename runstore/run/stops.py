"""Who asks a run to stop, in which words, and how the script is left."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Terminated(SystemExit):
    """Leaves the script so that `with` and `finally` blocks run."""

    def __init__(self, reason: str, status: int) -> None:
        """Leave with an exit status, for a reason that the run's end tells."""
        self.reason = reason
        super().__init__(status)


@dataclass(frozen=True, slots=True)
class Stop:
    """A wish that the run stops when the optimizer step is done and saved."""

    reason: str
    """For the run's end: `preempted by SIGTERM`."""
    number: int = 0
    """The signal's; 0 when it was none."""

    @classmethod
    def by_signal(cls, number: int) -> Stop:
        """Return the wish that a signal means."""
        return cls(f"preempted by {signal.Signals(number).name}", number)

    @property
    def is_ctrl_c(self) -> bool:
        """Whether somebody pressed Ctrl-C."""
        return self.number == signal.SIGINT

    def exception(self) -> Terminated:
        """Return what leaves the script, with a shell's exit status for the signal."""
        return Terminated(self.reason, 128 + self.number if self.number else 0)


class Askable(Protocol):
    """The run, as far as requests need it."""

    def ask_to_stop(self, stop: Stop, /) -> None:
        """Stop at the next opportunity."""

    def ask_to_save(self) -> None:
        """Write a checkpoint at the next opportunity."""

    def write_event(self, event: str, **fields: Any) -> None:
        """Write a lifecycle event."""


class Requests:
    """The files `stop` and `checkpoint` that somebody puts into `requests/` of a run.

    Any name that begins so will do (`touch requests/stop`), because several people may ask. The
    file goes when it is taken, or a resumed run would stop again.
    """

    def __init__(self) -> None:
        """Have seen none."""
        self._left: dict[str, int] = {}
        """Those that cannot be removed, and when each was changed: taken once, not at each look."""

    def take(self, run: Askable, directory: Path) -> None:
        """Honour what has come since the last look."""
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return
        for name in names:
            kind = next((kind for kind in ("stop", "checkpoint") if name.startswith(kind)), None)
            if kind is None or not self._is_new(directory / name):
                continue
            run.write_event("request", request=kind, file=name)
            if kind == "stop":
                run.ask_to_stop(Stop("stopped by a request"))
            else:
                run.ask_to_save()

    def _is_new(self, path: Path) -> bool:
        """Remove a request, and tell whether it was not taken before."""
        before, changed = self._left.pop(path.name, None), _changed(path)
        try:
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            # It may be another user's, in a directory that we may not write, or a directory.
            self._left[path.name] = changed
        return before != changed


def _changed(path: Path) -> int:
    """Return when a file was changed, in nanoseconds; -1 where that cannot be told."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return -1
