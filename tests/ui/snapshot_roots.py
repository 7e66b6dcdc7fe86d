"""Roots of runs for pictures of the screen: by hand, so that each is the same every time."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runstore.environment.process import ProcessIdentity, current_process

BEGAN = 1_795_000_000.0
"""2026-11-18 09:46:40 UTC."""
EPOCHS, BATCHES = 5, 20
Row = dict[str, Any]


def empty(root: Path) -> None:
    """No run at all."""
    root.mkdir()


def finished(root: Path) -> None:
    """Three runs of two learning rates, each with reports, system rows and events."""
    for number, (lr, seed) in enumerate(((0.1, 0), (0.1, 1), (0.01, 0))):
        run = _Run(root, f"20261118-09464{number}-digits-aaaaaa{'bcd'[number]}2", lr, seed)
        run.write(EPOCHS)
        run.end("finished")


def live(root: Path) -> None:
    """A run in the middle of its fourth epoch, by this process, beside one that has ended."""
    ended = _Run(root, "20261118-094640-digits-aaaaaab2", 0.1, 0)
    ended.write(EPOCHS)
    ended.end("finished")
    run = _Run(root, "20261118-094650-digits-aaaaaac2", 0.01, 1, owner=current_process())
    run.write(3)
    run.begin_epoch(4)
    run.rows(4, BATCHES // 2)
    run.progress(4, BATCHES // 2)


def failed(root: Path) -> None:
    """A run that went NaN and raised, and one that was interrupted and resumed."""
    run = _Run(root, "20261118-094640-diverged-aaaaaab2", 10.0, 0)
    run.write(2, scale=math.nan)
    run.end("failed", "RuntimeError: loss is NaN")
    resumed = _Run(root, "20261118-094650-digits-aaaaaac2", 0.1, 0)
    resumed.write(3)
    resumed.end("interrupted", "SIGTERM")
    resumed.resume(step=2 * BATCHES)
    resumed.write(EPOCHS, first=3)
    resumed.end("finished")


def damaged(root: Path) -> None:
    """A run with lines that are no rows, a torn last line, and a report that is none."""
    run = _Run(root, "20261118-094640-damaged-aaaaaab2", 0.1, 0)
    run.write(3)
    run.end("finished")
    with (run.path / "metrics-0001.jsonl").open("ab") as file:
        # No zeros: bytes of a file server that may still come, and for seconds no damage.
        file.write(b'{"step": 61, "train/loss": 0.1\n\x01\xff garbage \x1b[2J\n{"step": 62, "tr')
    with (run.path / "reports-0001.jsonl").open("ab") as file:
        file.write(b'{"step":61,"epoch":4,"split":"val","report":7,"labels":"x"}\n')


STATES = {
    "empty": empty,
    "finished": finished,
    "live": live,
    "failed": failed,
    "damaged": damaged,
}


class _Run:
    """One run directory."""

    def __init__(
        self, root: Path, name: str, lr: float, seed: int, owner: ProcessIdentity | None = None
    ) -> None:
        root.mkdir(exist_ok=True)
        self.path = root / name
        self.path.mkdir()
        self._lr, self._attempt, self._owner = lr, 1, owner
        self._now = time.time() - 2 * BATCHES * EPOCHS if owner else BEGAN
        label = name.split("-")[2]
        params = {"lr": lr, "seed": seed, "model": {"width": 64, "depth": 2}, "optimizer": "adamw"}
        about = {"format": 1, "id": name, "name": label, "created": self._now, "params": params}
        about |= {
            "tags": ["demo"],
            "command": ["python", "train.py", f"--lr={lr}"],
            "host": "node7",
        }
        about["git"] = {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False}
        (self.path / "run.json").write_text(json.dumps(about))
        self._open({})

    def _open(self, more: Row) -> None:
        owner = self._owner.to_record() if self._owner else {}
        event = {"event": "open", "format": 1, "attempt": self._attempt, "rank": 0}
        event |= owner | {"host": "node7"}
        if self._owner:
            file = self.path / "events-0001.jsonl"
            file.touch()
            event["inode"] = file.stat().st_ino
        self._write("events", [event | more])

    def resume(self, step: int) -> None:
        """Begin another attempt, which supersedes what stands behind a step."""
        self._attempt += 1
        cuts = {}
        for stream in ("metrics", "epochs", "reports"):
            file = self.path / f"{stream}-0001.jsonl"
            lines = file.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            cuts[file.name] = sum(map(len, kept))
        self._open({"cuts": cuts, "resumed_from": f"step-{step:08d}-0001.pt", "step": step})

    def write(self, epochs: int, *, first: int = 1, scale: float = 1.0) -> None:
        """Write whole epochs with all that belongs to them."""
        for epoch in range(first, epochs + 1):
            self.begin_epoch(epoch)
            self.rows(epoch, BATCHES, scale)
            self._end_epoch(epoch, scale)

    def begin_epoch(self, epoch: int) -> None:
        """Write the events of its beginning."""
        step = (epoch - 1) * BATCHES
        self._write(
            "events", [{"event": "epoch_start", "epoch": epoch, "epochs": EPOCHS, "step": step}]
        )
        split = {"event": "split_start", "split": "train", "epoch": epoch, "step": step}
        self._write("events", [split | {"batches": BATCHES, "samples": None}])

    def rows(self, epoch: int, batches: int, scale: float = 1.0) -> None:
        """Write the rows of the first batches of an epoch, and what the machine did meanwhile."""
        self._write("metrics", self._train_rows(epoch, batches, scale))
        machine = {"cpu/percent": 40.0 + epoch, "memory/used_gib": 3.5, "memory/total_gib": 24.0}
        self._write("system", [{"step": epoch * BATCHES, "epoch": epoch} | machine])

    def _train_rows(self, epoch: int, batches: int, scale: float) -> Iterator[Row]:
        for batch in range(1, batches + 1):
            step = (epoch - 1) * BATCHES + batch
            loss = scale * _loss(step, self._lr)
            yield {"step": step, "epoch": epoch, **_value("train/loss", loss), "lr": self._lr}

    def _end_epoch(self, epoch: int, scale: float) -> None:
        step = epoch * BATCHES
        accuracy = 1 - _loss(step, self._lr) / 2.5
        place = {"step": step, "epoch": epoch}
        values = {"lr": self._lr, "duration_s": 20.0, "train/samples_per_s": 64.0}
        values |= _value("train/loss", scale * _loss(step, self._lr))
        values |= _value("val/loss", scale * (_loss(step, self._lr) + 0.01 * epoch))
        self._write("epochs", [place | values | {"val/accuracy": accuracy}])
        self._write("reports", [place | _report(accuracy)])
        self._write(
            "events", [{"event": "split_end", "split": "train", **place, "batches": BATCHES}]
        )

    def progress(self, epoch: int, batch: int) -> None:
        """Write where the live run stands."""
        assert self._owner is not None
        step = (epoch - 1) * BATCHES + batch
        position = {"step": step, "epoch": epoch, "epochs": EPOCHS, "split": "train"}
        position |= {"batch": batch, "batches": BATCHES, "it_per_s": 12.5, "eta_s": 3 * 3600.0}
        beat = {"beat": 3, "attempt": 1, "time": time.time(), "monotonic": time.monotonic()}
        document = beat | position | {"pid": os.getpid(), "idle_s": 0.1, "longest_gap_s": 1e6}
        (self.path / "progress.json").write_text(json.dumps(document))

    def end(self, status: str, reason: str = "") -> None:
        """Write the attempt's end."""
        event: Row = {"event": "end", "status": status, "step": EPOCHS * BATCHES}
        self._write("events", [event | ({"reason": reason} if reason else {})])

    def _write(self, stream: str, rows: Iterable[Row]) -> None:
        with (self.path / f"{stream}-{self._attempt:04d}.jsonl").open("a") as file:
            for row in rows:
                self._now += 1.0
                file.write(json.dumps({"time": self._now, **row}) + "\n")


def _loss(step: int, lr: float) -> float:
    return 2.0 * math.exp(-step * min(lr, 0.3) / 3) + 0.1 + 0.05 * math.sin(step)


def _value(name: str, value: float) -> Row:
    if math.isfinite(value):
        return {name: value}
    return {name: None, "_nonfinite": {name: "nan"}}


def _report(accuracy: float) -> Row:
    labels = ["cat", "dog", "bird"]
    right = round(100 * max(0.0, accuracy))
    confusion = [[true, true, right] for true in range(3)]
    confusion += [[true, (true + 1) % 3, 100 - right] for true in range(3) if right < 100]
    scores = {"precision": right / 100, "recall": right / 100, "f1-score": right / 100}
    report: Row = {label: scores | {"support": 100} for label in labels}
    report |= {"accuracy": right / 100, "macro avg": scores | {"support": 300}}
    return {"split": "val", "labels": labels, "report": report, "confusion": confusion}
