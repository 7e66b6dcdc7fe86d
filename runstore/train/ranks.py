"""Which of several processes this one is, and sums over all of them.

Everything works without `torch.distributed`, and with one process costs nothing. Ranks are those of
the process group once there is one; before that, what a launcher such as torchrun says in the
environment.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
import torch.distributed as dist


def is_distributed() -> bool:
    """Tell whether there is a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return this process's rank, from 0."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if is_distributed() else 1


def communication_device() -> torch.device:
    """Return where a tensor must lie for the process group to take it."""
    if is_distributed() and "nccl" in dist.get_backend():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Add `tensor` up over all ranks, in place, and return it."""
    return _all_reduce(tensor, dist.ReduceOp.SUM)


def all_reduce_max(tensor: torch.Tensor) -> torch.Tensor:
    """Take the largest of `tensor` over all ranks, in place, and return it."""
    return _all_reduce(tensor, dist.ReduceOp.MAX)


def _all_reduce(tensor: torch.Tensor, operation: Any) -> torch.Tensor:
    if not is_distributed():
        return tensor
    device = communication_device()
    if device.type == tensor.device.type:
        dist.all_reduce(tensor, op=operation)
        return tensor
    sent = tensor.to(device)
    dist.all_reduce(sent, op=operation)
    return tensor.copy_(sent)


def broadcast(tensor: torch.Tensor) -> torch.Tensor:
    """Give every rank what rank 0 has in `tensor`, in place, and return it."""
    if not is_distributed():
        return tensor
    sent = tensor.to(communication_device())
    dist.broadcast(sent, src=0)
    return tensor.copy_(sent)


def broadcast_object(value: Any) -> Any:
    """Return what rank 0 gave; anything that pickles."""
    if not is_distributed():
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0, device=communication_device())
    return holder[0]


def gather_objects(value: Any) -> list[Any]:
    """Return what each rank gave, in the order of the ranks, on every rank."""
    if not is_distributed():
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


AGREEMENT_PAUSE_S = 0.5
MOST_BATCHES = 1000


class Agreement:
    """Lets all ranks stop and save at the same batch.

    Asking costs an all-reduce, so it is done about twice a second: every so many batches, a number
    that all ranks compute from the same times.
    """

    def __init__(self) -> None:
        """Ask at the first batch."""
        self._every = 1
        self._batches = 0
        self._then = time.monotonic()

    def is_due(self) -> bool:
        """Count a batch; tell whether it is one at which the ranks ask each other."""
        self._batches += 1
        return self._batches >= self._every

    def reach(self, *wants: bool) -> tuple[bool, ...]:
        """Return for each wish whether any rank has it. Every rank must call it at this batch."""
        elapsed_s = time.monotonic() - self._then
        votes = torch.tensor([*map(float, wants), elapsed_s], dtype=torch.float64)
        *found, longest_s = all_reduce_max(votes).tolist()
        per_batch_s = max(longest_s / max(1, self._batches), AGREEMENT_PAUSE_S / MOST_BATCHES)
        self._every = max(1, int(AGREEMENT_PAUSE_S / per_batch_s))
        self._batches, self._then = 0, time.monotonic()
        return tuple(vote > 0 for vote in found)
