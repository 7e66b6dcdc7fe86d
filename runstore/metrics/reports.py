"""Classification reports from counts, with scikit-learn's own numbers.

The arithmetic is that of its `precision_recall_fscore_support`, in the same order, so the numbers
are the same bit for bit: every count is an integer far below 2**53. Asking scikit-learn itself
takes 6 ms for ten classes, nearly all of it to check its arguments; a short epoch takes 70 ms.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.records import JsonObject
from runstore.metrics.values import shown_as_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SUMMARIES = ("accuracy", "micro avg", "macro avg", "weighted avg", "samples avg")
COLUMNS = ("precision", "recall", "f1-score", "support")
MAX_CELLS = 60_000
"""The most cells of a matrix in a row."""
ROOM_BYTES = MAX_LINE_BYTES - 4096
"""What a report may take of a row; the rest of it is step, epoch and split."""


class ReportOptions(NamedTuple):
    """What a report is to show, by scikit-learn's argument names."""

    target_names: Iterable[str] | None = None
    """The names of `labels`, or of all k classes."""
    labels: Iterable[int] | None = None
    """The classes to report on; default those that occur, or all when they are named."""
    zero_division: float = 0
    """The score where there is nothing to divide by: 0, 1, or NaN, which the averages leave out."""

    def checked(self) -> ReportOptions:
        """Return them as lists and plain numbers, to keep.

        Raises:
            ValueError: `zero_division` is not 0, 1 or nan, a label no integer, or the names are
                one string.
        """
        names, labels, zero = self
        return ReportOptions(_names(names), _classes(labels), _share(zero))


def _names(target_names: Iterable[str] | None) -> list[str] | None:
    if target_names is None:
        return None
    if isinstance(target_names, str) or not isinstance(target_names, Iterable):
        raise ValueError(f"target_names is {shown_as_text(target_names)}, expected a list of names")
    return [str(name) for name in target_names]


def _classes(labels: Iterable[int] | None) -> list[int] | None:
    if labels is None:
        return None
    try:
        return [operator.index(label) for label in labels]
    except TypeError:
        raise ValueError(
            f"labels is {shown_as_text(labels)}, expected a list of integer classes"
        ) from None


def _share(zero_division: float) -> float:
    if zero_division in (0, 1) or zero_division != zero_division:
        return float(zero_division)
    raise ValueError(f"zero_division is {shown_as_text(zero_division)}, expected 0, 1 or nan")


@dataclass(frozen=True, slots=True)
class Report:
    """One report: scikit-learn's `classification_report(output_dict=True)` and the matrix."""

    labels: list[str]
    classes: list[int]
    """The class that each label names."""
    report: JsonObject
    confusion: list[list[int]] | None
    """`[true, predicted, count]` triples of the non-empty cells; the largest, if not all fit.
    None when there are too many classes to count pairs."""
    accuracy: float
    """Over all samples, whatever `labels` are reported on."""
    omitted: int = 0
    """Classes that a row has no room for: those of the smallest support."""

    def to_record(self) -> JsonObject:
        """Return the fields of a `reports` row; NaN (by `zero_division`) is null there."""
        record: JsonObject = {
            "labels": self.labels,
            "classes": self.classes,
            "report": _with_null(self.report),
        }
        if self.confusion is not None:
            record["confusion"] = self.confusion
        if self.omitted:
            record["omitted"] = self.omitted
        return record

    def headline(self) -> dict[str, float]:
        """Return the numbers that belong beside the loss: accuracy and macro F1."""
        return {"accuracy": self.accuracy, "f1_macro": self.report["macro avg"]["f1-score"]}


def classification_report(counts: npt.NDArray[np.int64], options: ReportOptions) -> Report:
    """Return the report of a confusion matrix.

    Args:
        counts: int64 [k, k], rows are true classes, columns predicted ones.
        options: what to show of it.

    Raises:
        ValueError: the matrix is empty, or names and classes do not fit.
    """
    import numpy as np

    per_class = np.stack([counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)])
    report = report_per_class(per_class, options)
    true, predicted = np.nonzero(counts)
    room = ROOM_BYTES - _size(report.labels, report.classes, report.report)
    cells = _largest_cells(true, predicted, counts[true, predicted], room)
    return replace(report, confusion=cells)


def report_per_class(counts: npt.NDArray[np.int64], options: ReportOptions) -> Report:
    """Return the report of so many classes that no pairs were counted; without a matrix.

    Args:
        counts: int64 [3, k]: hits, predictions and support of each class.
        options: what to show of them.

    Raises:
        ValueError: nothing was counted, or names and classes do not fit.
    """
    import numpy as np

    total = int(counts[2].sum())
    if not total:
        raise ValueError("no samples were tracked")
    present = np.flatnonzero(counts[1] + counts[2]).tolist()
    names, classes = _names_and_classes(options, present)
    zero_division = options.zero_division
    hits, predicted, support = _counts_of(classes, counts)
    per_class = _scores(hits, predicted, support, zero_division)
    columns = [*(score.tolist() for score in per_class), support.astype(float).tolist()]
    rows = zip(*columns, strict=True)
    report: JsonObject = {
        name: dict(zip(COLUMNS, row, strict=True)) for name, row in zip(names, rows, strict=True)
    }
    sums = [part.sum(keepdims=True) for part in (hits, predicted, support)]
    micro = [float(score[0]) for score in _scores(sums[0], sums[1], sums[2], zero_division)]
    if set(classes) >= set(present):
        report["accuracy"] = micro[0]
    else:
        report["micro avg"] = _entry(micro, support.sum())
    macro = [_average(score, None) for score in per_class]
    weighted = [_average(score, support) for score in per_class]
    report["macro avg"] = _entry(macro, support.sum())
    report["weighted avg"] = _entry(weighted, support.sum())
    return _fitting(names, classes, report, int(counts[0].sum()) / total)


