"""Whether a log grows: all that files tell of a run whose process nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runstore.numbers import span
from runstore.state.status import Status

PATIENCE = 3
"""A log that was silent for so many times its longest pause so far is stalled: many loggers write
once in a hundred steps, or with each checkpoint."""


class Growth:
    """How the files of one run have grown while they were looked at."""

    def __init__(self, pause_s: float, monotonic: Callable[[], float]) -> None:
        """Expect pauses of `pause_s` at least; `monotonic` is the clock, in seconds."""
        self._pause_s, self._monotonic = pause_s, monotonic
        self._sizes: Mapping[str, int] | None = None
        """Of each file at the last look; None before the first."""
        self._grew: float | None = None

    def note(self, sizes: Mapping[str, int]) -> None:
        """Take in how long the files are, in bytes, by their names.

        That there was something to read proves nothing: long files are read in pieces.
        """
        before, self._sizes, now = self._sizes, sizes, self._monotonic()
        if before is None or all(size <= before.get(name, 0) for name, size in sizes.items()):
            return
        if self._grew is not None:
            self._pause_s = max(self._pause_s, PATIENCE * (now - self._grew))
        self._grew = now

    def forget_sizes(self) -> None:
        """Compare nothing with the last look: the files are others."""
        self._sizes = None

    def status(self, evidence: str) -> Status:
        """Return what growth tells; of a log that was never seen to grow, `evidence`."""
        if self._grew is None:
            return Status("unknown", evidence)
        silent_s = self._monotonic() - self._grew
        if silent_s < self._pause_s:
            return Status("running", "rows arrive")
        return Status("stalled", f"no row for {span(silent_s)}")
