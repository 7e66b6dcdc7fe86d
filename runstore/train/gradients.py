"""Gradients of many parameters at once: multiplied, measured, averaged over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from runstore.train import ranks

HOST = "cpu"
"""The device whose tensors can be looked at without waiting; any other is an accelerator."""
BUCKET_BYTES = 25 * 2**20
"""As in DistributedDataParallel: few messages, and never a second copy of all gradients."""


def multiply(gradients: Sequence[torch.Tensor], factor: float | torch.Tensor) -> None:
    """Multiply gradients in place; a factor of exactly 1.0 costs nothing.

    Args:
        gradients: of any devices and dtypes.
        factor: a number, or a 0-d tensor, which is not waited for (and is rounded to their dtype).
    """
    if isinstance(factor, torch.Tensor):
        for gradient_kind in _by_kind(gradients):
            torch._foreach_mul_(gradient_kind, factor.to(gradient_kind[0]))
    elif factor != 1.0 and gradients:
        torch._foreach_mul_(list(gradients), factor)


def clip(gradients: Sequence[torch.Tensor], max_norm: float | None) -> torch.Tensor:
    """Return the norm of all gradients together, 0-d, and then clip them to `max_norm`.

    The arithmetic is that of `torch.nn.utils.clip_grad_norm_`, at half of its price on a CPU.
    """
    norm = norm_of(gradients)
    if max_norm is not None:
        coefficient = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        # On a CPU it is there to be looked at: gradients that are small enough are left alone.
        multiply(gradients, coefficient.item() if norm.device.type == HOST else coefficient)
    return norm


def norm_of(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the 2-norm of all gradients together, 0-d, on the first one's device."""
    if not gradients:
        return torch.zeros(())
    norms = [torch.stack(torch._foreach_norm(kind)) for kind in _by_kind(gradients)]
    joined = norms[0] if len(norms) == 1 else torch.cat([n.to(norms[0].device) for n in norms])
    norm: torch.Tensor = torch.linalg.vector_norm(joined)
    return norm


def gradients_of(parameters: Iterable[torch.nn.Parameter]) -> list[torch.Tensor]:
    """Return the gradients that there are."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def average_over_ranks(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Give every rank the mean of all ranks' gradients, as DistributedDataParallel does.

    A rank without a gradient counts as zeros; a parameter without one on any rank is left alone,
    because optimizers treat a zero (weight decay, momentum) otherwise than none. To be called on
    every rank, with the same parameters in the same order.
    """
    used = ranks.all_reduce_max(torch.tensor([float(p.grad is not None) for p in parameters]))
    found = [p for p, is_used in zip(parameters, used.tolist(), strict=True) if is_used]
    for parameter in found:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for kind in _by_kind(gradients_of(found)):
        for bucket in _buckets(kind):
            _average(bucket)


def _average(gradients: Sequence[torch.Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    ranks.all_reduce_sum(flat).div_(ranks.world_size())
    # Copied, not assigned: DistributedDataParallel may hold a gradient as a view of its own bucket.
    pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, pieces, strict=True):
        gradient.copy_(mean.view_as(gradient))


def _by_kind(tensors: Iterable[torch.Tensor]) -> Iterable[list[torch.Tensor]]:
    """Return the tensors by device and dtype, each kind in the given order."""
    kinds: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return kinds.values()


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield the tensors in order, together about `BUCKET_BYTES` at a time."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(t.numel() * t.element_size() for t in bucket) >= BUCKET_BYTES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
