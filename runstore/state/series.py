"""Min/max pyramids: a curve of any length in bounded memory, drawn without losing a spike."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import gt

BUCKETS = 2048
"""Buckets per series: more than any terminal has dots across, after one merge still enough."""

BREAKS = 64
"""Stretches of NaN and infinities kept per series; of more the closest two become one."""
CURVE_BYTES = 700
"""What a series without buckets takes in memory."""
BUCKET_BYTES = 32


@dataclass(slots=True)
class Columns:
    """A curve reduced to the columns of a chart; all lists have the chart's width.

    `lows` and `highs` are NaN in a column that no point fell into.
    """

    xs: list[float]
    lows: list[float]
    highs: list[float]
    x_min: float
    x_max: float


@dataclass(frozen=True, slots=True)
class Trace:
    """A curve as far as it is kept, in the order of x.

    A point stands for one value, or for the range of many that followed each other.
    """

    xs: Sequence[float]
    """The middle of each point's range of x."""
    lows: Sequence[float]
    """Finite, like `highs`: points without any finite value are left out."""
    highs: Sequence[float]
    breaks: Sequence[tuple[float, float]] = ()
    """First and last x of stretches of NaN and infinities, in order."""
    nonfinite: int = 0
    last: tuple[float, float] | None = None
    """The newest x and value, whatever it is."""
    is_exact: bool = True
    """Every point is one value."""


