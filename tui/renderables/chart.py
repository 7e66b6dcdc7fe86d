"""A line chart in braille dots, drawn from the smallest and largest value of each column.

Drawing the whole range of a column keeps a spike of one step in ten million visible, which an
average or a sample of the points would lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from runstore.numbers import metric

from .axes import Window
from .braille import PATTERNS, Layer, Point, compose, draw, stipple
from .scale import Scale, finite, tick_rows, value_scale
from .text import Line, Span, fit, fit_line, line, line_width, shorten
from .traces import Columns

MIN_WIDTH = 16
MIN_HEIGHT = 3
SAMPLES = ("━━", "··", "╍╍", "┄┄")
"""What a legend shows of each of `PATTERNS`."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart; what has columns has two per cell of the plot."""

    label: str
    role: str
    lows: Sequence[float]
    """Smallest value of each dot column; nan where there is no point."""
    highs: Sequence[float]
    last: float | None = None
    """The newest value, for the legend."""
    pattern: int = 0
    """Which of `PATTERNS` it is drawn in."""
    sign: str = ""
    """A character at its end."""
    breaks: Sequence[tuple[int, int]] = ()
    """First and last column of stretches of NaN and infinities, in order."""
    raw: Columns | None = None
    """What was smoothed, drawn dimmed under it."""
    band: Columns | None = None
    """An area around it: mean - std to mean + std."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a chart is drawn."""

    log_y: bool = False
    """Equal factors are equally far apart; the curves have values above 0 alone."""
    robust: bool = False
    """A few values that would flatten all others are cut off, and marked by arrows."""
    cursor: int | None = None
    """A column with a line through it."""
    attempts: Sequence[int] = ()
    """Columns where an attempt began."""
    nothing: str = "no finite value yet"
    """What to say when there is nothing to draw."""


PLAIN = Look()
_NEAREST_ROWS = sorted(range(-9, 10), key=abs)
"""To the end of a curve, for its sign: nine runs may end in one place."""


def chart(
    curves: Sequence[Curve],
    window: Window,
    width: int,
    height: int,
    look: Look = PLAIN,
    legend: Sequence[Line] | None = None,
) -> list[Line]:
    """Return a chart of exactly `height` lines, or a line that says why there is none.

    Args:
        curves: Drawn in order, later ones on top; each with `2 * plot_width(width)` columns.
        window: What the horizontal axis counts, from its left to its right edge.
        width: Cells in all, labels included.
        height: Lines in all: a legend, the plot, and an axis with its labels.
        look: How it is drawn.
        legend: Lines above the plot; None for one that names each curve.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return [fit_line((Span("too small for a chart", "dim"),), width)][:height]
    head = [_legend(curves, width)] if legend is None else list(legend)[: height - 2]
    axis_lines = 2 if height - len(head) >= 5 else 0
    plot_height = height - len(head) - axis_lines
    values = _all_values(curves)
    scale = value_scale(values, max(2, plot_height // 2), log=look.log_y, robust=look.robust)
    if scale is None:
        return [*(head if legend else ()), line(Span(look.nothing, "dim"))]
    margin = label_width(width)
    rows = _plot(curves, scale, width - margin - 1, plot_height, look)
    labels = tick_rows(scale, plot_height)
    out = head
    for y, row in enumerate(rows):
        label = fit(labels.get(y, ""), margin, right=True)
        out.append((Span(label, "dim"), Span("┤" if y in labels else "│", "axis"), *row))
    if axis_lines:
        out.extend(_x_axis(window, width, margin, curves, look))
    return out


def label_width(width: int) -> int:
    """Return the cells that the value labels take in a chart of `width` cells."""
    return 9 if width >= 40 else 8


def plot_width(width: int) -> int:
    """Return the cells of the plot itself in a chart of `width` cells; 2 dot columns each."""
    return max(1, width - label_width(width) - 1)


def _all_values(curves: Sequence[Curve]) -> list[float]:
    both = ((curve.lows, curve.highs) for curve in curves)
    more = (area for curve in curves for area in (curve.raw, curve.band) if area is not None)
    return finite(chain.from_iterable(chain.from_iterable(chain(both, more))))


def _plot(curves: Sequence[Curve], scale: Scale, width: int, height: int, look: Look) -> list[Line]:
    layers: list[tuple[str, Layer]] = []
    under: list[tuple[str, Layer]] = []
    signs: dict[int, tuple[str, str]] = {}
    ends: list[tuple[Curve, int]] = []
    for curve in curves:
        pattern = PATTERNS[curve.pattern % len(PATTERNS)]
        if curve.band is not None:
            under.append((_dimmed(curve.role), _blank(width)))
            stipple(under[-1][1], _points(curve.band, scale, width, height * 4))
        if curve.raw is not None:
            under.append((_dimmed(curve.role), _blank(width)))
            raw = _points(curve.raw, scale, width, height * 4)
            draw(under[-1][1], raw, curve.breaks, pattern)
        points = _points(Columns(curve.lows, curve.highs), scale, width, height * 4)
        if len(points) == 1:  # a single dot would be overlooked
            x, top, bottom = points[0]
            points = [(x, max(0, top - 1), min(height * 4 - 1, bottom + 1))]
        layers.append((curve.role, _blank(width)))
        draw(layers[-1][1], points, curve.breaks, pattern)
        if scale.is_cut:
            _add_arrows(signs, curve, scale, width, height)
        if points and curve.sign:
            x, top, bottom = points[-1]
            ends.append((curve, min(width - 1, x // 2 + 1) + (top + bottom) // 8 * width))
    _add_ends(signs, ends, width, height)
    return compose(layers, under, signs, _behind(look, width, height), width, height)


def _dimmed(role: str) -> str:
    return f"{role}-dim" if role.startswith("curve") else "dim"


def _blank(width: int) -> Layer:
    return [0] * (width * 2)


def _points(area: Columns, scale: Scale, width: int, dots: int) -> list[Point]:
    """Return (column, top row, bottom row) of each column with a value, cut at the edges."""
    lows, highs = area
    last = dots - 1
    xs = [x for x, low in enumerate(lows[: width * 2]) if low - low == 0.0]
    tops = scale.rows([highs[x] for x in xs], dots)
    bottoms = tops if lows is highs else scale.rows([lows[x] for x in xs], dots)
    if scale.is_cut:
        tops = [max(0, min(last, top)) for top in tops]
        bottoms = [max(0, min(last, bottom)) for bottom in bottoms]
    return list(zip(xs, tops, bottoms, strict=True))


def _add_arrows(
    signs: dict[int, tuple[str, str]], curve: Curve, scale: Scale, width: int, height: int
) -> None:
    """Mark at the edges where a curve goes on outside of the range."""
    bottom = (height - 1) * width
    for x, (low, high) in enumerate(zip(curve.lows, curve.highs, strict=True)):
        if high > scale.high and x < width * 2:
            signs[x // 2] = ("↑", curve.role)
        if low < scale.low and x < width * 2:
            signs[bottom + x // 2] = ("↓", curve.role)


def _add_ends(
    signs: dict[int, tuple[str, str]], ends: Sequence[tuple[Curve, int]], width: int, height: int
) -> None:
    """Put each curve's sign behind its end, or as near as another one leaves room."""
    taken: dict[int, str] = {}
    for curve, cell in ends:
        near = [cell + rows * width for rows in _NEAREST_ROWS]
        if curve.sign in (taken.get(at) for at in near[:7]):
            continue  # another curve of the same run
        inside = (at for at in near if 0 <= at < width * height)
        at = next((at for at in inside if at not in taken), cell)
        taken[at] = curve.sign
        signs[at] = (curve.sign, curve.role)


