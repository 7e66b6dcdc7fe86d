"""The random number generators of this process, taken and put back.

Everything in a state is loadable with `torch.load(weights_only=True)`: numbers, strings, lists and
tensors.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import torch

RngState = dict[str, Any]


def get_rng_state() -> RngState:
    """Return the state of Python's, NumPy's and PyTorch's generators, on every device in use."""
    version, words, gauss = random.getstate()
    state: RngState = {
        "python": [version, list(words), gauss],
        "torch": torch.get_rng_state(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, position, has_gauss, cached = numpy.random.get_state()
        state["numpy"] = [kind, keys.tolist(), int(position), int(has_gauss), float(cached)]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch types it so
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: RngState) -> None:
    """Put back what `get_rng_state` returned; devices that are not there are passed over."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["torch"])
    if "numpy" in state:
        import numpy as np

        kind, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(device_state, device)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def seed_all(seed: int) -> None:
    """Seed every generator that the data pipeline of this process may use.

    Not `torch.manual_seed`: it visits all devices, which costs 160 µs instead of 1 µs.
    """
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
