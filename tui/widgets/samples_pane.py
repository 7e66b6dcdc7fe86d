"""The view `samples`: images of the chosen run, step by step."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstore.pictures import INSTALL, framing, is_installed
from runstore.samples import Rewinds, Sample, Samples, epoch_of
from runstore.state import RunState

from ..catalog import RunView
from ..pictures import Picture, Pictures, Wanted
from ..renderables import halfblocks
from ..renderables.samples import (
    Caption,
    Grid,
    Moment,
    Timeline,
    arrange_tiles,
    beside,
    caption,
    files,
    part_shown,
    scrubber,
    short_path,
)
from ..renderables.text import EMPTY, Line, Span, from_file, line, shorten
from ..scene import Scene
from .pane import Pane

if TYPE_CHECKING:
    from textual import events
    from textual.timer import Timer

FRAME_S = 0.25
"""Between two pictures when they are played."""
HOLD_S = 0.3
"""How long the last pictures stay while the next ones are decoded."""
LOOK_AGAIN_S = 0.03
ZOOMS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
PAN = 0.25
"""Of what is shown, by one key."""
LEAP = 10
"""A leap is one in so many of all steps."""
_NOTHING = (
    "No image samples in this run.",
    "Images in samples/NAME/step-00000001.png of its directory appear here, NAME and step as you",
    "like; docs/format.md has the rest. W&B's logged images are shown too.",
)


class SamplesPane(Pane):
    """Shows the newest images until another step is chosen."""

    NAME = "samples"
    FOLLOWS_CLOCK = True
    """New files come without a row."""

    def __init__(self) -> None:
        super().__init__()
        self._pictures = Pictures()
        self._moment: Moment | None = None
        """What is looked at; None: the newest, whatever comes."""
        self._only: str | None = None
        """The one name that is shown; None: all, side by side."""
        self._zoom = 0
        self._centre = (0.5, 0.5)
        self._look: str | None = None
        """How pictures are drawn; None: in colours, where there are any."""
        self._player: Timer | None = None
        self._again: Timer | None = None
        """Draws what was still being decoded."""
        self._plays = False
        self._names: Sequence[str] = ()
        self._timeline = Timeline()
        self._samples: Samples | None = None
        self._timeline_of: tuple[object, ...] = ()
        """What the timeline was made of, besides the samples."""
        self._framed: tuple[tuple[int, int], tuple[int, int]] | None = None
        """Size and room of a picture on screen: panning goes by what is shown of it."""
        self._drawn: dict[tuple[int, str, bool], tuple[Picture, list[Line]]] = {}
        """Pictures as lines, those of the last frame."""
        self._is_whole = False
        """All pictures of the last frame were decoded."""
        self._whole: list[Line] = []
        """The last frame of which that is so, …"""
        self._whole_of: tuple[object, ...] = ()
        """… and what it shows."""
        self._missing_since: float | None = None
        """Since when pictures are being decoded that should be on screen."""

    def on_mount(self) -> None:
        """Have a clock for playing, which stands still."""
        self._player = self.set_interval(FRAME_S, self._next_frame, pause=True)

    def on_unmount(self) -> None:
        """End the thread."""
        self._pictures.stop()

    def on_hide(self, event: events.Hide) -> None:
        """Nobody looks: stop playing."""
        self._stop()

    def show(self, scene: Scene) -> None:
        """Show another run from its newest sample on, or the same with new values."""
        if scene.entry is not self.entry:
            self._moment, self._zoom, self._centre = None, 0, (0.5, 0.5)
            self._stop()
        super().show(scene)

    def subtitle(self) -> str:
        """Return which of the names is shown."""
        if len(self._names) < 2:
            return from_file(self._names[0]) if self._names else ""
        if self._only is None:
            return f"{len(self._names)} side by side"
        at = list(self._names).index(self._only) + 1
        return f"{from_file(self._only)} {at}/{len(self._names)}"

    # ---- drawing -------------------------------------------------------------------------------

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return pictures that fill the pane, and a line that says where in the run they are."""
        state = view.full
        samples = self._pictures.show(state.path, state.source)
        if samples is None:
            self._names, self._is_whole = (), False
            self._draw_again_in(LOOK_AGAIN_S)
            return [line(Span("looking for images …", "dim"))]
        timeline = self._timeline_from(samples, state)
        if not timeline.moments:
            return _nothing(samples, width)
        if not is_installed():
            return files(timeline, f"Images are drawn with Pillow, which is not here: {INSTALL}")
        return self._frame(timeline, samples.left_out, state, width, height)

    def _timeline_from(self, samples: Samples, state: RunState) -> Timeline:
        """Return the samples that count, of the names that are shown; made anew on a change."""
        rewinds = Rewinds.of(state)
        if samples is not self._samples or (rewinds, self._only) != self._timeline_of:
            found = {n: rewinds.visible(one) for n, one in samples.by_name.items()}
            self._names = [name for name, counting in found.items() if counting]
            if self._only not in found or self._only not in self._names:
                self._only = None
            names = self._names if self._only is None else [self._only]
            self._timeline = Timeline.of({name: found[name] for name in names})
            self._samples, self._timeline_of = samples, (rewinds, self._only)
        return self._timeline

    def _frame(
        self, timeline: Timeline, left_out: str, state: RunState, width: int, height: int
    ) -> list[Line]:
        """Return the pictures of this moment; the last ones for as long as decoding usually takes.

        Otherwise each key would blank the pictures for the blink of an eye.
        """
        names = list(timeline.names)
        grid = arrange_tiles(len(names), width, height - 1)
        names = names[: grid.places]
        now = [timeline.sample(name, self._moment) for name in names]
        self._pictures.ask(self._wanted(timeline, names, grid))
        self._is_whole = all(s is None or self._picture(s, grid) is not None for s in now)
        frame_of = (state.path, grid, tuple(names), self._style())
        if self._is_whole:
            self._missing_since = None
        elif self._holds() and self._whole_of == frame_of:
            return self._whole
        tiles = [
            self._tile(name, sample, state, grid) for name, sample in zip(names, now, strict=True)
        ]
        rows = beside(tiles, grid)
        rows += [EMPTY] * (height - 1 - len(rows))
        beyond = len(timeline.names) - len(names)
        note = f"{beyond} more: n" if beyond else left_out
        rows.append(self._scrubber(timeline, now, state, note, width))
        if self._is_whole:
            self._whole, self._whole_of = rows, frame_of
        return rows

    def _holds(self) -> bool:
        """Draw again soon, and tell whether the last pictures may stay until then."""
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        holds = now - self._missing_since < HOLD_S
        self._draw_again_in(LOOK_AGAIN_S if holds else HOLD_S)
        return holds

    def _scrubber(
        self,
        timeline: Timeline,
        now: Sequence[Sample | None],
        state: RunState,
        note: str,
        width: int,
    ) -> Line:
        newest = max((s for s in now if s is not None), key=lambda s: s.file, default=None)
        epoch = None if newest is None else epoch_of(newest, state)
        played = "playing" if self._plays else "newest" if self._moment is None else ""
        at = timeline.index(self._moment)
        return scrubber(timeline, at, epoch, played, note, width)

    def _draw_again_in(self, seconds: float) -> None:
        """Draw again what is not whole: sooner than the screen's own tick, and while it is held."""
        if self._again is None:
            self._again = self.set_timer(seconds, self._draw_again)

    def _draw_again(self) -> None:
        self._again = None
        if not self._is_whole:
            self.redraw()

    def _request(self, sample: Sample, grid: Grid) -> Wanted:
        room = (grid.width, 2 * (grid.height - 1))
        return Wanted(sample.path, room, ZOOMS[self._zoom], self._centre)

    def _wanted(self, timeline: Timeline, names: Sequence[str], grid: Grid) -> list[Wanted]:
        """Return what is shown now, and what the next key is likely to show."""
        at = timeline.index(self._moment)
        near = [self._moment, *timeline.moments[at + 1 : at + 2], *timeline.moments[at - 1 : at]]
        wanted = (timeline.sample(name, moment) for moment in near for name in names)
        requests = (self._request(sample, grid) for sample in wanted if sample is not None)
        return list(dict.fromkeys(requests))

    def _picture(self, sample: Sample, grid: Grid) -> Picture | None:
        picture = self._pictures.get(self._request(sample, grid))
        if picture is not None and picture.pixels is not None:
            self._framed = (picture.size, (grid.width, 2 * (grid.height - 1)))
        return picture

    def _tile(self, name: str, sample: Sample | None, state: RunState, grid: Grid) -> list[Line]:
        if sample is None:
            none_yet = line(Span("no sample yet at this step", "dim"))
            return [caption(Caption(name), grid.width), none_yet]
        picture = self._picture(sample, grid)
        said = Caption(name, sample.file.step, epoch_of(sample, state))
        if picture is None:
            return [caption(said, grid.width), line(Span("reading …", "dim"))]
        if picture.pixels is None:
            where = shorten(short_path(sample), grid.width, keep_end=True)
            why = textwrap.wrap(from_file(picture.problem), grid.width)
            told = [line(Span(text, "warn")) for text in why]
            return [caption(said, grid.width), *told, line(Span(where, "dim"))]
        notes = [part_shown(picture.box, picture.size)]
        notes += ["animated: first frame"] if picture.animated else []
        note = "  ".join(filter(None, notes))
        said = said._replace(size=picture.size, scale=picture.scale, note=note)
        return [caption(said, grid.width), *self._lines_of(picture)]

    def _lines_of(self, picture: Picture) -> list[Line]:
        """Return a picture as lines, those of the last few kept: most frames differ in nothing."""
        assert picture.pixels is not None
        dark = self.app.current_theme.dark
        key = (id(picture), self._style(), dark)
        found = self._drawn.get(key)
        if found is None:
            if len(self._drawn) > 64:
                self._drawn.clear()
            found = self._drawn[key] = (picture, halfblocks.cells(picture.pixels, key[1], dark))
        return found[1]

    def _style(self) -> str:
        if self._look is not None:
            return self._look
        return "shades" if self.app.no_color else "colours"

    # ---- what keys do --------------------------------------------------------------------------

    def press(self, key: str, character: str | None) -> bool:
        """Any key stops what is playing; it does what it does all the same."""
        if key != "space":
            self._stop()
        return False

    def action_sample(self, moves: int) -> None:
        """Go to a later or an earlier step; behind the last one it follows the newest again."""
        moments = self._timeline.moments
        at = max(0, self._timeline.index(self._moment) + moves)
        self._moment = None if at >= len(moments) - 1 else moments[at]
        self.redraw()

    def action_leap(self, direction: int) -> None:
        """Go on by a tenth of all steps."""
        self.action_sample(direction * max(1, len(self._timeline.moments) // LEAP))

    def action_end(self, direction: int) -> None:
        """Go to the first step, or follow the newest."""
        self.action_sample(direction * len(self._timeline.moments))

    def action_play(self) -> None:
        """Play from here to the newest, from the first when this is the newest; or stop."""
        if self._plays:
            self._stop()
        elif len(self._timeline.moments) > 1 and self._player is not None:
            if self._timeline.index(self._moment) == len(self._timeline.moments) - 1:
                self._moment = self._timeline.moments[0]
            self._plays = True
            self._player.reset()
            self._player.resume()
        self.redraw()

    def _next_frame(self) -> None:
        """Show the next step, once this one is on screen."""
        if self._plays and self._is_whole:
            self.action_sample(1)
            if self._moment is None:
                self._stop()
                self.redraw()

    def _stop(self) -> None:
        self._plays = False
        if self._player is not None:
            self._player.pause()

    def action_name(self, move: int) -> None:
        """Show one name after the other, and then all side by side again."""
        choices: list[str | None] = [None, *(self._names if len(self._names) > 1 else ())]
        at = choices.index(self._only) if self._only in choices else 0
        self._only = choices[(at + move) % len(choices)]
        self.redraw()

    def action_zoom(self, move: int) -> None:
        """Enlarge or shrink around the middle; 0 fits it into the pane again."""
        self._zoom = max(0, min(len(ZOOMS) - 1, self._zoom + move)) if move else 0
        if self._zoom == 0:
            self._centre = (0.5, 0.5)
        self.redraw()

    def action_right(self, direction: int) -> None:
        """Move across an enlarged picture; otherwise from step to step."""
        if self._zoom:
            self._pan(direction, 0)
        else:
            self.action_sample(direction)

    def scroll_lines(self, lines: int) -> None:
        """Move up or down an enlarged picture."""
        if self._zoom:
            self._pan(0, 1 if lines > 0 else -1)
        else:
            super().scroll_lines(lines)

    def _pan(self, across: int, down: int) -> None:
        """Move by a part of what is shown; not beyond the edges, where a key would do nothing."""
        if self._framed is None:
            return
        size, room = self._framed
        box = framing(size, room, ZOOMS[self._zoom], self._centre).box
        shares = ((box.right - box.left) / size[0], (box.bottom - box.top) / size[1])
        x, y = (
            max(share / 2, min(1 - share / 2, middle + move * PAN * share))
            for share, middle, move in zip(shares, self._centre, (across, down), strict=True)
        )
        self._centre = (x, y)
        self.redraw()

    def action_look(self) -> None:
        """Draw pictures in colours, in shades, or in characters."""
        at = halfblocks.LOOKS.index(self._style())
        self._look = halfblocks.LOOKS[(at + 1) % len(halfblocks.LOOKS)]
        self.redraw()


def _nothing(samples: Samples, width: int) -> list[Line]:
    if samples.problem:
        return [line(Span(f"samples cannot be listed: {from_file(samples.problem)}", "warn"))]
    return [line(Span(shorten(text, width), "dim")) for text in _NOTHING]
