"""Many images as one: a grid of pixels, by the rules of torchvision's `make_grid`.

Those rules, and those of its `save_image`, are what their documentation says (docs.pytorch.org,
`torchvision.utils`); torchvision itself is not needed. numpy is imported when the first grid is
made.

Shape suffixes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from runstore.errors import BadValueError
from runstore.files.limits import IMAGE_PIXELS
from runstore.metrics.values import shown_as_text
from runstore.numbers import count

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHANNELS = (1, 3, 4)
"""Grey; red, green and blue; the same with alpha."""
NARROWEST_RANGE = 1e-5
"""Images of one colour are not divided by zero: torchvision's figure."""
OUTSIDE = 0.05
"""Floats so far outside of 0 to 1 are of another range: a network's overshoot is less."""


@dataclass(frozen=True, slots=True)
class GridOptions:
    """How images become a grid; the names are those of torchvision's `make_grid`."""

    value_range: tuple[float, float] | None = None
    """What is black and what is white; values beyond are cut off."""
    normalize: bool = False
    """Take the smallest and the largest value for that, where `value_range` does not say."""
    scale_each: bool = False
    """Take those of each image instead of all."""
    nrow: int = 8
    """Images in a row."""
    padding: int = 2
    """Pixels between two images, and around them."""
    pad_value: float = 0.0
    """What is there, from 0 (black) to 1."""

    def check(self) -> GridOptions:
        """Return them with plain numbers.

        Raises:
            BadValueError: one makes no sense.
        """
        return GridOptions(
            _checked_range(self.value_range),
            bool(self.normalize),
            bool(self.scale_each),
            _whole("nrow", self.nrow, 1),
            _whole("padding", self.padding, 0),
            min(1.0, max(0.0, _number("pad_value", self.pad_value))),
        )


