"""The optimizer step done right: mixed precision, accumulation, clipping, schedule, in their order.

A window is the micro-batches of one optimizer step. With the counts n of its micro-batches (on all
ranks) and their mean losses L, the gradient of a window is Σ n·∇L / Σ n: that of one big batch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from runstore.errors import RunStoreError, StageError
from runstore.metrics.values import shown_as_text
from runstore.train import gradients, ranks
from runstore.train import stepper_arguments as arguments
from runstore.train.schedule import Schedule

if TYPE_CHECKING:
    from runstore.run.run import Run

Count = float | torch.Tensor
"""A number of samples; a 0-d float tensor when it was given on an accelerator."""


class Stepper:
    """Takes the optimizer steps of a training loop.

        stepper = runstore.Stepper(run, model, optimizer, scheduler, mixed_precision="bf16",
                                   gradient_accumulation_steps=4, max_grad_norm=1.0)
        for x, y in run.train(loader):
            with stepper.forward():
                loss = criterion(model(x), y)
            stepper.backward(loss, n=len(y))
            stepper.step()
            run.track(loss=loss, n=len(y))

    A window ends with every `gradient_accumulation_steps`-th batch of a `run.train(loader)` and
    with the loader's last batch, so an epoch has ceil(batches / gradient_accumulation_steps) steps:
    the number to give to a scheduler. Elsewhere the stepper counts its own micro-batches.

    `run.step` counts windows, and thereby says how far the data was read: also a window whose step
    was skipped because fp16 overflowed (usual at the very start, where the loss scale of 65536 is
    found too large), or that had no samples at all. Neither moves the weights or the scheduler. Of
    several steppers of a run (a GAN has two) the first one counts, and only its learning rate,
    gradient norm, loss scale and skipped steps are written; those of the others are `last_step`.

    The gradients of the optimizer's parameters are cleared when a window begins and when it ends,
    so that a generator's backward pass leaves nothing in a discriminator. With accumulation, set
    `requires_grad_(False)` on one network while the other one trains.
    """

    def __init__(
        self,
        run: Run,
        model: torch.nn.Module,
        optimizer: Optimizer,
        scheduler: Any = None,
        mixed_precision: str = "no",
        gradient_accumulation_steps: int = 1,
        max_grad_norm: float | None = None,
    ) -> None:
        """Begin before the first window.

        Args:
            run: counts the steps and writes what they were.
            model: plain, compiled, or in a `DistributedDataParallel`; already on its device.
            optimizer: one that needs no closure.
            scheduler: stepped behind every optimizer step that was taken; one of PyTorch's, or
                anything with `step()`. None for none.
            mixed_precision: `no`, `fp16` (with loss scaling) or `bf16`, of `torch.autocast`.
            gradient_accumulation_steps: micro-batches of a window, 1 or more.
            max_grad_norm: the 2-norm to clip the window's whole gradient to, above 0, as
                `torch.nn.utils.clip_grad_norm_` does; None for no clipping.

        Raises:
            ValueError: an argument that cannot work, in one line.
        """
        arguments.check_settings(mixed_precision, gradient_accumulation_steps, max_grad_norm)
        arguments.check_model(model, mixed_precision)
        arguments.check_optimizer(optimizer)
        arguments.check_scheduler(scheduler, optimizer)
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.mixed_precision = mixed_precision
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.max_grad_norm = max_grad_norm
        self._device_type = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(self._device_type, enabled=mixed_precision == "fp16")
        """The loss scaler; disabled unless fp16."""
        self.skipped_steps: int = 0
        """How many windows had a gradient that overflowed in fp16, and took no step."""
        self.last_step: dict[str, Any] = {}
        """Facts of the newest window, as they are written: `lr` (`lr/1`, … of further parameter
        groups), `grad_norm` (the 2-norm before clipping), and in fp16 `loss_scale` and
        `skipped_steps`. Floats, or 0-d tensors on an accelerator."""
        self._wrappers = _wrappers_of(model)
        self._is_shared = bool(self._wrappers) and ranks.is_distributed()
        # What one micro-batch usually has: only a scale, to keep small numbers out of fp16's abyss.
        # Every rank must use the same, and a resumed run the old one, or they round differently.
        self._usual: Count | None = None
        self._is_inside = self._has_forward = self._has_backward = self._closes = False
        self._has_stepped = False
        """Whether a window has ended, and the next one has not begun."""
        self._begin_window()
        self._schedule = Schedule(scheduler, self._warn_of_steps_elsewhere)
        self._run = run
        run.add_stepper(self)

    def _begin_window(self) -> None:
        self._micro_batches = 0
        self._total: Count = 0.0
        self._is_counted: bool | None = None

    @property
    def in_window(self) -> bool:
        """Whether there are gradients that wait for their window's end."""
        return self._micro_batches > 0

    # ---- one micro-batch -------------------------------------------------------------------------

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """Compute a loss inside: under autocast, and without communication inside a window.

        Under `torch.no_grad()`, as in an evaluation, it is autocast only. In an epoch whose batches
        come from a loop of your own, the run is saved and left here when it was asked to: behind
        the step before, with all that your loop did for it.

        Raises:
            StageError: it came inside of another `forward()`.
            SystemExit, KeyboardInterrupt: the run was asked to stop.
        """
        if self._is_inside:
            raise StageError("forward() came inside of forward(); use one `with` for a micro-batch")
        is_training = torch.is_grad_enabled()
        if is_training and self._has_stepped and not self.in_window:
            self._has_stepped = False
            self._run.begin_step()
        self._is_inside = True
        try:
            with contextlib.ExitStack() as contexts:
                self._enter_precision(contexts)
                if is_training:
                    self._closes = self._is_last()
                    self._enter_no_sync(contexts)
                yield
        finally:
            self._is_inside = False
        self._has_forward = self._has_forward or is_training

    def _enter_precision(self, contexts: contextlib.ExitStack) -> None:
        dtype = arguments.DTYPES[self.mixed_precision]
        if dtype is not None:
            contexts.enter_context(torch.autocast(self._device_type, dtype=dtype))

    def _enter_no_sync(self, contexts: contextlib.ExitStack) -> None:
        """The forward pass decides whether the backward pass communicates."""
        if not self._closes:
            for wrapper in self._wrappers:
                contexts.enter_context(wrapper.no_sync())

    def _is_last(self) -> bool:
        """Tell whether the micro-batch that begins ends its window."""
        position = self._run.train_position()
        if position is None:
            return self._micro_batches + 1 >= self.gradient_accumulation_steps
        batch, batches = position
        return batch % self.gradient_accumulation_steps == 0 or batch == batches

    def backward(self, loss: torch.Tensor, n: Any = None) -> None:
        """Add the gradient of one micro-batch to its window.

        Args:
            loss: the mean over `n` samples (or tokens), 0-d.
            n: how many; a number, or a 0-d tensor, which is not waited for when it is on an
                accelerator. Without it every micro-batch weighs the same. With 0 nothing is added,
                and the loss may be NaN, as an empty mean is (on an accelerator, and in the last
                micro-batch of a window under DistributedDataParallel, the backward pass runs with
                weight 0 all the same: PyTorch's own losses then have a gradient of zeros).

        Raises:
            StageError: there was no `forward()` before, or no `step()` since the last `backward()`;
                or `n` was given for only some micro-batches of a window.
            ValueError: `n` is no number of samples.
        """
        self._check_order(n is not None)
        count = _as_count(n)
        if self._usual is None:
            self._usual = self._agree_on_usual(count)
        if not self.in_window and gradients.gradients_of(self._parameters()):
            self.optimizer.zero_grad(set_to_none=True)  # gradients that another backward pass left
        if isinstance(count, torch.Tensor) or count > 0 or (self._closes and self._is_shared):
            weight = count / (self._usual * self.gradient_accumulation_steps)
            self.scaler.scale(_weighted(loss, weight)).backward()  # type: ignore[no-untyped-call]
        self._micro_batches += 1
        self._total = self._total + count
        self._is_counted = n is not None
        self._has_forward, self._has_backward = False, True

    def _check_order(self, is_counted: bool) -> None:
        if self._is_inside:
            raise StageError("backward() came inside of forward(); end the `with` block first")
        if self._has_backward:
            raise StageError(
                "backward() came twice; add the losses, or call stepper.step() after each"
            )
        if not self._has_forward:
            raise StageError("backward() came without forward(); compute the loss inside of it")
        if self._is_counted not in (None, is_counted):
            raise StageError("backward() got n for only some of a window; give it always or never")

    def _agree_on_usual(self, count: Count) -> Count:
        """Return rank 0's first count, or 1 when that is 0."""
        if not isinstance(count, torch.Tensor):
            usual = torch.tensor(count or 1.0, dtype=torch.float64)
            return (ranks.broadcast(usual) if self._is_shared else usual).item()
        usual = torch.where(count > 0, count, torch.ones_like(count))
        return ranks.broadcast(usual) if self._is_shared else usual

    # ---- the window's end ------------------------------------------------------------------------

    def step(self) -> bool:
        """Take the optimizer step when the window is complete; to be called every micro-batch.

        In order: unscale, divide by the number of samples, clip, step, update the loss scale, step
        the scheduler, clear the gradients.

        Returns:
            Whether the weights moved: False inside a window, after an overflow in fp16, and for a
            window without samples.

        Raises:
            StageError: there was no `backward()` since the last call.
        """
        if not self._has_backward:
            raise StageError(
                "stepper.step() came without backward(); call each once per micro-batch"
            )
        self._has_backward = False
        return self._closes and self._end_window()

    def finish_window(self) -> bool:
        """Take the step of a window that was left short.

        The run calls it at the end of a train split whose end nobody could foresee. Under
        `DistributedDataParallel` the ranks have not communicated in such a window: they do here,
        and therefore all ranks must call it, also one that has no open window.

        Returns:
            Whether the weights moved, as `step` does.
        """
        self._has_forward = self._has_backward = False
        if not self._is_open_anywhere():
            return False
        if self._is_shared:
            gradients.average_over_ranks(self._parameters())
        return self._end_window()

    def _is_open_anywhere(self) -> bool:
        if not self._is_shared:
            return self.in_window
        return bool(ranks.all_reduce_max(torch.tensor(float(self.in_window))).item())

    def _end_window(self) -> bool:
        facts = self._learning_rates()
        total = self._total_of_ranks()
        # On an accelerator nobody waits to learn that it is 0; the gradients are zeros then.
        is_taken = (isinstance(total, torch.Tensor) or total > 0) and self._update(total, facts)
        self.optimizer.zero_grad(set_to_none=True)
        self._begin_window()
        self.last_step = facts
        if self._run.is_counting(self):
            self._run.count_step()
            self._run.note_step(facts)
            self._has_stepped = True
        return is_taken

    def _total_of_ranks(self) -> Count:
        if not self._is_shared:
            return self._total
        total = self._total
        if not isinstance(total, torch.Tensor):
            # A fill, because a copy from the host would be waited for.
            device = ranks.communication_device()
            total = torch.full((), total, dtype=_count_dtype(device), device=device)
        total = ranks.all_reduce_sum(total.clone())
        return total.item() if total.device.type == gradients.HOST else total

    def _update(self, total: Count, facts: dict[str, Any]) -> bool:
        """Turn the window's gradients into a step; return whether it was taken."""
        self.scaler.unscale_(self.optimizer)
        found = gradients.gradients_of(self._parameters())
        gradients.multiply(found, self._factor(total))
        facts["grad_norm"] = gradients.clip(found, self.max_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # What GradScaler tells in public of a step that it has skipped: the scale falls.
        is_taken = self.scaler.get_scale() >= scale
        self.skipped_steps += not is_taken
        if self.scaler.is_enabled():
            facts |= {"loss_scale": scale, "skipped_steps": float(self.skipped_steps)}
        if is_taken:
            self._schedule.step()
        return is_taken

    def _warn_of_steps_elsewhere(self, name: str) -> None:
        if self._run.rank == 0:
            self._run.warn_once(
                f"stepped elsewhere {name}",
                f"the Stepper steps {name} behind every optimizer step, and something else steps "
                "it too, so the learning rate runs ahead: do not step it yourself, or, if it goes "
                "by epochs, do not give it to the Stepper",
            )

    def _factor(self, total: Count) -> Count:
        """Return what makes Σ (n / usual / steps)·∇L, averaged over ranks, into Σ n·∇L / Σ n."""
        assert self._usual is not None  # backward has set it
        world = ranks.world_size() if self._is_shared else 1
        expected = self._usual * (self.gradient_accumulation_steps * world)
        if isinstance(total, torch.Tensor):
            return torch.where(total > 0, expected / total, torch.zeros_like(total))
        return expected / total

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        ]

    def _learning_rates(self) -> dict[str, Any]:
        """Return the rates by metric name: `lr`, and `lr/1`, … of further parameter groups."""
        groups = self.optimizer.param_groups
        return {f"lr/{i}" if i else "lr": _kept(group["lr"]) for i, group in enumerate(groups)}

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, loadable with `torch.load(weights_only=True)`.

        Raises:
            StageError: it came inside a window, whose gradients would be lost.
        """
        if self.in_window:
            raise StageError("state_dict() came inside a window; save after step() returned True")
        return {
            "mixed_precision": self.mixed_precision,
            "usual_count": None if self._usual is None else float(self._usual),
            "skipped_steps": self.skipped_steps,
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict()`.

        Args:
            state: what `state_dict` returned.

        Raises:
            RunStoreError: it is of another precision; a scaler would silently ignore that.
        """
        if state["mixed_precision"] != self.mixed_precision:
            raise RunStoreError(
                f"the checkpoint was made with mixed_precision={state['mixed_precision']!r} and "
                f"this stepper has {self.mixed_precision!r}; use the same"
            )
        self._usual = state["usual_count"]
        self.skipped_steps = state["skipped_steps"]
        self.scaler.load_state_dict(dict(state["scaler"]))


def _weighted(loss: torch.Tensor, weight: Count) -> torch.Tensor:
    if isinstance(weight, torch.Tensor):
        # In the loss's dtype, or a float64 weight would make the product float64.
        return loss * weight.to(loss)
    return loss if weight == 1.0 else loss * weight


def _kept(value: Any) -> Any:
    """A rate that is a tensor is changed in place by its scheduler."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _count_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64


def _as_count(n: Any) -> Count:
    if n is None:
        return 1.0
    if isinstance(n, torch.Tensor) and n.device.type != gradients.HOST and n.numel() == 1:
        return n.detach().reshape(()).to(_count_dtype(n.device))
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        count = math.nan if isinstance(n, str) else float(n)
        if 0 <= count < math.inf:
            return count
    raise ValueError(f"backward(n={shown_as_text(n)}): expected a number of samples, 0 or more")


def _wrappers_of(model: torch.nn.Module) -> list[Any]:
    """Return what averages gradients over ranks; also inside of a model of the user's."""
    wrappers: list[Any] = [m for m in model.modules() if isinstance(m, DistributedDataParallel)]
    return wrappers or ([model] if hasattr(model, "no_sync") else [])
