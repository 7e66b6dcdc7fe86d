"""The mean and the spread of several curves, column by column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from .traces import Columns


class Band(NamedTuple):
    """What stands for several runs of one experiment."""

    means: list[float]
    spread: Columns
    """Mean - std to mean + std; NaN where fewer than two runs are."""


Breaks = Sequence[tuple[int, int]]
"""First and last column of stretches of NaN and infinities, in order."""


def band(
    members: Sequence[Columns], breaks: Iterable[Breaks] = (), *, above_zero: bool = False
) -> Band:
    """Return the mean of several curves and their sample standard deviation (n - 1) around it.

    A run counts in the columns from its first to its last value: between its points it is taken
    to be on the straight line. So runs of different length are averaged as long as they last.
    Where one has a NaN or an infinity and nothing else there is no mean.

    Args:
        members: One curve for each run, alike long.
        breaks: Of each of them.
        above_zero: Nothing may reach below the smallest member, for a logarithmic scale.
    """
    lines = [_straight(member) for member in members]
    means, lows, highs = [], [], []
    for values in zip(*lines, strict=True):
        here = [value for value in values if value == value]
        mean = math.fsum(value / len(here) for value in here) if here else math.nan
        std = _std(here, mean)
        low = mean - std
        means.append(mean)
        lows.append(max(low, min(here)) if above_zero and low <= 0 else low)
        highs.append(mean + std)
    for member, stretches in zip(members, breaks, strict=False):
        for x in chain.from_iterable(range(max(0, low), high + 1) for low, high in stretches):
            if x < len(means) and member.lows[x] != member.lows[x]:
                means[x] = lows[x] = highs[x] = math.nan
    return Band(means, Columns(lows, highs))


def _std(values: Sequence[float], mean: float) -> float:
    if len(values) < 2:
        return math.nan
    # `hypot` scales by itself, so the squares of very large values do not overflow.
    return math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)


def _straight(member: Columns) -> list[float]:
    """Return the middle of each column, and straight lines between the columns with values."""
    out = [low / 2 + high / 2 for low, high in zip(member.lows, member.highs, strict=True)]
    known = [x for x, value in enumerate(out) if value == value]
    for start, end in pairwise(known):
        slope = (out[end] - out[start]) / (end - start)
        for x in range(start + 1, end):
            out[x] = out[start] + slope * (x - start)
    return out
