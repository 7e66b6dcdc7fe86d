"""The runs of a chart: what a frame needs of each, taken while its state keeps still."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runstore.nested import flattened
from runstore.state.run_state import RunState
from runstore.state.series import Series, Trace

from ..grouping import group_key
from .axes import Ruler, Window, knots_stamp, ruler
from .facts import Facts, short, tell_apart
from .scale import nearest
from .text import from_file
from .traces import Kept

CURVE_ROLES = tuple(f"curve{i}" for i in range(8))
UNMARKED = "●"
"""In place of a letter, of the chosen run that has none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a run is, beside the others of the chart."""

    key: str
    letter: str = ""
    """Of a marked run."""
    role: str = CURVE_ROLES[0]
    is_chosen: bool = True

    @property
    def sign(self) -> str:
        """What stands at the end of its curves and in front of its name."""
        return self.letter or UNMARKED


@dataclass(frozen=True, slots=True)
class DrawnRun:
    """One run of a frame; everything in it is safe to draw, and holds without its lock."""

    who: Identity
    facts: Facts
    """Only its name, id and parameters."""
    group: Hashable
    """What it shares with runs of other seeds; None when it is like no other."""
    metrics: tuple[str, ...]
    """All that it has, also those that are not drawn."""
    traces: Mapping[str, Trace] = field(default_factory=dict)
    """Of the metrics that are drawn."""
    ruler: Ruler | None = None
    """None when it does not say where on the axis it was."""
    attempts: tuple[float, ...] = ()
    """First steps of the attempts after the first."""
    is_reading: bool = False
    """There is more of it to come."""


def draw_run(
    state: RunState,
    series: Mapping[str, Sequence[Series]],
    who: Identity,
    metrics: Iterable[str],
    axis: str,
    kept: Kept,
    *,
    is_reading: bool = False,
) -> DrawnRun:
    """Return what a frame needs of a run.

    Args:
        state: The run, read in full, as long as nobody changes it.
        series: Its `series`, which is made anew at each look.
        who: Its place among the runs of the chart.
        metrics: Those that are drawn.
        axis: One of `axes.AXES`.
        kept: What was made for earlier frames.
        is_reading: There is more of it to come.
    """
    steps, params = state.first_steps, state.params
    facts, group = kept.get(
        ("facts", who.key),
        (state.id, state.name, params),
        lambda: (_identified(state, params), group_key(params)),
    )
    return DrawnRun(
        who,
        facts,
        group,
        tuple(series),
        traces_of(series, who, metrics, kept),
        kept.get(("ruler", who.key), knots_stamp(state, axis), lambda: ruler(state, axis)),
        tuple(float(steps[number]) for number in sorted(steps)[1:]),
        is_reading,
    )


def traces_of(
    series: Mapping[str, Sequence[Series]], who: Identity, metrics: Iterable[str], kept: Kept
) -> dict[str, Trace]:
    """Return the curves of those of the metrics that the run has."""
    return {name: kept.trace((who.key, name), series[name]) for name in metrics if name in series}


def _identified(state: RunState, params: Mapping[str, object]) -> Facts:
    return Facts(
        name=from_file(state.name),
        word="",
        reason="",
        epoch=None,
        epochs=None,
        fraction=None,
        it_per_s=None,
        eta_s=None,
        duration_s=None,
        last={},
        damaged=False,
        id=from_file(state.id),
        params={from_file(key): from_file(short(value)) for key, value in flattened(params)},
    )


def names_of(runs: Sequence[DrawnRun]) -> list[str]:
    """Return a name for each run, with what tells it from others of the same name."""
    told = tell_apart([run.facts for run in runs])
    return [f"{facts.name} {facts.apart[0]}".rstrip() for facts in told]


def place_range(curve: Trace, ruler: Ruler, *, log: bool) -> tuple[float, float] | None:
    """Return the first and last place of a curve on the axis; None where it has none.

    Args:
        curve: The curve, over steps.
        ruler: Of its run.
        log: Only places above 0 count.
    """
    first = left_of_log(curve, ruler) if log else 0
    xs = [*curve.xs[first : first + 1], *curve.xs[-1:], *(x for pair in curve.breaks for x in pair)]
    places = [ruler.at(x) for x in xs]
    if curve.last is not None:
        places.append(ruler.at(curve.last[0]))
    places = [place for place in places if place > 0 or not log]
    return (min(places), max(places)) if places else None


def left_of_log(curve: Trace, ruler: Ruler) -> int:
    """Return how many points a logarithmic horizontal axis has no place for."""
    return bisect_right(curve.xs, ruler.step_at(0.0))


def value_at(
    curve: Trace, ruler: Ruler, window: Window, place: float
) -> tuple[float, float] | None:
    """Return the range of values at the point next to a place; None beyond the ends of the curve.

    NaN where the curve has a gap there.
    """
    xs = curve.xs
    step = ruler.step_at(place)
    half = abs(ruler.step_at(window.place(0.005)) - ruler.step_at(window.place(0.0)))
    if any(low - half / 2 <= step <= high + half / 2 for low, high in curve.breaks):
        return (float("nan"), float("nan"))
    if not xs or not xs[0] - half <= step <= xs[-1] + half:
        return None
    at = nearest(xs, step)
    return curve.lows[at], curve.highs[at]
