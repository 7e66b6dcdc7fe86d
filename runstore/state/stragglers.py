"""Which ranks of a distributed run hold the others up. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

SLOW_SHARE = 0.8
"""A rank is slow that has less than so much of the median of all ranks."""
BUSY_POINTS = 10.0
"""And of a GPU's load, so many points less: 1 % beside 2 % is nothing."""
SILENT_S = 60.0
"""A rank is silent whose newest sample is so much older than the newest of all."""


def slow_ranks(values: Mapping[int, float | None], *, least: float = 0.0) -> dict[int, float]:
    """Return the ranks that are well below the median, each with its share of it.

    Args:
        values: by rank; a rank without a value, or with one that is not finite, is left out.
        least: how much below the median it must be at least, in the values' unit.
    """
    known = {rank: v for rank, v in values.items() if v is not None and math.isfinite(v)}
    if len(known) < 2:
        return {}
    middle = median(known.values())
    if middle <= 0:
        return {}
    return {
        rank: value / middle
        for rank, value in known.items()
        if value < SLOW_SHARE * middle and middle - value >= least
    }


def silent_ranks(newest: Mapping[int, float], interval_s: float = 0.0) -> dict[int, float]:
    """Return the ranks from which nothing comes any more, each with the seconds since it did.

    Args:
        newest: the time of each rank's newest sample.
        interval_s: how far apart samples usually are; three of them may be missing.
    """
    last = max(newest.values(), default=0.0)
    patience_s = max(SILENT_S, 3 * interval_s)
    return {rank: last - time for rank, time in newest.items() if last - time > patience_s}
