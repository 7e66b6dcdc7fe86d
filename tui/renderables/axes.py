"""The horizontal axis of charts: what it counts, and which part of it is drawn.

Curves are kept over steps. An epoch or a moment is a step too, for each run another one; so a
column of the chart is turned into steps of each run, and never the points into epochs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runstore.files.records import integer, number
from runstore.numbers import duration, short_count
from runstore.state.run_state import RunState

from .scale import log_ticks, round_ticks

AXES = ("step", "epoch", "time")
NAMES = {"step": "step", "epoch": "epoch", "time": "time since start"}

Knots = tuple[tuple[float, ...], tuple[float, ...]]
"""Steps, and what the axis says at them; both grow."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """What an axis says at each step of one run: straight between the knots and beyond them."""

    knots: Knots | None = None
    """At least two; None where the axis is the step itself."""

    def at(self, step: float) -> float:
        """Return the place of a step on the axis."""
        return step if self.knots is None else _through(*self.knots, step)

    def step_at(self, place: float) -> float:
        """Return the step at a place on the axis."""
        return place if self.knots is None else _through(self.knots[1], self.knots[0], place)


def _through(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    at = max(1, min(len(xs) - 1, bisect_right(xs, x)))
    share = (x - xs[at - 1]) / (xs[at] - xs[at - 1])
    return ys[at - 1] + share * (ys[at] - ys[at - 1])


def ruler(state: RunState, axis: str) -> Ruler | None:
    """Return the ruler of a run; None when the run does not say where it was at which step.

    Args:
        state: The run, read in full.
        axis: One of `AXES`.
    """
    if axis == "step":
        return Ruler()
    points = _epochs(state) if axis == "epoch" else _times(state)
    steps, places = _growing(points)
    if len(steps) == 1:
        steps, places = (*steps, steps[0] + 1), (*places, places[0] + 1)
    return Ruler((steps, places)) if steps else None


def _epochs(state: RunState) -> list[tuple[float, float]]:
    """Return (step, epochs done): the rows are written when an epoch ends."""
    points = []
    for row in state.epoch_rows:
        epoch, step = number(row, "epoch"), integer(row, "step")
        if epoch is not None:
            points.append((epoch if step is None else float(step), epoch))
    progress = state.progress
    if progress and progress.step is not None and progress.epoch and progress.batches:
        done = progress.epoch - 1 + (progress.batch or 0) / progress.batches
        is_training = progress.split in (None, "train")
        if is_training and (not points or progress.epoch > points[-1][1]):
            points.append((float(progress.step), done))
    if points and points[0][0] > 0:
        # The first epoch that is known began one epoch before its end.
        end, epoch = points[0]
        points.insert(0, (end - end / epoch if epoch >= 1 else 0.0, max(0.0, epoch - 1)))
    return points


def _times(state: RunState) -> list[tuple[float, float]]:
    """Return (step, seconds since the first attempt began)."""
    points = [corner for piece in state.clock for corner in piece.corners()]
    if not points:
        return []
    first = min(time for _, time in points)
    begun = state.attempts[min(state.attempts)].begun if state.attempts else None
    start = min(first, number(begun or {}, "time") or first)
    return [(step, time - start) for step, time in points]


def _growing(points: Iterable[tuple[float, float]]) -> Knots:
    """Return the points in order, without those that do not go on in both directions."""
    steps: list[float] = []
    places: list[float] = []
    for step, place in sorted(points):
        if not steps or (step > steps[-1] and place > places[-1]):
            steps.append(step)
            places.append(place)
        elif step == steps[-1] and len(steps) > 1 and place > places[-1]:
            places[-1] = place
    return tuple(steps), tuple(places)


def knots_stamp(state: RunState, axis: str) -> tuple[object, ...]:
    """Return what changes whenever `ruler` of the run may."""
    if axis == "step":
        return (axis,)
    if axis == "time":
        return (axis, *((id(piece), piece.count) for piece in state.clock))
    rows, progress = state.epoch_rows, state.progress
    place = (progress.epoch, progress.batch, progress.split) if progress else ()
    return (axis, len(rows), str(rows[-1].get("step")) if rows else "", place)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an axis that is drawn. On a logarithmic axis its ends are exponents of ten."""

    low: float = 0.0
    high: float = 1.0
    axis: str = "step"
    log: bool = False

    @property
    def size(self) -> float:
        """How much of the axis it is; 0 for a single point."""
        return max(0.0, self.high - self.low)

    def place(self, share: float) -> float:
        """Return what the axis says at a share of the width, 0 at the left and 1 at the right."""
        at = self.low + share * self.size
        return _power_of_ten(at) if self.log else at

    def share(self, place: float) -> float:
        """Return the share of the width at which the axis says `place`."""
        at = _exponent(place) if self.log else place
        return (at - self.low) / self.size if self.size else 0.0

    def edges(self, columns: int) -> list[float]:
        """Return where on the axis the columns begin, and where the last one ends."""
        step = self.size / (columns - 1) if columns > 1 and self.size else 1.0
        left = self.low - step / 2
        places = [left + i * step for i in range(columns + 1)]
        return list(map(_power_of_ten, places)) if self.log else places

    def column(self, place: float, columns: int) -> int:
        """Return the column of a place; below 0 or from `columns` on for one that is outside."""
        at = self.share(place) * (columns - 1)
        return round(max(-1.0, min(columns, at))) if at == at else -1

    def zoomed(self, factor: float, share: float) -> Window:
        """Return the part that is `factor` times as large, with the same place at `share`."""
        fixed = self.low + share * self.size
        low = fixed - share * self.size * factor
        return replace(self, low=low, high=low + self.size * factor)

    def panned(self, shares: float) -> Window:
        """Return the part that many widths further on."""
        move = self.size * shares
        return replace(self, low=self.low + move, high=self.high + move)

    def inside(self, whole: Window) -> Window:
        """Return it moved and cut into the whole."""
        size = min(self.size, whole.size)
        low = max(whole.low, min(self.low, whole.high - size))
        return replace(self, low=low, high=low + size)

    def ticks(self, wanted: int) -> list[float]:
        """Return about so many round places."""
        if not self.size:
            return [self.place(0)]
        if self.log:
            return log_ticks(self.place(0), self.place(1), wanted)
        if self.axis == "time":
            return _time_ticks(self.low, self.high, wanted)
        return round_ticks(self.low, self.high, wanted)

    def label(self, place: float) -> str:
        """Return a place in few characters."""
        if self.axis != "time":
            return short_count(place)
        return "0" if place == 0 else duration(place) if place > 0 else f"-{duration(-place)}"


def _exponent(place: float) -> float:
    return math.log10(place) if place > 0 else -math.inf


def _power_of_ten(exponent: float) -> float:
    return math.pow(10.0, max(-300.0, min(300.0, exponent)))


_ROUND_S = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800),
)


def _time_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return round durations: seconds, minutes, hours or days."""
    rough = (high - low) / max(1, wanted)
    step = next((step for step in _ROUND_S if step >= rough), None)
    if step is None or rough < 1:
        return round_ticks(low, high, wanted)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(index * step) for index in range(first, last + 1)]


def whole(ranges: Iterable[tuple[float, float]], axis: str, log: bool) -> Window:
    """Return the window that holds all ranges of places.

    Args:
        ranges: Of the curves; may be empty. Above 0 for a logarithmic axis.
        axis: One of `AXES`.
        log: Whether the axis is logarithmic.
    """
    known = list(ranges)
    low = min((low for low, _ in known), default=1.0 if log else 0.0)
    high = max((high for _, high in known), default=1.0)
    if log:
        return Window(_exponent(low), _exponent(high), axis, True)
    return Window(low, high, axis)
