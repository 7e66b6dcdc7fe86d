"""Runs beside each other: in which parameters they differ, and how far each metric came.

Pure: facts in, facts out; the command `compare` and the monitor show the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runstore.files.records import JsonObject, metric_values, split_nonfinite
from runstore.metrics.ranking import split_metric, telling_metrics
from runstore.nested import flattened
from runstore.runs.summary import measured
from runstore.state.pieces import Best
from runstore.state.run_state import RunState

Direction = Literal["min", "max"]
_LOWER_IS_BETTER = (
    *("loss", "error", "err", "mae", "mse", "rmse", "perplexity", "ppl", "nll", "bpb", "bpc"),
    *("wer", "cer", "fid", "regret", "divergence", "distance"),
)
_NOT_JUDGED = (
    *("lr", "learning_rate", "momentum", "beta", "weight_decay", "loss_scale", "temperature"),
    *("norm", "scale", "tokens"),
)
"""What a training sets, and sizes: neither end of these is good."""
MISSING = "–"
"""What stands for a parameter that a run does not have."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison needs of one run."""

    id: str
    name: str
    path: str
    status: str
    epoch: int | None
    epochs: int | None
    step: int | None
    duration_s: float | None
    params: dict[str, Any]
    """By name; nested names are joined by a point."""
    last: dict[str, float]
    """Each metric's newest value; NaN and infinities as they are."""
    lows: dict[str, float]
    highs: dict[str, float]
    """Each metric's lowest and highest value of an epoch, or of a row where epochs do not have it.

    Without those that were never finite.
    """
    best: Best | None
    of_epochs: frozenset[str] = frozenset()
    """The metrics whose lowest and highest values are of epochs."""
    has_begun_epochs: bool = False
    """It has an epoch table, or will have one when its first epoch has ended."""
    best_rule: str = ""
    """What makes an epoch the best one: `METRIC:min` or `METRIC:max`."""


def compared(state: RunState, run_id: str) -> Compared:
    """Return what a comparison needs of a run that was read whole."""
    # The best of many batches is a matter of luck, and of how many there were.
    curves = state.series | state.epoch_series
    ranges = {key: [p.y_range for p in pieces] for key, pieces in curves.items()}
    # A glance has no curves of epochs, and the newest one.
    newest = metric_values(state.epoch_rows[-1]) if state.epoch_rows else {}
    for key, value in newest.items():
        found = ranges.get(key, []) if key in state.epoch_series else []
        ranges[key] = [*found, (value, value) if math.isfinite(value) else None]
    known = {key: [r for r in found if r] for key, found in ranges.items()}
    return Compared(
        id=run_id,
        name=state.name,
        path=str(state.path),
        status=state.status.word,
        epoch=state.epoch,
        epochs=state.epochs,
        step=state.step,
        duration_s=state.duration_s,
        params=dict(flattened(state.params)),
        last=measured(state),
        lows={key: min(low for low, _ in found) for key, found in known.items() if found},
        highs={key: max(high for _, high in found) for key, found in known.items() if found},
        best=state.best,
        of_epochs=frozenset(state.epoch_series).union(newest),
        has_begun_epochs=any(one.epoch is not None for one in state.attempts.values()),
        best_rule=state.best_rule,
    )


def direction_of(metric: str) -> Direction:
    """Return whether a low or a high value of a metric is good, as far as its name tells.

    Losses and errors are good when low, everything else when high.
    """
    is_low = _is_one_of(_LOWER_IS_BETTER, metric) or _base(metric).startswith("loss")
    return "min" if is_low else "max"


def is_judged(metric: str) -> bool:
    """Tell whether one end of a metric is good, as far as its name tells.

    Learning rates, sizes of gradients and the like go up and down without being better.
    """
    return not _is_one_of(_NOT_JUDGED, metric)


def _base(metric: str) -> str:
    return split_metric(metric)[1].lower().rpartition("/")[2]


def _is_one_of(words: Sequence[str], metric: str) -> bool:
    base = _base(metric)
    return base in words or base.endswith(tuple(f"{mark}{word}" for word in words for mark in "_-"))


@dataclass(frozen=True, slots=True)
class Sort:
    """A metric to sort by, and which end of it comes first."""

    metric: str
    direction: Direction

    @classmethod
    def parse(cls, text: str, direction: Callable[[str], Direction] = direction_of) -> Sort:
        """Return what `--sort` says: `val/accuracy`, or `METRIC:min`, `METRIC:max`.

        Args:
            text: it.
            direction: tells which end of a metric is good, where the text does not.
        """
        metric, colon, word = text.rpartition(":")
        if colon and word == "min":
            return cls(metric, "min")
        if colon and word == "max":
            return cls(metric, "max")
        return cls(text, direction(text))


