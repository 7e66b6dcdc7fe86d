"""The same trainings as runs of runstore and of W&B: the values that docs/comparison.md looks at.

    .venv/bin/python benchmarks/_leet_values.py runstore DIR
    .venv-peers/bin/python benchmarks/_leet_values.py wandb DIR

Nothing is trained: the curves are formulas, so that both tools get the same numbers. Three learning
rates with two seeds each, a training that overfits, one that diverges, and one that is killed and
goes on. Name some to have only those. `live --pause 0.1` writes one for five minutes, a tenth of
a second for each step; end it as you like. `--many 100` writes a hundred short ones instead.
It measures nothing, so `make bench` passes over it.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

EPOCHS, STEPS = 30, 100
CLASSES = [f"digit {number}" for number in range(10)]
SAMPLES = 200
CONFUSED = {3: 8, 4: 9}
"""These classes are taken for those, twice as often as for all others together."""
DIVERGES_AT, IS_NAN_AT = 1400, 1437
KILLED_AT, GOES_ON_AT = 1730, 1700
"""The step of the kill, and that of the checkpoint before it."""


@dataclass(frozen=True)
class Training:
    """A training by formulas: the values of a step and of an epoch, both from 1."""

    name: str
    lr: float = 0.03
    seed: int = 0
    width: int = 64
    epochs: int = EPOCHS
    overfits: bool = False
    diverges: bool = False

    @property
    def params(self) -> dict[str, Any]:
        return {"lr": self.lr, "seed": self.seed, "width": self.width, "optimizer": "adamw"}

    def train_loss(self, step: int) -> float:
        if self.diverges and step >= DIVERGES_AT:
            return math.nan if step >= IS_NAN_AT else 0.3 * 1.15 ** (step - DIVERGES_AT)
        floor = 0.02 if self.overfits else 0.15
        return 2.2 * math.exp(-step * self.lr / 12) + floor + 0.1 * self._noise("train", step)

    def val_loss(self, epoch: int) -> float:
        loss = self.train_loss(epoch * STEPS) + 0.08 + 0.02 * self._noise("val", epoch)
        return loss + max(0.0, epoch - 8) * 0.03 * self.overfits

    def learning_rate(self, step: int) -> float:
        """Return that of a cosine schedule."""
        return self.lr * (1 + math.cos(math.pi * step / (self.epochs * STEPS))) / 2

    def classified(self, epoch: int) -> tuple[list[int], list[int]]:
        """Return true and predicted classes of the validation set."""
        dice = random.Random(f"{self.name} {self.lr} {self.seed} {epoch}")
        loss = self.val_loss(epoch)
        right = 1 / len(CLASSES) if math.isnan(loss) else math.exp(-loss / 3)
        truth = [dice.randrange(len(CLASSES)) for _ in range(SAMPLES)]
        return truth, [self._predicted(one, right, dice) for one in truth]

    def _predicted(self, truth: int, right: float, dice: random.Random) -> int:
        if dice.random() < right:
            return truth
        if truth in CONFUSED and dice.random() < 2 / 3:
            return CONFUSED[truth]
        return dice.randrange(len(CLASSES))

    def _noise(self, split: str, at: int) -> float:
        return random.Random(f"{self.name} {self.lr} {self.seed} {split} {at}").random()


TRAININGS = {
    **{
        f"digits-lr{lr:g}-s{seed}": Training("digits", lr, seed)
        for lr, seed in product((0.1, 0.03, 0.01), (0, 1))
    },
    "overfits": Training("overfits", width=512, overfits=True),
    "diverges": Training("diverges", lr=0.5, diverges=True),
    "killed": Training("killed", seed=2),
    "live": Training("live", seed=3),
}


def many(count: int) -> dict[str, Training]:
    """Return so many short trainings."""
    lrs = (0.1, 0.03, 0.01)
    return {
        f"sweep{number:03d}": Training("sweep", lrs[number % 3], number // 3, epochs=3)
        for number in range(count)
    }


def said(training: Training, epoch: int) -> str:
    """Return what a training prints at the end of an epoch."""
    train_loss, val_loss = training.train_loss(epoch * STEPS), training.val_loss(epoch)
    return f"epoch {epoch}/{training.epochs}  train {train_loss:.4f}  val {val_loss:.4f}"


def paced(first: int, pause_s: float, killed_at: int | None) -> Iterator[int]:
    """Yield the steps of an epoch, slowly, and die at one of them."""
    for step in range(first, first + STEPS):
        time.sleep(pause_s)
        yield step
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)


# ---- runstore ------------------------------------------------------------------------------------


class Place:
    """Where the training is, as its checkpoints have it."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def log_to_runstore(training: Training, name: str, options: argparse.Namespace) -> None:
    import runstore

    again = next(Path(options.directory).glob(f"*-{name}-*")) if options.resume else "never"
    with runstore.init(
        training.params,
        root=options.directory,
        name=name,
        tags=["comparison"],
        resume=again,
        save_every="1ep",
    ) as run:
        run.register(place=Place())
        for epoch in run.epochs(training.epochs):
            first = (epoch - 1) * STEPS + 1
            for step in run.train(paced(first, options.pause, options.killed_at)):
                run.track(loss=training.train_loss(step), n=32)
                run.log({"lr": training.learning_rate(step)})
            for _ in run.val([epoch]):
                truth, predicted = training.classified(epoch)
                run.track(loss=training.val_loss(epoch), n=SAMPLES)
                run.track_classification(predicted, truth, target_names=CLASSES)
            print(said(training, epoch), flush=True)


