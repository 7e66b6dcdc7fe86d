"""Image samples of runs as a timeline: which steps there are, and what each name has at one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runstore.state.samples import Sample

from .text import EMPTY, LazyLines, Line, Span, fit_line, from_file, line, spread, width_of

Moment = tuple[int, int]
"""A step, and the place among the samples of a name at that step, from 0."""
Series = tuple[str, int]
"""A name of samples, and of which run: its place among those that are drawn together."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The samples of some series in the order of steps; one moment may have one of each."""

    series: Mapping[Series, Sequence[Sample]] = field(default_factory=dict)
    moments: Sequence[Moment] = ()
    places: Mapping[Series, Sequence[Moment]] = field(default_factory=dict)
    """The moments of each series' samples."""

    @classmethod
    def of(cls, series: Mapping[Series, Sequence[Sample]]) -> Timeline:
        """Return the timeline of series with their samples in order."""
        places = {key: _moments(samples) for key, samples in series.items()}
        return cls(series, sorted(set().union(*places.values())), places)

    def index(self, moment: Moment | None) -> int:
        """Return the place of a moment, or of the last one before it; None means the newest."""
        if moment is None:
            return len(self.moments) - 1
        return max(0, bisect_right(self.moments, moment) - 1)

    def sample(self, series: Series, moment: Moment | None) -> Sample | None:
        """Return the newest sample of a series up to a moment; None before its first one."""
        places = self.places[series]
        at = len(places) if moment is None else bisect_right(places, moment)
        return self.series[series][at - 1] if at else None


def _moments(samples: Sequence[Sample]) -> list[Moment]:
    moments: list[Moment] = []
    for sample in samples:
        step = sample.file.step
        before = moments[-1] if moments else (-1, 0)
        moments.append((step, before[1] + 1 if before[0] == step else 0))
    return moments


def scrubber(
    timeline: Timeline, at: int, epoch: int | None, state: str, note: str, width: int
) -> Line:
    """Return where in the run this is: `step 1,200  epoch 3  ━━━━●─────  7 of 24  newest`.

    Args:
        timeline: with one moment at least.
        at: the moment that is shown.
        epoch: its epoch; None where that is not known.
        state: `newest`, `playing`, or empty.
        note: what does not fit, in words; empty when all is shown.
        width: cells.
    """
    count = len(timeline.moments)
    head = f"step {timeline.moments[at][0]:,}"
    head += "" if epoch is None else f"  epoch {epoch:,}"
    tail = f"{at + 1:,} of {count:,}"
    right = line(Span(tail, "value"), Span(f"  {state}" if state else "", "key"))
    if note:
        right = (*right, Span(f"  {note}", "warn"))
    left = line(Span(head, "value"), "  ")
    room = width - width_of(head) - 4 - sum(width_of(span.text) for span in right)
    if room >= 8:
        knob = round(at / max(1, count - 1) * (room - 1))
        track = (
            Span("━" * knob, "bar"),
            Span("●", "value"),
            Span("─" * (room - knob - 1), "faint"),
        )
        return fit_line((*left, *(s for s in track if s.text), Span("  "), *right), width)
    return spread(line(Span(head, "value")), right, width)


def short_path(sample: Sample) -> str:
    """Return the file's folder and name: what is before them is the run's."""
    return from_file("/".join(sample.path.split("/")[-2:]))


def files(timeline: Timeline, why: str) -> Sequence[Line]:
    """Return what there is in words where no picture can be drawn, the newest of a series first.

    Args:
        timeline: the samples.
        why: the first line.
    """
    listed = [sample for found in timeline.series.values() for sample in reversed(found)]

    def row(at: int) -> Line:
        if at < 2:
            return line(Span(why, "warn")) if at == 0 else EMPTY
        sample = listed[at - 2]
        step = f"step {sample.file.step:>10,}  "
        return line(Span(step, "value"), Span(short_path(sample), "dim"))

    return LazyLines(2 + len(listed), row)
