"""One chart of several runs: a colour and a letter for each run, a pattern for each metric."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter

from runstore.metrics.ranking import SPLITS, split_metric
from runstore.state.series import Trace

from ..grouping import mean_and_spread
from .axes import Window, whole
from .bands import Band, band
from .chart import PLAIN, Curve, Look
from .drawn_runs import (
    CURVE_ROLES,
    DrawnRun,
    Identity,
    left_of_log,
    names_of,
    place_range,
    value_at,
)
from .text import from_file
from .traces import Columns, Kept, above_zero, break_columns, columns, not_above_zero

METRICS_PER_CHART = 8
"""More share no chart: nobody could tell them apart."""

RAW_RUNS = 2
"""Of more, what was smoothed is drawn under the curves of the chosen run alone."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user has chosen for the charts."""

    axis: str = "step"
    log_x: bool = False
    log_y: frozenset[str] = frozenset()
    """Charts with a logarithmic value axis."""
    smoothing: float = 0.0
    """Weight of what was before, 0 to 1; 0: not smoothed."""
    robust: bool = True
    """Outliers do not stretch the value axis."""
    grouped: bool = False
    """Runs that differ in nothing but their seed are one mean and its spread."""
    zoom: Window | None = None
    """The part of the horizontal axis that is drawn, of all charts; None: all of it."""
    cursor: float | None = None
    """A place on the horizontal axis whose values are shown."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A curve in a legend."""

    metric: str
    pattern: int
    low: float | None
    """The newest value, or the one at the cursor; None: none there."""
    high: float | None
    """The same, unless the point stands for many values."""
    std: float | None = None
    """Of the runs whose mean it is."""


@dataclass(slots=True)
class Subject:
    """A line of a legend: a run, or the runs of a group."""

    who: Identity
    sign: str
    """Letter, or letters."""
    name: str
    readings: list[Reading] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is not drawn, in words."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a chart draws, and what its legend says."""

    group: str
    curves: list[Curve]
    subjects: list[Subject]
    window: Window
    whole: Window
    """Without zoom."""
    look: Look
    metrics: tuple[str, ...]
    is_alone: bool
    """Of one run: the colours stand for metrics and not for runs."""


def picture(
    group: str,
    metrics: Sequence[str],
    runs: Sequence[DrawnRun],
    count: int,
    settings: Settings,
    kept: Kept,
) -> Picture:
    """Return the chart of a group of metrics.

    Args:
        group: Its name (`loss`).
        metrics: Those that share the chart.
        runs: As many as make nine lines at most; the chosen one is drawn on top.
        count: Dot columns.
        settings: The user's choices.
        kept: What was made for earlier frames.
    """
    metrics = _in_order(metrics[:METRICS_PER_CHART])
    total = _whole(metrics, runs, settings)
    window = settings.zoom or total
    pen = _Pen(metrics, window, count, settings, group in settings.log_y, kept)
    curves, described = [], subjects(runs, settings)
    for subject, members in described:
        several = len(members) > 1
        made = pen.mean(members, subject) if several else pen.run(members[0], subject, len(runs))
        curves.append((any(run.who.is_chosen for run in members), made))
    on_top = [curve for _, made in sorted(curves, key=lambda pair: pair[0]) for curve in made]
    chosen = next((run for run in runs if run.who.is_chosen and run.ruler), None)
    look = Look(
        nothing=_why_nothing(runs, settings, log_y=pen.log_y),
        log_y=pen.log_y,
        robust=settings.robust,
        cursor=None if settings.cursor is None else window.column(settings.cursor, count),
        attempts=[
            window.column(chosen.ruler.at(step), count)
            for step in (chosen.attempts if chosen else ())
            if chosen is not None and chosen.ruler is not None
        ],
    )
    found = [subject for subject, _ in described]
    return Picture(group, on_top, found, window, total, look, metrics, len(runs) == 1)


def _why_nothing(runs: Sequence[DrawnRun], settings: Settings, *, log_y: bool) -> str:
    """Return what to say of a chart without any dot."""
    if all(run.ruler is None for run in runs):
        return f"{_NOWHERE[settings.axis]}: t has the x axis count something else"
    if settings.zoom is not None:
        return "nothing in this part: 0 shows all"
    return "no value above 0: x has the axis linear" if log_y else PLAIN.nothing


