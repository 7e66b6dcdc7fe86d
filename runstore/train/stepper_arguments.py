"""What a Stepper can work with; anything else is refused in one line, before the training."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch.optim import Optimizer

DTYPES = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""What autocast computes in, by `mixed_precision`."""


def check_model(model: object, precision: str) -> None:
    """Refuse what is no module with parameters, sharded models, and fp16 weights under fp16."""
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model is a {_kind(model)}, expected a torch.nn.Module")
    if next(model.parameters(), None) is None:
        raise ValueError("model has no parameters, so there is nothing to train")
    if any(hasattr(m, "set_requires_gradient_sync") or _is_fsdp(m) for m in model.modules()):
        raise ValueError("model is sharded (FSDP); a Stepper takes DistributedDataParallel only")
    if precision == "fp16" and any(p.dtype == torch.float16 for p in model.parameters()):
        raise ValueError("mixed_precision='fp16' needs float32 weights; remove model.half()")


def _is_fsdp(module: torch.nn.Module) -> bool:
    return type(module).__name__ == "FullyShardedDataParallel"


def check_optimizer(optimizer: object) -> None:
    """Refuse what is no optimizer, and those that need a closure, as LBFGS does."""
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"optimizer is a {_kind(optimizer)}, expected a torch.optim.Optimizer")
    if _needed_arguments(type(optimizer).step):
        name = type(optimizer).__name__
        raise ValueError(f"optimizer {name} calls a closure several times a step; step it yourself")


def check_scheduler(scheduler: Any, optimizer: Optimizer) -> None:
    """Refuse schedulers of another optimizer, and those that need to be told something."""
    if scheduler is None:
        return
    name = type(scheduler).__name__
    if not callable(getattr(scheduler, "step", None)):
        raise ValueError(f"scheduler is a {_kind(scheduler)}, expected one with step()")
    needed = _needed_arguments(type(scheduler).step)
    if needed:
        raise ValueError(
            f"scheduler {name}.step() needs {needed[0]!r}; leave it out here and step it yourself "
            "after validation"
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError(f"scheduler {name} is of another optimizer; make it of this one")


def _kind(value: object) -> str:
    return type(value).__name__  # the text of a model or an optimizer has many lines


def _needed_arguments(method: Any) -> list[str]:
    """Return the names of a method's arguments, beyond self, that have no default."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def check_settings(precision: object, steps: Any, max_grad_norm: object) -> None:
    """Refuse names and numbers that mean nothing."""
    if not isinstance(precision, str) or precision not in DTYPES:
        raise ValueError(f"mixed_precision is {precision!r}, expected 'no', 'fp16' or 'bf16'")
    if not hasattr(steps, "__index__") or operator.index(steps) < 1:
        raise ValueError(f"gradient_accumulation_steps is {steps!r}, expected an integer from 1")
    if max_grad_norm is None:
        return
    if not isinstance(max_grad_norm, (int, float)) or not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm is {max_grad_norm!r}, expected a number above 0, or None")
