"""The view `samples`: images of the runs that are drawn together, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runstore.images.pictures import INSTALL, framing, is_installed
from runstore.state.run_state import RunState
from runstore.state.samples import Rewinds, Sample, Samples, epoch_of

from ..entry import Entry
from ..pictures import Pictures, Wanted
from ..renderables import halfblocks
from ..renderables.samples import Moment, Series, Timeline, files, scrubber, short_path
from ..renderables.text import EMPTY, Line, Span, from_file, line, paragraph
from ..renderables.tiles import Caption, Grid, Picture, arrange_tiles, beside, tile
from ..scene import Scene, glimpses
from .pane import Pane

if TYPE_CHECKING:
    from textual import events
    from textual.timer import Timer

FRAME_S = 0.25
"""Between two pictures when they are played."""
ANIMATE_S = 0.1
"""Between two frames of an animation at least; those between them are left out."""
HOLD_S = 0.3
"""How long the last pictures stay while the next ones are decoded."""
LOOK_AGAIN_S = 0.03
ZOOMS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
PAN = 0.25
"""Of what is shown, by one key."""
LEAP = 10
"""A leap is one in so many of all steps."""
TILES_KEPT = 64
"""Pictures that are kept as lines."""
_NOTHING = (
    "No image samples in this run.",
    "Images in samples/NAME/step-00000001.png of its directory appear here, NAME and step as you "
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
        self._plays = False
        self._frame_clock: Timer | None = None
        self._animating_since = 0.0
        """When the animations on screen began, the time apart in which the screen was held."""
        self._looked_at = 0.0
        self._animated: dict[str, Picture] = {}
        """Of each animation on screen the frame that was seen last."""
        self._again: Timer | None = None
        """Draws what was still being decoded."""
        self._names: list[str] = []
        self._timeline = Timeline()
        self._timeline_of: tuple[object, ...] = ()
        """What the timeline was made of, …"""
        self._samples: Sequence[Samples] = ()
        """… its samples apart: they are compared by what they are, not by what is in them."""
        self._seen_runs: tuple[Entry, ...] = ()
        """The runs that `_seen` is of."""
        self._framed: tuple[tuple[int, int], tuple[int, int]] | None = None
        """Size and room of a picture on screen: panning goes by what is shown of it."""
        self._tiles: dict[tuple[object, ...], list[Line]] = {}
        """Pictures as lines: most frames differ in few."""
        self._is_whole = False
        """All pictures of the last frame were decoded."""
        self._whole: list[Line] = []
        """The last frame of which that is so, …"""
        self._whole_of: tuple[object, ...] = ()
        """… and what it shows."""
        self._missing_since: float | None = None
        """Since when pictures are being decoded that should be on screen."""

    def on_mount(self) -> None:
        """Have clocks for playing, which stand still."""
        self._player = self.set_interval(FRAME_S, self._next_frame, pause=True)
        self._frame_clock = self.set_interval(ANIMATE_S, self._play_on, pause=True)

    def on_unmount(self) -> None:
        """End the thread."""
        self._pictures.stop()

    def on_hide(self, event: events.Hide) -> None:
        """Nobody looks: stop playing."""
        self._stop()
        if self._frame_clock is not None:
            self._frame_clock.pause()

    def show(self, scene: Scene) -> None:
        """Show other runs from their newest samples on, or the same with new values."""
        if scene.together != self.scene.together:
            self._moment, self._zoom, self._centre = None, 0, (0.5, 0.5)
            self._stop()
        super().show(scene)

    def subtitle(self) -> str:
        """Return which of the names is shown, and of how many runs."""
        count = len(self._names)
        if self._only is not None:
            name = f"{from_file(self._only)} {self._names.index(self._only) + 1}/{count}"
        else:
            name = f"{count} side by side" if count > 1 else from_file("".join(self._names))
        runs = len(self.scene.together)
        return " · ".join(filter(None, [f"{runs} runs" * (runs > 1), name]))

    # ---- drawing -------------------------------------------------------------------------------

    def body(self, width: int, height: int) -> list[Line]:
        """Return pictures that fill the pane, and a line that says where in the runs they are."""
        entries = self.scene.together
        if not entries:
            return self.without_run(width)
        with glimpses(entries) as views:
            states = [view.full for view in views if view is not None]
            self.is_waiting = len(states) < len(entries)
            if self.is_waiting:
                return self._seen if self._seen_runs == entries else [EMPTY]
            self._seen = self.scrolled(self._drawn(states, width, height), height)
            self._seen_runs = entries
        return self._seen

    def _drawn(self, states: Sequence[RunState], width: int, height: int) -> Sequence[Line]:
        if not states:
            return []
        found = self._pictures.show([(state.path, state.source) for state in states])
        samples = [one for one in found if one is not None]
        if len(samples) < len(states):
            self._names, self._is_whole = [], False
            self._draw_again_in(LOOK_AGAIN_S)
            return [line(Span("looking for images …", "dim"))]
        self._update_timeline(samples, [Rewinds.of(state) for state in states])
        if not self._timeline.moments:
            return _nothing(samples, width)
        if not is_installed():
            why = f"Images are drawn with Pillow, which is not here: {INSTALL}"
            return files(self._timeline, why)
        return self._frame(states, width, height)

    def _update_timeline(self, samples: Sequence[Samples], rewinds: list[Rewinds]) -> None:
        """Take the samples that count, of the names that are shown; anew when they change."""
        same = list(map(id, samples)) == list(map(id, self._samples))
        if same and (rewinds, self._only) == self._timeline_of:
            return
        counting = [
            {name: seen for name, one in run.by_name.items() if (seen := rewind.visible(one))}
            for run, rewind in zip(samples, rewinds, strict=True)
        ]
        self._names = sorted(set().union(*counting))
        if self._only not in self._names:
            self._only = None
        shown = self._names if self._only is None else [self._only]
        self._timeline = Timeline.of(
            {
                (name, at): found[name]
                for name in shown
                for at, found in enumerate(counting)
                if name in found
            }
        )
        self._samples, self._timeline_of = samples, (rewinds, self._only)

    def _frame(self, states: Sequence[RunState], width: int, height: int) -> list[Line]:
        """Return the pictures of this moment; the last ones for as long as decoding usually takes.

        Otherwise each key would blank the pictures for the blink of an eye.
        """
        count = len(self._timeline.series)
        grid = arrange_tiles(count, width, height - 1)
        shown = list(self._timeline.series)[: grid.places]
        now = {series: self._timeline.sample(series, self._moment) for series in shown}
        self._follow_animations([sample for sample in now.values() if sample is not None], grid)
        self._pictures.ask(self._wanted(shown, grid))
        self._is_whole = all(s is None or self._picture(s, grid) is not None for s in now.values())
        frame_of = (tuple(state.path for state in states), grid, tuple(shown), self._style())
        if self._is_whole:
            self._missing_since = None
        elif self._holds() and self._whole_of == frame_of:
            return self._whole
        rows = beside([self._tile(*one, states[one[0][1]], grid) for one in now.items()], grid)
        rows += [EMPTY] * (height - 1 - len(rows))
        rows.append(self._scrubber(now, states, count - len(shown), width))
        if self._is_whole:
            self._whole, self._whole_of = rows, frame_of
        return rows

    def _follow_animations(self, samples: Sequence[Sample], grid: Grid) -> None:
        """Begin the animations of what has come into view; keep the clock going for them alone."""
        before = self._animated
        found = {one.path: self._pictures.get(self._request(one, grid)) for one in samples}
        self._animated = {
            path: before.get(path, picture)
            for path, picture in found.items()
            if picture is not None and picture.is_animated
        }
        if not before.keys() & self._animated.keys():
            self._animating_since = self._looked_at = time.monotonic()
        if self._frame_clock is not None:
            self._frame_clock.resume() if self._animated else self._frame_clock.pause()

    def _play_on(self) -> None:
        if not getattr(self.screen, "paused", False):
            self.redraw()

    def _frame_of(self, path: str) -> int:
        picture = self._animated.get(path)
        return 0 if picture is None else picture.frame_at(self._played_s())

    def _played_s(self) -> float:
        """Return how long the animations have played: keys draw them also while they are held."""
        now = time.monotonic()
        if getattr(self.screen, "paused", False):
            self._animating_since += now - self._looked_at
        self._looked_at = now
        return now - self._animating_since

    def _holds(self) -> bool:
        """Draw again soon, and tell whether the last pictures may stay until then."""
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        holds = now - self._missing_since < HOLD_S
        self._draw_again_in(LOOK_AGAIN_S if holds else HOLD_S)
        return holds

    def _draw_again_in(self, seconds: float) -> None:
        """Draw again what is not whole: sooner than the screen's own tick, and while it is held."""
        if self._again is None:
            self._again = self.set_timer(seconds, self._draw_again)

    def _draw_again(self) -> None:
        self._again = None
        if not self._is_whole:
            self.redraw()

    def _scrubber(
        self,
        now: Mapping[Series, Sample | None],
        states: Sequence[RunState],
        beyond: int,
        width: int,
    ) -> Line:
        there = [(sample, states[at]) for (_, at), sample in now.items() if sample is not None]
        newest = max(there, key=lambda one: one[0].file, default=None)
        left_out = next((one.left_out for one in self._samples if one.left_out), "")
        return scrubber(
            self._timeline,
            self._timeline.index(self._moment),
            None if newest is None else epoch_of(*newest),
            "playing" if self._plays else "newest" if self._moment is None else "",
            f"{beyond} more: n" if beyond else left_out,
            width,
        )

    def _request(self, sample: Sample, grid: Grid, frame: int = 0) -> Wanted:
        room = (grid.width, 2 * (grid.height - 1))
        return Wanted(sample.path, room, ZOOMS[self._zoom], self._centre, frame)

    def _wanted(self, shown: Sequence[Series], grid: Grid) -> list[Wanted]:
        """Return what is shown now, and what the next key is likely to show."""
        line, at = self._timeline, self._timeline.index(self._moment)
        here = [s for series in shown if (s := line.sample(series, self._moment)) is not None]
        frames = [self._request(s, grid, self._frame_of(s.path)) for s in here]
        near = [self._moment, *line.moments[at + 1 : at + 2], *line.moments[at - 1 : at]]
        wanted = (line.sample(series, moment) for moment in near for series in shown)
        requests = (self._request(sample, grid) for sample in wanted if sample is not None)
        return list(dict.fromkeys([*frames, *requests]))

    def _picture(self, sample: Sample, grid: Grid) -> Picture | None:
        picture = self._pictures.get(self._request(sample, grid))
        if picture is not None and picture.is_animated:
            picture = self._frame_now(sample, grid, picture)
        if picture is not None and picture.pixels is not None:
            self._framed = (picture.size, (grid.width, 2 * (grid.height - 1)))
        return picture

    def _frame_now(self, sample: Sample, grid: Grid, first: Picture) -> Picture:
        """Return the frame of an animation that is due, or the last one until it is decoded."""
        wanted = self._request(sample, grid, self._frame_of(sample.path))
        frame = self._pictures.get(wanted)
        if frame is None:
            known = self._animated.get(sample.path, first)
            same_size = known.pixels and first.pixels and known.pixels[:2] == first.pixels[:2]
            return known if same_size and known.box == first.box else first
        self._animated[sample.path] = frame
        return frame

    def _tile(
        self, series: Series, sample: Sample | None, state: RunState, grid: Grid
    ) -> list[Line]:
        name, run = series
        if len(self.scene.together) > 1:
            # Without a letter it is the chosen run, which is not marked.
            name = f"{self.scene.letter(self.scene.together[run]) or '·'} {name}"
        picture = None if sample is None else self._picture(sample, grid)
        said = Caption(name)
        if sample is not None:
            said = Caption(name, sample.file.step, epoch_of(sample, state))
        where = "" if sample is None else short_path(sample)
        dark, look = self.app.current_theme.dark, self._style()
        key = (said, picture, where, look, dark, grid.width)
        if key not in self._tiles:
            if len(self._tiles) >= TILES_KEPT:
                self._tiles.clear()
            self._tiles[key] = tile(said, picture, where, look, dark, grid.width)
        return self._tiles[key]

    def _style(self) -> str:
        if self._look is not None:
            return self._look
        # Half blocks without colours are all alike, and quotation marks where all is ASCII.
        if getattr(self.app, "ascii_only", False):
            return "characters"
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
        looks = [look for look in halfblocks.LOOKS if look != "colours" or not self.app.no_color]
        self._look = looks[(looks.index(self._style()) + 1) % len(looks)]
        self.redraw()


def _nothing(samples: Sequence[Samples], width: int) -> list[Line]:
    problem = next((one.problem for one in samples if one.problem), "")
    if problem:
        return [line(Span(f"samples cannot be listed: {from_file(problem)}", "warn"))]
    return [row for text in _NOTHING for row in paragraph(text, width)]
