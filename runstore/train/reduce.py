"""What a split amounts to over all processes: reduced once, when it ends."""

from __future__ import annotations

from typing import Any

from runstore.metrics.meters import Meters
from runstore.train.classification import Classification
from runstore.train.ranks import gather_objects
from runstore.train.regression import Regression


def reduce_split(
    meters: Meters, classification: Classification | None, regression: Regression | None
) -> tuple[Classification | None, Regression | None]:
    """Add up over all processes, each of which must call this when its split has ended.

    A process may have had no batch, and so know of no metric: it takes part all the same.

    Returns:
        The classifications and regressions of all; new ones where this process had none.
    """
    meters.reduce(gather_objects)
    mine: dict[str, Any] = {
        "classification": classification.header() if classification is not None else None,
        "regression": regression.state_dict() if regression is not None else None,
    }
    everyone = gather_objects(mine)
    headers = [part["classification"] for part in everyone if part["classification"]]
    if headers:
        classification = classification or Classification.like(headers[0])
        classification.reduce(headers)
    states = [part["regression"] for part in everyone if part["regression"]]
    if states:
        regression = regression or Regression()
        regression.reduce(states)
    return classification, regression
