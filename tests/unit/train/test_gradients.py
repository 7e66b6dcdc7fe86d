"""Arithmetic on the gradients of many parameters, compared with torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from runstore.train import gradients


def parameters(*dtypes: torch.dtype) -> list[nn.Parameter]:
    made = torch.Generator().manual_seed(3)
    found = [nn.Parameter(torch.zeros(3, i + 1, dtype=dtype)) for i, dtype in enumerate(dtypes)]
    for parameter in found:
        values = torch.randn(parameter.shape, generator=made, dtype=torch.float64)
        parameter.grad = values.to(parameter.dtype)
    return found


KINDS = [
    (torch.float32,) * 4,
    (torch.float64,),
    (torch.float32, torch.float64, torch.float32),
]


@pytest.mark.parametrize("dtypes", KINDS)
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_clipping_is_torchs_bit_for_bit(dtypes: tuple[torch.dtype, ...], max_norm: float) -> None:
    ours, theirs = parameters(*dtypes), parameters(*dtypes)
    expected = nn.utils.clip_grad_norm_(theirs, max_norm)
    norm = gradients.clip(gradients.gradients_of(ours), max_norm)
    assert norm.item() == expected.item()
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("dtypes", KINDS)
def test_norm_without_clipping_changes_nothing(dtypes: tuple[torch.dtype, ...]) -> None:
    ours, theirs = parameters(*dtypes), parameters(*dtypes)
    norm = gradients.clip(gradients.gradients_of(ours), None)
    assert norm.item() == nn.utils.get_total_norm(gradients.gradients_of(theirs)).item()
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_norm_of_nothing_is_zero() -> None:
    assert gradients.clip([], 1.0).item() == 0.0


def test_nan_is_not_clipped_away() -> None:
    (parameter,) = parameters(torch.float32)
    assert parameter.grad is not None
    parameter.grad[0] = math.nan
    assert math.isnan(gradients.clip([parameter.grad], 1.0).item())
    assert parameter.grad.isnan().all()


@pytest.mark.parametrize("factor", [1.0, 0.3, torch.tensor(0.3, dtype=torch.float64)])
def test_gradients_of_several_kinds_are_multiplied(factor: float | torch.Tensor) -> None:
    for one in (ours := parameters(*KINDS[-1], torch.bfloat16)):
        assert one.grad is not None
        one.grad.fill_(2.0)
    gradients.multiply(gradients.gradients_of(ours), factor)
    for one in ours:
        assert one.grad is not None
        assert torch.allclose(one.grad.double(), torch.tensor(2.0).double() * factor, rtol=1e-2)
