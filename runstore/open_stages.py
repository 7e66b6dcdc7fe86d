"""What is known of the split and the epoch that are open, and of what the user loops over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runstore.console import SplitDisplay
from runstore.meters import Meters, Pace
from runstore.records import RESERVED_KEYS

if TYPE_CHECKING:
    from runstore.train.classification import Classification
    from runstore.train.feed import Feed
    from runstore.train.regression import Regression

TRAIN = "train"


@dataclass(slots=True)
class Split:
    """A split that is open."""

    name: str
    batches: int | None
    started: float
    pace: Pace
    display: SplitDisplay | None = None
    meters: Meters = field(default_factory=Meters)
    batch: int = 0
    """Batches begun."""
    counted: int = -1
    """The batch that the last optimizer step was counted for."""
    latest: Mapping[str, float] = field(default_factory=dict)
    next_look: float = 0.0
    """When values on an accelerator are next fetched to be shown, in monotonic seconds."""
    classification: Classification | None = None
    regression: Regression | None = None
    feed: Feed | None = None
    """Where the batches come from, when PyTorch is loaded."""
    left: float | None = None
    """When the loop was left by `break` (or by an exception: not known yet which)."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with this split."""
        assert self.feed is not None  # a checkpoint needs PyTorch
        counts = self.classification
        return {
            "name": self.name,
            "batch": self.batch,
            "elapsed_s": time.monotonic() - self.started,
            "feed": self.feed.state(),
            "meters": self.meters.state_dict(),
            "classification": counts.state_dict() if counts is not None else None,
            "regression": self.regression.state_dict() if self.regression is not None else None,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on with a split from its `state`."""
        self.batch = self.counted = state["batch"]
        self.started = time.monotonic() - state["elapsed_s"]
        self.meters.load_state_dict(state["meters"])

    def show(self, values: Mapping[str, float] | None) -> None:
        """Take the values that are shown while the split goes on; None when they were lost."""
        self.latest = values or self.latest


@dataclass(slots=True)
class Epoch:
    """An epoch that is open."""

    number: int
    started: float
    summary: dict[str, float] = field(default_factory=dict)
    logged: dict[str, Any] = field(default_factory=dict)
    left: float | None = None

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with this epoch."""
        return {
            "number": self.number,
            "elapsed_s": time.monotonic() - self.started,
            "summary": dict(self.summary),
            "logged": dict(self.logged),
        }

    def load_state(self, state: Mapping[str, Any] | None) -> None:
        """Go on with an epoch from its `state`."""
        if state is None:
            return
        self.started = time.monotonic() - state["elapsed_s"]
        self.summary, self.logged = dict(state["summary"]), dict(state["logged"])

    def note(self, row: Mapping[str, Any]) -> None:
        """Remember what was logged: the epoch's row has the last finite value of each."""
        for key, value in row.items():
            if type(value) is float and key not in RESERVED_KEYS:
                self.logged[key] = value


@dataclass(slots=True)
class EpochDurations:
    """How long the finished epochs took, and from that when the last one will end."""

    epochs: int = 0
    total_s: float = 0.0

    def add(self, duration_s: float) -> None:
        """Add a finished epoch."""
        self.epochs += 1
        self.total_s += duration_s

    def eta_s(self, to_do: int, in_epoch_s: float, train: Split | None) -> float | None:
        """Seconds until the last epoch ends; None while nothing tells.

        By the finished epochs' mean duration; inside the first one, by how far its train split is.

        Args:
            to_do: epochs that have not ended, with the open one.
            in_epoch_s: how long the open epoch has lasted.
            train: the open train split.
        """
        if self.epochs:
            per_epoch_s = self.total_s / self.epochs
        elif train is not None and train.batches and train.batch:
            per_epoch_s = in_epoch_s * train.batches / train.batch
        else:
            return None
        return max(0.0, to_do * per_epoch_s - min(in_epoch_s, per_epoch_s))


def length_of(loader: object) -> int | None:
    """Return how many batches a loader has, or None when it does not say."""
    try:
        return len(loader)  # type: ignore[arg-type]  # an iterable without a length is fine
    except Exception:  # noqa: BLE001  # a user's __len__ may raise anything; so it has no length
        return None


def samples_of(loader: Iterable[Any]) -> int | None:
    """Return the number of samples behind a PyTorch loader, before it drops or shards any."""
    try:
        dataset = getattr(loader, "dataset", None)
    except Exception:  # noqa: BLE001  # as above, for a property
        return None
    return length_of(dataset) or None


def summary_line(title: str, means: Mapping[str, float], duration_s: float) -> str:
    """Return the line that stays of a split: its means and how long it took."""
    values = "  ".join(f"{key.rpartition('/')[2]} {value:.4f}" for key, value in means.items())
    return f"{title}  {values}  {duration_s:.1f} s"
