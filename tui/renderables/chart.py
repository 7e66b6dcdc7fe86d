"""A line chart in braille dots, drawn from the smallest and largest value of each column.

Drawing the whole range of a column keeps a spike of one step in ten million visible, which an
average or a sample of the points would lose. Each cell is a grid of 2 x 4 dots.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from runstore.numbers import metric, short_count

from .text import Line, Span, fit, fit_line, line, line_width, shorten, width_of

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each dot of a braille cell, by row and column (Unicode chapter 21.1)."""

MIN_WIDTH = 16
MIN_HEIGHT = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart."""

    label: str
    role: str
    lows: Sequence[float]
    """Smallest value of each dot column (two per cell); nan where there is no point."""
    highs: Sequence[float]
    last: float | None = None
    """The newest value, for the legend."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A value axis: the range that is drawn, and where its labels are."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def dot(self, value: float, dots: int) -> int:
        """Return the dot row of `value`, 0 at the top, clamped into the chart."""
        span = self.high / 2 - self.low / 2  # halves: the range of two floats may be infinite
        share = (self.high / 2 - value / 2) / span if span > 0 else 0.5
        return max(0, min(dots - 1, round(share * (dots - 1))))


def chart(
    curves: Sequence[Curve],
    x_min: float,
    x_max: float,
    width: int,
    height: int,
    x_name: str = "step",
) -> list[Line]:
    """Return a chart of exactly `height` lines, or a line that says why there is none.

    Args:
        curves: Drawn in order, later ones on top; each with `2 * plot_width(width)` columns.
        x_min: Position of the left edge.
        x_max: Position of the right edge.
        width: Cells in all, labels included.
        height: Lines in all: a legend, the plot, and an axis with its labels.
        x_name: What the horizontal axis counts.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return [fit_line((Span("too small for a chart", "dim"),), width)][:height]
    scale = value_scale(curves, max(2, (height - 3) // 2))
    if scale is None:
        return [line(Span("no finite value yet", "dim"))]
    axis_lines = 2 if height >= 6 else 0
    plot_height = height - 1 - axis_lines
    margin = label_width(width)
    rows = _plot(curves, scale, width - margin - 1, plot_height)
    labels = _tick_rows(scale, plot_height)
    out = [_legend(curves, width)]
    for y, row in enumerate(rows):
        label = fit(labels.get(y, ""), margin, right=True)
        out.append((Span(label, "dim"), Span("┤" if y in labels else "│", "axis"), *row))
    if axis_lines:
        out.extend(_x_axis(x_min, x_max, width, margin, x_name))
    return out


def label_width(width: int) -> int:
    """Return the cells that the value labels take in a chart of `width` cells."""
    return 9 if width >= 40 else 8


def plot_width(width: int) -> int:
    """Return the cells of the plot itself in a chart of `width` cells; 2 dot columns each."""
    return max(1, width - label_width(width) - 1)


def value_scale(curves: Sequence[Curve], wanted: int) -> Scale | None:
    """Return a scale that holds every finite value, with about `wanted` round labels.

    None when there is no finite value. A constant curve is drawn in the middle.
    """
    low = min((v for c in curves for v in c.lows if math.isfinite(v)), default=math.nan)
    high = max((v for c in curves for v in c.highs if math.isfinite(v)), default=math.nan)
    if math.isnan(low) or math.isnan(high):
        return None
    if high - low <= abs(high) * 1e-12:
        margin = abs(high) * 0.1 or 1.0
        # Beside the largest float there is no room for a margin.
        bottom, top = max(low - margin, -sys.float_info.max), min(high + margin, sys.float_info.max)
        return Scale(bottom, top, (high,))
    return Scale(low, high, tuple(round_ticks(low, high, wanted)))


def round_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about `wanted` round numbers in the range, for labels: 1, 2, 2.5 or 5 times 10^n."""
    if not math.isfinite(high - low) or high <= low:
        return [low]
    rough = (high - low) / max(1, wanted)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next((m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough), rough)
    if step <= 0 or low + step == low:
        return [low, high]
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, min(last, first + 50) + 1)]


def _plot(curves: Sequence[Curve], scale: Scale, width: int, height: int) -> list[Line]:
    bits = [[0] * width for _ in range(height)]
    roles = [[""] * width for _ in range(height)]
    for curve in curves:
        _draw(curve, scale, bits, roles)
    return [_row(bits[y], roles[y]) for y in range(height)]


