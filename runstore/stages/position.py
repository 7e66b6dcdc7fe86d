"""Where a run stands: which stages are open, and when the last epoch will end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runstore.metrics.meters import Pace
from runstore.stages.open_stages import TRAIN, Epoch, Split
from runstore.state.pieces import Best


@dataclass(slots=True)
class EpochDurations:
    """How long the finished epochs took, and from that when the last one will end."""

    epochs: int = 0
    total_s: float = 0.0

    def add(self, duration_s: float) -> None:
        """Add a finished epoch."""
        self.epochs += 1
        self.total_s += duration_s

    def eta_s(
        self, to_do: int, in_epoch_s: float, train: Split | None, *, is_trained: bool
    ) -> float | None:
        """Seconds until the last epoch ends; None while nothing tells.

        By the finished epochs' mean duration; inside the first one, by how far its train split is,
        and behind that by what the epoch took so far: its validation may take as long as it likes.

        Args:
            to_do: epochs that have not ended, with the open one.
            in_epoch_s: how long the open epoch has lasted.
            train: the open train split.
            is_trained: the train split of the open epoch has ended.
        """
        if self.epochs:
            per_epoch_s = self.total_s / self.epochs
        elif train is not None and train.batches and train.batch:
            per_epoch_s = in_epoch_s * train.batches / train.batch
        elif is_trained:
            per_epoch_s = in_epoch_s
        else:
            return None
        return max(0.0, to_do * per_epoch_s - min(in_epoch_s, per_epoch_s))


class Position:
    """The stages of a run that are open."""

    def __init__(self) -> None:
        """Begin outside of any epoch."""
        self.epoch: Epoch | None = None
        self.epochs: int | None = None
        """How many epochs there will be."""
        # At most two: an evaluation may come inside of a train split, as in step-based training.
        # A tuple, because the writer's thread looks at it.
        self.splits: tuple[Split, ...] = ()
        self.durations = EpochDurations()
        self._paces: dict[str, Pace] = {}
        self._started = time.monotonic()

    @property
    def split(self) -> Split | None:
        """The innermost open split."""
        splits = self.splits
        return splits[-1] if splits else None

    def open_split(self, name: str, batches: int | None) -> None:
        """Open a split; the pace of the one around it pauses."""
        now = time.monotonic()
        if self.split is not None:
            self.split.pace.stop(now)
        pace = self._paces.setdefault(name, Pace())
        pace.start(now)
        self.splits += (Split(name, batches, now, pace),)

    def close_split(self) -> float:
        """Close the innermost split; return how many seconds it took."""
        split = self.splits[-1]
        self.splits = self.splits[:-1]
        left = split.left or time.monotonic()
        split.pace.stop(left)
        if self.split is not None:
            self.split.pace.start(left)
        return left - split.started

    # ---- what is logged now ----------------------------------------------------------------------

    def note_logged(self, row: Mapping[str, Any]) -> None:
        """Remember what was logged inside the open epoch: its row has the last value of each."""
        epoch = self.noted_epoch()
        if epoch is not None:
            epoch.note(row)

    def noted_epoch(self) -> Epoch | None:
        """Return the epoch whose row has what is logged now, or None."""
        epoch = self.epoch
        return epoch if epoch is not None and epoch.left is None else None

    # ---- for people and programs -----------------------------------------------------------------

    @property
    def duration_s(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._started

    def title(self, split: Split) -> str:
        """Return what a split is called on the terminal: `epoch 3/10 train`."""
        if self.epoch is None:
            return split.name
        total = f"/{self.epochs}" if self.epochs else ""
        return f"epoch {self.epoch.number}{total} {split.name}"

    def train_batch(self) -> tuple[int, int | None] | None:
        """Return the open train split's batch, from 1, and how many it has; None outside of one."""
        split = self.split
        if split is None or split.name != TRAIN or split.left is not None:
            return None
        # Explicit calls count a batch when it is tracked, which comes behind the step.
        return (split.batch, split.batches) if split.display is not None else None

    def unfinished(self) -> str:
        """Say in words inside which epoch or split the run ends; empty when in none."""
        if self.epoch is None:
            return f"inside the split {self.split.name!r}" if self.split else ""
        return f"inside epoch {self.epoch.number}" + (f" of {self.epochs}" if self.epochs else "")

    def open_stages(self) -> dict[str, Any]:
        """Return where the run stands, for its `end` event, when it ends inside a stage."""
        found: dict[str, Any] = {}
        if self.epoch is not None:
            found["open_epoch"] = self.epoch.number
        if self.split is not None:
            found |= {"open_split": self.split.name, "batch": self.split.batch}
        return found

    def progress(self, last_epoch: int | None, best: Best | None) -> dict[str, Any]:
        """Return what `progress.json` shows. Called by the writer's thread: reads only.

        Args:
            last_epoch: the epoch that is open, or was last.
            best: the best epoch so far.
        """
        split = self.split
        shown: dict[str, Any] = {
            "epoch": last_epoch,
            "epochs": self.epochs,
            "duration_s": self.duration_s,
            "eta_s": self._eta_s(last_epoch),
        }
        if best is not None:
            shown["best"] = {"epoch": best.epoch, "metric": best.metric, "value": best.value}
        if split is not None and split.left is None:
            shown |= {
                "split": split.name,
                "batch": split.batch,
                "batches": split.batches,
                "it_per_s": split.pace.it_per_s,
            }
        return {key: value for key, value in shown.items() if value is not None}

    def _eta_s(self, last_epoch: int | None) -> float | None:
        """Seconds until the last epoch ends."""
        if self.epochs is None:
            return None
        epoch = self.epoch
        done = (epoch.number - 1) if epoch else (last_epoch or 0)
        in_epoch_s = time.monotonic() - epoch.started if epoch else 0.0
        train = next((split for split in self.splits if split.name == TRAIN), None)
        is_trained = epoch is not None and f"{TRAIN}/duration_s" in epoch.summary
        return self.durations.eta_s(self.epochs - done, in_epoch_s, train, is_trained=is_trained)