def _in_order(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return training before validation, so that each has its pattern in all charts."""
    splits = [split_metric(name)[0] for name in metrics]
    order = [SPLITS.index(split) if split in SPLITS else -1 for split in splits]
    return tuple(name for _, name in sorted(zip(order, metrics, strict=True), key=itemgetter(0)))


def subjects(runs: Sequence[DrawnRun], settings: Settings) -> list[tuple[Subject, list[DrawnRun]]]:
    """Return the lines of the legend without values, each with the runs that it stands for."""
    groups: dict[Hashable, list[DrawnRun]] = {}
    for run in runs:
        is_shared = settings.grouped and run.group is not None
        groups.setdefault((is_shared, run.group if is_shared else run.who.key), []).append(run)
    names = dict(zip((run.who.key for run in runs), names_of(runs), strict=True))
    return [
        (_subject(members, names[members[0].who.key], runs), members) for members in groups.values()
    ]


def _subject(members: Sequence[DrawnRun], name: str, runs: Sequence[DrawnRun]) -> Subject:
    first = members[0].who
    if len(members) == 1:
        return Subject(first, first.sign, name)
    who = next((run.who for run in members if run.who.is_chosen), first)
    who = replace(who, role=first.role, letter=first.letter)
    signs = "".join(dict.fromkeys(run.who.sign for run in members))
    name = f"{members[0].facts.name} ×{len(members)} {_shared(members, runs)}".rstrip()
    return Subject(who, signs, name)


def _whole(metrics: Sequence[str], runs: Sequence[DrawnRun], settings: Settings) -> Window:
    ranges = (
        place_range(run.traces[name], run.ruler, log=settings.log_x)
        for run in runs
        for name in metrics
        if name in run.traces and run.ruler is not None
    )
    return whole((found for found in ranges if found), settings.axis, settings.log_x)


@dataclass(slots=True)
class _Pen:
    """Makes the curves of one chart."""

    metrics: tuple[str, ...]
    window: Window
    count: int
    settings: Settings
    log_y: bool
    kept: Kept
    edges: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.edges = self.window.edges(self.count)

    def run(self, run: DrawnRun, subject: Subject, runs: int) -> list[Curve]:
        """Return the curves of one of so many runs, and note their values in the legend."""
        is_alone = runs == 1
        shows_raw = self.settings.smoothing > 0 and (runs <= RAW_RUNS or run.who.is_chosen)
        if run.ruler is None:
            subject.notes.append(_NOWHERE[self.settings.axis])
            return []
        curves = []
        for pattern, metric in enumerate(self.metrics):
            curve = run.traces.get(metric)
            if curve is None:
                continue
            role = CURVE_ROLES[pattern % len(CURVE_ROLES)] if is_alone else run.who.role
            drawn = self._smoothed(run, metric, curve)
            found = self._columns(run, metric, drawn)
            last = curve.last[1] if curve.last else None
            subject.readings.append(self._reading(run, pattern, metric, drawn, last))
            subject.notes += self._left_out(run, curve)
            curves.append(
                Curve(
                    _label(metric, curve),
                    role,
                    found.lows,
                    found.highs,
                    last,
                    pattern,
                    "" if is_alone else run.who.sign,
                    break_columns(curve, run.ruler, self.window, self.count),
                    self._columns(run, metric, curve) if shows_raw else None,
                )
            )
        return curves

    def mean(self, members: Sequence[DrawnRun], subject: Subject) -> list[Curve]:
        """Return the means of several runs with their spread, and note them in the legend."""
        curves = []
        for pattern, metric in enumerate(self.metrics):
            found, breaks = [], []
            for run in members:
                trace = run.traces.get(metric)
                if trace is not None and run.ruler is not None:
                    found.append(self._columns(run, metric, self._smoothed(run, metric, trace)))
                    breaks.append(break_columns(trace, run.ruler, self.window, self.count))
            if not found:
                continue
            made = band(found, breaks, above_zero=self.log_y)
            no_cursor = self.settings.cursor is None
            mean, std = _newest(members, metric) if no_cursor else self._at_cursor(made)
            subject.readings.append(Reading(metric, pattern, mean, mean, std))
            role, sign = subject.who.role, subject.who.sign
            curve = Curve(from_file(metric), role, made.means, made.means, None, pattern, sign)
            gaps = sorted(chain.from_iterable(breaks))
            curves.append(replace(curve, band=made.spread, breaks=gaps))
            bad = sum(run.traces[metric].nonfinite for run in members if metric in run.traces)
            subject.notes += [f"{bad:,} nan/inf"] * bool(bad)
        lost = sum(run.ruler is None for run in members)
        if lost:
            subject.notes.append(f"{lost} of them: {_NOWHERE[self.settings.axis]}")
        return curves

    def _at_cursor(self, made: Band) -> tuple[float | None, float | None]:
        """Return mean and deviation of the column at the cursor."""
        cursor = self.settings.cursor
        at = -1 if cursor is None else self.window.column(cursor, self.count)
        if not 0 <= at < self.count or made.means[at] != made.means[at]:
            return None, None
        std = made.spread.highs[at] - made.means[at]
        return made.means[at], std if std == std else None

    def _edges(self, run: DrawnRun) -> list[float]:
        """Return the steps of a run at which the columns begin."""
        ruler = run.ruler
        if ruler is None or ruler.knots is None:
            return self.edges
        stamp = (ruler, self.window, self.count)
        key = ("edges", run.who.key)
        return self.kept.get(key, stamp, lambda: [ruler.step_at(edge) for edge in self.edges])

    def _smoothed(self, run: DrawnRun, metric: str, curve: Trace) -> Trace:
        if not self.settings.smoothing:
            return curve
        return self.kept.smooth((run.who.key, metric), curve, self.settings.smoothing)

    def _columns(self, run: DrawnRun, metric: str, curve: Trace) -> Columns:
        is_raw = curve is run.traces[metric]
        stamp = (curve, self.window, self.count, run.ruler, self.log_y)
        key = ("columns", run.who.key, metric, is_raw)
        return self.kept.get(key, stamp, lambda: self._cut(curve, self._edges(run)))

    def _cut(self, curve: Trace, edges: Sequence[float]) -> Columns:
        found = columns(curve, edges)
        return above_zero(found) if self.log_y else found

    def _reading(
        self, run: DrawnRun, pattern: int, metric: str, curve: Trace, last: float | None
    ) -> Reading:
        cursor = self.settings.cursor
        if cursor is None or run.ruler is None:
            return Reading(metric, pattern, last, last)
        found = value_at(curve, run.ruler, self.window, cursor)
        return Reading(metric, pattern, *(found or (None, None)))

    def _left_out(self, run: DrawnRun, curve: Trace) -> list[str]:
        notes = [f"{curve.nonfinite:,} nan/inf"] if curve.nonfinite else []
        more = "" if curve.is_exact else "+"
        below = not_above_zero(curve.lows) if self.log_y else 0
        if below:
            notes.append(f"{below:,}{more} ≤0 left out")
        before = left_of_log(curve, run.ruler) if self.settings.log_x and run.ruler else 0
        if before:
            notes.append(f"{before:,}{more} at {self.settings.axis} ≤0 left out")
        return notes


def _newest(members: Sequence[DrawnRun], metric: str) -> tuple[float | None, float | None]:
    """Return mean and deviation of the newest value of each run, as the list has them."""
    curves = (run.traces[metric] for run in members if metric in run.traces)
    values = [curve.last[1] for curve in curves if curve.last]
    mean, std = mean_and_spread(values) if values else (None, None)
    return mean, std if std == std else None


_NOWHERE = {"epoch": "no epochs known", "time": "no times known", "step": ""}


def _shared(members: Sequence[DrawnRun], runs: Sequence[DrawnRun]) -> str:
    """Return the first few parameters that some runs share and that tell them from the others."""
    params = [run.facts.params for run in members]
    same = [
        (key, value)
        for key, value in params[0].items()
        if all(one.get(key) == value for one in params)
    ]
    telling = [
        (key, value)
        for key, value in same
        if any(run.facts.params.get(key) != value for run in runs)
    ]
    return " ".join(f"{key}={value}" for key, value in (telling or same)[:3])


def _label(metric: str, curve: Trace) -> str:
    lost = f" ({curve.nonfinite:,} nan/inf)" if curve.nonfinite else ""
    return from_file(metric) + lost


def split_of(metric: str) -> str:
    """Return what tells a metric from the others of its chart: its split, or else its name."""
    return split_metric(metric)[0] or metric
