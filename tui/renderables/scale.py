"""The value axis of a chart: its range, its round labels, and which dot row a value is in."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runstore.numbers import metric

from .text import width_of

FLATTENED = 8.0
"""So many times higher than the others must a few columns be to be cut off by a robust range."""
ENOUGH = 10
"""Values below which none is an outlier."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The range that is drawn, and where its labels are."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    """Equal factors are equally far apart; `low` is above 0."""
    is_cut: bool = False
    """Some values are outside."""

    def dot(self, value: float, dots: int) -> int:
        """Return the dot row of `value`, 0 at the top, clamped into the chart."""
        return max(0, min(dots - 1, self.rows([value], dots)[0]))

    def rows(self, values: Sequence[float], dots: int) -> list[int]:
        """Return the dot row of each value, 0 at the top; outside of the chart for those beyond.

        Args:
            values: finite; above 0 on a logarithmic scale.
            dots: how many rows there are.
        """
        low, high = self.low, self.high
        if self.log:
            low, high = math.log10(low), math.log10(high)
            values = list(map(math.log10, values))
        # Halves: the range of two floats may be infinite.
        top, span = high / 2, high / 2 - low / 2
        if span <= 0:
            return [(dots - 1) // 2] * len(values)
        beyond = 4 * dots
        last = dots - 1
        rows = [(top - value / 2) / span * last for value in values]
        if max(rows, default=0) < beyond and min(rows, default=0) > -beyond:
            return list(map(round, rows))
        return [round(max(-beyond, min(beyond, row))) for row in rows]


def value_scale(
    values: Sequence[float], wanted: int, *, log: bool = False, robust: bool = False
) -> Scale | None:
    """Return a scale with about `wanted` round labels; None without values.

    A constant is drawn in the middle.

    Args:
        values: Finite, and above 0 for a logarithmic scale; those of all columns.
        wanted: Labels.
        log: Equal factors are equally far apart.
        robust: A few values that would flatten all others need not be inside.
    """
    if not values:
        return None
    ends = low, high = min(values), max(values)
    if robust:
        low, high = _robust_range(values, low, high, log)
    if high - low <= abs(high) * 1e-12:
        return _around(high, log)
    ticks = log_ticks(low, high, wanted) if log else round_ticks(low, high, wanted)
    if len(ticks) < 2:
        ticks = [low, high] if log else round_ticks(low, high, wanted + 2)
    return Scale(low, high, tuple(ticks), log, is_cut=(low, high) != ends)


def _around(value: float, log: bool) -> Scale:
    margin = abs(value) * 0.1 or 1.0
    # Beside the largest and the smallest float there is no room for a margin.
    bottom, top = value - margin, min(value + margin, sys.float_info.max)
    bottom = max(bottom, sys.float_info.min if log else -sys.float_info.max)
    return Scale(min(bottom, value), top, (value,), log)


def _robust_range(
    values: Sequence[float], low: float, high: float, log: bool
) -> tuple[float, float]:
    """Return the range of nearly all values, where the others would leave little room for them."""
    if len(values) < ENOUGH:
        return low, high
    ordered = sorted(map(math.log10, values)) if log else sorted(values)
    out = max(1, len(values) // 50)
    inner_low, inner_high = ordered[out], ordered[-1 - out]
    size = inner_high - inner_low
    if not 0 < size * FLATTENED < ordered[-1] - ordered[0] < math.inf:
        return low, high
    bottom, top = max(ordered[0], inner_low - size / 10), min(ordered[-1], inner_high + size / 10)
    return (10**bottom, 10**top) if log else (bottom, top)


def round_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about `wanted` round numbers in the range, for labels: 1, 2, 2.5 or 5 times 10^n."""
    if not math.isfinite(high - low) or high <= low:
        return [low]
    rough = (high - low) / max(1, wanted)
    if rough <= 0 or (magnitude := 10.0 ** math.floor(math.log10(rough))) == 0:
        return [low, high]
    step = next((m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough), rough)
    if step <= 0 or low + step == low:
        return [low, high]
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, min(last, first + 50) + 1)]


def log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about `wanted` numbers in a range above 0: powers of ten, or 1, 2 and 5 times them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high) - math.log10(low)
    if decades < 1:
        return round_ticks(low, high, wanted)
    factors = (1,) if decades > wanted / 2 else (1, 2, 5)
    every = max(1, math.ceil(decades / max(1, wanted)))
    powers = (power for power in range(first, last + 1) if not power % every)
    ticks = (factor * _power(power) for power in powers for factor in factors)
    return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def _power(exponent: int) -> float:
    return float(f"1e{exponent}")  # 10.0 ** -5 is not 1e-05


def tick_rows(scale: Scale, height: int) -> dict[int, str]:
    """Return the label of each plot row that has one; a crowded row keeps its first.

    Args:
        scale: the value axis.
        height: rows of the plot, of 4 dots each.
    """
    labels: dict[int, str] = {}
    for tick in sorted(scale.ticks, reverse=True):
        labels.setdefault(scale.dot(tick, height * 4) >> 2, tick_label(tick, scale))
    if len(labels) < 2 and height >= 2 and len(scale.ticks) != 1:
        labels = {0: metric(scale.high), height - 1: metric(scale.low)}
    return labels


def tick_label(value: float, scale: Scale) -> str:
    """Return a label with as many decimals as tell it from its neighbours."""
    if scale.log and scale.high > 10 * scale.low:
        return f"{value:.4g}"
    size = max(abs(scale.low), abs(scale.high))
    if size >= 1e5 or 0 < size < 1e-3:
        return f"{value:.1e}" if value else "0"
    gap = scale.ticks[1] - scale.ticks[0] if len(scale.ticks) > 1 else size
    decimals = max(0, min(6, 1 - math.floor(math.log10(gap)))) if gap > 0 else 2
    text = f"{value:.{decimals}f}"
    return text if width_of(text) <= 8 else f"{value:.2e}"


def nearest(values: Sequence[float], value: float) -> int:
    """Return where in a sorted, non-empty sequence the number next to `value` is."""
    at = bisect_left(values, value)
    if at == len(values) or (at and value - values[at - 1] <= values[at] - value):
        return at - 1
    return at


def finite(values: Iterable[float]) -> list[float]:
    """Return those that are neither NaN nor infinite."""
    return [value for value in values if value - value == 0.0]
