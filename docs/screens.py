"""Makes the pictures of the README anew: `python -m docs.screens`. Look at them before a commit.

The screens are the monitor's own, after the keys of `SCREENS`; the trainings are made up: curves
are formulas, and the runs are written as docs/format.md has them, with times of hours. PNG needs
what `docs.picture` needs.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.picture import write_png
from runstore.environment.process import current_process
from runstore.metrics.reports import ReportOptions, classification_report

Row = dict[str, Any]
EPOCHS, STEPS, EPOCH_S = 30, 100, 83.0
ROW_S = 0.8
CLASSES = ["airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TAKEN_FOR = {2: 6, 3: 5, 5: 3, 4: 7, 7: 4, 0: 8, 8: 0, 1: 9, 9: 1}
"""The class that most samples of another one are taken for."""
SAMPLES = 1000
PATIENCE_S = 30.0

SCREENS = {
    "screenshot": ((150, 42), ""),
    "charts": ((120, 30), "jj j j j k3]"),
    "report": ((150, 34), "jj4[[[["),
    "compare": ((150, 33), "jj j j j kcs"),
}
"""Of each picture: columns and lines, and the keys."""


@dataclass(frozen=True)
class Training:
    """Curves that look like those of a classifier."""

    name: str
    lr: float
    seed: int = 0
    width: int = 64
    overfits: bool = False

    def train_loss(self, step: int) -> float:
        """Return the loss of one batch."""
        pace = 0.004 * min(1.0, self.lr / 0.1) ** 0.5 * (1.4 if self.overfits else 1.0)
        floor = 0.05 if self.overfits else 0.3 + 0.25 * max(0.0, math.log10(self.lr / 0.1))
        noise = 0.12 * self._noise("train", step) * (0.4 + math.exp(-step / 600))
        return 2.0 * math.exp(-step * pace) + floor + noise

    def val_loss(self, epoch: int) -> float:
        """Return the loss of the validation at the end of an epoch."""
        loss = self.train_loss(epoch * STEPS) + 0.06 + 0.02 * self._noise("val", epoch)
        return loss + max(0.0, epoch - 5) * 0.03 * self.overfits

    def learning_rate(self, step: int) -> float:
        """Return that of a cosine schedule."""
        return self.lr * (1 + math.cos(math.pi * min(1.0, step / (EPOCHS * STEPS)))) / 2

    def confusion(self, epoch: int) -> Any:
        """Return counts, int64 [true, predicted]."""
        import numpy as np

        dice = random.Random(f"{self} {epoch}")
        counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
        for _ in range(SAMPLES):
            true = dice.randrange(len(CLASSES))
            predicted = true
            if dice.random() > math.exp(-self.val_loss(epoch) / 2.5):
                often = TAKEN_FOR.get(true, true)
                predicted = often if dice.random() < 0.6 else dice.randrange(len(CLASSES))
            counts[true, predicted] += 1
        return counts

    def _noise(self, split: str, at: int) -> float:
        return random.Random(f"{self} {split} {at}").random()


class Written:
    """One run directory; `is_live`: of this process, and not at its end."""

    def __init__(self, root: Path, training: Training, began: float, *, is_live: bool) -> None:
        self.training, self._now = training, began
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(began))
        tail = "".join(random.Random(str(training)).choices("abcdefghjkmnpqrstvwxyz", k=8))
        self.path = root / f"{stamp}-{training.name}-{tail}"
        self.path.mkdir(parents=True)
        params: Row = {"lr": training.lr, "seed": training.seed, "width": training.width}
        params |= {"optimizer": "adamw", "augment": not training.overfits}
        about = {"format": 1, "id": self.path.name, "name": training.name, "created": began}
        about |= {"params": params, "tags": ["cifar10"], "host": "node7"}
        about["git"] = {"commit": "4f2c9d1e7b7a4d0c8a3e5f6b9c0d1e2f3a4b5c6d", "dirty": False}
        (self.path / "run.json").write_text(json.dumps(about))
        (self.path / "events-0001.jsonl").touch()
        opened: Row = {"event": "open", "format": 1, "attempt": 1, "rank": 0, "host": "node7"}
        if is_live:
            opened |= current_process().to_record()
            opened["inode"] = (self.path / "events-0001.jsonl").stat().st_ino
        self._write("events", [opened])

    def epochs(self, count: int) -> None:
        """Write whole epochs, with the rows of a part of their steps."""
        for epoch in range(1, count + 1):
            began = self._now
            place: Row = {"step": epoch * STEPS, "epoch": epoch}
            self._begin(epoch)
            self._write("metrics", self._rows(epoch, STEPS))
            self._now = began + EPOCH_S
            counts = self.training.confusion(epoch)
            report = classification_report(counts, ReportOptions(target_names=CLASSES))
            values = {"lr": self.training.learning_rate(epoch * STEPS), "duration_s": EPOCH_S}
            values["train/loss"] = self.training.train_loss(epoch * STEPS)
            values["val/loss"] = self.training.val_loss(epoch)
            values |= {f"val/{name}": value for name, value in report.headline().items()}
            values["train/samples_per_s"] = 610.0 + 5 * (epoch % 3)
            self._write("epochs", [place | values])
            self._write("reports", [place | {"split": "val"} | report.to_record()])
            if epoch % 5 == 0:
                file = f"step-{epoch * STEPS:08d}-0001.pt"
                self._write("events", [{"event": "checkpoint", "file": file, **place}])

    def part_of_epoch(self, epoch: int, batch: int) -> None:
        """Write the beginning of an epoch, and where the live run stands."""
        self._begin(epoch)
        self._now = time.time() - batch * ROW_S
        self._write("metrics", self._rows(epoch, batch))
        step = (epoch - 1) * STEPS + batch
        position: Row = {"step": step, "epoch": epoch, "epochs": EPOCHS, "split": "train"}
        left_s = (EPOCHS - epoch + 1 - batch / STEPS) * EPOCH_S
        position |= {"batch": batch, "batches": STEPS, "it_per_s": 1.25, "eta_s": left_s}
        beat = {"beat": 3, "attempt": 1, "time": time.time(), "monotonic": time.monotonic()}
        beat |= {"pid": os.getpid(), "idle_s": 0.1, "longest_gap_s": 1e6}
        (self.path / "progress.json").write_text(json.dumps(beat | position))

    def end(self, status: str, reason: str = "") -> None:
        """Write how it ended."""
        self._write("events", [{"event": "end", "status": status, "reason": reason}])

    def _begin(self, epoch: int) -> None:
        place = {"epoch": epoch, "step": (epoch - 1) * STEPS}
        split = {"event": "split_start", "split": "train", "batches": STEPS}
        self._write("events", [{"event": "epoch_start", "epochs": EPOCHS} | place, split | place])

    def _rows(self, epoch: int, batches: int) -> Iterator[Row]:
        for batch in range(1, batches + 1):
            step = (epoch - 1) * STEPS + batch
            values = {"train/loss": self.training.train_loss(step)}
            yield {"step": step, "epoch": epoch, "lr": self.training.learning_rate(step), **values}

    def _write(self, stream: str, rows: Iterable[Row]) -> None:
        with (self.path / f"{stream}-0001.jsonl").open("a") as file:
            for row in rows:
                self._now += ROW_S
                file.write(json.dumps({"time": self._now, **row}) + "\n")


def write_runs(root: Path) -> None:
    """Write a sweep, a run that failed, one that overfits, and one in the middle of its epochs."""
    now = time.time()
    began = now - 30 * 3600
    for lr in (0.3, 0.1, 0.03, 0.01):
        for seed in (0, 1):
            run = Written(root, Training("resnet18", lr, seed), began, is_live=False)
            run.epochs(EPOCHS)
            run.end("finished")
            began += 2700
    wide = Training("resnet18-wide", 0.03, width=512, overfits=True)
    run = Written(root, wide, began, is_live=False)
    run.epochs(EPOCHS)
    run.end("finished")
    failed = Written(root, Training("resnet50", 0.1), began + 2700, is_live=False)
    failed.epochs(12)
    failed.end("failed", "RuntimeError: CUDA out of memory")
    live = Training("resnet18-long", 0.05, seed=2)
    run = Written(root, live, now - 12.6 * EPOCH_S, is_live=True)
    run.epochs(12)
    run.part_of_epoch(13, 54)


async def svg(root: Path, size: tuple[int, int], keys: str) -> str:
    """Return the screen after some keys, once everything was read."""
    from tui.app import MonitorApp

    app = MonitorApp([root])
    async with app.run_test(size=size) as pilot:
        for pressed in ("", keys) if keys else ("",):
            await pilot.press(*("space" if key == " " else key for key in pressed))
            deadline = time.monotonic() + PATIENCE_S
            while not app.is_read and time.monotonic() < deadline:
                await pilot.pause(0.1)
            for _ in range(8):
                await pilot.pause(0.15)
        return app.export_screenshot(title="runstore-tui")


def write(name: str, target: Path) -> None:
    """Write one picture, of runs that begin anew: their live one has just written a row."""
    size, keys = SCREENS[name]
    with tempfile.TemporaryDirectory() as directory:
        os.environ |= {"XDG_STATE_HOME": directory, "XDG_CONFIG_HOME": directory}
        os.chdir(directory)
        write_runs(Path("cifar"))
        write_png(asyncio.run(svg(Path("cifar"), size, keys)), target)
        os.chdir(target.parent)


def main() -> None:
    """Write the pictures, or those that are named, beside this file."""
    target = Path(__file__).parent.absolute()
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in sys.argv[1:] or SCREENS:
        write(name, target / f"{name}.png")


if __name__ == "__main__":
    main()
