"""Classification counts, streamed on the device where the model runs.

Shapes: n samples of a batch, k classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from runstore.reports import Report, classification_report

IGNORED = -100
"""The target that PyTorch's losses leave out by default (`ignore_index`)."""


class Classification:
    """A k×k confusion matrix that grows with the classes it meets."""

    def __init__(
        self, *, target_names: Sequence[str] | None = None, labels: Sequence[int] | None = None
    ) -> None:
        """Count nothing yet; see `Run.track_classification`."""
        self._target_names = target_names
        self._labels = labels
        self._classes = len(target_names) if target_names is not None and labels is None else 0
        self._counts: torch.Tensor | None = None

    def add(self, predictions: Any, targets: Any) -> None:
        """Count a batch.

        Args:
            predictions: float [n, k] scores, or integer [n] classes.
            targets: integer [n].

        Raises:
            ValueError: the shapes do not fit, or a class is negative (other than -100).
        """
        target = torch.as_tensor(targets).detach().reshape(-1)
        scores = torch.as_tensor(predictions).detach().to(target.device)
        if scores.ndim == 2 and scores.shape[1] == 1 and scores.is_floating_point():
            raise ValueError("scores [n, 1] name one class only; give classes, or scores [n, 2]")
        is_scores = scores.ndim == 2 and scores.shape[1] > 1
        predicted = scores.argmax(dim=1) if is_scores else scores.reshape(-1)
        if predicted.shape != target.shape:
            raise ValueError(
                f"{predicted.shape[0]} predictions for {target.shape[0]} targets "
                f"(shapes {list(scores.shape)} and {list(target.shape)})"
            )
        if predicted.is_floating_point() or target.is_floating_point():
            raise ValueError("classes must be integers; give scores as [n, k]")
        kept = target != IGNORED
        target, predicted = target[kept].long(), predicted[kept].long()
        if target.numel():
            self._make_room(scores, predicted, target)
            self._count(predicted, target)

    def _make_room(
        self, scores: torch.Tensor, predicted: torch.Tensor, target: torch.Tensor
    ) -> None:
        smallest = int(torch.minimum(predicted.min(), target.min()))
        if smallest < 0:
            raise ValueError(f"class {smallest} is negative, expected 0 to k - 1")
        largest = int(torch.maximum(predicted.max(), target.max()))
        seen = scores.shape[1] if scores.ndim == 2 else 0
        classes = max(self._classes, seen, largest + 1)
        if self._counts is None:
            self._counts = torch.zeros(classes, classes, dtype=torch.int64, device=target.device)
        elif classes > self._classes:
            grown = torch.zeros(classes, classes, dtype=torch.int64, device=target.device)
            grown[: self._classes, : self._classes] = self._counts
            self._counts = grown
        self._classes = classes

    def _count(self, predicted: torch.Tensor, target: torch.Tensor) -> None:
        assert self._counts is not None  # _make_room has made it
        # index_add_ costs 32 µs a batch at k = 1000; bincount over k*k cells 13,800 µs.
        cells = target * self._classes + predicted
        ones = torch.ones_like(cells)
        self._counts.view(-1).index_add_(0, cells, ones)

    def state_dict(self) -> dict[str, Any]:
        """Return everything counted, for a checkpoint in the middle of the split."""
        names, labels = self._target_names, self._labels
        return {
            "target_names": list(names) if names is not None else None,
            "labels": list(labels) if labels is not None else None,
            "classes": self._classes,
            "counts": self._counts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._target_names, self._labels = state["target_names"], state["labels"]
        self._classes, self._counts = state["classes"], state["counts"]

    def report(self) -> Report:
        """Return the report of everything counted.

        Raises:
            ValueError: nothing was counted, or names and classes do not fit.
            ImportError: scikit-learn is not installed.
        """
        if self._counts is None:
            raise ValueError("no samples were tracked")
        return classification_report(
            self._counts.cpu().numpy(), target_names=self._target_names, labels=self._labels
        )
