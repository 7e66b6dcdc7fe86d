"""`progress.json`: that the process is there, where it is, and whether its rows reach the disk."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runstore.files.records import encode
from runstore.files.run_directory import RunDirectory
from runstore.writer.stream_writer import StreamWriter

Progress = Callable[[], Mapping[str, Any]]

_FAULTS = {
    "ENOSPC": "disk full",
    "EDQUOT": "quota used up",
    "EROFS": "file system is read-only",
    "ESTALE": "file server lost the file",
    "EIO": "the disk fails",
}


def degraded_in_words(fault: str, rows: int) -> str:
    """Return `disk full: 1,234 rows wait in memory`.

    Args:
        fault: the name of an errno, as `ENOSPC`.
        rows: how many wait.
    """
    plural = "row waits" if rows == 1 else "rows wait"
    return f"{fault_in_words(fault)}: {rows:,} {plural} in memory"


def lost_in_words(rows: int) -> str:
    """Return `1,234 rows were lost`."""
    return f"{rows:,} {'row was' if rows == 1 else 'rows were'} lost"


def why_degraded(streams: Iterable[StreamWriter]) -> str:
    """Return why rows of some streams wait in memory, and how many; empty when none do."""
    failing = [stream for stream in streams if stream.failing]
    if not failing:
        return ""
    return degraded_in_words(failing[0].fault, sum(stream.waiting_rows for stream in failing))


def fault_in_words(fault: str) -> str:
    """Return `disk full` for `ENOSPC`."""
    known = _FAULTS.get(fault)
    return known or os.strerror(getattr(errno, fault, errno.EIO)).lower()


class Heartbeat:
    """Rewrites the document of one attempt."""

    def __init__(
        self,
        directory: RunDirectory,
        attempt: int,
        clock: Callable[[], float],
        progress: Progress | None,
    ) -> None:
        """Beat for `attempt`; `progress` is called for the position, each time."""
        self._directory = directory
        self._attempt = attempt
        self._clock = clock
        self._progress = progress
        self._beats = 0

    def beat(self, why_degraded: str) -> None:
        """Rewrite the document.

        Args:
            why_degraded: in words, why rows wait in memory; empty when they do not.

        Raises:
            OSError: the disk does not take it.
            RecordError: the position is no JSON.
        """
        self._beats += 1
        position = dict(self._progress()) if self._progress else {}
        degraded = {"degraded": True, "degraded_reason": why_degraded} if why_degraded else {}
        document = {
            "beat": self._beats,
            "attempt": self._attempt,
            "time": self._clock(),
            "monotonic": time.monotonic(),
            "pid": os.getpid(),
            **position,
            **degraded,
        }
        self._directory.write_document("progress.json", encode(document), durable=False)
