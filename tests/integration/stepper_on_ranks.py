"""One rank of test_stepper_ranks.py: trains in several ways and prints what came of it as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

import runstore
from runstore import Run, Stepper

Batch = tuple[torch.Tensor, torch.Tensor]
STEPS = 3
UNEVEN = ([4, 1, 7, 3, 2, 5, 6, 1], [2, 9, 1, 1, 8, 3, 2, 2])
"""Samples of each micro-batch, by rank; the third window has two micro-batches."""
HOLES = ([4, 0, 0, 0, 2, 5], [2, 9, 1, 0, 0, 0])
LONGER = ([4, 1, 7, 2, 2, 6], [2, 9, 1, 3, 3, 1, 5, 3])
"""Rank 0 has nothing in the third window. (It must have a second one: DistributedDataParallel
communicates once more in the first forward pass behind the first window.)"""


def model_of(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)


def batches_of(sizes: Sequence[int], rank: int, dtype: torch.dtype = torch.float64) -> list[Batch]:
    made = torch.Generator().manual_seed(100 + rank)
    x = torch.randn(sum(sizes), 3, generator=made, dtype=torch.float64).to(dtype)
    y = torch.randn(sum(sizes), 2, generator=made, dtype=torch.float64).to(dtype)
    return list(zip(torch.split(x, list(sizes)), torch.split(y, list(sizes)), strict=True))


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def weights(model: nn.Module) -> list[float]:
    return [value for p in model.parameters() for value in p.detach().double().reshape(-1).tolist()]


def train(stepper: Stepper, batches: Iterable[Batch], scale: float = 1.0) -> None:
    for x, y in batches:
        with stepper.forward():
            loss = mse_loss(stepper.model(x), y) * scale
        stepper.backward(loss, n=len(x))
        stepper.step()


def outcome(stepper: Stepper, model: nn.Module, calls: Sequence[int] = ()) -> dict[str, Any]:
    return {
        "weights": weights(model),
        "all_reduces": len(calls),
        "state": stepper.state_dict(),
        "grad_norm": float(stepper.last_step.get("grad_norm", -1.0)),
    }


def counted(model: DistributedDataParallel) -> list[int]:
    """Count the model's all-reduces: one per bucket, and this model has one bucket."""
    calls: list[int] = []
    average: Any = allreduce_hook

    # Without annotations, because torch compares them, and here they would be strings.
    def hook(_, bucket):  # type: ignore[no-untyped-def]
        calls.append(bucket.index())
        return average(None, bucket)

    model.register_comm_hook(None, hook)
    return calls


def with_known_length(run: Run, rank: int) -> dict[str, Any]:
    model = DistributedDataParallel(model_of())
    calls = counted(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=STEPS)
    for _ in run.epochs(2):
        train(stepper, run.train(batches_of(UNEVEN[rank], rank)))
    return outcome(stepper, model, calls)


def without_length(run: Run, rank: int) -> dict[str, Any]:
    model = DistributedDataParallel(model_of())
    calls = counted(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=STEPS)
    for _ in run.epochs(2):
        train(stepper, run.train(iter(batches_of(UNEVEN[rank], rank))))
    return outcome(stepper, model, calls)


def inside_of_a_module(run: Run, rank: int) -> dict[str, Any]:
    """The wrapper is not the model itself, and is compiled besides."""
    wrapper = DistributedDataParallel(model_of())
    calls = counted(wrapper)
    model: Any = torch.compile(nn.Sequential(wrapper, nn.Identity()), backend="eager")
    stepper = Stepper(run, model, sgd(wrapper), gradient_accumulation_steps=STEPS)
    for _ in run.epochs(2):
        train(stepper, run.train(batches_of(UNEVEN[rank], rank)))
    return outcome(stepper, wrapper, calls)


def with_holes(run: Run, rank: int) -> dict[str, Any]:
    """Micro-batches without a sample, on both ranks in the middle of it."""
    model = DistributedDataParallel(model_of())
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=2)
    train(stepper, run.train(batches_of(HOLES[rank], rank)))
    return outcome(stepper, model)


def with_one_rank_done(run: Run, rank: int) -> dict[str, Any]:
    model = DistributedDataParallel(model_of())
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=STEPS)
    train(stepper, batches_of(LONGER[rank], rank))
    took = stepper.finish_window()
    again = stepper.finish_window()
    return {**outcome(stepper, model), "took": took, "again": again}


def with_unused_parameters(run: Run, rank: int) -> dict[str, Any]:
    """Weight decay would move a parameter whose gradient is zero instead of none."""
    inner = nn.Sequential(model_of(), unused := nn.Linear(2, 2).double())
    inner.forward = inner[0].forward  # type: ignore[method-assign]
    before = weights(unused)
    model = DistributedDataParallel(inner, find_unused_parameters=True)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=STEPS)
    train(stepper, batches_of(UNEVEN[rank], rank)[:5])
    stepper.finish_window()
    return {"unused_moved": weights(unused) != before}


def with_overflow_on_one_rank(run: Run, rank: int) -> dict[str, Any]:
    model = DistributedDataParallel(model_of(torch.float32))
    stepper = Stepper(run, model, sgd(model), mixed_precision="fp16")
    before = weights(model)
    batch = batches_of(UNEVEN[rank], rank, torch.float32)[:1]
    train(stepper, batch, scale=1e30 if rank else 1e-3)
    moved = weights(model) != before
    train(stepper, batch, scale=1e-3)
    return {**outcome(stepper, model), "moved": moved}


WAYS = (
    with_known_length,
    without_length,
    inside_of_a_module,
    with_holes,
    with_one_rank_done,
    with_unused_parameters,
    with_overflow_on_one_rank,
)


def main(folder: str) -> None:
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        timeout=timedelta(seconds=40),
        world_size=2,
        rank=rank,
    )
    found = {}
    for way in WAYS:
        with runstore.init(root=Path(folder) / f"runs-{rank}") as run:
            found[way.__name__] = {**way(run, rank), "step": run.step}
    dist.destroy_process_group()
    (Path(folder) / f"rank-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
