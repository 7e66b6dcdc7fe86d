"""States made of what `torch.load(weights_only=True)` takes, and back.

Types are kept where they load, and nothing is turned into what its owner would not expect: what
does not load is named, so that it can be mended at the first checkpoint, not at the resume.
"""

from __future__ import annotations

import io
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch

VIEW_FACTOR = 2
"""A tensor whose storage is larger than this many times itself is saved as a copy."""

ARRAY = "__ndarray__"
"""The key of a NumPy array's tensor; `dtype` and `shape` are there when the tensor is its bytes."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LOADS = (int, float, str, bool, bytes, type(None), torch.Tensor, torch.nn.Parameter)


def plain(value: Any) -> Any:
    """Return a state of what `weights_only` loads: NumPy values by other means, small views alone.

    NumPy scalars become Python's numbers; `with_arrays` gives the arrays back.
    """
    if isinstance(value, torch.Tensor):
        return _own_storage(value)
    if isinstance(value, Mapping):
        return _mapping(value, {_plain_key(key): plain(item) for key, item in value.items()})
    if type(value) in (tuple, list, set):
        return type(value)(map(plain, value))
    return _without_numpy(value)


def with_arrays(value: Any) -> Any:
    """Return what `plain` was given, but for NumPy scalars."""
    if isinstance(value, Mapping):
        if ARRAY in value and value.keys() <= {ARRAY, "dtype", "shape"}:
            return _array(value)
        return _mapping(value, {key: with_arrays(item) for key, item in value.items()})
    if type(value) in (tuple, list):
        return type(value)(map(with_arrays, value))
    return value


def _mapping(value: Mapping[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    if isinstance(value, OrderedDict):
        kept = OrderedDict(items)
        # A model's state_dict has the versions of its modules there.
        vars(kept).update(vars(value))
        return kept
    return Counter(items) if type(value) is Counter else items


def _plain_key(key: Any) -> Any:
    # A tensor is a key by its identity.
    return key if isinstance(key, torch.Tensor) else plain(key)


def _own_storage(tensor: torch.Tensor) -> torch.Tensor:
    # A saved view takes its whole storage along: 4 MB for a view of 4 kB.
    if tensor.layout != torch.strided or tensor.numel() == 0:
        return tensor
    size = tensor.numel() * tensor.element_size()
    is_small_view = tensor.untyped_storage().nbytes() > VIEW_FACTOR * size
    return tensor.detach().clone() if is_small_view else tensor


def _without_numpy(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    # Arrays of objects and of records stay, and are named: their bytes are not all there is.
    if type(value) not in (numpy.ndarray, numpy.memmap) or value.dtype.kind in "OV":
        return value
    # What torch shares memory with can be written to and has no negative strides.
    array = numpy.require(value, requirements=["C", "W"])
    try:
        return {ARRAY: torch.from_numpy(array)}
    except (TypeError, ValueError):
        # Strings, times, other byte orders.
        data = torch.frombuffer(bytearray(array.tobytes() or b"\0"), dtype=torch.uint8)
        return {ARRAY: data, "dtype": array.dtype.str, "shape": list(array.shape)}


def _array(saved: Mapping[str, Any]) -> Any:
    data = saved[ARRAY].numpy()
    if "dtype" not in saved:
        return data
    import numpy

    shape = saved["shape"]
    array = numpy.ndarray(shape, saved["dtype"], data.tobytes())
    return array.copy()


def one_line(error: BaseException) -> str:
    """Return the line of an error that says what is wrong, without colours."""
    text = _COLOUR.sub("", str(error))
    # Before it, torch.load advises at length to load without weights_only.
    text = text.rpartition("WeightsUnpickler error:")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def find_unloadable(name: str, state: Any) -> str | None:
    """Say which part of a registered object's state does not load; None when all of it does."""
    try:
        parts = _unloadable("", plain(state))
        found = next(parts, None)
    except RecursionError:
        return f"{name}: its state holds itself"
    if found is None:
        return None
    where, kind = found
    return f"{name}: its state holds a {kind}" + (f" (at {where})" if where else "")


def _unloadable(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the place and type of each part that cannot be saved and loaded alone."""
    if type(value) in _LOADS:
        return
    if type(value) in (dict, OrderedDict, Counter):
        for key, item in value.items():
            yield from _unloadable(f"{where} key", key)
            yield from _unloadable(f"{where}[{key!r:.40}]", item)
    elif type(value) in (tuple, list, set):
        for index, item in enumerate(value):
            yield from _unloadable(f"{where}[{index}]", item)
    elif not _loads(value):
        yield where.strip(), type(value).__name__


def _loads(value: Any) -> bool:
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - pickling runs the value's own code
        return False
    return True