def _behind(look: Look, width: int, height: int) -> dict[int, tuple[str, str]]:
    """Return the lines that go through the whole plot."""
    lines = [(column, "┊", "axis") for column in look.attempts]
    if look.cursor is not None:
        lines.append((look.cursor, "│", "key"))
    return {
        row * width + column // 2: (char, role)
        for column, char, role in lines
        if 0 <= column < width * 2
        for row in range(height)
    }


def _legend(curves: Sequence[Curve], width: int) -> Line:
    room = max(8, width // max(1, len(curves)) - 14)
    parts: list[Span] = []
    for curve in curves:
        label = shorten(curve.label, room, keep_end=True)
        sample = SAMPLES[curve.pattern % len(SAMPLES)]
        parts += [Span(f"{sample} ", curve.role), Span(label)]
        parts.append(Span(f" {metric(curve.last)}   ", "value"))
    legend = line(*parts)
    return legend if line_width(legend) <= width else fit_line(legend, width)


def _x_axis(
    window: Window, width: int, margin: int, curves: Sequence[Curve], look: Look
) -> list[Line]:
    plot = width - margin - 1
    rule = [("─", "axis")] * plot
    labels = [" "] * plot
    end = f"{window.label(window.place(1))} {window.axis}"
    labels[max(0, plot - len(end)) :] = list(end[-plot:])
    free = plot - len(end) - 2
    for tick in window.ticks(max(2, plot // 9)):
        at = max(0, min(plot - 1, round(window.share(tick) * (plot - 1))))
        text = window.label(tick)
        start = max(0, min(at - len(text) // 2, plot - len(text)))
        if start + len(text) > free or any(
            c != " " for c in labels[max(0, start - 1) : start + len(text)]
        ):
            continue
        labels[start : start + len(text)] = list(text)
        rule[at] = ("┬", "axis")
    for x, (char, role) in _axis_signs(curves, look).items():
        if 0 <= x < plot:
            rule[x] = (char, role)
    return [
        line(Span(" " * margin), Span("└", "axis"), *(Span(*cell) for cell in rule)),
        line(Span(" " * (margin + 1)), Span("".join(labels), "dim")),
    ]


def _axis_signs(curves: Sequence[Curve], look: Look) -> dict[int, tuple[str, str]]:
    """Return what stands in the horizontal axis, by cell: attempts, gaps and the cursor."""
    signs = {column // 2: ("┊", "axis") for column in look.attempts}
    for first, last in chain.from_iterable(curve.breaks for curve in curves):
        signs.update(dict.fromkeys(range(max(0, first // 2), last // 2 + 1), ("×", "bad")))
    if look.cursor is not None:
        signs[look.cursor // 2] = ("┴", "key")
    return signs
