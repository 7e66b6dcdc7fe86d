"""Classifications of a split, counted where the model runs, and their report.

Shapes: n samples of a batch, k classes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from runstore.metrics import values
from runstore.metrics.reports import Report, ReportOptions, classification_report, report_per_class
from runstore.train.class_counts import IGNORED, ClassCounts
from runstore.train.given import as_tensor, described
from runstore.train.host_copy import HostCopy
from runstore.train.ranks import all_reduce_sum

MOST_CLASSES = 1 << 20
"""A class beyond is a mistake, not a reason for gigabytes of counts."""
MOST_WAITING = 64
"""Batches on a device that wait for the number of classes; each keeps its classes in memory."""


class Classification:
    """Counts of true and predicted classes that grow with the classes they meet.

    On an accelerator nothing waits for it: classes outside of those that the scores have, or the
    names name, are found when the split ends.
    """

    def __init__(self, options: ReportOptions | None = None) -> None:
        """Count nothing yet; see `Run.track_classification`.

        Raises:
            ValueError: `zero_division` is not 0, 1 or nan, a label no integer, or the names are
                one string.
        """
        self._options = (options or ReportOptions()).checked()
        names, labels, _ = self._options
        self._named = len(list(names)) if names is not None and labels is None else 0
        self._counts: ClassCounts | None = None
        self._waiting: deque[tuple[HostCopy, torch.Tensor, torch.Tensor]] = deque()
        """Batches on a device whose largest class is on its way to the host."""

    def add(self, predictions: Any, targets: Any) -> None:
        """Count a batch.

        Args:
            predictions: float [n, k] scores, or integer [n] classes.
            targets: integer [n].

        Raises:
            ValueError: the shapes do not fit, or (on the host only) a class is negative, other
                than -100, or too large.
        """
        scores, target = _on_one_device(predictions, targets)
        is_scores = scores.ndim == 2 and scores.shape[1] > 1
        if not is_scores and scores.is_floating_point():
            raise ValueError(
                f"{described('predictions', scores)}, expected scores [n, k] with k of 2 or more, "
                "or integer classes [n]"
            )
        if target.is_floating_point():
            raise ValueError(f"{described('targets', target)}, expected integer classes [n]")
        predicted = scores.argmax(dim=1) if is_scores else scores.reshape(-1)
        if predicted.numel() != target.numel():
            raise ValueError(
                f"{described('predictions', scores)} and {described('targets', target)}, expected "
                "scores [n, k] or classes [n], and targets [n]"
            )
        target = target.reshape(-1)
        if not target.numel():
            return
        scored = scores.shape[1] if is_scores else 0
        if target.device.type in values.LATE_DEVICES:
            self._add_on_device(predicted.long(), target.long(), max(scored, self._named))
        else:
            self._add_on_host(predicted.cpu(), target.cpu(), scored)

    def _add_on_host(self, predicted: torch.Tensor, target: torch.Tensor, scored: int) -> None:
        ends = _range(target)
        if ends[0] < 0:
            kept = target != IGNORED
            target, predicted = target[kept], predicted[kept]
            if not target.numel():
                return
            ends = _range(target)
        largest = _largest("targets", ends)
        if not scored:  # what argmax returns need not be looked at
            largest = max(largest, _largest("predictions", _range(predicted)))
        counts = self._with_room(max(scored, self._named, largest + 1), target.device)
        counts.add_valid(predicted.long(), target.long())

    def _add_on_device(self, predicted: torch.Tensor, target: torch.Tensor, known: int) -> None:
        if known:
            self._with_room(known, target.device).add(predicted, target)
            return
        # Only the data tell how many classes there are: ask, and count when the answer is here.
        largest = torch.maximum(predicted.max(), target.max())
        self._waiting.append((HostCopy([largest]), predicted, target))
        self._count_waiting(most=MOST_WAITING)

    def _count_waiting(self, most: int) -> None:
        """Count the batches whose largest class is known, and wait while more than `most` are not.

        Raises:
            RuntimeError: the device has failed.
        """
        while self._waiting:
            copy, predicted, target = self._waiting[0]
            found = copy.poll()
            if found is not None:
                self._waiting.popleft()
                largest = min(int(found[0]), MOST_CLASSES - 1)
                self._with_room(max(1, largest + 1), target.device).add(predicted, target)
            elif len(self._waiting) > most:
                time.sleep(0.0002)
            else:
                return

    def _with_room(self, classes: int, device: torch.device) -> ClassCounts:
        counts = self._counts
        if counts is None:
            counts = self._counts = ClassCounts(classes, device)
        elif classes > counts.classes or device != counts.cells.device:
            counts = self._counts = counts.moved(device).grown(classes)
        return counts

    def settle(self) -> None:
        """Count what waits. Waits for the device."""
        self._count_waiting(most=0)

    @property
    def outside(self) -> int:
        """Samples of a device that were left out: no such class. Waits for the device."""
        self.settle()
        return self._counts.outside if self._counts is not None else 0

    def report(self) -> Report:
        """Return the report of everything counted. Waits for the device.

        Raises:
            ValueError: nothing was counted, or names and classes do not fit.
        """
        self.settle()
        counts = self._counts
        if counts is None:
            raise ValueError("no samples were tracked")
        if counts.is_matrix:
            return classification_report(counts.matrix().cpu().numpy(), self._options)
        return report_per_class(counts.per_class().cpu().numpy(), self._options)

    # ---- processes and checkpoints ---------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """Return what the other processes must know to add theirs; see `reduce`."""
        self.settle()
        counts = self._counts
        return {
            **self._options._asdict(),
            "classes": counts.classes if counts is not None else 0,
            "pairs": counts is None or counts.is_matrix,
        }

    def reduce(self, headers: Sequence[Mapping[str, Any]]) -> None:
        """Add up over all processes, each of which calls this with the headers of all.

        Args:
            headers: of the processes that have any; this one need not have counted anything.
        """
        classes = max(header["classes"] for header in headers)
        pairs = all(header["pairs"] for header in headers)
        if classes:
            counts = self._counts or ClassCounts(classes, pairs=pairs)
            self._counts = counts.grown(classes, pairs=pairs)
            all_reduce_sum(self._counts.cells)

    @classmethod
    def like(cls, header: Mapping[str, Any]) -> Classification:
        """Return an empty one with the options of another process."""
        return cls(ReportOptions(*(header[key] for key in ReportOptions._fields)))

    def state_dict(self) -> dict[str, Any]:
        """Return everything for a checkpoint: numbers, strings and a tensor on the host."""
        self.settle()
        counts = self._counts
        state = counts.state_dict() if counts is not None else None
        return {**self._options._asdict(), "counts": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, with its names, labels and zero_division."""
        fresh = Classification.like(state)
        self.__dict__.update(fresh.__dict__)
        if state["counts"] is not None:
            self._counts = ClassCounts.from_state_dict(state["counts"])


def _range(classes: torch.Tensor) -> tuple[int, int]:
    smallest, largest = classes.aminmax()
    return int(smallest), int(largest)


def _largest(name: str, ends: tuple[int, int]) -> int:
    """Return the largest of an argument's classes.

    Raises:
        ValueError: one is negative, or too large.
    """
    smallest, largest = ends
    if smallest < 0:
        raise ValueError(f"{name} have class {smallest}, expected 0 to k - 1")
    if largest >= MOST_CLASSES:
        raise ValueError(f"{name} have class {largest}, expected at most {MOST_CLASSES - 1:,}")
    return largest


def _on_one_device(predictions: Any, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both as tensors, on the accelerator when one of them is there."""
    scores, target = as_tensor("predictions", predictions), as_tensor("targets", targets)
    if scores.device != target.device:
        device = target.device if scores.device.type == "cpu" else scores.device
        scores = scores.to(device, non_blocking=True)
        target = target.to(device, non_blocking=True)
    return scores, target
