"""Images as users hand them over, brought to the host: tensors, arrays, Pillow's, lists of them.

What is taken is a copy, so that a loop may go on and change its tensors. Of tensors on a GPU the
copy is only begun. PyTorch, numpy and Pillow are not imported to tell what something is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from runstore.errors import BadValueError
from runstore.images.grid import GridOptions, as_nhwc, layout_of, most_that_fit, size_by
from runstore.metrics.values import LATE_DEVICES, shown_as_text

if TYPE_CHECKING:
    import numpy.typing as npt


DEEP_MODES = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
"""Pillow's grey images of more than 8 bits: it would cut them off at 255 without a word."""


class ArrayCopy(Protocol):
    """An array that will be there."""

    def poll(self) -> npt.NDArray[Any] | None:
        """Return it, or None while it is on its way.

        Raises:
            RuntimeError: the device has failed.
        """


class ImageBatch:
    """Some images of one size, copied or on their way."""

    def __init__(self, copy: ArrayCopy, layout: str, size_bytes: int, left_out: int) -> None:
        self._copy, self._layout = copy, layout
        self.size_bytes = size_bytes
        """What the copy takes in memory."""
        self.left_out = left_out
        """How many images are not in it, because no viewer would take so large a grid."""

    def poll(self) -> npt.NDArray[Any] | None:
        """Return them as [N, H, W, C], or None while they are on their way.

        Raises:
            RuntimeError: the device has failed.
        """
        images = self._copy.poll()
        return None if images is None else as_nhwc(images, self._layout)


def take_images(images: Any, options: GridOptions) -> ImageBatch:
    """Copy images, as many as `options` have room for, and wait for no device.

    Args:
        images: a tensor or an array as in `layout_of`, an image of Pillow's, or a list of such of
            one size.
        options: as they were checked.

    Raises:
        BadValueError: these are no images, of no size that can be drawn, or cannot be copied.
        ImportError: numpy is not installed.
    """
    try:
        return _taken(images, options)
    except (BadValueError, ImportError):
        raise
    except Exception as error:  # noqa: BLE001  # sparse, nested, a torn file, a full memory
        why = f"{error}".partition("\n")[0] or type(error).__name__
        raise BadValueError(f"images cannot be copied ({why})") from None


def _taken(images: Any, options: GridOptions) -> ImageBatch:
    import numpy as np

    images, layout = _as_one(images)
    layout = layout or layout_of(images.shape)
    number, height, width = size_by(layout, images.shape)
    fitting = most_that_fit(number, height, width, options)
    if "N" in layout and fitting < number:
        images = images[:fitting]
    if _is_tensor(images):
        copy, size_bytes = _copied_tensor(images)
    else:
        array = np.array(images)
        if array.dtype.kind not in "biuf":
            raise BadValueError(f"images have the type {array.dtype}, expected real numbers")
        copy, size_bytes = _Here(array), array.nbytes
    return ImageBatch(copy, layout, size_bytes, number - fitting)


class _Here:
    """An array that is there already."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def poll(self) -> npt.NDArray[Any]:
        return self._array


def _as_one(images: Any) -> tuple[Any, str]:
    """Return a tensor or an array, and its layout where that is known already."""
    import numpy as np

    if _is_tensor(images):
        return images, ""
    if _is_pillow(images):
        return _as_one([images])
    if not isinstance(images, (list, tuple)):
        return _as_array(images), ""
    if not images:
        raise BadValueError("there are no images in the list")
    if all(map(_is_pillow, images)):
        return _of_pillow(images)
    if not all(map(_is_tensor, images)):
        images = [_as_array(image) for image in images]
    _check_sizes({tuple(image.shape) for image in images})
    layout = layout_of(images[0].shape)
    if "N" in layout:
        raise BadValueError(
            f"images are a list of shapes {list(images[0].shape)}, expected [C, H, W] or [H, W]"
        )
    stack = sys.modules["torch"].stack if _is_tensor(images[0]) else np.stack
    return stack(tuple(images)), f"N{layout}"


def _check_sizes(shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        told = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
        raise BadValueError(f"images have the shapes {told}; expected all of one size")


def _as_array(images: Any) -> npt.NDArray[Any]:
    import numpy as np

    try:
        array = np.asarray(images)
    except Exception as error:  # noqa: BLE001  # whatever a class of the user's raises
        raise BadValueError(f"images are {shown_as_text(images)}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise BadValueError(
            f"images are {shown_as_text(images)}, expected a tensor, an array, or a list of images"
        )
    return array


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_pillow(value: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _of_pillow(images: Sequence[Any]) -> tuple[npt.NDArray[Any], str]:
    """Return Pillow's images as one array with the channels that the richest of them needs."""
    import numpy as np

    modes = {image.mode for image in images}
    if len(modes) == 1 and modes <= DEEP_MODES:
        mode, layout = modes.pop(), "NHW"
    elif modes <= {"1", "L"}:
        mode, layout = "L", "NHW"
    elif any(image.has_transparency_data for image in images):
        mode, layout = "RGBA", "NHWC"
    else:
        mode, layout = "RGB", "NHWC"
    arrays = [np.asarray(image.convert(mode)) for image in images]
    _check_sizes({array.shape for array in arrays})
    return np.stack(arrays), layout


def _copied_tensor(images: Any) -> tuple[ArrayCopy, int]:
    """Begin to copy a tensor, in a dtype that numpy has; return also how many bytes it takes."""
    from runstore.train.host_copy import TensorCopy

    if images.is_complex():
        raise BadValueError(f"images have the type {images.dtype}, expected real numbers")
    if images.is_floating_point():
        # numpy has no bfloat16, and a picture has no use for float64.
        images = images.detach().float()
    if images.device.type not in ("cpu", *LATE_DEVICES):
        images = images.cpu()
    return _OnItsWay(TensorCopy(images)), images.numel() * images.element_size()


class _OnItsWay:
    """A tensor that is being copied."""

    def __init__(self, copy: Any) -> None:
        self._copy = copy

    def poll(self) -> npt.NDArray[Any] | None:
        tensor = self._copy.arrived()
        return None if tensor is None else tensor.numpy()
