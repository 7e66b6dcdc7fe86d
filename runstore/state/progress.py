"""`progress.json`: where the training loop is, as of the last heartbeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runstore.files.limits import TEXT_CHARS
from runstore.files.records import flat, integer, number


@dataclass(frozen=True, slots=True)
class Progress:
    """The position in `progress.json`: a hint, rewritten about once a second."""

    attempt: int = 0
    beat: int = 0
    time: float | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    split: str | None = None
    batch: int | None = None
    batches: int | None = None
    it_per_s: float | None = None
    eta_s: float | None = None
    """Seconds until the whole run is done, as far as the epochs' durations tell."""
    idle_s: float | None = None
    """Seconds since the training loop last called runstore, at the time of the beat."""
    monotonic: float | None = None
    """The beat's time on the machine's monotonic clock; comparable on the same boot only."""
    longest_gap_s: float | None = None
    """The longest time so far between two calls of the training loop."""
    best: Mapping[str, Any] | None = None
    """The best epoch so far: `epoch`, `metric` and `value`."""
    degraded: str = ""
    """Why rows wait in memory, in words; empty when they do not."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Progress:
        """Read the document; fields that are missing or of another type are None."""
        split, best = record.get("split"), record.get("best")
        return cls(
            attempt=integer(record, "attempt") or 0,
            beat=integer(record, "beat") or 0,
            time=number(record, "time"),
            epoch=integer(record, "epoch"),
            epochs=integer(record, "epochs"),
            step=integer(record, "step"),
            split=split[:TEXT_CHARS] if isinstance(split, str) else None,
            batch=integer(record, "batch"),
            batches=integer(record, "batches"),
            it_per_s=number(record, "it_per_s"),
            eta_s=number(record, "eta_s"),
            idle_s=number(record, "idle_s"),
            monotonic=number(record, "monotonic"),
            longest_gap_s=number(record, "longest_gap_s"),
            best=flat(best) if isinstance(best, dict) else None,
            degraded=_degraded(record),
        )


def _degraded(record: Mapping[str, Any]) -> str:
    reason = record.get("degraded_reason")
    told = reason if isinstance(reason, str) and reason else "the disk takes no rows"
    return told if record.get("degraded") is True else ""
