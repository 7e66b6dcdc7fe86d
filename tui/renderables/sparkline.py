"""A row of blocks that shows where values went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BLOCKS = "▁▂▃▄▅▆▇"
"""None fills its cell: the lines of a table would run into each other."""
GAP = " "
"""Where there is no value."""


def sparkline(
    values: Sequence[float],
    width: int,
    least_range: float = 0.0,
    limits: tuple[float, float] | None = None,
) -> str:
    """Return a line of exactly `width` cells, the newest value at its right end.

    It reaches from the least to the largest value, or between `limits`. More values than cells are
    drawn as the means of neighbours; fewer leave cells at the left blank. NaN and infinities are
    gaps.

    Args:
        values: oldest first.
        width: Cells.
        least_range: What the height stands for at least, so that noise looks like noise.
        limits: What its foot and its top stand for, whatever the values are.
    """
    means = _means(values, width)
    there = [value for value in means if math.isfinite(value)]
    if not there:
        return GAP * width
    low, high = limits or (min(there), max(there))
    span = max(high - low, least_range)
    low -= (span - (high - low)) / 2
    line = "".join(_block(value, low, span) for value in means)
    return GAP * (width - len(line)) + line


def _block(value: float, low: float, span: float) -> str:
    if not math.isfinite(value):
        return GAP
    if span <= 0:
        return _BLOCKS[len(_BLOCKS) // 2]
    return _BLOCKS[max(0, min(len(_BLOCKS) - 1, int((value - low) / span * len(_BLOCKS))))]


def _means(values: Sequence[float], width: int) -> Sequence[float]:
    """Return one value for each cell, of the values that are numbers."""
    if len(values) <= width:
        return values
    edges = [at * len(values) // width for at in range(width + 1)]
    return [_mean(values[low:high]) for low, high in pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if math.isfinite(value)]
    return sum(there) / len(there) if there else math.nan
