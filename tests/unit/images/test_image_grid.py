"""Grids against a small reference that follows torchvision's documented rules pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.errors import BadValueError
from runstore.files.limits import IMAGE_PIXELS
from runstore.images.grid import (
    Grid,
    GridOptions,
    as_nhwc,
    grid_size,
    layout_of,
    make_grid,
    most_that_fit,
)

Pixels = npt.NDArray[np.uint8]


def grid_of(images: Any, **options: Any) -> Grid:
    array = np.asarray(images)
    return make_grid(as_nhwc(array, layout_of(array.shape)), GridOptions(**options).check())


def reference(images: npt.NDArray[np.float64], **options: Any) -> list[list[list[int]]]:
    """Return what `save_image(images, …)` would write, [H][W][C], one Python float at a time."""
    count, channels, height, width = images.shape
    normalize = options.get("normalize", False) or "value_range" in options
    low, high = options.get("value_range", (images.min(), images.max()))
    columns = min(options.get("nrow", 8), count)
    padding = options.get("padding", 2) if count > 1 else 0
    rows = math.ceil(count / columns)

    def pixel(y: int, x: int, channel: int) -> int:
        row, top = divmod(y - padding, height + padding)
        column, left = divmod(x - padding, width + padding)
        index = row * columns + column
        inside = row >= 0 and column >= 0 and top < height and left < width and index < count
        value = images[index, channel, top, left] if inside else options.get("pad_value", 0.0)
        if normalize and inside:
            value = (min(max(value, low), high) - low) / max(high - low, 1e-5)
        return int(min(max(value * 255 + 0.5, 0), 255))

    grid_height, grid_width = (
        rows * (height + padding) + padding,
        columns * (width + padding) + padding,
    )
    return [
        [[pixel(y, x, channel) for channel in range(channels)] for x in range(grid_width)]
        for y in range(grid_height)
    ]


@given(
    count=st.integers(1, 7),
    channels=st.sampled_from([1, 3]),
    nrow=st.integers(1, 9),
    padding=st.integers(0, 3),
    options=st.sampled_from(
        [{}, {"value_range": (-1.0, 0.75)}, {"normalize": True}, {"pad_value": 0.5}]
    ),
    seed=st.integers(0, 100),
)
def test_pixels_are_those_of_the_documented_rules(
    count: int, channels: int, nrow: int, padding: int, options: dict[str, Any], seed: int
) -> None:
    images = np.random.default_rng(seed).uniform(-1.5, 1.5, (count, channels, 3, 2))
    grid = grid_of(images, nrow=nrow, padding=padding, **options)
    expected = reference(images, nrow=nrow, padding=padding, **options)
    pixels = grid.pixels if channels == 3 else grid.pixels[..., None]
    assert pixels.tolist() == expected


def test_every_image_has_its_own_range_with_scale_each() -> None:
    images = np.array([[[0.0, 1.0]], [[10.0, 30.0]]])[:, None]
    grid = grid_of(images, scale_each=True, padding=0)
    assert grid.pixels.tolist() == [[0, 255, 0, 255]]
    assert grid_of(images, normalize=True, padding=0).pixels.tolist() == [[0, 9, 85, 255]]


def test_a_single_image_has_no_border() -> None:
    assert grid_of(np.ones((1, 3, 4, 5))).pixels.shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("images", "pixels"),
    [
        (np.array([[0, 128, 255]], np.uint8), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.int64), [0, 128, 255]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float16), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
    ],
)
def test_each_dtype_has_its_own_white(images: Pixels, pixels: list[int]) -> None:
    grid = grid_of(images)
    assert (grid.pixels.tolist(), grid.remark) == ([pixels], "")


def test_a_range_holds_for_integers_and_masks_too() -> None:
    assert grid_of(np.array([[0, 5, 10]], np.uint8), value_range=(0, 10)).pixels.tolist() == [
        [0, 128, 255]
    ]
    assert grid_of(np.array([[True, False]]), value_range=(0, 2)).pixels.tolist() == [[128, 0]]


def test_what_is_not_finite_is_drawn_as_an_end_and_told() -> None:
    images = np.array([[np.nan, np.inf, -np.inf, 0.0, 4.0]])
    grid = grid_of(images, normalize=True)
    assert grid.pixels.tolist() == [[0, 255, 0, 0, 255]]
    assert grid.remark == "3 of 5 values are NaN or infinite"
    nothing = grid_of(np.full((2, 1, 2, 2), np.nan), scale_each=True, padding=0)
    assert nothing.pixels.tolist() == [[0] * 4] * 2


def test_images_of_one_colour_are_black_when_normalized() -> None:
    assert grid_of(np.full((1, 1, 1, 2), 0.3), normalize=True).pixels.tolist() == [[0, 0]]


@pytest.mark.parametrize("images", [np.array([[-1.0, 1.0]]), np.array([[0.0, 255.0]])])
def test_values_of_another_range_are_told(images: Pixels) -> None:
    remark = grid_of(images).remark
    assert "value_range=(-1, 1)" in remark
    assert f"to {images.max():.3g}" in remark
    assert grid_of(images, value_range=(images.min(), images.max())).remark == ""


def test_padding_is_opaque_beside_images_with_alpha() -> None:
    grid = grid_of(np.zeros((2, 4, 1, 1), np.uint8), padding=1, pad_value=1)
    assert grid.pixels.shape == (3, 5, 4)
    assert grid.pixels[0, 0].tolist() == [255] * 4
    assert grid.pixels[1, 1].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((28, 30), "HW"),
        ((1, 28, 30), "CHW"),
        ((3, 28, 30), "CHW"),
        ((7, 28, 30), "NHW"),
        ((28, 30, 3), "HWC"),
        ((28, 30, 1), "NHW"),
        ((8, 1, 28, 28), "NCHW"),
        ((8, 3, 28, 3), "NCHW"),
        ((8, 28, 28, 3), "NHWC"),
        ((8, 28, 28, 1), "NHWC"),
    ],
)
def test_layout_is_told_by_the_shape(shape: tuple[int, ...], layout: str) -> None:
    assert layout_of(shape) == layout


def test_layouts_lead_to_the_same_grid() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 6, 7)).astype(np.uint8)
    first = grid_of(images).pixels.tolist()
    assert grid_of(images.transpose(0, 2, 3, 1)).pixels.tolist() == first
    grey = images[:, :1]
    assert grid_of(grey[:, 0]).pixels.tolist() == grid_of(grey).pixels.tolist()


@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 8, 8), (2, 2, 3, 8, 8), (0, 3, 4, 4), (0, 5)])
def test_other_shapes_are_refused_with_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValueError, match="shape"):
        layout_of(shape)


class Broken:
    """As a tensor of a device that has failed: neither a number nor to be looked at."""

    def __float__(self) -> float:
        raise RuntimeError("the device has failed")

    def __repr__(self) -> str:
        raise ValueError("the device has failed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value_range": (1, -1)}, "two numbers such as"),
        ({"value_range": 3}, "two numbers such as"),
        ({"value_range": (0, math.nan)}, "two numbers such as"),
        ({"nrow": 0}, "nrow is 0, expected an integer of 1 or more"),
        ({"nrow": "x"}, "nrow is 'x'"),
        ({"padding": -1}, "padding is -1"),
        ({"padding": 1.5}, "padding is 1.5"),
        ({"pad_value": None}, "pad_value is None"),
        ({"pad_value": 10**400}, "pad_value is 1000"),
        ({"nrow": Broken()}, "Broken whose repr raises ValueError>, expected"),
        ({"value_range": (0, Broken())}, "two numbers such as"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValueError) as refused:
        GridOptions(**options).check()
    assert message in str(refused.value)


@given(
    count=st.integers(1, 10**6),
    height=st.integers(1, 6000),
    width=st.integers(1, 4000),
    nrow=st.integers(1, 2000),
    padding=st.integers(0, 9),
)
def test_what_fits_is_no_larger_than_viewers_take(
    count: int, height: int, width: int, nrow: int, padding: int
) -> None:
    options = GridOptions(nrow=nrow, padding=padding)
    fitting = most_that_fit(count, height, width, options)
    assert 1 <= fitting <= count
    grid_height, grid_width = grid_size(fitting, height, width, options)
    assert grid_height * grid_width <= IMAGE_PIXELS


def test_an_image_that_is_too_large_alone_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"6,000 x 6,000 pixels"):
        most_that_fit(1, 6000, 6000, GridOptions())
