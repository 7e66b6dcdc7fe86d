"""`runstore gif`: a run's image samples as an animation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import map_option, root_option, run_argument
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.completion.parameters import SAMPLE
from runstore.files.atomic import replaced_file
from runstore.images.animation import FEWEST_COLOURS
from runstore.images.gif import (
    FASTEST_FPS,
    FPS,
    MOST_FRAMES,
    GifOptions,
    default_output,
    frames_of,
    write_gif,
)
from runstore.images.gif_file import COLOURS
from runstore.runs.lookup import find
from runstore.text import printable

STANDARD_OUTPUT = Path("-")

MANUAL = Manual(
    examples={
        "The samples of the newest run": "runstore gif latest",
        "Some of several, slowly": "runstore gif latest val/recon --fps 2 -o recon.gif",
        "Only 50 frames of a long run": "runstore gif digits samples --frames 50",
    },
    statuses={
        "0": "written; standard error names the files that could not be read",
        "1": "no such run, no samples of that name, no Pillow, or FILE cannot be written",
    },
    variables=READ_VARIABLES,
    see=("runstore show", "runstore-tui", "docs/training.md"),
)


@click.command("gif", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.argument("name", metavar="[NAME]", required=False, type=SAMPLE)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    help="Write this file, replacing it; - is standard output.  [default: RUN-NAME.gif]",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, FASTEST_FPS, min_open=True),
    default=FPS,
    help="Frames a second.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, 100, min_open=True),
    show_default="small images by a whole number",
    help="Enlarge the images, or make them smaller.",
)
@click.option(
    "--colors",
    type=click.IntRange(FEWEST_COLOURS, COLOURS),
    default=COLOURS,
    help="Fewer make a smaller file.",
)
@click.option(
    "--frames",
    "most_frames",
    type=click.IntRange(1),
    default=MOST_FRAMES,
    help="At most so many; of more, so many evenly.",
)
@click.option("--no-label", is_flag=True, help="No epoch below the images.")
@click.option(
    "--superseded", is_flag=True, help="Also what a resumed run left behind its checkpoint."
)
@root_option
@map_option
def command(
    run: str,
    name: str | None,
    output: Path | None,
    fps: float,
    scale: float | None,
    colors: int,
    most_frames: int,
    no_label: bool,
    superseded: bool,
    root: Path,
) -> None:
    """Make an animated GIF of the image samples NAME of RUN, epoch by epoch.

    Those are what `run.log_images` wrote, and what the monitor shows as Samples; also the images
    that W&B keeps. All frames share one palette; grey images are exact. The last frame stays for
    two seconds. The file's path is printed.
    """
    _check_usage(output)
    options = GifOptions(fps, scale, colors, not no_label, superseded, most_frames)
    ref = find(run, root, watched)
    name, frames = frames_of(ref, name, options, tell=say, watch=watched)
    path = output or default_output(ref, name)
    with _target(path) as file:
        written = write_gif(frames, file, options, tell=say, watch=watched)
    width, height = written.size
    frames_told = "1 frame" if written.frames == 1 else f"{written.frames:,} frames"
    say(f"{frames_told}, {width:,} x {height:,} pixels, {written.duration_s:.1f} s")
    if path != STANDARD_OUTPUT:
        click.echo(printable(str(path)))


def _check_usage(output: Path | None) -> None:
    if output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise click.UsageError("a GIF is binary: name a file with -o FILE, or pipe it on")
    elif output is not None and output.is_dir():
        raise click.UsageError(f"-o {output} is a directory: name a file")
    elif output is not None and output.suffix.lower() != ".gif" and not _is_device(output):
        raise click.UsageError(f"-o {output}: only GIF is written; name a file that ends in .gif")


def _is_device(path: Path) -> bool:
    """Tell whether it is there and no file, as a pipe or `/dev/stdout`."""
    return path.exists() and not path.is_file()


@contextlib.contextmanager
def _target(path: Path) -> Iterator[IO[bytes]]:
    if path != STANDARD_OUTPUT:
        with replaced_file(path) as file:
            yield file
        return
    yield sys.stdout.buffer
    # Here, where a closed pipe ends the program quietly; at its exit it would be a complaint.
    sys.stdout.buffer.flush()
