"""Which ranks of a distributed run hold the others up. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from runstore.state.system_history import SystemHistory

SLOW_SHARE = 0.8
"""A rank is slow that has less than so much of the median of all ranks."""
BUSY_POINTS = 10.0
"""And of a GPU's load, so many points less: 1 % beside 2 % is nothing."""
SILENT_S = 60.0
"""A rank is silent whose newest sample is so much older than the newest of all."""


class Behind(NamedTuple):
    """The ranks that are behind, each with by how much."""

    slow: dict[int, float]
    """Their share of the median of steps per second."""
    idle: dict[int, float]
    """Their share of the median of the load of GPUs."""
    silent: dict[int, float]
    """Seconds since their newest sample."""


def ranks_behind(history: SystemHistory) -> Behind:
    """Return which ranks are behind by their newest samples.

    A silent rank is compared with nobody: its figures are those of an earlier time, beside which
    the ranks that wait for it would look slow.
    """
    newest = {rank: history.newest(rank) for rank in history.ranks}
    times = {rank: samples.time for rank, samples in newest.items() if samples.time is not None}
    interval_s = max((samples.interval_s() for samples in newest.values()), default=0.0)
    silent = silent_ranks(times, interval_s)
    heard = {rank: samples for rank, samples in newest.items() if rank not in silent}
    return Behind(
        slow_ranks({rank: samples.steps_per_s() for rank, samples in heard.items()}),
        slow_ranks(
            {rank: samples.busy_percent() for rank, samples in heard.items()}, least=BUSY_POINTS
        ),
        silent,
    )


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