# ---- W&B -----------------------------------------------------------------------------------------


def log_to_wandb(training: Training, name: str, options: argparse.Namespace) -> None:
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
    import wandb

    with wandb.init(
        dir=options.directory,
        project="comparison",
        name=name,
        id=name.replace(".", "_"),
        resume="allow",
        tags=["comparison"],
        config=training.params,
        save_code=False,
    ) as run:
        begun = GOES_ON_AT if options.resume else 0
        for epoch in range(begun // STEPS + 1, training.epochs + 1):
            first = (epoch - 1) * STEPS + 1
            for step in paced(first, options.pause, options.killed_at):
                row = {"train/loss": training.train_loss(step), "lr": training.learning_rate(step)}
                if step < epoch * STEPS:
                    run.log(row, step=step)
            run.log(row | validated(training, epoch), step=step)
            print(said(training, epoch), flush=True)


def validated(training: Training, epoch: int) -> dict[str, Any]:
    """Return what a user of W&B logs of a validation: scalars, and its own confusion matrix."""
    import wandb

    truth, predicted = training.classified(epoch)
    right = sum(map(int.__eq__, truth, predicted))
    matrix = wandb.plot.confusion_matrix(y_true=truth, preds=predicted, class_names=CLASSES)
    return {
        "epoch": epoch,
        "val/loss": training.val_loss(epoch),
        "val/accuracy": right / len(truth),
        **{f"val/f1/{CLASSES[k]}": f1(k, truth, predicted) for k in range(len(CLASSES))},
        "val/confusion": matrix,
    }


def f1(kind: int, truth: list[int], predicted: list[int]) -> float:
    both = truth.count(kind) + predicted.count(kind)
    right = sum(a == b == kind for a, b in zip(truth, predicted, strict=True))
    return 2 * right / both if both else 0.0


# ---- the program ---------------------------------------------------------------------------------

WRITERS = {"runstore": log_to_runstore, "wandb": log_to_wandb}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the trainings of docs/comparison.md.")
    parser.add_argument("tool", choices=WRITERS)
    parser.add_argument("directory")
    parser.add_argument(
        "names", nargs="*", help=f"of {', '.join(TRAININGS)}; default: all but live"
    )
    parser.add_argument("--many", type=int, metavar="N", help="write so many short trainings")
    parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS", help="per step")
    parser.add_argument("--killed-at", type=int, metavar="STEP")
    parser.add_argument("--resume", action="store_true", help="go on with one that was killed")
    return parser.parse_args()


def main() -> int:
    """Write the runs; those that are looked at each in a process of its own, as trainings are."""
    options = arguments()
    write = WRITERS[options.tool]
    if options.many:
        for name, training in many(options.many).items():
            write(training, name, options)
    elif len(options.names) == 1:
        write(TRAININGS[options.names[0]], options.names[0], options)
    else:
        for name in options.names or [name for name in TRAININGS if name != "live"]:
            write_alone(name, options)
    return 0


def write_alone(name: str, options: argparse.Namespace) -> None:
    command = [sys.executable, __file__, options.tool, options.directory, name]
    if name == "killed":
        subprocess.run([*command, "--killed-at", str(KILLED_AT)])
        command.append("--resume")
    subprocess.run([*command, "--pause", str(options.pause)], check=True)


if __name__ == "__main__":
    sys.exit(main())
