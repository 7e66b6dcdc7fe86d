"""Pictures side by side, each below a line that says what it is."""

from __future__ import annotations

import textwrap
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runstore.images.pictures import Box, Pixels

from .halfblocks import cells
from .text import EMPTY, Line, Span, fit_line, from_file, join, line, shorten, width_of

MIN_TILE_WIDTH = 18
MIN_TILE_HEIGHT = 5
MIN_NAME_WIDTH = 8
GAP = 2
"""Cells between two pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in the size of the screen, or why there is none."""

    pixels: Pixels | None = None
    size: tuple[int, int] = (0, 0)
    """The whole image's, in its own pixels."""
    box: Box | None = None
    """The part of it that is shown."""
    scale: float = 1.0
    """Pixels of the screen for one of the image."""
    frame: int = 0
    """Which frame of an animation it is, from 0."""
    ends_s: tuple[float, ...] = ()
    """When each frame of it has been shown for its time, in seconds from the beginning."""
    has_all: bool = True
    """There are no more frames than can be shown."""
    problem: str = ""

    @property
    def is_animated(self) -> bool:
        """Whether there are several frames."""
        return len(self.ends_s) > 1

    def frame_at(self, elapsed_s: float) -> int:
        """Return which frame is to be seen so long after the beginning; it goes round and round."""
        whole_s = self.ends_s[-1] if self.is_animated else 0.0
        return bisect_right(self.ends_s, elapsed_s % whole_s) if whole_s > 0 else 0

    @property
    def place(self) -> str:
        """`frame 3/24`, of which there may be more in the file; empty for a single one."""
        more = "" if self.has_all else "+"
        return f"frame {self.frame + 1}/{len(self.ends_s)}{more}" if self.is_animated else ""


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


def tile(
    said: Caption, picture: Picture | None, where: str, look: str, dark: bool, width: int
) -> list[Line]:
    """Return a picture below its caption, or why there is none.

    Args:
        said: what it is; what the picture tells of itself is added.
        picture: None while it is being decoded.
        where: its file, told when that cannot be shown.
        look: how pixels are drawn, and whether the screen is `dark` (see `halfblocks.cells`).
        dark: see `look`.
        width: cells.
    """
    if said.step is None:
        return [caption(said, width), line(Span("no sample yet at this step", "dim"))]
    if picture is None:
        return [caption(said, width), line(Span("reading …", "dim"))]
    if picture.pixels is None:
        why = textwrap.wrap(from_file(picture.problem), width)
        told = [line(Span(text, "warn")) for text in why]
        return [
            caption(said, width),
            *told,
            line(Span(shorten(where, width, keep_end=True), "dim")),
        ]
    notes = (part_shown(picture.box, picture.size), picture.place)
    said = said._replace(
        size=picture.size, scale=picture.scale, note="  ".join(filter(None, notes))
    )
    return [caption(said, width), *cells(picture.pixels, look, dark)]
