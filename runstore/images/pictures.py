"""Images that somebody else has put there, decoded within bounds.

What a file is and how large is read from its first bytes, before anything is unpacked: PNG, GIF and
JPEG by their magic numbers, never by a name. Pillow does the rest; it is imported when the first
image is looked at, and need not be there.
"""

from __future__ import annotations

import io
import math
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from runstore.errors import RunStoreError
from runstore.files.limits import IMAGE_BYTES, IMAGE_FRAMES_BYTES, IMAGE_PIXELS
from runstore.files.regular import read_regular, why_unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = "pip install 'runstore[images]'"
BEHIND_ALPHA = (128, 128, 128, 255)
"""What shows through where an image is transparent; neither black nor white ink vanishes on it."""
SHORTEST_FRAME_S = 0.02
LONGEST_FRAME_S = 10.0
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAME_BYTES = 1 << 10
"""What an image in memory takes beside its pixels: millions of frames of one would be gigabytes."""
_NO_SIZE = {0xC4, 0xC8, 0xCC}
"""Of the JPEG markers 0xC0 to 0xCF, those that do not begin a frame (ITU-T T.81, table B.1)."""


class PictureError(RunStoreError):
    """An image cannot be shown; the message says why, in a few words."""


class Header(NamedTuple):
    """What the first bytes of an image file say."""

    kind: str
    """As Pillow names the formats: `PNG`, `GIF` or `JPEG`."""
    width: int
    height: int


class Pixels(NamedTuple):
    """Colours, row by row from the top left: three bytes a pixel (red, green, blue)."""

    width: int
    height: int
    rgb: bytes


class Decoded(NamedTuple):
    """An image in memory, or an animation."""

    frames: tuple[Image, ...]
    """8 bits a channel, no palette; one, unless it is animated."""
    ends_s: tuple[float, ...]
    """When each frame has been shown for its time, in seconds from the beginning."""
    is_whole: bool = True
    """There are no more frames than these."""

    @property
    def size_bytes(self) -> int:
        """What all frames take."""
        return sum(map(_size_bytes, self.frames))


class Box(NamedTuple):
    """A part of an image, in pixels of it: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Framing:
    """Which part of an image is shown, and in how many pixels of the screen."""

    width: int
    height: int
    box: Box
    scale: float
    """Pixels of the screen for one of the image."""


def framing(
    size: tuple[int, int],
    room: tuple[int, int],
    zoom: float = 1.0,
    centre: tuple[float, float] = (0.5, 0.5),
) -> Framing:
    """Fit an image into a room, or a part of it when it is enlarged beyond that.

    Above its own size an image grows by whole numbers, so that all its pixels are shown alike.

    Args:
        size: width and height of the image, in its pixels.
        room: width and height of the screen, in square pixels (a cell is two, one upon the other).
        zoom: 1 fits; more enlarges.
        centre: what of the image is in the middle, each from 0 to 1; kept inside.
    """
    scale = min(room[0] / size[0], room[1] / size[1])
    scale = (math.floor(scale) if scale >= 1 else scale) * zoom
    if scale >= 1:
        scale = round(scale)
    spans, starts = [], []
    for length, most, middle in zip(size, room, centre, strict=True):
        whole = max(1, round(length * scale))
        shown = min(most, whole)
        # A rounding that leaves out less than a pixel of the screen would be told as a part.
        part = length if whole <= most else shown / scale
        starts.append((max(0.0, min(length - part, middle * length - part / 2)), part))
        spans.append(shown)
    (left, across), (top, down) = starts
    return Framing(spans[0], spans[1], Box(left, top, left + across, top + down), scale)


def read_header(data: bytes) -> Header | None:
    """Return what an image file is, by its first bytes; None when it is none that is shown."""
    found = None
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        found = Header("PNG", *struct.unpack_from(">II", data, 16))
    elif data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        found = Header("GIF", *struct.unpack_from("<HH", data, 6))
    elif data.startswith(_JPEG):
        found = next(_jpeg_frames(data), None)
    return found if found and found.width and found.height else None


def _jpeg_frames(data: bytes) -> Iterator[Header]:
    """Go from marker to marker up to the one that tells the size."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            height, width = struct.unpack_from(">HH", data, at + 5)
            yield Header("JPEG", width, height)
        at += 1 if marker == 0xFF else 2 + max(2, length)


