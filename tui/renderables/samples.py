"""Image samples of a run: which steps there are, where the pictures stand, what is said of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runstore.pictures import Box
from runstore.samples import Sample

from .text import (
    EMPTY,
    LazyLines,
    Line,
    Span,
    fit_line,
    from_file,
    join,
    line,
    shorten,
    spread,
    width_of,
)

MIN_TILE_WIDTH = 18
MIN_TILE_HEIGHT = 5
MIN_NAME_WIDTH = 8
GAP = 2
"""Cells between two pictures."""

Moment = tuple[int, int]
"""A step, and the place among the samples of a name at that step, from 0."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The samples of some names in the order of steps; one moment may have one of each."""

    names: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    moments: Sequence[Moment] = ()
    places: Mapping[str, Sequence[Moment]] = field(default_factory=dict)
    """The moments of each name's samples."""

    @classmethod
    def of(cls, names: Mapping[str, Sequence[Sample]]) -> Timeline:
        """Return the timeline of names with their samples in order."""
        places = {name: _moments(samples) for name, samples in names.items()}
        return cls(names, sorted(set().union(*places.values())), places)

    def index(self, moment: Moment | None) -> int:
        """Return the place of a moment, or of the last one before it; None means the newest."""
        if moment is None:
            return len(self.moments) - 1
        return max(0, bisect_right(self.moments, moment) - 1)

    def sample(self, name: str, moment: Moment | None) -> Sample | None:
        """Return the newest sample of a name up to a moment; None before its first one."""
        places = self.places[name]
        at = len(places) if moment is None else bisect_right(places, moment)
        return self.names[name][at - 1] if at else None


def _moments(samples: Sequence[Sample]) -> list[Moment]:
    moments: list[Moment] = []
    for sample in samples:
        step = sample.file.step
        before = moments[-1] if moments else (-1, 0)
        moments.append((step, before[1] + 1 if before[0] == step else 0))
    return moments


class Grid(NamedTuple):
    """How pictures stand side by side; sizes in cells, a picture's caption included."""

    columns: int
    rows: int
    width: int
    height: int

    @property
    def places(self) -> int:
        """How many pictures there is room for."""
        return self.columns * self.rows


def arrange_tiles(count: int, width: int, height: int) -> Grid:
    """Return the grid in which `count` pictures are largest, or as many as are not too small."""
    best, largest = Grid(1, 1, width, height), (0, 0)
    for columns in range(1, count + 1):
        tile_width = (width + GAP) // columns - GAP
        if tile_width < MIN_TILE_WIDTH and columns > 1:
            break
        rows = min(-(-count // columns), max(1, height // MIN_TILE_HEIGHT))
        grid = Grid(columns, rows, tile_width, height // rows)
        size = (min(count, grid.places), min(tile_width, 2 * (grid.height - 1)))
        if size > largest:
            best, largest = grid, size
    return best


class Caption(NamedTuple):
    """What is said above a picture."""

    name: str
    step: int | None = None
    """None: it has no sample yet at this moment."""
    epoch: int | None = None
    size: tuple[int, int] | None = None
    scale: float = 1.0
    note: str = ""


def caption(said: Caption, width: int) -> Line:
    """Return the line above a picture: what counts most is cut last."""
    name = from_file(said.name)
    facts = []
    if said.step is not None:
        facts.append(f"step {said.step:,}")
    if said.epoch is not None:
        facts.append(f"epoch {said.epoch:,}")
    if said.size is not None:
        facts += [f"{said.size[0]}×{said.size[1]}", _scale(said.scale)]
    if said.note:
        facts.append(said.note)
    room = width - (width_of(facts[0]) + 2 if facts else 0)
    shown = shorten(name, room if room >= MIN_NAME_WIDTH else width, keep_end=True)
    spans = [Span(shown, "name")]
    left = width - width_of(shown)
    for fact in facts:
        left -= width_of(fact) + 2
        if left >= 0:
            spans.append(Span(f"  {fact}", "dim"))
    return fit_line(tuple(spans), width)


def _scale(scale: float) -> str:
    if scale >= 1:
        return f"{scale:.0f}:1"
    return f"1:{1 / scale:.2g}" if scale > 0.105 else f"1:{1 / scale:.0f}"


def part_shown(box: Box | None, size: tuple[int, int]) -> str:
    """Return which part of an enlarged image is shown; empty when it is all of it."""
    if box is None:
        return ""
    across, down = box.right - box.left, box.bottom - box.top
    if across >= size[0] - 0.5 and down >= size[1] - 0.5:
        return ""
    return f"{box.left:.0f}–{box.right:.0f}, {box.top:.0f}–{box.bottom:.0f}"


def beside(tiles: Sequence[Sequence[Line]], grid: Grid) -> list[Line]:
    """Return tiles row by row, each filled up to the grid's size."""
    lines: list[Line] = []
    for start in range(0, len(tiles), grid.columns):
        row = tiles[start : start + grid.columns]
        for y in range(grid.height):
            cells = (fit_line(tile[y] if y < len(tile) else EMPTY, grid.width) for tile in row)
            lines.append(join(cells, " " * GAP))
    return lines


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
    """Return what there is in words, where no picture can be drawn; of each name the newest first.

    Args:
        timeline: the samples.
        why: the first line.
    """
    listed = [sample for found in timeline.names.values() for sample in reversed(found)]

    def row(at: int) -> Line:
        if at < 2:
            return line(Span(why, "warn")) if at == 0 else EMPTY
        sample = listed[at - 2]
        step = f"step {sample.file.step:>10,}  "
        return line(Span(step, "value"), Span(short_path(sample), "dim"))

    return LazyLines(2 + len(listed), row)
