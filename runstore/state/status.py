"""The status of a run: one of nine words, the same everywhere, and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """What a run is doing, in one of nine words, and the evidence in a few more.

    The words: planned, pending, running, stalled, finished, failed, interrupted, crashed, unknown.
    """

    word: str
    reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether more rows may come."""
        return self.word in ("planned", "pending", "unknown") or self.is_proven_alive

    @property
    def is_proven_alive(self) -> bool:
        """Whether a process that writes the run was seen: a second one must not."""
        return self.word in ("running", "stalled")
