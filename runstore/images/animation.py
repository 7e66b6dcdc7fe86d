"""Image samples as the frames of an animation: one size, one palette, a label below each.

A look at the first bytes of each file tells the size of all; then one is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstore.errors import RunStoreError
from runstore.files.limits import IMAGE_PIXELS
from runstore.files.regular import first_bytes
from runstore.images.gif_file import COLOURS, LONGEST_SIDE
from runstore.images.pictures import BEHIND_ALPHA, PictureError, open_picture, read_header

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL_SIDE = 320
"""Images whose longer side is shorter are enlarged by the whole number that comes up to this."""
HEADER_BYTES = 64 << 10
"""A photograph's size stands behind what its camera tells."""
PALETTE_FRAMES = 16
PALETTE_SIDE = 160
"""The palette is made of so many frames, so large: median cut of all would take minutes."""
PALETTE_UNSETTLED = 20
"""k-means then moves its colours until less than one pixel of so many finds a nearer one. Median
cut alone turns saturated colours that are rare into grey; more rounds take seconds for 0.3 dB."""
FEWEST_COLOURS = 8
LABEL_GREYS = (0, 85, 170, 255)
"""In every palette, for the label."""
LABEL_SHARE = 24
"""The letters' height is the width by this, within limits."""
LABEL_SIZES = (11, 64)
_GREY_PNG = (b"\x00", b"\x04")
"""PNG's colour types without colours."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image file, and what is written below it."""

    path: str
    label: str = ""


