"""What users hand over, as tensors; what is wrong with it is said with the argument's name."""

from __future__ import annotations

from typing import Any

import torch

from runstore.metrics.values import shown_as_text
from runstore.train.plain_state import one_line


def as_tensor(name: str, given: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return an argument as a tensor.

    Raises:
        ValueError: PyTorch makes no tensor of it: strings, lists of different lengths.
    """
    try:
        return torch.as_tensor(given, dtype=dtype).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name}: expected numbers in a tensor, an array or a list, got "
            f"{type(given).__name__} {shown_as_text(given)} ({one_line(error)})"
        ) from None


def described(name: str, tensor: torch.Tensor) -> str:
    """Return `targets are float32 [32, 1]`."""
    return f"{name} are {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
