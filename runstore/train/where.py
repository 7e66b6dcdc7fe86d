"""Where a model is trained: what must be the same for a resume to be exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from runstore.train import ranks


def where_trained(things: Sequence[Any]) -> dict[str, Any]:
    """Return the number of processes, the devices of the models among `things`, and the torch."""
    devices = {
        parameter.device
        for thing in things
        if isinstance(thing, torch.nn.Module)
        for parameter in thing.parameters()
    }
    names = {_device_name(device) for device in devices}
    return {
        "world_size": ranks.world_size(),
        "devices": sorted(names) or ["cpu"],
        "torch": str(torch.__version__),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words what differs between where a checkpoint was made and where it is loaded."""
    words = {"world_size": "processes", "devices": "devices", "torch": "torch"}
    return [
        f"{words[key]}: {_shown(then.get(key))} then, {_shown(now[key])} now"
        for key in words
        if then.get(key) != now[key]
    ]


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