def is_installed() -> bool:
    """Tell whether images can be decoded here; Pillow is looked for, not imported."""
    try:
        return "PIL" in sys.modules or find_spec("PIL") is not None
    except ValueError:  # somebody has put a module without a specification in its place
        return False


def open_picture(path: str) -> Decoded:
    """Read and decode an image file.

    Raises:
        PictureError: it cannot be read, is no image, too large or torn; or Pillow is missing.
    """
    try:
        data = read_regular(path, IMAGE_BYTES)
    except OSError as error:
        raise PictureError(why_unreadable(error)) from error
    header = read_header(data)
    if header is None:
        raise PictureError("empty" if not data else "no PNG, GIF or JPEG")
    _check_size(header.width, header.height)
    try:
        import PIL.Image
    except ImportError:
        raise PictureError(f"Pillow is not installed: {INSTALL}") from None
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=(header.kind,))
        _check_size(*image.size)
        image.load()
        return _decoded(image)
    except PictureError:
        raise
    except Exception as error:  # decoders fail in any way on damaged files
        raise PictureError("damaged, or not complete yet") from error


def _decoded(image: Image) -> Decoded:
    """Unpack the frames of an image whose first one is loaded, as many as there is room for."""
    is_animated = getattr(image, "is_animated", False)
    # The next frame is drawn into the same image.
    frames, ends_s, is_whole = (
        [_plain(image.copy() if is_animated else image)],
        [_shown_s(image)],
        True,
    )
    held = _size_bytes(frames[0])
    while is_animated:
        try:
            image.seek(len(frames))
            image.load()
            frame = _plain(image.copy())
        except EOFError:
            break
        except Exception:  # noqa: BLE001 - a damaged frame: those before it are shown
            is_whole = False
            break
        held += _size_bytes(frame)
        if held > IMAGE_FRAMES_BYTES:
            is_whole = False
            break
        frames.append(frame)
        ends_s.append(ends_s[-1] + _shown_s(image))
    return Decoded(tuple(frames), tuple(ends_s), is_whole)


def _size_bytes(image: Image) -> int:
    """Return what an image takes: Pillow has four bytes for each pixel of several channels."""
    return _FRAME_BYTES + image.width * image.height * (1 if image.mode == "L" else 4)


def _shown_s(image: Image) -> float:
    """Return how long a frame is shown; one without a time for a tenth of a second, as browsers do.

    They do so with less than 20 ms, too, which old programs wrote for "as fast as you can".
    """
    told = image.info.get("duration")
    if not isinstance(told, (int, float)) or not SHORTEST_FRAME_S * 1000 <= told < math.inf:
        return 0.1
    return min(told / 1000, LONGEST_FRAME_S)


def _check_size(width: int, height: int) -> None:
    if width * height > IMAGE_PIXELS:
        most = f"{IMAGE_PIXELS / 1e6:.0f}"
        raise PictureError(f"{width:,}x{height:,} pixels; more than {most} million are not shown")


def _plain(image: Image) -> Image:
    """Return an image in a mode that can be scaled as it is; colours of print stay such."""
    import PIL.Image

    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        return image.convert("RGBA")
    if image.mode.startswith("I;16"):
        # Converting would cut at 255; the upper of the two bytes is what a screen can show.
        upper = 0 if image.mode == "I;16B" else 1
        return PIL.Image.frombytes("L", image.size, image.tobytes()[upper::2])
    if image.mode in ("1", "I", "F"):
        return image.convert("L")
    return image.convert("RGB") if image.mode == "P" else image


def pixels_of(image: Image, wanted: Framing) -> Pixels:
    """Return the wanted part in the wanted size, on grey where it is transparent."""
    import PIL.Image

    enlarged = wanted.scale >= 1
    how = PIL.Image.Resampling.NEAREST if enlarged else PIL.Image.Resampling.HAMMING
    size = (wanted.width, wanted.height)
    small = image.resize(size, how, wanted.box, None if enlarged else 3.0)
    if small.mode in ("LA", "RGBA"):
        ground = PIL.Image.new("RGBA", size, BEHIND_ALPHA)
        ground.alpha_composite(small.convert("RGBA"))
        small = ground
    return Pixels(*size, small.convert("RGB").tobytes())
