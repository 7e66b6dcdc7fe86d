"""What is known of the split and the epoch that are open, and of what the user loops over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runstore.console import SplitDisplay
from runstore.files.records import NONFINITE_KEY, RESERVED_KEYS
from runstore.metrics.meters import Meters, Pace, Sums
from runstore.metrics.reports import ReportOptions

if TYPE_CHECKING:
    from runstore.train.classification import Classification
    from runstore.train.feed import Feed
    from runstore.train.regression import Regression

TRAIN = "train"


def _device_sums() -> Sums:
    from runstore.train.device_sums import DeviceSums

    return DeviceSums()


@dataclass(slots=True)
class Split:
    """A split that is open."""

    name: str
    batches: int | None
    started: float
    pace: Pace
    display: SplitDisplay | None = None
    meters: Meters = field(default_factory=lambda: Meters(_device_sums))
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

    def add_classifications(self, predictions: Any, targets: Any, options: ReportOptions) -> None:
        """Count a batch of classifications; the first one says which classes there are."""
        if self.classification is None:
            self.classification = _classification(options)
        self.classification.add(predictions, targets)

    def add_regressions(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions."""
        if self.regression is None:
            self.regression = _regression()
        self.regression.add(predictions, targets)

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
        if state["classification"] is not None:
            self.classification = _classification()
            self.classification.load_state_dict(state["classification"])
        if state["regression"] is not None:
            self.regression = _regression()
            self.regression.load_state_dict(state["regression"])

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
    nonfinite: set[str] = field(default_factory=set)
    """What was logged as NaN or infinite."""

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
        self.nonfinite.update(row.get(NONFINITE_KEY, ()))


def _regression() -> Regression:
    from runstore.train.regression import Regression

    return Regression()


def _classification(options: ReportOptions | None = None) -> Classification:
    from runstore.train.classification import Classification

    return Classification(options)


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
