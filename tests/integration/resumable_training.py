"""A training that can be killed anywhere and goes on; test_resume.py and test_preemption.py run it.

python resumable_training.py RUN --kill "step 7" --by SIGTERM --workers 2
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

import runstore
from runstore.train import ranks

SAMPLES, VAL_SAMPLES, FEATURES, CLASSES = 203, 51, 20, 5
BATCH, ACCUMULATE, EPOCHS = 8, 4, 4


class Noisy(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Clusters, with noise that is drawn anew each time a sample is loaded."""

    def __init__(self, samples: int, seed: int) -> None:
        centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(9))
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.randint(0, CLASSES, (samples,), generator=generator)
        self.x = centres[self.y] + torch.randn(samples, FEATURES, generator=generator)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[index] + 0.3 * torch.randn(FEATURES), self.y[index]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, CLASSES),
    )


class Ballast:
    """Makes a checkpoint take a while to write."""

    def __init__(self, megabytes: int) -> None:
        self.tensor = torch.zeros(megabytes << 18)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"tensor": self.tensor}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.tensor = state["tensor"]


def killer(moment: str, number: int, rank: int) -> Callable[[str], None]:
    def at(now: str) -> None:
        if now == moment and ranks.rank() == rank:
            os.kill(os.getpid(), number)

    return at


def loaders(options: argparse.Namespace) -> tuple[Any, Any]:
    train, val = Noisy(SAMPLES, 1), Noisy(VAL_SAMPLES, 2)
    val_sampler = runstore.ResumableSampler(len(val), shuffle=False)
    val_loader = DataLoader(runstore.SeededDataset(val), 16, sampler=val_sampler)
    if options.shuffle:
        return DataLoader(train, BATCH, shuffle=True), val_loader
    sampler = runstore.ResumableSampler(len(train), seed=3)
    seeded = runstore.SeededDataset(train)
    return DataLoader(seeded, BATCH, sampler=sampler, num_workers=options.workers), val_loader


def batches_of(
    run: runstore.Run, loader: Any, at: Callable[[str], None], ask: int
) -> Iterator[Any]:
    for batch in run.train(loader):
        yield batch
        if run.step == ask and ranks.rank() == 0:
            run.save()
        at(f"step {run.step}")


def train(options: argparse.Namespace) -> None:
    at = killer(options.kill, getattr(signal, options.by), options.kill_rank)
    torch.manual_seed(0)
    model: Any = network()
    if dist.is_initialized():
        model = DistributedDataParallel(model)
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
    ema = torch.optim.swa_utils.AveragedModel(network(), multi_avg_fn=average)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader, val_loader = loaders(options)
    steps = EPOCHS * math.ceil(len(loader) / ACCUMULATE)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = nn.CrossEntropyLoss()
    with runstore.init(
        {"lr": 3e-3},
        root=options.run.parent,
        save_every=options.every,
        keep_best="val/accuracy:max",
    ) as run:
        stepper = runstore.Stepper(
            run,
            model,
            optimizer,
            scheduler,
            mixed_precision="fp16",
            gradient_accumulation_steps=ACCUMULATE,
            max_grad_norm=1.0,
        )
        run.register(
            model=model,
            optimizer=optimizer,
            scheduler=scheduler,
            stepper=stepper,
            ema=ema,
            ballast=Ballast(options.ballast),
        )
        for epoch in run.epochs(EPOCHS):
            model.train()
            for x, y in batches_of(run, loader, at, options.ask):
                with stepper.forward():
                    loss = loss_of(model(x), y)
                stepper.backward(loss, n=len(y))
                at(f"inside {run.step}")
                if stepper.step():
                    ema.update_parameters(getattr(model, "module", model))
                run.track(loss=loss, n=len(y))
            at(f"trained {epoch}")
            model.eval()
            with torch.no_grad():
                for x, y in run.val(val_loader):
                    logits = getattr(model, "module", model)(x)
                    run.track(loss=loss_of(logits, y), n=len(y))
                    run.track_classification(logits, y)
                    at(f"evaluating {epoch}")
            at(f"epoch {epoch}")
        at("done")
    if ranks.rank() == 0:
        (run.path / "weights").write_text(digest(model, ema))


def digest(*models: nn.Module) -> str:
    """Return what tells one bit of difference in the weights."""
    tensors = [tensor for model in models for tensor in model.state_dict().values()]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--kill", default="")
    parser.add_argument("--ask", type=int, default=-1, help="rank 0 alone saves at this step")
    parser.add_argument("--kill-rank", type=int, default=0)
    parser.add_argument("--by", default="SIGKILL")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--every", default="3st")
    parser.add_argument("--ballast", type=int, default=0)
    parser.add_argument("--shuffle", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["RUNSTORE_RUN"] = str(options.run)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo", timeout=timedelta(seconds=30))
    train(options)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