class Stage:
    """Where all frames of an animation are shown."""

    def __init__(
        self,
        frames: Sequence[Frame],
        scale: float | None,
        colours: int,
        tell: Callable[[str], object],
    ) -> None:
        """Look at all frames.

        Args:
            frames: in their order.
            scale: enlarges the images, or makes them smaller; None enlarges small ones.
            colours: the most that the palette has.
            tell: told of each file that is no image.

        Raises:
            RunStoreError: no file is an image, or together they are too large.
        """
        self._tell = tell
        self._told: set[str] = set()
        self.frames: list[Frame] = []
        """Those that are images."""
        self._is_grey = True
        self._width = self._height = 1
        for frame in frames:
            self._look_at(frame)
        if not self.frames:
            raise RunStoreError(f"none of the {len(frames):,} files is an image")
        longest = max(self._width, self._height)
        self.scale = max(1, SMALL_SIDE // longest) if scale is None else scale
        width, height = self._scaled((self._width, self._height))
        self._font = _font(width)
        boxes = [self._font.getbbox(frame.label) for frame in self.frames if frame.label]
        text_width = max((round(box[2]) for box in boxes), default=0)
        text_height = max((round(box[3]) for box in boxes), default=0)
        self._margin = text_height // 3
        self._label_top = height + self._margin
        self.size = (
            max(width, text_width + 2 * self._margin),
            height + text_height + 2 * self._margin,
        )
        self._check_size()
        self._levels = _grey_levels(colours) if self._is_grey and colours < COLOURS else None
        self._colours = None if self._is_grey else self._common_colours(colours)

    def _look_at(self, frame: Frame) -> None:
        data = first_bytes(Path(frame.path), HEADER_BYTES)
        header = read_header(data)
        if header is None:
            self._tell(f"{frame.path}: {_why_no_image(data)}; left out")
            return
        self.frames.append(frame)
        self._width = max(self._width, header.width)
        self._height = max(self._height, header.height)
        self._is_grey = self._is_grey and header.kind == "PNG" and data[25:26] in _GREY_PNG

    def _check_size(self) -> None:
        width, height = self.size
        if width * height > IMAGE_PIXELS or max(self.size) > LONGEST_SIDE:
            raise RunStoreError(
                f"the frames would have {width:,} x {height:,} pixels, the most are "
                f"{IMAGE_PIXELS:,}; a smaller scale makes them smaller"
            )

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        width, height = (max(1, round(length * self.scale)) for length in size)
        return width, height

    @property
    def palette(self) -> bytes:
        """The colours, three bytes each."""
        if self._colours is None:
            return bytes(level for grey in range(COLOURS) for level in (grey, grey, grey))
        return bytes(self._colours.getpalette() or ())

    def drawn(self) -> Iterator[Image]:
        """Yield the frames in mode `L`, each pixel an index of the palette.

        Smaller images stand at the top left: so the cells of a grid with fewer rows stay in place.
        """
        import PIL.Image
        import PIL.ImageDraw

        for frame in self.frames:
            image = self._open(frame)
            if image is None:
                continue
            canvas = PIL.Image.new(image.mode, self.size)
            canvas.paste(self._resized(image))
            if frame.label:
                ink = "white" if image.mode == "RGB" else 255
                draw = PIL.ImageDraw.Draw(canvas)
                draw.text((self._margin, self._label_top), frame.label, ink, self._font)
            if self._levels is not None:
                canvas = canvas.point(self._levels)
            if self._colours is not None:
                indices = canvas.quantize(palette=self._colours, dither=PIL.Image.Dither.NONE)
                canvas = PIL.Image.frombytes("L", self.size, indices.tobytes())
            yield canvas

    def _open(self, frame: Frame) -> Image | None:
        """Return an image in grey or in colours; None, and a line, when it cannot be read."""
        import PIL.Image

        try:
            image = open_picture(frame.path).frames[0]
        except PictureError as error:
            if frame.path not in self._told:
                self._told.add(frame.path)
                self._tell(f"{frame.path}: {error}; left out")
            return None
        if image.mode in ("LA", "RGBA"):
            ground = PIL.Image.new("RGBA", image.size, BEHIND_ALPHA)
            ground.alpha_composite(image.convert("RGBA"))
            image = ground
        image = image.convert("L" if self._is_grey else "RGB")
        # A file that was replaced since it was looked at may be larger.
        return image.crop((0, 0, min(image.width, self._width), min(image.height, self._height)))

    def _resized(self, image: Image) -> Image:
        import PIL.Image

        size = self._scaled(image.size)
        if size == image.size:
            return image
        # Whole numbers keep pixels as they are.
        how = PIL.Image.Resampling.NEAREST if self.scale >= 1 else PIL.Image.Resampling.LANCZOS
        return image.resize(size, how)

    def _common_colours(self, colours: int) -> Image:
        """Return a palette, as an image, by some frames of the whole length."""
        import PIL.Image

        count = min(PALETTE_FRAMES, len(self.frames))
        last = len(self.frames) - 1
        chosen = [self.frames[round(at * last / max(1, count - 1))] for at in range(count)]
        montage = PIL.Image.new("RGB", (PALETTE_SIDE, PALETTE_SIDE * count))
        for index, frame in enumerate(chosen):
            image = self._open(frame)
            if image is not None:
                # Nearest: no colour that is not in the images.
                part = image.resize((PALETTE_SIDE, PALETTE_SIDE), PIL.Image.Resampling.NEAREST)
                montage.paste(part, (0, PALETTE_SIDE * index))
        number = colours - len(LABEL_GREYS)
        few = montage.width * montage.height // PALETTE_UNSETTLED
        found = montage.quantize(number, PIL.Image.Quantize.MEDIANCUT, kmeans=few)
        greys = bytes(level for grey in LABEL_GREYS for level in (grey, grey, grey))
        chosen_colours = bytes(found.getpalette() or ())[: 3 * number]
        palette = PIL.Image.new("P", (1, 1))
        # Black at its end; the search for the nearest takes the first of equal ones.
        palette.putpalette((greys + chosen_colours).ljust(3 * COLOURS, b"\x00"))
        return palette


def _grey_levels(count: int) -> list[int]:
    """Return for each grey the nearest of so many that are evenly spaced."""
    last = count - 1
    return [round(round(grey * last / 255) * 255 / last) for grey in range(256)]


def _why_no_image(data: bytes) -> str:
    return "no PNG, GIF or JPEG" if data else "empty, or not to be read"


def _font(width: int) -> Any:
    """Return Pillow's own font, in a size for a picture so wide."""
    import PIL.ImageFont

    smallest, largest = LABEL_SIZES
    try:
        return PIL.ImageFont.load_default(min(largest, max(smallest, width // LABEL_SHARE)))
    except (ImportError, OSError):  # a Pillow without FreeType has letters of one size
        return PIL.ImageFont.load_default()
