"""Which metrics people look at first, so that a list of three shows the right three."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

RANKED_METRICS = 50
"""Metrics of one run that may become a column of a list."""
SPLITS = ("train", "val", "valid", "validation", "eval", "test")
_BY_MEANING = ("loss", "accuracy", "acc", "f1", "auc", "mae", "mse", "rmse", "perplexity")
_BOOKKEEPING = (
    *("duration_s", "_per_s", "samples", "nonfinite", "batches"),
    # What transformers calls them.
    *("runtime", "_per_second"),
    # MMEngine and detectron2.
    *("data_time", "time_s"),
)
_NOTED = ("duration_s", "samples_per_s", "nonfinite")


def rank_metrics(names: Iterable[str]) -> list[str]:
    """Return metric names, the ones that people look at first in front.

    The more runs have a metric the further in front it is, among equally telling names.
    """
    counts = Counter(iter(names))
    return sorted(counts, key=lambda name: (_interest(name), -counts[name], name))


def telling_metrics(names: Iterable[str]) -> list[str]:
    """Return metric names as `rank_metrics` does, without those about the training loop."""
    return [name for name in rank_metrics(names) if not is_bookkeeping(name)]


def most_telling(names: Collection[str]) -> Collection[str]:
    """Return the names of a run's metrics, of many those that may become a column of a list."""
    return names if len(names) <= RANKED_METRICS else rank_metrics(names)[:RANKED_METRICS]


def _interest(name: str) -> tuple[int, int, int]:
    split, base = split_metric(name)
    if is_bookkeeping(name):
        return (9, 0, 0)
    split_rank = SPLITS.index(split) if split in SPLITS else len(SPLITS)
    for rank, word in enumerate(_BY_MEANING):
        if base == word or base.endswith("_" + word):
            # Losses are read in pairs; of the others, what held-out data says comes first.
            # `loss` itself is before the parts that it may have: `d_loss`, `mask_loss`.
            order = (split_rank - 1) % 9 if rank else split_rank - 9
            return (min(rank, 3), base != word, order)
    return (5, 0, split_rank)


def is_bookkeeping(name: str) -> bool:
    """Tell whether a metric is about the training loop (its speed, its sizes), not the network."""
    return split_metric(name)[1].endswith(_BOOKKEEPING)


def is_noted(name: str) -> bool:
    """Tell whether a name is one that a run writes by itself into its epoch rows."""
    split, _, base = name.rpartition("/")
    return base in _NOTED and (bool(split) or base == "duration_s")


def split_metric(name: str) -> tuple[str, str]:
    """Return (split, metric) of `train/loss`; the split is "" where there is none."""
    head, slash, rest = name.partition("/")
    return (head, rest) if slash and head in SPLITS and rest else ("", name)
