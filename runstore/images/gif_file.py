"""An animated GIF, written one frame after the other with one palette for all.

The format is that of the GIF89a specification (CompuServe, 1990), with the loop of Netscape's
application extension. Pillow compresses each frame; it would keep all of them in memory until the
last is there, and give each a palette of its own.
"""

from __future__ import annotations

import io
import struct
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = 256
LONGEST_SIDE = 0xFFFF
LONGEST_DELAY = 0xFFFF
_LOOP_FOR_EVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_TRAILER = b"\x3b"
_EXTENSION, _IMAGE = 0x21, 0x2C


class GifFile:
    """Writes frames as they come; of each only what differs from the one before."""

    def __init__(self, file: IO[bytes], size: tuple[int, int], palette: bytes) -> None:
        """Write the beginning.

        Args:
            file: where it goes; never sought in.
            size: width and height of all frames.
            palette: 256 colours of three bytes.
        """
        self._file = file
        self._last: Image | None = None
        self._waiting: tuple[Image, tuple[int, int]] | None = None
        """What of the newest frame is to be drawn, and where; its delay is not known yet."""
        self._delay = 0
        self.frames = 0
        """Frames that were added; equal ones in a row are one in the file."""
        # 0xF7: a global table of 256 colours, 8 bits each.
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0xF7, 0, 0) + palette + _LOOP_FOR_EVER)

    def add(self, frame: Image, delay: int) -> None:
        """Add a frame.

        Args:
            frame: in mode `L`, each pixel an index of the palette.
            delay: how long it is shown, in hundredths of a second.
        """
        import PIL.ImageChops

        self.frames += 1
        box = (0, 0, *frame.size)
        if self._last is not None:
            difference = PIL.ImageChops.difference(self._last, frame).getbbox()
            if difference is None:
                self._delay += delay
                return
            box = difference
        self._write_waiting()
        self._waiting, self._delay = (frame.crop(box), box[:2]), delay
        self._last = frame

    def close(self) -> None:
        """Write the last frame and the end; the file stays open."""
        self._write_waiting()
        self._file.write(_TRAILER)

    def _write_waiting(self) -> None:
        if self._waiting is None:
            return
        part, place = self._waiting
        delay = min(LONGEST_DELAY, self._delay)
        # 0x04: the frame stays, and the next one is drawn upon it.
        self._file.write(b"\x21\xf9\x04\x04" + struct.pack("<H", delay) + b"\x00\x00")
        self._file.write(struct.pack("<BHHHHB", _IMAGE, *place, *part.size, 0))
        self._file.write(_compressed(part))
        self._waiting = None


def _compressed(image: Image) -> bytes:
    """Return an image's pixels as a frame has them: the code size, and blocks of LZW codes."""
    file = io.BytesIO()
    image.save(file, "GIF", interlace=0, optimize=False)
    data = file.getvalue()
    at = 13 + _table_bytes(data[10])
    while data[at] == _EXTENSION:
        at = _behind_blocks(data, at + 2)
    at += 10 + _table_bytes(data[at + 9])
    return data[at : _behind_blocks(data, at + 1)]


def _table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    """Return the place behind a row of blocks: each has its length in front, the last one 0."""
    while length := data[at]:
        at += 1 + length
    return at + 1
