"""A row of the `reports` stream, whatever is in it, as scores by class and a confusion matrix."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runstore.files.records import JsonObject, integer
from runstore.metrics.reports import SUMMARIES

from .facts import finite

SCORES = ("precision", "recall", "f1-score")
PAIRS_KEPT = 1000
"""Of the most confused pairs; nobody reads on."""
LONGEST_NAME = 32
"""Cells of a class's name where nothing else needs them: most of ImageNet's have fewer."""


class ClassScores(NamedTuple):
    """One line of a report; None where a score is undefined."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: float | None
    """How many samples are of the class."""


class Pair(NamedTuple):
    """Samples of one class that were taken for another one."""

    true: int
    """Place of the class in the report, from 0."""
    predicted: int
    samples: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix, of which most cells may be empty."""

    cells: Sequence[Mapping[int, int]]
    """By true class: predicted class to a count above 0; classes are places in the report."""
    totals: Sequence[int]
    """Samples of each true class, those in cells that the report has no room for included."""

    @property
    def size(self) -> int:
        """How many classes it has."""
        return len(self.cells)

    @property
    def unshown(self) -> int:
        """Samples in cells that are not in the matrix."""
        return sum(self.totals) - sum(sum(row.values()) for row in self.cells)

    def count(self, true: int, predicted: int) -> int:
        """Return a cell."""
        return self.cells[true].get(predicted, 0)

    def share(self, true: int, predicted: int) -> float:
        """Return which part of a true class a cell is, 0 to 1."""
        total = self.totals[true]
        return self.count(true, predicted) / total if total else 0.0

    def confused(self) -> list[Pair]:
        """Return the pairs of different classes with the most samples, the largest first."""
        pairs = (
            Pair(true, predicted, count)
            for true, row in enumerate(self.cells)
            for predicted, count in row.items()
            if predicted != true
        )
        return heapq.nsmallest(PAIRS_KEPT, pairs, key=lambda pair: (-pair.samples, pair))


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One report. Names are as they stand in the file: pass them through `from_file`."""

    split: str
    epoch: int | None
    step: int | None
    labels: list[str]
    """The classes in the order of the report."""
    scores: Mapping[str, ClassScores]
    """Of classes and averages; the accuracy stands where the F1 scores are, as scikit-learn
    prints it."""
    averages: list[str]
    classes: list[int]
    """The number of each class."""
    matrix: Matrix | None
    """None for many classes, or several per sample, or where the row does not tell its classes."""
    omitted: int
    """Classes that the row has no room for, those of the smallest support."""
    confused: list[Pair] = field(default_factory=list)

    @classmethod
    def from_row(cls, row: JsonObject) -> ClassReport:
        """Return what can be understood of a row; nothing else in it fails."""
        found = row.get("report")
        report = found if isinstance(found, dict) else {}
        scores = {name: _scores(entry, report) for name, entry in report.items()}
        labels = _labels(row, scores)
        classes = _class_numbers(row.get("classes"), len(labels))
        matrix = matrix_of(row, [scores[name] for name in labels])
        return cls(
            split=str(row.get("split")),
            epoch=integer(row, "epoch"),
            step=integer(row, "step"),
            labels=labels,
            scores=scores,
            averages=[name for name in scores if name not in set(labels)],
            classes=classes or list(range(len(labels))),
            matrix=matrix,
            omitted=integer(row, "omitted") or 0,
            confused=matrix.confused() if matrix else [],
        )


def _labels(row: JsonObject, scores: Mapping[str, ClassScores]) -> list[str]:
    """Return the classes: those that the row names, or all that is not an average."""
    named = row.get("labels")
    if isinstance(named, list):
        found = [name for name in dict.fromkeys(map(str, named)) if name in scores]
        if len(found) == len(named):
            return found
    return [name for name in scores if name not in SUMMARIES]


def _scores(entry: object, report: Mapping[str, Any]) -> ClassScores:
    if isinstance(entry, dict):
        return ClassScores(*(finite(entry.get(key)) for key in (*SCORES, "support")))
    macro = report.get("macro avg")
    support = finite(macro.get("support")) if isinstance(macro, dict) else None
    return ClassScores(None, None, finite(entry), support)


def _class_numbers(classes: object, size: int) -> list[int]:
    """Return the class that each label names; nothing where the row does not tell."""
    if classes is None:
        return list(range(size))
    if not isinstance(classes, list) or len(classes) != size:
        return []
    numbers = [int(name) for name in classes if finite(name) is not None]
    return numbers if len(set(numbers)) == size else []


def matrix_of(row: Mapping[str, Any], scores: Sequence[ClassScores] | None = None) -> Matrix | None:
    """Return the confusion matrix of the classes that are reported on, None where there is none.

    Args:
        row: of the `reports` stream.
        scores: of its classes; the matrix of many classes leaves small cells out, and only their
            support tells how many samples were counted.
    """
    labels, triples = row.get("labels"), row.get("confusion")
    if not isinstance(labels, list) or not isinstance(triples, list) or not labels:
        return None
    places = {name: at for at, name in enumerate(_class_numbers(row.get("classes"), len(labels)))}
    if not places or (scores is not None and len(scores) != len(labels)):
        return None
    cells: list[dict[int, int]] = [{} for _ in labels]
    totals = [0] * len(labels)
    for triple in triples:
        if not (isinstance(triple, list) and len(triple) == 3):
            continue
        true, predicted, count = map(_whole, triple)
        if true not in places or count <= 0:
            continue
        totals[places[true]] += count
        if predicted in places:
            cell, at = cells[places[true]], places[predicted]
            cell[at] = cell.get(at, 0) + count
    supports = [int(found.support or 0) for found in scores] if scores else totals
    return Matrix(cells, [max(pair) for pair in zip(totals, supports, strict=True)])


def _whole(value: object) -> int:
    """Return a number without its fraction, -1 for anything else."""
    if type(value) is int:
        return value
    number = finite(value)
    return -1 if number is None else int(number)


class ScoreColumns(NamedTuple):
    """The scores of one report in little memory, for a trend over many."""

    places: Mapping[str, int]
    """Class or average to its place in the columns; often one mapping for all reports of a run."""
    columns: tuple[array[float], array[float], array[float]]
    """Precision, recall, F1: float32, NaN where a score is undefined."""

    @property
    def size_bytes(self) -> int:
        """What the columns take."""
        return sum(column.itemsize * len(column) for column in self.columns)

    def score(self, name: str, score: int) -> float:
        """Return a score, 0 to 1, by its place in `SCORES`; NaN where there is none."""
        at = self.places.get(name)
        return math.nan if at is None else self.columns[score][at]


def score_columns(report: ClassReport, like: ScoreColumns | None = None) -> ScoreColumns:
    """Return the scores of a report, with the names of another one where they are the same."""
    names = list(report.scores)
    same = like is not None and list(like.places) == names
    places = like.places if like is not None and same else {n: at for at, n in enumerate(names)}
    values = report.scores.values()
    return ScoreColumns(
        places,
        (
            _column(found.precision for found in values),
            _column(found.recall for found in values),
            _column(found.f1 for found in values),
        ),
    )


def _column(scores: Iterable[float | None]) -> array[float]:
    return array("f", (math.nan if score is None else score for score in scores))