def _names_and_classes(options: ReportOptions, present: list[int]) -> tuple[list[str], list[int]]:
    """Return what is shown, and under which names."""
    names, labels, _ = options.checked()
    named = None if names is None else list(names)
    if labels is None:
        labels = present if named is None else range(len(named))
    classes = list(labels)
    shown = [str(c) for c in classes] if named is None else named
    if len(shown) != len(classes):
        raise ValueError(
            f"{len(shown)} target_names for {len(classes)} labels, expected a name for each"
        )
    return shown, classes


def _counts_of(classes: Sequence[int], counts: Any) -> Any:
    """Return the columns of `classes`; zeros for one that never occurred."""
    import numpy as np

    size = counts.shape[1]
    wide = np.concatenate([counts, np.zeros((3, 1), dtype=np.int64)], axis=1)
    return wide[:, [c if 0 <= c < size else size for c in classes]]


def _scores(hits: Any, predicted: Any, support: Any, zero_division: float) -> list[Any]:
    """Return precision, recall and F1, float64 arrays."""
    return [
        _divide(hits, predicted, zero_division),
        _divide(hits, support, zero_division),
        _divide(2.0 * hits, 1.0 * support + predicted, zero_division),
    ]


def _divide(numerator: Any, denominator: Any, zero_division: float) -> Any:
    import numpy as np

    is_zero = denominator == 0
    quotient = numerator / np.where(is_zero, 1, denominator)
    return np.where(is_zero, zero_division, quotient)


def _average(scores: Any, weights: Any) -> float:
    import numpy as np

    there = ~np.isnan(scores)
    if not there.any():
        return math.nan
    if weights is None:
        return float(np.nanmean(scores))
    scores, weights = scores[there], weights[there]
    return float(np.average(scores, weights=weights if weights.sum() else None))


def _entry(scores: Sequence[float], support: Any) -> JsonObject:
    values = (*(float(score) for score in scores), float(support))
    return dict(zip(COLUMNS, values, strict=True))


def _fitting(names: list[str], classes: list[int], report: JsonObject, accuracy: float) -> Report:
    """Return a report without the classes of small support that a row has no room for."""
    if _size(names, classes, report) <= ROOM_BYTES:
        return Report(names, classes, report, None, accuracy)
    entries = {name: report[name] for name in names}
    averages = {name: value for name, value in report.items() if name not in entries}
    room = ROOM_BYTES - _size([], [], averages)
    kept: set[int] = set()
    for at in sorted(range(len(names)), key=lambda at: -entries[names[at]]["support"]):
        room -= _size([names[at]], [classes[at]], {names[at]: entries[names[at]]})
        if room < 0:
            break
        kept.add(at)
    order = sorted(kept)
    return Report(
        [names[at] for at in order],
        [classes[at] for at in order],
        {names[at]: entries[names[at]] for at in order} | averages,
        None,
        accuracy,
        omitted=len(names) - len(order),
    )


def _size(*parts: Any) -> int:
    return len(orjson.dumps(parts))


def _with_null(value: Any) -> Any:
    """Return the report with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _with_null(item) for key, item in value.items()}
    return None if value != value else value


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


def class_rows(row: JsonObject) -> Iterator[JsonObject]:
    """Yield the lines of a report as flat rows: one for each class and each average.

    They have `split`, `label`, and the four `COLUMNS` as floats; of the accuracy, which has one
    score only, that is `f1-score`, as scikit-learn prints it. Anything that is not a report gives
    none.
    """
    report = row.get("report")
    if not isinstance(report, dict):
        return
    common = {key: row.get(key) for key in ("step", "epoch", "time", "split")}
    for label, values in report.items():
        scores = _scores_of(values, report)
        numbers = {column: _as_score(scores[column]) for column in COLUMNS if column in scores}
        yield {**common, "label": label, **numbers}


def _as_score(value: object) -> object:
    # null is a score that is undefined by zero_division=nan.
    return math.nan if value is None else value


def _scores_of(values: Any, report: JsonObject) -> JsonObject:
    """Return the scores of one line; the accuracy is printed where the F1 scores are."""
    if isinstance(values, dict):
        return values
    return {"f1-score": values, "support": _total_support(report)}


def text_report(row: JsonObject) -> list[str]:
    """Return the lines that scikit-learn prints for what a `reports` row holds.

    Joined by newlines, and with one behind the last, they are the string that
    `classification_report` returns. Anything that is not a report gives an empty list.
    """
    report = row.get("report")
    if not isinstance(report, dict):
        return []
    width = max(len(name) for name in [*map(str, report), "weighted avg"])
    lines = [" " * width + " " + "".join(f" {column:>9}" for column in COLUMNS), ""]
    averages = [name for name in report if name in SUMMARIES]
    lines += [_text_row(name, report, width) for name in report if name not in SUMMARIES]
    return [*lines, "", *(_text_row(name, report, width) for name in averages)]


def _text_row(name: str, report: JsonObject, width: int) -> str:
    values = _scores_of(report[name], report)
    scores = (_score(values, column) for column in COLUMNS[:3])
    return f"{name:>{width}s} " + "".join(f" {s:>9}" for s in (*scores, _support(values)))


def _score(values: JsonObject, column: str) -> str:
    value = values.get(column, "")
    if value is None:
        return "nan"
    return f"{value:.2f}" if isinstance(value, (int, float)) else ""


def _support(values: JsonObject) -> str:
    value = values.get("support")
    return f"{value:.0f}" if isinstance(value, (int, float)) else ""


def _total_support(report: JsonObject) -> Any:
    total = report.get("macro avg")
    return total.get("support") if isinstance(total, dict) else None
