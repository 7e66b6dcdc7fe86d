"""Acknowledgements: which calls of `log()` have returned in a guest, and when.

They go to a file of the host, which survives the guest: one record for each row, 16 bytes, written
after `log()` returned. The time is the guest's monotonic clock, so that the age of a lost row is a
difference of two readings of one clock.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

_RECORD = struct.Struct("<qd")


class AckFile:
    """The guest's end: tells that a row was taken."""

    def __init__(self, path: Path) -> None:
        """Begin a new file at `path`, which lies in a folder of the host."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def tell(self, step: int) -> None:
        """Acknowledge the row of `step`; hostfs writes through, so the host has it at once."""
        os.write(self._descriptor, _RECORD.pack(step, time.monotonic()))


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of the acknowledged rows."""

    acknowledged: int
    lost: int
    oldest_s: float | None
    """How long before the last acknowledgement the oldest lost row was acknowledged."""


def read_acks(path: Path) -> dict[int, float]:
    """Return the guest's time of each acknowledged step; a half record at the end is left out."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    whole = len(data) // _RECORD.size * _RECORD.size
    return dict(_RECORD.iter_unpack(data[:whole]))


def loss(acks: dict[int, float], found: set[int]) -> Loss:
    """Compare what was acknowledged with the steps that were read back."""
    lost = [acked for step, acked in acks.items() if step not in found]
    oldest_s = max(acks.values()) - min(lost) if lost else None
    return Loss(len(acks), len(lost), oldest_s)