def _checked_range(given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    try:
        low, high = (float(end) for end in given)
    except Exception:  # noqa: BLE001  # whatever was given, as tensors of a device that has failed
        low = high = 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadValueError(
            f"value_range is {shown_as_text(given)}, expected two numbers such as (-1, 1)"
        )
    return low, high


def _whole(key: str, value: Any, least: int) -> int:
    number = _number(key, value)
    if number != int(number) or number < least:
        raise BadValueError(
            f"{key} is {shown_as_text(value)}, expected an integer of {least} or more"
        )
    return int(number)


def _number(key: str, value: Any) -> float:
    try:
        number = float(value)
    except Exception:  # noqa: BLE001  # as above
        number = math.nan
    if not math.isfinite(number):
        raise BadValueError(f"{key} is {shown_as_text(value)}, expected a number")
    return number


# ---- shapes --------------------------------------------------------------------------------------


def layout_of(shape: Sequence[int]) -> str:
    """Return which dimension is what, such as `NCHW`, by the shape alone.

    Channels come before height and width, as PyTorch has them. Where that cannot be, because there
    would be neither 1, 3 nor 4 of them, they may come last, as in NumPy and Pillow. What is [3, H,
    W] is one image with three channels, as for torchvision, and not three grey ones.

    Raises:
        BadValueError: it is no shape of images, or there are none.
    """
    layout = _layout_of(tuple(shape))
    if layout is None:
        raise BadValueError(
            f"images have the shape {list(shape)}, expected [N, C, H, W] with C of 1, 3 or 4, "
            "[N, H, W], [C, H, W] or [H, W]"
        )
    if 0 in shape:
        raise BadValueError(f"images have the shape {list(shape)}: there is nothing in them")
    return layout


def _layout_of(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3:
        if shape[0] in CHANNELS:
            return "CHW"
        # Nobody has grey images that are three or four pixels wide.
        return "HWC" if shape[2] in CHANNELS[1:] else "NHW"
    if len(shape) == 4:
        if shape[1] in CHANNELS:
            return "NCHW"
        return "NHWC" if shape[3] in CHANNELS else None
    return None


def size_by(layout: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return N, H and W of a shape."""
    sizes = dict(zip(layout, shape, strict=True))
    return sizes.get("N", 1), sizes["H"], sizes["W"]


def as_nhwc(images: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    """Return a view of them as [N, H, W, C]."""
    for missing in "NC":
        if missing not in layout:
            images, layout = images[None], missing + layout
    return images.transpose([layout.index(dimension) for dimension in "NHWC"])


def grid_size(number: int, height: int, width: int, options: GridOptions) -> tuple[int, int]:
    """Return height and width in pixels of the grid of so many images.

    A single image is itself the grid, without a border, as in torchvision.
    """
    if number == 1:
        return height, width
    columns = min(options.nrow, number)
    rows = -(-number // columns)
    padding = options.padding
    return rows * (height + padding) + padding, columns * (width + padding) + padding


def most_that_fit(number: int, height: int, width: int, options: GridOptions) -> int:
    """Return how many of the images make a grid that viewers take (`IMAGE_PIXELS`), in whole rows.

    Raises:
        BadValueError: a single one is too large.
    """
    if height * width > IMAGE_PIXELS:
        raise BadValueError(
            f"an image has {height:,} x {width:,} pixels; more than {IMAGE_PIXELS:,} are not shown"
        )
    grid_height, grid_width = grid_size(number, height, width, options)
    if grid_height * grid_width <= IMAGE_PIXELS:
        return number
    padding, columns = options.padding, min(options.nrow, number)
    rows = (IMAGE_PIXELS // grid_width - padding) // (height + padding)
    if rows < 1:
        rows, one_row = 1, height + 2 * padding
        columns = (IMAGE_PIXELS // one_row - padding) // (width + padding)
    return max(1, rows * columns)


# ---- pixels --------------------------------------------------------------------------------------


class Grid(NamedTuple):
    """One image to be written."""

    pixels: npt.NDArray[np.uint8]
    """[H, W] in grey, or [H, W, C] with C of 3 or 4."""
    remark: str
    """What was odd about the values; empty when nothing was."""


def make_grid(images: npt.NDArray[Any], options: GridOptions) -> Grid:
    """Lay out images in rows of `options.nrow`, as torchvision's `make_grid` and `save_image` do.

    With v a value and (low, high) the range, a pixel is the integer part of 255·u + 0.5, where u is
    (v - low) / max(high - low, 1e-5), cut off at 0 and 1. Without a range, floats are taken as 0 to
    1, integers as 0 to 255, and true is white. NaN is drawn like `low`, an infinity like the end it
    lies beyond; neither counts for a range that is looked for.

    Args:
        images: [N, H, W, C], of a real dtype, C of 1, 3 or 4.
        options: as they were checked.
    """
    pixels, remark = _as_bytes(images, options)
    return Grid(_laid_out(pixels, options), remark)


def _as_bytes(images: npt.NDArray[Any], options: GridOptions) -> tuple[npt.NDArray[np.uint8], str]:
    """Return values as bytes, and a remark."""
    import numpy as np

    is_ranged = options.value_range is not None or options.normalize or options.scale_each
    if images.dtype == np.uint8 and not is_ranged:
        return images, ""
    if images.dtype == np.bool_ and not is_ranged:
        return images.astype(np.uint8) * np.uint8(255), ""
    is_float = images.dtype.kind == "f"
    dtype: Any = np.float64 if images.dtype.itemsize > 4 else np.float32
    values: npt.NDArray[np.float64] = images.astype(dtype)
    odd = _odd_values(values) if is_float else ""
    low, high = _range_of(values, options, 1.0 if is_float else 255.0)
    if not is_ranged:
        odd = odd or _outside(values, float(np.max(high)))
    # Infinities become an end here; NaN stays, until it is drawn like the lower one.
    np.clip(values, low, high, out=values)
    values -= low
    values /= np.maximum(np.subtract(high, low), NARROWEST_RANGE)
    values *= 255.0
    values += 0.5
    return np.nan_to_num(values, copy=False).astype(np.uint8), odd


def _range_of(values: npt.NDArray[Any], options: GridOptions, white: float) -> tuple[Any, Any]:
    """Return what is black and what is white: numbers, or arrays [N, 1, 1, 1]."""
    import numpy as np

    if options.value_range is not None:
        return options.value_range
    if not (options.normalize or options.scale_each):
        return 0.0, white
    axes = (1, 2, 3) if options.scale_each else None
    finite = np.isfinite(values)
    low = np.min(values, axis=axes, where=finite, initial=np.inf, keepdims=True)
    high = np.max(values, axis=axes, where=finite, initial=-np.inf, keepdims=True)
    # Where nothing is finite.
    return np.where(low <= high, low, 0.0), np.where(low <= high, high, 1.0)


def _odd_values(values: npt.NDArray[Any]) -> str:
    import numpy as np

    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    return f"{count(bad)} of {count(values.size)} values are NaN or infinite" if bad else ""


def _outside(values: npt.NDArray[Any], white: float) -> str:
    """Tell when values are of another range than they are taken for."""
    low, high = float(values.min()), float(values.max())
    slack = OUTSIDE * white
    if -slack <= low and high <= white + slack:
        return ""
    return (
        f"the values go from {low:.3g} to {high:.3g}, and are cut off at 0 and {white:.0f}; say "
        "what is black and white, as in value_range=(-1, 1), or normalize=True"
    )


def _laid_out(pixels: npt.NDArray[np.uint8], options: GridOptions) -> npt.NDArray[np.uint8]:
    import numpy as np

    number, height, width, channels = pixels.shape
    if number == 1:
        return _plain(pixels[0])
    grid_height, grid_width = grid_size(number, height, width, options)
    grid = np.full(
        (grid_height, grid_width, channels), int(options.pad_value * 255 + 0.5), np.uint8
    )
    if channels == 4:
        grid[..., 3] = 255
    padding, columns = options.padding, min(options.nrow, number)
    for index in range(number):
        row, column = divmod(index, columns)
        top = padding + row * (height + padding)
        left = padding + column * (width + padding)
        grid[top : top + height, left : left + width] = pixels[index]
    return _plain(grid)


def _plain(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Of grey images keep one number a pixel; torchvision repeats it, which looks the same."""
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
