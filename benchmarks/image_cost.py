"""What logging a grid of images costs the training, beside other ways to write the same pixels.

All take turns in one process on the same tensors and the same disk, so the ratios hold where
absolute times do not. `call` is how long the training waits for the call; `all` is the CPU time of
all threads until the file is written. Exit status 1 above the budget.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

import runstore

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "40"))
SHAPES = ((64, 1, 28, 28), (64, 3, 64, 64), (16, 3, 256, 256))
BUDGET = 0.25
"""Of what Pillow in the loop takes: the largest share that a call of runstore's may."""
OURS, SAVED, COPIED = "runstore run.log_images", "grid + Pillow in the loop", "clone()"

Contestant = tuple[Callable[[torch.Tensor, int], object], Callable[[], object]]
"""What the loop calls, and what waits until it is written."""


def nothing() -> None:
    """Wait for nothing."""


def ours(directory: Path, stack: ExitStack) -> Contestant:
    """Return `run.log_images`: a copy, and a thread."""
    run = stack.enter_context(runstore.init(root=directory / "runs", system_interval_s=None))
    return lambda images, step: run.log_images("samples", images, step=step), run.settle_images


def summary_writer(directory: Path, stack: ExitStack) -> Contestant:
    """Return TensorBoard's `add_images`, which makes the PNG in the call and writes in a thread."""
    writer = SummaryWriter(str(directory / "tensorboard"))
    stack.callback(writer.close)
    return lambda images, step: writer.add_images("samples", images, step), writer.flush


def saved(directory: Path, stack: ExitStack) -> Contestant:
    """Return what torchvision's `save_image` does, by its documentation: a grid, and Pillow."""

    def save(images: torch.Tensor, step: int) -> None:
        number, channels, height, width = images.shape
        rows = -(-number // 8)
        grid = images.new_zeros(channels, rows * (height + 2) + 2, 8 * (width + 2) + 2)
        for index in range(number):
            top, left = index // 8 * (height + 2) + 2, index % 8 * (width + 2) + 2
            grid[:, top : top + height, left : left + width] = images[index]
        pixels = grid.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()
        Image.fromarray(pixels.squeeze()).save(directory / f"{step}.png")

    return save, nothing


def copied(directory: Path, stack: ExitStack) -> Contestant:
    """Return the least that a call can do which leaves the rest to a thread."""
    return lambda images, step: images.clone(), nothing


def main() -> int:
    """Measure all contestants in turn and print the tables."""
    makers = {
        OURS: ours,
        "SummaryWriter.add_images": summary_writer,
        SAVED: saved,
        COPIED: copied,
    }
    torch.set_num_threads(1)
    shares = []
    for shape in SHAPES:
        with ExitStack() as stack:
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")))
            )
            contestants = {name: make(directory, stack) for name, make in makers.items()}
            shares.append(_report(shape, _measured(shape, contestants)))
    verdict = "ok" if max(shares) <= BUDGET else "TOO SLOW"
    print(f"budget: a call at most {BUDGET:g} of {SAVED!r}: {max(shares):.3f}, {verdict}")
    return 0 if max(shares) <= BUDGET else 1


def _measured(
    shape: tuple[int, ...], contestants: dict[str, Contestant]
) -> dict[str, list[tuple[float, float]]]:
    """Return (call, all) of each round, in milliseconds."""
    generator = torch.Generator().manual_seed(0)
    # Smooth, as pictures are: noise would be the worst case of every PNG.
    coarse = torch.rand(*shape[:2], 7, 7, generator=generator)
    images = torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for step in range(ROUNDS + 1):
        for name, (log, settle) in contestants.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            log(images, step)
            called = time.perf_counter() - began
            settle()
            if step:  # the first one imports
                found[name].append((1e3 * called, 1e3 * (time.process_time() - began_cpu)))
    return found


def _report(shape: tuple[int, ...], found: dict[str, list[tuple[float, float]]]) -> float:
    """Print a table, and return the share of a call of runstore's in Pillow's."""
    medians = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in found.items()
    }
    print(f"{list(shape)}, {ROUNDS} rounds in turn        call ms   ratio    all ms   ratio")
    base_call, base_all = medians[SAVED]
    for name, (call, cpu) in medians.items():
        print(f"{name:36} {call:12.3f} {call / base_call:7.3f} {cpu:9.3f} {cpu / base_all:7.2f}")
    return medians[OURS][0] / base_call


if __name__ == "__main__":
    sys.exit(main())
