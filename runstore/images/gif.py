"""`runstore.make_gif`: the image samples of a run as an animation, epoch by epoch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from runstore.errors import MissingPackageError, NoSamplesError, RunStoreError, UnknownNameError
from runstore.files.atomic import replaced_file
from runstore.files.paths import RunPaths, slugify
from runstore.images.animation import FEWEST_COLOURS, Frame, Stage
from runstore.images.gif_file import COLOURS, GifFile
from runstore.images.pictures import INSTALL, is_installed
from runstore.runs.lookup import find
from runstore.runs.reader import read_whole
from runstore.sources import RunRef
from runstore.sources.columns import choose_default
from runstore.state.run_state import RunState
from runstore.state.samples import Rewinds, Sample, SampleFolder, epoch_of
from runstore.watching import Watch, unwatched

if TYPE_CHECKING:
    from runstore.run.run import Run
    from runstore.tables.run_data import RunData

_log = logging.getLogger("runstore")

FPS = 8.0
FASTEST_FPS = 50.0
"""Browsers take a delay of less than two hundredths of a second for ten."""
MOST_FRAMES = 500
LAST_S = 2.0
"""How long the last frame is shown: it is the result."""
Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class GifOptions:
    """How samples become an animation."""

    fps: float = FPS
    scale: float | None = None
    colors: int = COLOURS
    label: bool = True
    superseded: bool = False
    most_frames: int = MOST_FRAMES

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: one makes no sense.
        """
        if not 0 < self.fps <= FASTEST_FPS:
            raise ValueError(f"fps is {self.fps}, expected more than 0, up to {FASTEST_FPS:.0f}")
        if self.scale is not None and not 0 < self.scale <= 100:
            raise ValueError(f"scale is {self.scale}, expected more than 0, up to 100")
        if not FEWEST_COLOURS <= self.colors <= COLOURS:
            raise ValueError(f"colors is {self.colors}, expected {FEWEST_COLOURS} to {COLOURS}")
        if self.most_frames < 1:
            raise ValueError(f"most_frames is {self.most_frames}, expected 1 or more")


class Written(NamedTuple):
    """What an animation came to."""

    frames: int
    size: tuple[int, int]
    duration_s: float


def make_gif(
    run: str | Path | Run | RunData,
    name: str | None = None,
    output: str | Path | None = None,
    *,
    root: str | Path = "runs",
    fps: float = FPS,
    scale: float | None = None,
    colors: int = COLOURS,
    label: bool = True,
    superseded: bool = False,
    most_frames: int = MOST_FRAMES,
) -> Path:
    """Write the images that a run has logged as an animated GIF, and return its path.

    It has one palette (grey images are exact) and repeats for ever; the last frame stays for two
    seconds. One frame is in memory at a time. The file gets its name when it is complete. Files
    that cannot be read are left out, with a warning each. Needs Pillow, the extra `images`.

    Args:
        run: a run, or what `load` takes for one. Of one that is open, all that was logged is
            waited for.
        name: the name of the samples; may be left out where there is only one.
        output: the file, which is replaced; default `RUN-NAME.gif` in the working directory.
        root: the directory of runs to look in.
        fps: frames a second, up to 50.
        scale: enlarges the images, or makes them smaller; None enlarges those of less than 320
            pixels by a whole number.
        colors: how many colours the palette has, 8 to 256: fewer make a smaller file.
        label: write epoch or step below each.
        superseded: take those too that an attempt wrote behind the checkpoint that the next one
            went on from.
        most_frames: of more, so many are taken evenly, the first and the last included.

    Raises:
        RunNotFoundError: there is no such run, or several.
        NoSamplesError: it has no images.
        UnknownNameError: it has none of that name.
        RunStoreError: it has several, and no name was given; or no file can be read.
        MissingPackageError: Pillow is not installed.
        OSError: the file cannot be written.
    """
    options = GifOptions(fps, scale, colors, label, superseded, most_frames)
    choose_default()
    if not isinstance(run, (str, Path)):
        settle = getattr(run, "settle_images", None)
        if settle is not None:
            settle()
        run = run.path
    ref = find(str(run), Path(root))
    name, frames = frames_of(ref, name, options, tell=_log.warning)
    path = Path(output) if output is not None else default_output(ref, name)
    with replaced_file(path) as file:
        write_gif(frames, file, options, tell=_log.warning)
    return path


