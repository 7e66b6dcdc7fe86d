"""Classification reports from a confusion matrix, with scikit-learn's own numbers.

scikit-learn computes the report from two lists of labels. Handing it one sample per non-empty
cell of the matrix, with the count as its weight, gives the same numbers bit for bit, because its
sums run over the same integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from runstore.records import MAX_LINE_BYTES, JsonObject

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SUMMARIES = ("accuracy", "micro avg", "macro avg", "weighted avg", "samples avg")
MAX_CELLS = 60_000
"""The most cells of a matrix in a row."""
ROOM_BYTES = MAX_LINE_BYTES - 4096
"""What a report may take of a row; the rest of it is step, epoch and split."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report: scikit-learn's `classification_report(output_dict=True)` and the matrix."""

    labels: list[str]
    classes: list[int]
    """The class that each label names."""
    report: JsonObject
    confusion: list[list[int]]
    """`[true, predicted, count]` triples of the non-empty cells; the largest, if not all fit."""
    accuracy: float
    """Over all samples, whatever `labels` are reported on."""

    def to_record(self) -> JsonObject:
        """Return the fields of a `reports` row."""
        return {
            "labels": self.labels,
            "classes": self.classes,
            "report": self.report,
            "confusion": self.confusion,
        }

    def headline(self) -> dict[str, float]:
        """Return the numbers that belong beside the loss: accuracy and macro F1."""
        return {"accuracy": self.accuracy, "f1_macro": self.report["macro avg"]["f1-score"]}


def classification_report(
    counts: npt.NDArray[np.int64],
    *,
    target_names: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
) -> Report:
    """Return the report of a confusion matrix.

    Args:
        counts: int64 [k, k], rows are true classes, columns predicted ones.
        target_names: the names of `labels`, or of all k classes.
        labels: the classes to report on; default those that occur, or all when they are named.

    Raises:
        ValueError: the matrix is empty, or names and classes do not fit.
        ImportError: scikit-learn is not installed.
    """
    import numpy as np

    # Imported here: the logger starts without scikit-learn, whose import takes about a second.
    from sklearn.metrics import classification_report as sklearn_report

    true, predicted = np.nonzero(counts)
    if not len(true):
        raise ValueError("no samples were tracked")
    weights = counts[true, predicted]
    if labels is None and target_names is not None:
        labels = range(len(target_names))
    report = sklearn_report(
        true,
        predicted,
        labels=None if labels is None else list(labels),
        target_names=target_names,
        sample_weight=weights,
        output_dict=True,
        zero_division=0,
    )
    classes = [int(c) for c in (np.union1d(true, predicted) if labels is None else labels)]
    names = [str(name) for name in target_names or classes]
    accuracy = int(np.trace(counts)) / int(counts.sum())
    plain = _plain(report)
    room = ROOM_BYTES - len(orjson.dumps([names, classes, plain]))
    return Report(names, classes, plain, _largest_cells(true, predicted, weights, room), accuracy)


def _plain(value: Any) -> Any:
    """Return the report with Python floats in place of numpy's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return float(value)


def _largest_cells(true: Any, predicted: Any, weights: Any, room: int) -> list[list[int]]:
    """Return the non-empty cells; the largest ones when not all fit into `room` bytes."""
    cells = zip(true.tolist(), predicted.tolist(), weights.tolist(), strict=True)
    kept = []
    for cell in sorted(cells, key=lambda cell: -cell[2])[:MAX_CELLS]:
        room -= len(str(cell))  # with its blanks a little longer than as JSON
        if room < 0:
            break
        kept.append(cell)
    return [list(cell) for cell in sorted(kept)]


def text_report(row: JsonObject) -> list[str]:
    """Return a `reports` row as scikit-learn prints it, whole supports as integers.

    Anything that is not a report gives an empty list.
    """
    report = row.get("report")
    if not isinstance(report, dict):
        return []
    columns = ("precision", "recall", "f1-score", "support")
    width = max([len(str(name)) for name in report] + [len("weighted avg")])
    summarised = False
    lines = [" " * width + "".join(f"{column:>11}" for column in columns), ""]
    for name, values in report.items():
        if name in SUMMARIES and not summarised:
            lines.append("")
            summarised = True
        if isinstance(values, dict):
            lines.append(f"{name:>{width}}" + "".join(_cell(values, c) for c in columns))
        elif isinstance(values, (int, float)):
            support = _total_support(report)
            lines.append(f"{name:>{width}}{'':22}{values:>11.2f}{support:>11.0f}")
    return lines


def _cell(values: JsonObject, column: str) -> str:
    value = values.get(column)
    if not isinstance(value, (int, float)):
        return f"{'-':>11}"
    return f"{value:>11.0f}" if column == "support" else f"{value:>11.2f}"


def _total_support(report: JsonObject) -> float:
    total = report.get("macro avg")
    support = total.get("support") if isinstance(total, dict) else None
    return float(support) if isinstance(support, (int, float)) else 0.0
