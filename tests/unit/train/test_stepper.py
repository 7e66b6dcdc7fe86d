"""The Stepper: a window is one big batch; precision, clipping and schedule in their right order."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import lr_scheduler as schedulers

import runstore
from runstore import Run, Stepper
from runstore.errors import RunStoreError, StageError
from runstore.train import gradients

Batch = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    opened = runstore.init(root=tmp_path)
    yield opened
    opened.finish()


def metrics(run: Run) -> list[dict[str, Any]]:
    lines = (run.path / "metrics-0001.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def linear(dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 2).to(dtype)


def batches_of(sizes: Sequence[int], dtype: torch.dtype = torch.float64) -> list[Batch]:
    made = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(n, 3, generator=made, dtype=dtype),
            torch.randn(n, 2, generator=made, dtype=dtype),
        )
        for n in sizes
    ]


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def micro_step(stepper: Stepper, batch: Batch, n: Any = None, scale: float = 1.0) -> bool:
    with stepper.forward():
        loss = mse_loss(stepper.model(batch[0]), batch[1]) * scale
    stepper.backward(loss, n=len(batch[0]) if n is None else n)
    return stepper.step()


def step_on(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Batch]) -> None:
    """The reference: one plain step on everything at once."""
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    optimizer.zero_grad()
    mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def windows_of(batches: list[Batch], steps: int) -> list[list[Batch]]:
    return [batches[first : first + steps] for first in range(0, len(batches), steps)]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1).double() for p in model.parameters()])


def distance(one: nn.Module, other: nn.Module) -> float:
    return (weights(one) - weights(other)).abs().max().item()


# ---- a window is one big batch -------------------------------------------------------------------

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(sizes=SIZES, steps=st.integers(1, 5))
def test_window_is_the_big_batch(tmp_path: Path, sizes: list[int], steps: int) -> None:
    """Uneven micro-batches, short last windows, two epochs."""
    model, batches = linear(), batches_of(sizes)
    reference = copy.deepcopy(model)
    optimizer, reference_optimizer = sgd(model), sgd(reference)
    with runstore.init(root=tmp_path) as run:
        stepper = Stepper(run, model, optimizer, gradient_accumulation_steps=steps)
        for _ in run.epochs(2):
            taken = [micro_step(stepper, batch) for batch in run.train(batches)]
            assert sum(taken) == math.ceil(len(sizes) / steps)
            for window in windows_of(batches, steps):
                step_on(reference, reference_optimizer, window)
    assert run.step == 2 * math.ceil(len(sizes) / steps)
    assert distance(model, reference) < 1e-12


def test_counts_may_be_numbers_or_tensors(run: Run) -> None:
    model, batches = linear(), batches_of([2, 5, 3])
    reference = copy.deepcopy(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=3)
    for batch, n in zip(batches, (2, 5.0, torch.tensor(3)), strict=True):
        micro_step(stepper, batch, n=n)
    step_on(reference, sgd(reference), batches)
    assert distance(model, reference) < 1e-12


def test_without_counts_every_micro_batch_weighs_the_same(run: Run) -> None:
    model, batches = linear(), batches_of([4, 4])
    reference = copy.deepcopy(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=2)
    for x, y in run.train(batches):
        with stepper.forward():
            loss = mse_loss(model(x), y)
        stepper.backward(loss)
        stepper.step()
    step_on(reference, sgd(reference), batches)
    assert distance(model, reference) < 1e-12


def test_full_even_windows_are_bit_for_bit_the_plain_loop(run: Run) -> None:
    """With one micro-batch a window nothing is multiplied at all."""
    model, batches = linear(torch.float32), batches_of([4, 4, 4], torch.float32)
    reference = copy.deepcopy(model)
    optimizer = sgd(reference)
    stepper = Stepper(run, model, sgd(model))
    for batch in run.train(batches):
        micro_step(stepper, batch)
        step_on(reference, optimizer, [batch])
    assert distance(model, reference) == 0.0


def test_loader_without_length_ends_in_a_short_window(run: Run) -> None:
    model, batches = linear(), batches_of([2, 3, 4, 1, 5])
    reference = copy.deepcopy(model)
    optimizer = sgd(reference)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=3)
    taken = [micro_step(stepper, batch) for batch in run.train(iter(batches))]
    assert taken == [False, False, True, False, False]
    for window in (batches[:3], batches[3:]):
        step_on(reference, optimizer, window)
    assert distance(model, reference) < 1e-12
    assert run.step == 2
    assert not stepper.in_window


def test_loop_left_by_break_ends_in_a_short_window(run: Run) -> None:
    model, batches = linear(), batches_of([2, 3, 4, 1])
    reference = copy.deepcopy(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=4)
    for batch in run.train(batches):
        micro_step(stepper, batch)
        if batch is batches[1]:
            break
    assert stepper.in_window
    for _ in run.val(range(1)):
        assert not stepper.in_window
    step_on(reference, sgd(reference), batches[:2])
    assert distance(model, reference) < 1e-12


def test_outside_of_a_split_the_stepper_counts_for_itself(run: Run) -> None:
    stepper = Stepper(run, (model := linear()), sgd(model), gradient_accumulation_steps=3)
    taken = [micro_step(stepper, batch) for batch in batches_of([2] * 7)]
    assert taken == [False, False, True, False, False, True, False]
    assert stepper.finish_window()
    assert not stepper.finish_window()
    assert run.step == 3


def test_explicit_calls_end_a_short_window(run: Run) -> None:
    stepper = Stepper(run, (model := linear()), sgd(model), gradient_accumulation_steps=2)
    run.begin_split("train", batches=3)
    for batch in batches_of([2, 2, 2]):
        micro_step(stepper, batch)
        run.track(loss=1.0)
    run.end_split()
    assert run.step == 2


def test_micro_batch_without_samples_adds_nothing(run: Run) -> None:
    """The mean of no samples is NaN, and so would be every weight."""
    model, batches = linear(), batches_of([3, 2])
    reference = copy.deepcopy(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=3)
    for batch in [(torch.empty(0, 3).double(), torch.empty(0, 2).double()), *batches]:
        micro_step(stepper, batch)
    step_on(reference, sgd(reference), batches)
    assert distance(model, reference) < 1e-12


def test_window_without_samples_takes_no_step_and_is_counted(run: Run) -> None:
    model = linear()
    before = weights(model)
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    stepper = Stepper(run, model, optimizer, scheduler)
    assert not micro_step(stepper, batches_of([2])[0], n=0)
    assert torch.equal(weights(model), before)
    assert (run.step, scheduler.get_last_lr()) == (1, [0.1])
    assert micro_step(stepper, batches_of([2])[0])


def test_gradients_of_a_generator_stay_out_of_the_discriminator(run: Run) -> None:
    generator, discriminator = linear(), nn.Linear(2, 1).double()
    reference = copy.deepcopy(discriminator)
    one = Stepper(run, discriminator, sgd(discriminator))
    other = Stepper(run, generator, sgd(generator))
    x = torch.ones(2, 3).double()
    with other.forward():
        loss = discriminator(generator(x)).mean()
    other.backward(loss, n=2)
    other.step()
    batch = (torch.ones(2, 2).double(), torch.zeros(2, 1).double())
    micro_step(one, batch)
    step_on(reference, sgd(reference), [batch])
    assert distance(discriminator, reference) == 0.0


def test_accumulates_as_well_in_a_compiled_model(run: Run) -> None:
    model, batches = linear(), batches_of([2, 3])
    reference = copy.deepcopy(model)
    compiled = torch.compile(model, backend="eager")
    stepper = Stepper(run, compiled, sgd(model), gradient_accumulation_steps=2)  # type: ignore[arg-type]
    for batch in batches:
        micro_step(stepper, batch)
    step_on(reference, sgd(reference), batches)
    assert distance(model, reference) < 1e-12


# ---- the order inside of a step ------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["no", "fp16", "bf16"])
def test_clipping_sees_unscaled_gradients(run: Run, precision: str) -> None:
    batches = batches_of([3, 5, 2, 4], torch.float32)
    model = linear(torch.float32)
    reference = copy.deepcopy(model)
    optimizer, reference_optimizer = sgd(model), sgd(reference)
    stepper = Stepper(
        run,
        model,
        optimizer,
        mixed_precision=precision,
        gradient_accumulation_steps=2,
        max_grad_norm=0.1,
    )
    # A scale that fits from the start, so that no step is skipped.
    if precision == "fp16":
        stepper.scaler.load_state_dict({**stepper.scaler.state_dict(), "scale": 1024.0})
    for batch in run.train(batches):
        micro_step(stepper, batch)
    for window in (batches[:2], batches[2:]):
        x, y = (torch.cat(parts) for parts in zip(*window, strict=True))
        reference_optimizer.zero_grad()
        mse_loss(reference(x), y).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(reference.parameters(), 0.1)
        reference_optimizer.step()
    tolerance = 1e-6 if precision == "no" else 2e-3
    assert distance(model, reference) < tolerance
    assert metrics(run)[-1]["grad_norm"] == pytest.approx(norm.item(), rel=20 * tolerance)


def test_overflow_leaves_weights_rate_and_schedule(run: Run) -> None:
    model = linear(torch.float32)
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    stepper = Stepper(run, model, optimizer, scheduler, mixed_precision="fp16")
    before, batch = weights(model), batches_of([2], torch.float32)[0]
    assert not micro_step(stepper, batch, scale=1e30)
    assert torch.equal(weights(model), before)
    assert (optimizer.param_groups[0]["lr"], stepper.skipped_steps, run.step) == (0.1, 1, 1)
    assert not optimizer.state
    assert micro_step(stepper, batch, scale=1e-3)
    assert (optimizer.param_groups[0]["lr"], stepper.skipped_steps, run.step) == (0.05, 1, 2)
    assert not torch.equal(weights(model), before)
    overflowed, taken = metrics(run)
    assert (overflowed["skipped_steps"], overflowed["loss_scale"]) == (1.0, 65536.0)
    assert (taken["skipped_steps"], taken["loss_scale"]) == (1.0, 32768.0)


@pytest.mark.parametrize("batches", [1, 4, 5, 7, 8])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_scheduler_steps_once_per_optimizer_step(run: Run, batches: int, steps: int) -> None:
    model = linear()
    optimizer = sgd(model, lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    stepper = Stepper(run, model, optimizer, scheduler, gradient_accumulation_steps=steps)
    for batch in run.train(batches_of([2] * batches)):
        micro_step(stepper, batch)
    expected = math.ceil(batches / steps)
    assert scheduler.last_epoch == run.step == expected
    assert [row["lr"] for row in metrics(run)] == [1.0 / (1 + step) for step in range(expected)]


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1.0 / (1 + step)),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 3), schedulers.CosineAnnealingLR(o, 9)], [3]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.5, 4), schedulers.ExponentialLR(o, 0.9)]
    ),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 1.0, total_steps=40),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 2),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("is_stepped_twice", [True, False])
def test_scheduler_that_the_script_steps_too_is_told_once(
    run: Run, caplog: pytest.LogCaptureFixture, name: str, is_stepped_twice: bool
) -> None:
    model = linear()
    optimizer = sgd(model)
    scheduler = SCHEDULES[name](optimizer)
    stepper = Stepper(run, model, optimizer, scheduler, gradient_accumulation_steps=2)
    for _ in run.epochs(4):
        for batch in run.train(batches_of([2] * 5)):
            micro_step(stepper, batch)
        if is_stepped_twice:
            scheduler.step()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == is_stepped_twice
    assert all(f"steps {name} behind every" in line and "\n" not in line for line in told)


@pytest.mark.parametrize("name", SCHEDULES)
def test_scheduler_that_gets_a_state_is_not_taken_for_stepped(
    run: Run, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A resumed run loads one before its first step, a rollback an earlier one behind some."""
    model, batch = linear(), batches_of([2])[0]
    optimizer = sgd(model)
    scheduler = SCHEDULES[name](optimizer)
    optimizer.step()
    for _ in range(5):
        scheduler.step()
    later = copy.deepcopy(scheduler.state_dict())
    resumed = SCHEDULES[name](optimizer)
    stepper = Stepper(run, model, optimizer, resumed)
    resumed.load_state_dict(copy.deepcopy(later))
    for _ in range(3):
        micro_step(stepper, batch)
    resumed.load_state_dict(later)
    for _ in range(3):
        micro_step(stepper, batch)
    assert not caplog.records