def default_output(ref: RunRef, name: str) -> Path:
    """Return `RUN-NAME.gif`."""
    return Path(f"{ref.name}-{slugify(name.replace(os.sep, '-')) or 'samples'}.gif")


def frames_of(
    ref: RunRef,
    name: str | None,
    options: GifOptions,
    *,
    tell: Tell,
    watch: Watch = unwatched,
) -> tuple[str, list[Frame]]:
    """Return the name and the frames of the samples that are asked for.

    Args:
        ref: the run.
        name: that of the samples; may be None where there is only one.
        options: which of them, and whether they get labels.
        tell: told what is left out.
        watch: who sees how far the reading of the run is.

    Raises:
        NoSamplesError: it has no images.
        UnknownNameError: it has none of that name.
        RunStoreError: it has several, and no name was given.
        MissingPackageError: Pillow is not installed.
    """
    if not is_installed():
        raise MissingPackageError("Pillow", "an animation", INSTALL)
    found = SampleFolder(ref.path, ref.source.name).look()
    if found.problem:
        raise RunStoreError(f"{RunPaths(ref.path).samples}: {found.problem}")
    names = list(found.by_name)
    if not names:
        raise NoSamplesError(ref.id, ref.path)
    if name is None and len(names) == 1:
        (name,) = names
    if name is None:
        raise RunStoreError(f"{ref.id} has samples of several names: {', '.join(names)}; name one")
    if name not in found.by_name:
        raise UnknownNameError("sample", name, names)
    if found.left_out:
        tell(found.left_out)
    state = read_whole(ref, watch).state
    samples: Sequence[Sample] = found.by_name[name]
    if not options.superseded:
        samples = Rewinds.of(state).visible(samples)
    if not samples:
        raise RunStoreError(f"{ref.id}: all samples {name!r} are superseded by a later attempt")
    if len(samples) > options.most_frames:
        tell(f"{options.most_frames:,} of {len(samples):,} samples are taken, evenly")
        samples = _evenly(samples, options.most_frames)
    return name, _labelled(samples, state) if options.label else [Frame(s.path) for s in samples]


def _evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    last = len(samples) - 1
    if most == 1:
        return [samples[-1]]
    return [samples[round(index * last / (most - 1))] for index in range(most)]


def _labelled(samples: Sequence[Sample], state: RunState) -> list[Frame]:
    """By epoch; also by step where an epoch has several, or none is known."""
    epochs = [epoch_of(sample, state) for sample in samples]
    by_epoch = None not in epochs and len(set(epochs)) == len(epochs)
    frames = []
    for sample, epoch in zip(samples, epochs, strict=True):
        told = [] if epoch is None else [f"epoch {epoch}"]
        if not by_epoch:
            told.append(f"step {sample.file.step:,}")
        frames.append(Frame(sample.path, ", ".join(told)))
    return frames


def write_gif(
    frames: Sequence[Frame],
    file: IO[bytes],
    options: GifOptions,
    *,
    tell: Tell,
    watch: Watch = unwatched,
) -> Written:
    """Write frames as an animated GIF.

    Args:
        frames: at least one.
        file: where it goes.
        options: its pace and its size.
        tell: told of each file that cannot be read, and is left out.
        watch: who sees how far it is.

    Raises:
        RunStoreError: none of them can be read, or they are too large.
    """
    stage = Stage(frames, options.scale, options.colors, tell)
    gif = GifFile(file, stage.size, stage.palette)
    # Times that are rounded one by one would add up.
    shown = 0
    drawn = stage.drawn()
    image = next(drawn, None)
    for number in watch(range(1, len(stage.frames) + 1), "drawing", len(stage.frames)):
        following = next(drawn, None)
        if image is None:
            break
        until = round(100 * number / options.fps)
        delay = until - shown if following else max(until - shown, round(100 * LAST_S))
        gif.add(image, delay)
        shown += delay
        image = following
    if not gif.frames:
        raise RunStoreError(f"none of the {len(frames):,} files can be read")
    gif.close()
    return Written(gif.frames, stage.size, shown / 100)