class Series:
    """One metric of one file: points in, min/max buckets kept.

    Buckets hold `stride` consecutive points each. When all are full, neighbours merge in pairs
    and the stride doubles, so memory is constant and every extreme is still there.
    """

    __slots__ = (
        "_filled",
        "_highs",
        "_lost_at",
        "_lows",
        "_stride",
        "_x_highs",
        "_x_lows",
        "breaks",
        "buckets",
        "count",
        "last",
        "nonfinite",
    )

    def __init__(self, buckets: int = BUCKETS) -> None:
        """Make an empty series of about so many buckets at most."""
        self.buckets = buckets
        self.count = 0
        self.nonfinite = 0
        self.last: tuple[float, float] | None = None
        self.breaks: list[tuple[float, float]] = []
        """First and last x of each stretch of NaN and infinities."""
        self._lost_at = -1
        """What `count` was when the last of them came."""
        self._stride = 1
        self._filled = 0
        # Arrays: a list holds each float as an object of its own, four times as large.
        self._x_lows = array("d")
        self._x_highs = array("d")
        self._lows = array("d")
        self._highs = array("d")

    @property
    def held_bytes(self) -> int:
        """About how much memory it takes."""
        return CURVE_BYTES + BUCKET_BYTES * len(self._lows)

    def add(self, x: float, y: float) -> None:
        """Add a point. A NaN or infinite `y` is counted and leaves a gap."""
        self.count += 1
        self.last = (x, y)
        if y - y != 0.0:
            self.nonfinite += 1
            y = math.nan
            self._note_break(x)
        if self._filled == 0:
            self._open_bucket(x, y)
        else:
            self._grow_bucket(x, y)
        self._filled += 1
        self._close_full_bucket()

    def extend(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Add points in the order of x: the same as adding one after the other, and faster."""
        total = sum(ys)
        if total - total != 0.0:
            for x, y in zip(xs, ys, strict=True):
                self.add(x, y)
            return
        at = 0
        while at < len(ys):
            behind = min(len(ys), at + self._stride - self._filled)
            part = ys[at:behind]
            # Of points in order, the ends and the extremes are all that a bucket knows.
            self._filled += len(part)
            put = self._open_bucket if self._filled == len(part) else self._grow_bucket
            put(xs[at], min(part))
            self._grow_bucket(xs[behind - 1], max(part))
            self._close_full_bucket()
            at = behind
        self.count += len(ys)
        self.last = (xs[-1], ys[-1]) if ys else self.last

    def shrink(self, buckets: int) -> None:
        """Keep at most so many buckets from now on."""
        self.buckets = buckets
        while len(self._lows) > buckets:
            self._merge_pairs()

    def cut(self, x: float) -> bool:
        """Drop the points from `x` on; return False when what is left is not exact.

        So it is where a bucket has points on both sides, which are not known one by one, or where
        NaN were counted that may have gone. For points that were added in the order of x.
        """
        before = len(self._lows)
        while self._lows and self._x_lows[-1] >= x:
            self.count -= self._filled or self._stride
            self._filled = 0
            for values in (self._x_lows, self._x_highs, self._lows, self._highs):
                values.pop()
            self.last = None
        self.breaks = [(low, min(high, x)) for low, high in self.breaks if low < x]
        self._lost_at = -1
        is_counted = not self.nonfinite or len(self._lows) == before
        return is_counted and (not self._lows or self._x_highs[-1] < x)

    def _note_break(self, x: float) -> None:
        if self.breaks and self._lost_at == self.count - 1:
            low, high = self.breaks[-1]
            self.breaks[-1] = (min(low, x), max(high, x))
        else:
            self.breaks.append((x, x))
            if len(self.breaks) > BREAKS:
                self._join_closest_breaks()
        self._lost_at = self.count

    def _join_closest_breaks(self) -> None:
        breaks = self.breaks
        at = min(range(len(breaks) - 1), key=lambda i: breaks[i + 1][0] - breaks[i][1])
        low, high = zip(*breaks[at : at + 2], strict=True)
        breaks[at : at + 2] = [(min(low), max(high))]

    def _close_full_bucket(self) -> None:
        if self._filled == self._stride:
            self._filled = 0
            if len(self._lows) >= self.buckets:
                self._merge_pairs()

    def _open_bucket(self, x: float, y: float) -> None:
        self._x_lows.append(x)
        self._x_highs.append(x)
        self._lows.append(y)
        self._highs.append(y)

    def _grow_bucket(self, x: float, y: float) -> None:
        if x > self._x_highs[-1]:
            self._x_highs[-1] = x
        elif x < self._x_lows[-1]:
            self._x_lows[-1] = x
        # Written so that a NaN on either side gives way to a number.
        if not self._lows[-1] <= y:
            self._lows[-1] = y if y == y else self._lows[-1]
        if not self._highs[-1] >= y:
            self._highs[-1] = y if y == y else self._highs[-1]

    def _merge_pairs(self) -> None:
        """Halve the number of buckets; of an odd number the last one stays as it is."""
        in_last = self._filled or self._stride
        if len(self._lows) % 2 == 0:
            in_last += self._stride
        self._filled = in_last % (2 * self._stride)
        self._x_lows = array("d", [min(p) for p in _pairs(self._x_lows)])
        self._x_highs = array("d", [max(p) for p in _pairs(self._x_highs)])
        self._lows = array("d", [_lower(*p) for p in _pairs(self._lows)])
        self._highs = array("d", [_higher(*p) for p in _pairs(self._highs)])
        self._stride *= 2

    @property
    def x_range(self) -> tuple[float, float] | None:
        """The smallest and largest x, or None without points."""
        return (min(self._x_lows), max(self._x_highs)) if self.count else None

    @property
    def y_range(self) -> tuple[float, float] | None:
        """The smallest and largest finite y, or None without any."""
        lows = [y for y in self._lows if y == y]
        return (min(lows), max(y for y in self._highs if y == y)) if lows else None

    @property
    def is_exact(self) -> bool:
        """Whether every bucket is one point."""
        return self._stride == 1

    def points(self) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
        """Return the middle x, the smallest and the largest y of each bucket with a finite y."""
        lows, highs = self._lows, self._highs
        xs: Sequence[float] = self._x_lows
        if self._stride > 1:
            xs = [low + (high - low) / 2 for low, high in zip(xs, self._x_highs, strict=True)]
        if not self.nonfinite:
            return xs, lows, highs
        finite = [i for i, low in enumerate(lows) if low == low]
        return [xs[i] for i in finite], [lows[i] for i in finite], [highs[i] for i in finite]

    def corners(self) -> Iterable[tuple[float, float]]:
        """Yield points (x, y) that a curve goes through which never falls: a clock's."""
        for low, high in zip(
            zip(self._x_lows, self._lows, strict=True),
            zip(self._x_highs, self._highs, strict=True),
            strict=True,
        ):
            yield low
            if high != low:
                yield high

    def columns(
        self, width: int, x_min: float | None = None, x_max: float | None = None
    ) -> Columns:
        """Return the curve between `x_min` and `x_max` (default: all of it) in `width` columns."""
        return merge_columns([self], width, x_min, x_max)

    def fill(self, columns: Columns) -> None:
        """Put every bucket that lies in the columns' range into its column."""
        width = len(columns.xs)
        span = columns.x_max - columns.x_min
        scale = (width - 1) / span if span > 0 else 0.0
        lows, highs, x_min, x_max = columns.lows, columns.highs, columns.x_min, columns.x_max
        for x_low, x_high, low, high in zip(
            self._x_lows, self._x_highs, self._lows, self._highs, strict=True
        ):
            x = (x_low + x_high) / 2
            if low != low or not x_min <= x <= x_max:
                continue
            at = round((x - x_min) * scale)
            lows[at] = _lower(lows[at], low)
            highs[at] = _higher(highs[at], high)


def merge_columns(
    series: Sequence[Series],
    width: int,
    x_min: float | None = None,
    x_max: float | None = None,
) -> Columns:
    """Return several pieces of one curve (a metric's attempts and parts) in `width` columns.

    Args:
        series: the pieces; may be empty.
        width: how many columns, at least 1.
        x_min: left edge; default the smallest x there is.
        x_max: right edge; default the largest x there is.
    """
    ranges = [r for s in series if (r := s.x_range) is not None]
    left = min((r[0] for r in ranges), default=0.0) if x_min is None else x_min
    right = max((r[1] for r in ranges), default=1.0) if x_max is None else x_max
    step = (right - left) / (width - 1) if width > 1 else 0.0
    columns = Columns(
        [left + i * step for i in range(width)], [math.nan] * width, [math.nan] * width, left, right
    )
    for piece in series:
        piece.fill(columns)
    return columns


def trace(series: Sequence[Series]) -> Trace:
    """Return several pieces of one curve (a metric's attempts and parts) as one."""
    xs, lows, highs = array("d"), array("d"), array("d")
    for piece in series:
        for whole, part in zip((xs, lows, highs), piece.points(), strict=True):
            whole.extend(part)
    if any(map(gt, xs, xs[1:])):
        # Rows out of order, or files that were written beside each other.
        order = sorted(range(len(xs)), key=xs.__getitem__)
        xs, lows, highs = (array("d", [values[i] for i in order]) for values in (xs, lows, highs))
    return Trace(
        xs,
        lows,
        highs,
        sorted(chain.from_iterable(piece.breaks for piece in series)),
        sum(piece.nonfinite for piece in series),
        next((piece.last for piece in reversed(series) if piece.last), None),
        all(piece.is_exact for piece in series),
    )


def _pairs(values: array[float]) -> list[tuple[float, float]]:
    whole = list(zip(values[::2], values[1::2], strict=False))
    return whole if len(values) % 2 == 0 else [*whole, (values[-1], values[-1])]


def _lower(a: float, b: float) -> float:
    return b if a != a or b < a else a


def _higher(a: float, b: float) -> float:
    return b if a != a or b > a else a