def test_each_parameter_group_has_its_rate(run: Run) -> None:
    model = linear()
    rate = torch.tensor(0.25)
    groups = [{"params": [model.weight], "lr": 0.5}, {"params": [model.bias], "lr": rate}]
    optimizer = torch.optim.Adam(groups, foreach=False, capturable=False)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    stepper = Stepper(run, model, optimizer, scheduler)
    micro_step(stepper, batches_of([2])[0])
    row = metrics(run)[0]
    assert (row["lr"], row["lr/1"]) == (0.5, 0.25)
    assert stepper.last_step["lr/1"] == 0.25


def test_parameters_without_a_gradient_are_left_alone(run: Run) -> None:
    model = nn.ModuleDict({"used": linear(), "unused": linear(), "frozen": linear()})
    model["frozen"].requires_grad_(False)
    before = weights(model["unused"])
    stepper = Stepper(run, model, sgd(model), max_grad_norm=1.0)
    x, y = batches_of([2])[0]
    with stepper.forward():
        loss = mse_loss(model["frozen"](x) + model["used"](x), y)
    stepper.backward(loss, n=2)
    assert stepper.step()
    assert torch.equal(weights(model["unused"]), before)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("no", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_forward_computes_in_the_chosen_precision(
    run: Run, precision: str, dtype: torch.dtype
) -> None:
    model = linear(torch.float32)
    seen: list[torch.dtype] = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    stepper = Stepper(run, model, sgd(model), mixed_precision=precision)
    batch = batches_of([2], torch.float32)[0]
    micro_step(stepper, batch)
    with torch.no_grad(), stepper.forward():
        model(batch[0])
    model(batch[0])
    assert seen == [dtype, dtype, torch.float32]
    assert model.weight.dtype == torch.float32


def test_evaluation_inside_of_a_window_does_not_disturb_it(run: Run) -> None:
    model, batches = linear(), batches_of([2, 3])
    reference = copy.deepcopy(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=2)
    for batch in run.train(batches):
        micro_step(stepper, batch)
        for x, _ in run.val(batches):
            with torch.no_grad(), stepper.forward():
                model(x)
    step_on(reference, sgd(reference), batches)
    assert distance(model, reference) < 1e-12


# ---- the run's side ------------------------------------------------------------------------------


def test_first_stepper_counts_the_steps(run: Run) -> None:
    one, other = linear(), linear()
    counting, silent = Stepper(run, one, sgd(one)), Stepper(run, other, sgd(other, lr=0.3))
    for batch in run.train(batches_of([2, 2])):
        micro_step(counting, batch)
        micro_step(silent, batch)
        run.track(loss=1.0, n=2)
    assert run.step == 2
    assert {row["lr"] for row in metrics(run) if "lr" in row} == {0.1}
    assert silent.last_step["lr"] == 0.3


def test_stepper_of_a_next_phase_counts_from_then_on(run: Run) -> None:
    model = linear()
    for lr in (0.1, 0.3):
        stepper = Stepper(run, model, sgd(model, lr=lr))
        for batch in run.train(batches_of([2, 2])):
            micro_step(stepper, batch)
    assert run.step == 4
    assert [row["lr"] for row in metrics(run)] == [0.1, 0.1, 0.3, 0.3]


def test_stepper_that_is_made_late_does_not_take_the_count_from_one_that_goes_on(run: Run) -> None:
    one, other = linear(), linear()
    counting = Stepper(run, one, sgd(one))
    for _ in run.epochs(1):
        for batch in run.train(batches_of([2, 2])):
            micro_step(counting, batch)
    late = Stepper(run, other, sgd(other, lr=0.3))
    for _ in run.epochs(1):
        for index, batch in enumerate(run.train(batches_of([2] * 4))):
            micro_step(counting, batch)
            if index % 2:
                micro_step(late, batch)
    assert run.step == 6
    assert {row["lr"] for row in metrics(run)} == {0.1}


def test_tracking_no_longer_counts_steps(run: Run) -> None:
    stepper = Stepper(run, (model := linear()), sgd(model), gradient_accumulation_steps=2)
    for batch in run.train(batches_of([2] * 5)):
        micro_step(stepper, batch)
        run.track(loss=1.0, n=2)
    assert run.step == 3


def test_facts_of_every_step_are_written(run: Run) -> None:
    model, batches = linear(), batches_of([4, 4])
    stepper = Stepper(run, model, sgd(model))
    x, y = batches[0]
    expected = torch.autograd.grad(mse_loss(model(x), y), list(model.parameters()))
    for batch in run.train(batches):
        micro_step(stepper, batch)
    rows = [row for row in metrics(run) if "lr" in row]
    assert [row["step"] for row in rows] == [1, 2]
    norm = torch.cat([g.reshape(-1) for g in expected]).norm().item()
    assert rows[0]["grad_norm"] == pytest.approx(norm)
    assert "loss_scale" not in rows[0]


# ---- checkpoints ---------------------------------------------------------------------------------


def saved(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_resumed_stepper_goes_on_bit_for_bit(run: Run, precision: str) -> None:
    """The first count of the whole training scales every loss, also in a resumed short window."""
    batches = batches_of([7, 3, 2, 5, 3], torch.float32)

    def options() -> dict[str, Any]:
        return {"mixed_precision": precision, "gradient_accumulation_steps": 2}

    model = linear(torch.float32)
    optimizer = sgd(model)
    stepper = Stepper(run, model, optimizer, **options())
    for batch in batches[:2]:
        micro_step(stepper, batch)
    resumed = copy.deepcopy(model)
    resumed_optimizer = sgd(resumed)
    resumed_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other = Stepper(run, resumed, resumed_optimizer, **options())
    other.load_state_dict(saved(stepper.state_dict()))
    for one in (stepper, other):
        for batch in batches[2:]:
            micro_step(one, batch)
        one.finish_window()
    assert torch.equal(weights(model), weights(resumed))
    assert saved(other.state_dict()) == saved(stepper.state_dict())


def test_state_of_another_precision_is_refused(run: Run) -> None:
    model = linear(torch.float32)
    state = Stepper(run, model, sgd(model), mixed_precision="fp16").state_dict()
    for precision in ("no", "bf16"):
        stepper = Stepper(run, model, sgd(model), mixed_precision=precision)
        with pytest.raises(RunStoreError, match=r"made with mixed_precision='fp16'.*use the same"):
            stepper.load_state_dict(state)


def test_state_inside_of_a_window_is_refused(run: Run) -> None:
    stepper = Stepper(run, (model := linear()), sgd(model), gradient_accumulation_steps=2)
    micro_step(stepper, batches_of([2])[0])
    with pytest.raises(StageError, match="inside a window"):
        stepper.state_dict()


# ---- misuse --------------------------------------------------------------------------------------

Make = Callable[[nn.Module], dict[str, Any]]


def plateau(model: nn.Module) -> dict[str, Any]:
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"optimizer": optimizer, "scheduler": scheduler}


def foreign_scheduler(model: nn.Module) -> dict[str, Any]:
    return {"scheduler": torch.optim.lr_scheduler.StepLR(sgd(model), 1)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: {"mixed_precision": "fp8"}, "mixed_precision is 'fp8', expected"),
        (lambda m: {"mixed_precision": ["no"]}, r"mixed_precision is \['no'\], expected"),
        (lambda m: {"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        (lambda m: {"gradient_accumulation_steps": 2.5}, "steps is 2.5, expected an integer"),
        (lambda m: {"max_grad_norm": 0.0}, "max_grad_norm is 0.0, expected"),
        (lambda m: {"max_grad_norm": math.nan}, "max_grad_norm is nan, expected"),
        (lambda m: {"optimizer": m}, "optimizer is a Linear, expected a torch.optim.Optimizer"),
        (lambda m: {"model": sgd(m)}, "model is a SGD, expected a torch.nn.Module"),
        (lambda m: {"model": nn.ReLU()}, "model has no parameters"),
        (lambda m: {"model": m.half(), "mixed_precision": "fp16"}, "needs float32 weights"),
        (lambda m: {"optimizer": torch.optim.LBFGS(m.parameters())}, "LBFGS calls a closure"),
        (plateau, r"ReduceLROnPlateau.step\(\) needs 'metrics'.*step it yourself after validation"),
        (foreign_scheduler, "StepLR is of another optimizer"),
        (lambda m: {"scheduler": "cosine"}, "scheduler is a str, expected one with step"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(run: Run, make: Make, message: str) -> None:
    model = linear()
    arguments = {"model": model, "optimizer": sgd(model), **make(model)}
    with pytest.raises(ValueError, match=f"^[^\n]*{message}[^\n]*$"):
        Stepper(run, **arguments)


@pytest.mark.parametrize("n", [-1, math.nan, math.inf, "3", torch.ones(2)])
def test_no_number_of_samples_is_refused(run: Run, n: Any) -> None:
    stepper = Stepper(run, (model := linear()), sgd(model))
    with pytest.raises(ValueError, match="expected a number of samples"):
        micro_step(stepper, batches_of([2])[0], n=n)


def test_calls_in_a_wrong_order_are_refused(run: Run) -> None:
    stepper = Stepper(run, (model := linear()), sgd(model), gradient_accumulation_steps=2)
    x, y = batches_of([2])[0]
    loss = mse_loss(model(x), y)
    with pytest.raises(StageError, match="without backward"):
        stepper.step()
    with pytest.raises(StageError, match="without forward"):
        stepper.backward(loss)
    with stepper.forward():
        with pytest.raises(StageError, match="inside of forward"):
            stepper.backward(loss)
        with pytest.raises(StageError, match="inside of forward"), stepper.forward():
            pass
    stepper.backward(loss, n=2)
    with pytest.raises(StageError, match="came twice"):
        stepper.backward(loss, n=2)
    assert not stepper.step()
    with stepper.forward():
        loss = mse_loss(model(x), y)
    with pytest.raises(StageError, match="n for only some"):
        stepper.backward(loss)


def test_a_batch_that_failed_may_be_left_out(run: Run) -> None:
    model, batches = linear(), batches_of([2, 3])
    reference = copy.deepcopy(model)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=3)
    micro_step(stepper, batches[0])
    with pytest.raises(RuntimeError, match="shape"):
        micro_step(stepper, (torch.ones(2, 9).double(), batches[0][1]))
    micro_step(stepper, batches[1])
    stepper.finish_window()
    step_on(reference, sgd(reference), batches)
    assert distance(model, reference) < 1e-12


# ---- accelerators --------------------------------------------------------------------------------


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the CPU for an accelerator: the same arithmetic, without a look at any value."""
    monkeypatch.setattr(gradients, "HOST", "none")


@pytest.mark.usefixtures("accelerator")
def test_counts_on_an_accelerator_weigh_as_on_the_host(run: Run) -> None:
    model, batches = linear(), batches_of([4, 3, 5, 2, 6])
    reference = copy.deepcopy(model)
    optimizer = sgd(reference)
    stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=2, max_grad_norm=1e6)
    for batch in run.train(batches):
        micro_step(stepper, batch, n=torch.tensor(len(batch[0])))
    for window in windows_of(batches, 2):
        step_on(reference, optimizer, window)
    assert distance(model, reference) < 1e-12
    assert saved(stepper.state_dict())["usual_count"] == 4.0


@pytest.mark.usefixtures("accelerator")
def test_window_without_samples_on_an_accelerator_has_zero_gradients(run: Run) -> None:
    """Nobody waits to learn that the count is 0, so the optimizer does take the step."""
    model = linear()
    before = weights(model)
    stepper = Stepper(run, model, torch.optim.SGD(model.parameters(), lr=1.0))
    for _ in range(2):
        with stepper.forward():
            ignored = torch.tensor([-100, -100])
            loss = nn.functional.cross_entropy(model(torch.ones(2, 3).double()), ignored)
        stepper.backward(loss, n=(ignored != -100).sum())
        assert stepper.step()
    assert torch.equal(weights(model), before)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_steps_on_a_gpu_are_never_waited_for(tmp_path: Path, precision: str) -> None:
    model = linear(torch.float32).cuda()
    batches = [(x.cuda(), y.cuda()) for x, y in batches_of([4, 3] * 8, torch.float32)]
    counts = [torch.tensor(len(x), device="cuda") for x, _ in batches]
    with runstore.init(root=tmp_path) as run:
        # What the run does with the facts of a step is not watched here: another stepper counts.
        first = linear(torch.float32).cuda()
        Stepper(run, first, sgd(first))
        stepper = Stepper(
            run,
            model,
            sgd(model),
            mixed_precision=precision,
            gradient_accumulation_steps=4,
            max_grad_norm=1.0,
        )
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch, n in zip(batches, counts, strict=True):
                micro_step(stepper, batch, n=n)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(weights(model)).all()


@pytest.mark.gpu
def test_counts_on_a_gpu_weigh_as_on_the_host(run: Run) -> None:
    batches = [(x.cuda(), y.cuda()) for x, y in batches_of([4, 3, 5])]
    one, other = linear().cuda(), linear().cuda()
    for model, device in ((one, "cpu"), (other, "cuda")):
        stepper = Stepper(run, model, sgd(model), gradient_accumulation_steps=2)
        for batch in batches:
            micro_step(stepper, batch, n=torch.tensor(len(batch[0]), device=device))
        stepper.finish_window()
    assert distance(one, other) < 1e-12
