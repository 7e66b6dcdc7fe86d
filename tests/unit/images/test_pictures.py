from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runstore.images import pictures
from runstore.images.pictures import (
    BEHIND_ALPHA,
    PictureError,
    Pixels,
    framing,
    open_picture,
    pixels_of,
    read_header,
)


def saved(path: Path, image: Image.Image, **options: object) -> str:
    image.save(path, **options)  # type: ignore[arg-type]
    return str(path)


def shown(path: str, room: tuple[int, int] = (8, 8)) -> Pixels:
    """Return an image as it is drawn into a room."""
    image = open_picture(path).frames[0]
    return pixels_of(image, framing(image.size, room))


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose header tells any size, with few bytes of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG"])
def test_header_tells_kind_and_size_as_pillow_does(kind: str) -> None:
    file = io.BytesIO()
    Image.new("L", (37, 211)).save(file, kind)
    assert read_header(file.getvalue()) == (kind, 37, 211)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reading_of_a_header(data: bytes) -> None:
    for magic in (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"):
        found = read_header(magic + data)
        assert found is None or (found.width > 0 and found.height > 0)


def test_image_of_a_huge_size_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(60_000, 60_000))
    with pytest.raises(PictureError, match="60,000x60,000 pixels"):
        open_picture(str(path))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "^empty$"),
        (b"<svg/>", "no PNG, GIF or JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no PNG, GIF or JPEG"),
        (png_of_size(0, 5), "no PNG, GIF or JPEG"),
        (png_of_size(2000, 2000)[:400], "damaged, or not complete yet"),
        (b"GIF89a\x08\x00\x08\x00", "damaged, or not complete yet"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x05\x00\x05\x01", "damaged, or not complete yet"),
    ],
)
def test_file_that_is_no_whole_image_is_refused_in_words(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=reason):
        open_picture(str(path))


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", Image.new("L", (1, 1)))
    (tmp_path / "link.png").symlink_to("a.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("link", "fifo", "folder", "missing"):
        with pytest.raises(PictureError):
            open_picture(str(tmp_path / f"{name}.png"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_white_and_black_are_so_in_every_kind_of_png(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (2, 1), "black")
    image.putpixel((0, 0), (255, 255, 255))
    pixels = shown(saved(tmp_path / "a.png", image.convert(mode)), (2, 1))
    assert pixels == (2, 1, b"\xff\xff\xff\0\0\0")


def test_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    image = Image.new("I;16", (3, 1))
    for x, level in enumerate((0x1000, 0x8000, 0xF000)):
        image.putpixel((x, 0), level)
    pixels = shown(saved(tmp_path / "a.png", image), (3, 1))
    assert pixels.rgb[::3] == b"\x10\x80\xf0"


def test_transparent_parts_are_grey(tmp_path: Path) -> None:
    grey = bytes(BEHIND_ALPHA[:3])
    clear = saved(tmp_path / "clear.png", Image.new("RGBA", (1, 1), (255, 0, 0, 0)))
    assert shown(clear, (1, 1)).rgb == grey
    key = Image.new("RGB", (1, 1), "red").quantize(2)
    path = saved(tmp_path / "p.png", key, transparency=key.getpixel((0, 0)))
    assert shown(path, (1, 1)).rgb == grey


def animation(path: Path, *levels: int, size: int = 2, **options: Any) -> str:
    frames = [Image.new("L", (size, size), level) for level in levels]
    return saved(path, frames[0], save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_animation_gives_all_frames_and_when_each_ends(tmp_path: Path, kind: str) -> None:
    path = animation(tmp_path / f"a.{kind}", 10, 200, 90, duration=[100, 500, 40])
    found = open_picture(path)
    levels = [frame.convert("RGB").getpixel((0, 0)) for frame in found.frames]
    assert levels == [(level,) * 3 for level in (10, 200, 90)]
    assert found.ends_s == pytest.approx((0.1, 0.6, 0.64))
    assert found.is_whole


def test_frames_without_a_time_are_shown_for_a_tenth_of_a_second(tmp_path: Path) -> None:
    assert open_picture(animation(tmp_path / "a.gif", 10, 200)).ends_s == pytest.approx((0.1, 0.2))


def test_frames_for_which_there_is_no_room_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = animation(tmp_path / "a.gif", *range(0, 200, 10), size=8)
    monkeypatch.setattr(pictures, "IMAGE_FRAMES_BYTES", 5 * (1024 + 8 * 8 * 4))
    found = open_picture(path)
    assert 1 < len(found.frames) < 20 and not found.is_whole
    monkeypatch.setattr(pictures, "IMAGE_FRAMES_BYTES", 1)
    assert len(open_picture(path).frames) == 1


def test_frames_of_one_pixel_take_more_than_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 64 MiB has three million of them, each an object of Pillow's."""
    frame = b"\x21\xf9\x04\x04" + bytes(4)
    frame += struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    (tmp_path / "a.gif").write_bytes(head + 200 * frame + b"\x3b")
    assert len(open_picture(str(tmp_path / "a.gif")).frames) == 200
    monkeypatch.setattr(pictures, "IMAGE_FRAMES_BYTES", 100_000)
    found = open_picture(str(tmp_path / "a.gif"))
    assert 90 < len(found.frames) < 100
    assert found.size_bytes <= 100_000


def test_animation_that_is_torn_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    path = Path(animation(tmp_path / "a.gif", 10, 200, 90, size=64))
    path.write_bytes(path.read_bytes()[:-120])
    found = open_picture(str(path))
    assert 1 <= len(found.frames) < 3


def test_small_image_is_enlarged_by_whole_pixels(tmp_path: Path) -> None:
    image = Image.new("L", (2, 1))
    image.putpixel((1, 0), 255)
    pixels = shown(saved(tmp_path / "a.png", image), (7, 9))
    assert (pixels.width, pixels.height) == (6, 3)
    assert pixels.rgb[: 3 * 6] == bytes(9) + b"\xff" * 9


SIZES = st.integers(1, 4000)


@given(st.tuples(SIZES, SIZES), st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_fitted_image_is_whole_inside_the_room_and_in_proportion(
    size: tuple[int, int], room: tuple[int, int]
) -> None:
    found = framing(size, room)
    assert 1 <= found.width <= room[0] and 1 <= found.height <= room[1]
    assert abs(found.width - size[0] * found.scale) <= 1
    assert abs(found.height - size[1] * found.scale) <= 1
    assert found.box == (0, 0, *size)


@given(
    st.tuples(SIZES, SIZES),
    st.floats(1, 32),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_enlarged_part_lies_inside_the_image(
    size: tuple[int, int], zoom: float, centre: tuple[float, float]
) -> None:
    found = framing(size, (78, 40), zoom, centre)
    left, top, right, bottom = found.box
    assert 0 <= left < right <= size[0] + 1e-6 and 0 <= top < bottom <= size[1] + 1e-6
    assert 1 <= found.width <= 78 and 1 <= found.height <= 40
