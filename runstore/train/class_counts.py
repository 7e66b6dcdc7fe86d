"""Counts of true and predicted classes, int64, on the device where the predictions are.

Shapes: n samples of a batch, k classes.
"""

from __future__ import annotations

from typing import Any

import torch

IGNORED = -100
"""The target that PyTorch's losses leave out by default (`ignore_index`)."""
MATRIX_CLASSES = 1000
"""Up to here every pair is counted, in 8 MB; above, three numbers a class (50,000 classes: 20 GB
against 1.2 MB)."""


class ClassCounts:
    """A k×k matrix of pairs, or for many classes their hits, predictions and supports.

    The last two cells of the one tensor that holds them take what does not count: samples that are
    to be left out, and those whose class is outside of 0 to k - 1. So nothing needs to be selected,
    for which the host would have to know how much is left.
    """

    def __init__(self, classes: int, device: torch.device | None = None, *, pairs: bool = True):
        """Count nothing yet; without `pairs`, or above 1,000 classes, there is no matrix."""
        self.classes = classes
        self.is_matrix = pairs and classes <= MATRIX_CLASSES
        size = classes * classes if self.is_matrix else 3 * classes
        with torch.inference_mode(False):
            self.cells = torch.zeros(size + 2, dtype=torch.int64, device=device or "cpu")
            self._ones = torch.ones(1, dtype=torch.int64, device=self.cells.device)

    def add(self, predicted: torch.Tensor, target: torch.Tensor) -> None:
        """Count a batch; both int64 [n], on the device of the counts. Never waits for it."""
        size = self.cells.numel() - 2
        is_counted = _is_class(target, self.classes) & _is_class(predicted, self.classes)
        # Which of the last two cells takes it otherwise.
        aside = size + (target != IGNORED).long()
        self._count(predicted, target, is_counted, aside)

    def add_valid(self, predicted: torch.Tensor, target: torch.Tensor) -> None:
        """Count a batch whose classes are known to be 0 to k - 1."""
        if self.is_matrix:
            # index_add_ costs 32 µs a batch at k = 1000; bincount over k*k cells 13,800 µs.
            self._increment(target * self.classes + predicted)
        else:
            hit = target[target == predicted]
            k = self.classes
            self._increment(torch.cat([hit, predicted + k, target + 2 * k]))

    def _count(
        self,
        predicted: torch.Tensor,
        target: torch.Tensor,
        is_counted: torch.Tensor,
        aside: torch.Tensor,
    ) -> None:
        if self.is_matrix:
            self._increment(torch.where(is_counted, target * self.classes + predicted, aside))
            return
        k, ignored = self.classes, 3 * self.classes
        hit = target.masked_fill(~is_counted | (target != predicted), ignored)
        as_predicted = (predicted + k).masked_fill_(~is_counted, ignored)
        as_true = torch.where(is_counted, target + 2 * k, aside)
        self._increment(torch.cat([hit, as_predicted, as_true]))

    def _increment(self, cells: torch.Tensor) -> None:
        if cells.shape != self._ones.shape:
            # Batches mostly have one size.
            with torch.inference_mode(False):
                self._ones = torch.ones_like(cells)
        self.cells.index_add_(0, cells, self._ones)

    @property
    def outside(self) -> int:
        """How many samples had a class outside of 0 to k - 1. Waits for the device."""
        return int(self.cells[-1])

    def grown(self, classes: int, *, pairs: bool = True) -> ClassCounts:
        """Return the counts with room for `classes`; without a matrix when not `pairs`."""
        if classes <= self.classes and (self.is_matrix <= pairs):
            return self
        new = ClassCounts(
            max(classes, self.classes), self.cells.device, pairs=pairs and self.is_matrix
        )
        if new.is_matrix:
            new.matrix()[: self.classes, : self.classes] = self.matrix()
        else:
            new.per_class()[:, : self.classes] = self.per_class()
        new.cells[-2:] = self.cells[-2:]
        return new

    def moved(self, device: torch.device) -> ClassCounts:
        """Return the counts on another device."""
        if device == self.cells.device:
            return self
        new = ClassCounts(self.classes, device, pairs=self.is_matrix)
        new.cells.copy_(self.cells)
        return new

    def matrix(self) -> torch.Tensor:
        """Return the matrix, a view [k, k]: rows are true classes, columns predicted ones."""
        return self.cells[:-2].view(self.classes, self.classes)

    def per_class(self) -> torch.Tensor:
        """Return hits, predictions and supports, int64 [3, k]."""
        if not self.is_matrix:
            return self.cells[:-2].view(3, self.classes)
        matrix = self.matrix()
        return torch.stack([matrix.diagonal(), matrix.sum(dim=0), matrix.sum(dim=1)])

    def state_dict(self) -> dict[str, Any]:
        """Return the counts for a checkpoint. Waits for the device."""
        cells = self.cells.detach().to("cpu", copy=True)
        return {"classes": self.classes, "is_matrix": self.is_matrix, "cells": cells}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> ClassCounts:
        """Return the counts of a `state_dict`, on the host."""
        counts = cls(state["classes"], pairs=state["is_matrix"])
        counts.cells.copy_(state["cells"])
        return counts


def _is_class(values: torch.Tensor, classes: int) -> torch.Tensor:
    return (values >= 0) & (values < classes)
