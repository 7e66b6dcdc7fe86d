"""Curves as they are kept, made ready for a chart: smoothed, and cut into its columns."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from operator import truediv
from typing import NamedTuple, TypeVar

from runstore.state.series import Series, Trace, trace

from .axes import Ruler, Window

Made = TypeVar("Made")


class Columns(NamedTuple):
    """The smallest and largest value of each dot column; NaN where there is no point."""

    lows: Sequence[float]
    highs: Sequence[float]


def smoothed(curve: Trace, weight: float) -> Trace:
    """Return the exponential moving average of a curve, debiased as TensorBoard does it.

    Each point counts once, as there (`tensorboard/components/vz_line_chart2`, `resmoothDataset`):
    of a curve that is longer than it is kept these are the middles of ranges of values.

    Args:
        curve: Its points.
        weight: Of what was before, from 0 up to and without 1.
    """
    middles = curve.lows
    if not curve.is_exact:
        middles = [low / 2 + high / 2 for low, high in zip(curve.lows, curve.highs, strict=True)]
    average, rest, averages = 0.0, 1 - weight, []
    for value in middles:
        average = average * weight + value * rest
        averages.append(average)
    out = list(map(truediv, averages, _debias(weight, len(averages))))
    return Trace(curve.xs, out, out, curve.breaks, curve.nonfinite, curve.last, curve.is_exact)


@lru_cache(maxsize=16)
def _debias(weight: float, count: int) -> list[float]:
    """Return how much of each average is known: 1 - weight to the power of 1, 2, 3 …"""
    return [1 - weight**number for number in range(1, count + 1)]


def columns(curve: Trace, edges: Sequence[float]) -> Columns:
    """Return a curve in the columns between `edges`, which grow.

    A line that comes from outside, or goes there, is followed to the first and last column.

    Args:
        curve: Its points.
        edges: Steps; one more than there are columns.
    """
    xs, lows, highs = curve.xs, curve.lows, curve.highs
    count, end = len(edges) - 1, len(xs)
    found_lows, found_highs = [math.nan] * count, [math.nan] * count
    at = first = bisect_left(xs, edges[0])
    for column in range(count):
        if at == end:
            break
        if xs[at] >= edges[column + 1]:
            continue
        behind = bisect_left(xs, edges[column + 1], at)
        if behind - at == 1:
            found_lows[column], found_highs[column] = lows[at], highs[at]
        else:
            found_lows[column] = min(lows[at:behind])
            found_highs[column] = max(highs[at:behind])
        at = behind
    for column, behind in ((0, first), (count - 1, at)):
        if math.isnan(found_lows[column]):
            middle = edges[column] / 2 + edges[column + 1] / 2
            found_lows[column] = found_highs[column] = _between(curve, behind, middle)
    return Columns(found_lows, found_highs)


def _between(curve: Trace, at: int, x: float) -> float:
    """Return where the line from the point before `at` to that point is at `x`; or NaN."""
    xs = curve.xs
    if not 0 < at < len(xs) or not xs[at - 1] < x < xs[at]:
        return math.nan
    if any(xs[at - 1] <= low and high <= xs[at] for low, high in curve.breaks):
        return math.nan
    share = (x - xs[at - 1]) / (xs[at] - xs[at - 1])
    start = curve.lows[at - 1] / 2 + curve.highs[at - 1] / 2
    goal = curve.lows[at] / 2 + curve.highs[at] / 2
    return start + share * (goal - start)


def above_zero(found: Columns) -> Columns:
    """Return the columns without the values that a logarithmic axis has no place for."""
    lows = [
        low if low > 0 else high if high > 0 else math.nan for low, high in zip(*found, strict=True)
    ]
    return Columns(lows, [high if high > 0 else math.nan for high in found.highs])


def not_above_zero(values: Sequence[float]) -> int:
    """Return how many of the values a logarithmic axis leaves out."""
    return sum(1 for value in values if value <= 0) if min(values, default=1.0) <= 0 else 0


def break_columns(curve: Trace, ruler: Ruler, window: Window, count: int) -> list[tuple[int, int]]:
    """Return the first and last column of each stretch of NaN and infinities that is in sight."""
    spans = [
        (window.column(ruler.at(low), count), window.column(ruler.at(high), count))
        for low, high in curve.breaks
    ]
    return [(low, high) for low, high in spans if high >= 0 and low < count]


class Kept:
    """What was made for one frame and holds for the next, as long as what it was made of does.

    Not more than one frame needs is kept: 500 metrics of eight runs would fill the memory.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[object, object]] = {}
        self._used: set[Hashable] = set()

    def get(self, key: Hashable, stamp: object, make: Callable[[], Made]) -> Made:
        """Return what `make` returned for this key and stamp, made anew for another stamp."""
        self._used.add(key)
        known = self._made.get(key)
        if known is None or known[0] != stamp:
            known = self._made[key] = (stamp, make())
        made: Made = known[1]  # type: ignore[assignment]  # the key tells the type
        return made

    def end_frame(self) -> None:
        """Forget what nobody asked for since the last call."""
        for key in self._made.keys() - self._used:
            del self._made[key]
        self._used.clear()

    def trace(self, key: Hashable, pieces: Sequence[Series]) -> Trace:
        """Return the trace of a curve in pieces."""
        stamp = [(id(piece), piece.count, piece.buckets, piece.last) for piece in pieces]
        return self.get(("trace", key), stamp, lambda: trace(pieces))

    def smooth(self, key: Hashable, curve: Trace, weight: float) -> Trace:
        """Return a trace smoothed."""
        return self.get(("smooth", key), (curve, weight), lambda: smoothed(curve, weight))
