"""What a split amounts to when it ends: its means, its report, how long it took."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from runstore.errors import BadValueError
from runstore.metrics.values import as_float
from runstore.several import told_when_long
from runstore.stages.open_stages import TRAIN, Split
from runstore.stages.tracking import guard_device

if TYPE_CHECKING:
    from runstore.run.run import Run


def write_summary(
    run: Run, split: Split, duration_s: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Write what a split that was just closed amounts to.

    An evaluation split's means become a metrics row; classifications become a report row.

    Returns:
        The split's means, and the facts beside them, both by their whole names: `val/loss`.
    """
    means = _means(run, split)
    facts = _facts(run, split, duration_s)
    if split.name != TRAIN and means:
        run.write_row("metrics", means)
    run.write_event(
        "split_end",
        split=split.name,
        epoch=run.epoch,
        step=run.step,
        batches=split.batch,
        duration_s=duration_s,
    )
    return means, facts


def _means(run: Run, split: Split) -> dict[str, float]:
    """Return the means over all processes, with what a report and regressions add to them."""
    guard_device(run, f"the end of {split.name}", split.meters.settle)
    # Also after a fault: the other processes wait for this one.
    guard_device(run, f"the end of {split.name}", lambda: _reduce(run, split))
    means = split.meters.values()
    means |= _report(run, split)
    means |= _regression(run, split)
    return means


def _reduce(run: Run, split: Split) -> None:
    """Have the split's sums over all processes that train together."""
    if "torch" not in sys.modules:
        return
    from runstore.train.ranks import is_distributed

    if is_distributed():
        from runstore.train.reduce import reduce_split

        with told_when_long(lambda why: run.warn_once("waiting", f"{split.name}: {why}")):
            split.classification, split.regression = reduce_split(
                split.meters, split.classification, split.regression
            )


def _report(run: Run, split: Split) -> dict[str, float]:
    """Write the report row of a split that tracked classifications."""
    if split.classification is None:
        return {}
    try:
        report = split.classification.report()
        outside = split.classification.outside
    except (ImportError, ValueError, RuntimeError) as error:
        run.complain("report", f"no report of {split.name}: {error}")
        return {}
    _warn_left_out(run, split, "classes", outside, "samples of classes that the scores lack")
    run.write_row("reports", {}, split=split.name, **report.to_record())
    return _untracked(split, report.headline())


def _regression(run: Run, split: Split) -> dict[str, float]:
    """Return the errors of a split that tracked regressions."""
    found: dict[str, float] = {}
    if split.regression is not None:
        regression = split.regression
        guard_device(run, "regression", lambda: found.update(regression.values()))
        _warn_left_out(run, split, "pairs", regression.left_out, "pairs that are not finite")
    return _untracked(split, found)


def _warn_left_out(run: Run, split: Split, key: str, count: int, what: str) -> None:
    if count:
        run.complain(f"{split.name} {key}", f"{split.name}: {count} {what} are left out")


def _untracked(split: Split, found: Mapping[str, float]) -> dict[str, float]:
    """Return metrics of a split by their whole names; one that was tracked itself comes first."""
    named = {f"{split.name}/{key}": value for key, value in found.items()}
    return {key: value for key, value in named.items() if key not in split.meters.means}


def _facts(run: Run, split: Split, duration_s: float) -> dict[str, float]:
    """Return the duration, the rates, and how many batches were not finite."""
    facts = {f"{split.name}/duration_s": duration_s}
    if split.meters.samples and duration_s > 0:
        facts[f"{split.name}/samples_per_s"] = split.meters.samples / duration_s
    tokens = _tokens(run, split)
    if tokens > 0 and duration_s > 0:
        facts[f"{split.name}/tokens_per_s"] = tokens / duration_s
    if split.meters.nonfinite_batches:
        count = split.meters.nonfinite_batches
        facts[f"{split.name}/nonfinite"] = float(count)
        # With the epoch: lists of warnings show the message alone, and merge those that are alike.
        when = f" in epoch {run.epoch}" if run.epoch else ""
        batches = f"{count} of {split.meters.batches} {split.name} batches"
        run.write_event(
            "warning",
            message=f"{batches} were not finite{when}",
            epoch=run.epoch,
            step=run.step,
        )
    return facts


def _tokens(run: Run, split: Split) -> float:
    try:
        tokens = as_float("tokens", split.meters.tokens)
    except BadValueError as error:
        run.complain("tokens", f"{error}; no tokens per second of {split.name}")
        return 0.0
    return tokens if math.isfinite(tokens) else 0.0