def _draw(curve: Curve, scale: Scale, bits: list[list[int]], roles: list[list[str]]) -> None:
    """Set the dots of one curve: its range per column, and straight lines across gaps."""
    dots = len(bits) * 4
    lonely = sum(1 for low in curve.lows if math.isfinite(low)) == 1
    previous: tuple[int, int, int] | None = None
    for x, (low, high) in enumerate(zip(curve.lows, curve.highs, strict=True)):
        if x >= len(bits[0]) * 2 or not (math.isfinite(low) and math.isfinite(high)):
            continue
        top, bottom = scale.dot(high, dots), scale.dot(low, dots)
        if lonely:  # a single dot would be overlooked
            top, bottom = max(0, top - 1), min(dots - 1, bottom + 1)
        if previous is not None:
            _connect(previous, (x, top, bottom), curve.role, bits, roles)
        for y in range(top, bottom + 1):
            _set_dot(x, y, curve.role, bits, roles)
        previous = (x, top, bottom)


def _connect(
    start: tuple[int, int, int],
    end: tuple[int, int, int],
    role: str,
    bits: list[list[int]],
    roles: list[list[str]],
) -> None:
    """Join the ranges of two columns, each (x, top, bottom), by the shortest line."""
    x0, top0, bottom0 = start
    x1, top1, bottom1 = end
    y0 = min(max(top1, top0), bottom0)
    y1 = min(max(y0, top1), bottom1)
    steps = max(x1 - x0, abs(y1 - y0))
    for i in range(1, steps):
        x = round(x0 + (x1 - x0) * i / steps)
        _set_dot(x, round(y0 + (y1 - y0) * i / steps), role, bits, roles)


def _set_dot(x: int, y: int, role: str, bits: list[list[int]], roles: list[list[str]]) -> None:
    bits[y >> 2][x >> 1] |= _DOTS[y & 3][x & 1]
    roles[y >> 2][x >> 1] = role


def _row(bits: list[int], roles: list[str]) -> Line:
    spans: list[Span] = []
    text, role = "", ""
    for bit, cell_role in zip(bits, roles, strict=True):
        if bit and cell_role != role:
            if text:
                spans.append(Span(text, role))
            text, role = "", cell_role
        text += chr(0x2800 + bit) if bit else " "
    spans.append(Span(text, role))
    return tuple(spans)


def _tick_rows(scale: Scale, height: int) -> dict[int, str]:
    """Return the label of each plot row that has one; a crowded row keeps its first."""
    labels: dict[int, str] = {}
    for tick in sorted(scale.ticks, reverse=True):
        labels.setdefault(scale.dot(tick, height * 4) >> 2, tick_label(tick, scale))
    if len(labels) < 2 and height >= 2 and len(scale.ticks) != 1:
        labels = {0: metric(scale.high), height - 1: metric(scale.low)}
    return labels


def tick_label(value: float, scale: Scale) -> str:
    """Return a label with as many decimals as tell it from its neighbours."""
    size = max(abs(scale.low), abs(scale.high))
    if size >= 1e5 or 0 < size < 1e-3:
        return f"{value:.1e}" if value else "0"
    gap = scale.ticks[1] - scale.ticks[0] if len(scale.ticks) > 1 else size
    decimals = max(0, min(6, 1 - math.floor(math.log10(gap)))) if gap > 0 else 2
    text = f"{value:.{decimals}f}"
    return text if width_of(text) <= 8 else f"{value:.2e}"


def _legend(curves: Sequence[Curve], width: int) -> Line:
    room = max(8, width // max(1, len(curves)) - 14)
    parts: list[Span] = []
    for curve in curves:
        label = shorten(curve.label, room, keep_end=True)
        parts += [Span("━━ ", curve.role), Span(label), Span(f" {metric(curve.last)}   ", "value")]
    legend = line(*parts)
    return legend if line_width(legend) <= width else fit_line(legend, width)


def _x_axis(x_min: float, x_max: float, width: int, margin: int, x_name: str) -> list[Line]:
    plot = width - margin - 1
    rule = list("─" * plot)
    labels = [" "] * plot
    end = f"{short_count(x_max)} {x_name}"
    labels[max(0, plot - len(end)) :] = list(end[-plot:])
    free = plot - len(end) - 2
    ticks = round_ticks(x_min, x_max, max(2, plot // 9)) if x_max > x_min else [x_min]
    for tick in ticks:
        at = round((tick - x_min) / (x_max - x_min) * (plot - 1)) if x_max > x_min else 0
        text = short_count(tick)
        start = max(0, min(at - len(text) // 2, plot - len(text)))
        if start + len(text) > free or any(
            c != " " for c in labels[max(0, start - 1) : start + len(text)]
        ):
            continue
        labels[start : start + len(text)] = list(text)
        rule[at] = "┬"
    return [
        line(Span(" " * margin), Span("└" + "".join(rule), "axis")),
        line(Span(" " * (margin + 1)), Span("".join(labels), "dim")),
    ]