class Comparison:
    """Some runs, side by side."""

    def __init__(self, runs: Sequence[Compared], sort: Sort | None = None) -> None:
        """Compare runs, in the order in which they are given or, by `sort`, the best first."""
        self.sort = sort
        self._of_epochs = frozenset[str]().union(*(run.of_epochs for run in runs))
        self._told = _directions(run.best_rule for run in runs)
        self.runs = self._sorted(runs, sort) if sort else list(runs)

    @property
    def params(self) -> list[str]:
        """The parameters of any run, in order of appearance."""
        return list(dict.fromkeys(name for run in self.runs for name in run.params))

    @property
    def differing(self) -> list[str]:
        """The parameters in which the runs differ; one that only some have is among them."""
        first = self.runs[0].params if self.runs else {}
        return [name for name in self.params if not self._is_shared(name, first)]

    def _is_shared(self, name: str, first: dict[str, Any]) -> bool:
        return all(
            name in run.params and name in first and _same(run.params[name], first[name])
            for run in self.runs
        )

    @property
    def metrics(self) -> list[str]:
        """The metrics of any run, the most telling ones first; the one that sorts before all."""
        found = telling_metrics(name for run in self.runs for name in run.last)
        if self.sort is None:
            return found
        return [self.sort.metric, *(name for name in found if name != self.sort.metric)]

    def direction(self, metric: str) -> Direction:
        """Return which end of a metric is the good one: as a run says of its best epoch."""
        if self.sort is not None and metric == self.sort.metric:
            return self.sort.direction
        return self._told.get(metric) or direction_of(metric)

    def is_judged(self, metric: str) -> bool:
        """Tell whether a metric has a best value: also any that they are sorted or judged by."""
        is_asked = self.sort is not None and metric == self.sort.metric
        return is_asked or metric in self._told or is_judged(metric)

    def best_of(self, run: Compared, metric: str, direction: Direction) -> float | None:
        """Return the best value of a metric in a run, of an epoch where these have it.

        A run that is in its first epoch has none where others have finished some: the best of its
        batches would beat the mean of their epochs.
        """
        is_in_first = run.has_begun_epochs and metric not in run.of_epochs
        if is_in_first and metric in self._of_epochs:
            return None
        return (run.lows if direction == "min" else run.highs).get(metric)

    def winner(self, metric: str) -> Compared | None:
        """Return the run with the best value of a metric; None where it is no contest."""
        if not self.is_judged(metric):
            return None
        direction = self.direction(metric)
        having = [run for run in self.runs if self.best_of(run, metric, direction) is not None]
        if len(having) < 2:
            return None
        ranked = self._sorted(having, Sort(metric, direction))
        first, second = (self.best_of(run, metric, direction) for run in ranked[:2])
        return ranked[0] if first != second else None

    def _sorted(self, runs: Sequence[Compared], sort: Sort) -> list[Compared]:
        """Return runs by the best value of a metric; at the end those without, in their order."""
        sign = 1.0 if sort.direction == "min" else -1.0

        def place(run: Compared) -> float:
            value = self.best_of(run, sort.metric, sort.direction)
            return math.inf if value is None else sign * value

        return sorted(runs, key=place)

    def as_json(self) -> JsonObject:
        """Return the comparison as `compare --json` prints it (docs/json.md)."""
        differing = self.differing
        first = self.runs[0].params if self.runs else {}
        return {
            "sort": asdict(self.sort) if self.sort else None,
            "differing": differing,
            "shared": {name: first[name] for name in first if name not in differing},
            "runs": [self._run_as_json(run) for run in self.runs],
        }

    def _run_as_json(self, run: Compared) -> JsonObject:
        best = {
            metric: value
            for metric in self.metrics
            if (value := self.best_of(run, metric, self.direction(metric))) is not None
        }
        facts = asdict(run)
        for name in ("lows", "highs", "best", "of_epochs", "has_begun_epochs", "best_rule"):
            del facts[name]
        return {**facts, "last": split_nonfinite(run.last), "best": best}


def _directions(rules: Iterable[str]) -> dict[str, Direction]:
    """Return which end of a metric is good by what runs say of their best epochs, if they agree."""
    found: dict[str, set[Direction]] = {}
    for metric, _, word in (rule.rpartition(":") for rule in rules):
        if word in ("min", "max"):
            found.setdefault(metric, set()).add("min" if word == "min" else "max")
    return {metric: next(iter(words)) for metric, words in found.items() if len(words) == 1}


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal; 1 is 1.0, and True is not 1."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)
