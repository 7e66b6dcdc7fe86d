"""A classification report and its confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runstore.numbers import NOTHING, count
from runstore.state.run_state import RunState

from .class_report import matrix_of
from .facts import finite
from .report_head import split_order
from .text import EMPTY, Line, Span, fit, fit_line, from_file, line, line_width, shorten

MAX_MATRIX_LABELS = 30
Made = dict[str, tuple[Mapping[str, Any], int, list[Line]]]
"""Split to its report's row, the width, and the lines that were made of it."""
_AVERAGES = ("micro avg", "macro avg", "weighted avg", "samples avg")


def report(state: RunState, width: int, made: Made | None = None) -> list[Line]:
    """Return the newest report of each split, validation before training.

    Args:
        state: The run.
        width: Cells.
        made: What was made before, brought up to date: only new reports are made again.
    """
    reports = state.reports
    made = {} if made is None else made
    for split in made.keys() - reports.keys():
        del made[split]
    if not reports:
        return [
            line(Span("no classification report yet", "dim")),
            line(Span("track_classification(logits, y) writes one per split", "dim")),
        ]
    out: list[Line] = []
    for split in sorted(reports, key=split_order):
        if out:
            out.append(EMPTY)
        row, known = reports[split], made.get(split)
        if known is None or known[0] is not row or known[1] != width:
            known = made[split] = (row, width, _one_report(split, row, width))
        out += known[2]
    return out


def _one_report(split: str, row: Mapping[str, Any], width: int) -> list[Line]:
    where = f"  epoch {row['epoch']}" if isinstance(row.get("epoch"), int) else ""
    title = line(Span(from_file(split), "title"), Span(where, "dim"), *_accuracy(row))
    table = _scores(row, width)
    matrix = _confusion(row)
    if not matrix:
        return [title, *table]
    table_width = max(map(line_width, table))
    if table_width + 3 + max(map(line_width, matrix)) <= width:
        return [title, *_side_by_side(table, matrix, table_width)]
    fits = max(map(line_width, matrix)) <= width
    return [title, *table, EMPTY, *matrix] if fits else [title, *table]


def _accuracy(row: Mapping[str, Any]) -> Line:
    scores = row.get("report")
    accuracy = finite(scores.get("accuracy")) if isinstance(scores, dict) else None
    return () if accuracy is None else line("   accuracy ", Span(f"{accuracy:.4f}", "value"))


def _scores(row: Mapping[str, Any], width: int) -> list[Line]:
    """Return precision, recall, F1 and support of each class, then the averages."""
    scores = row.get("report")
    if not isinstance(scores, dict):
        return [line(Span("the report row holds no report", "warn"))]
    entries = {key: value for key, value in scores.items() if isinstance(value, dict)}
    longest = max((len(from_file(key)) for key in entries), default=8)
    label = max(8, min(longest, 20, width - 36))
    titles = f"{fit('class', label)} {'prec':>6} {'recall':>6} {'f1':>6} {'support':>8}"
    lines = [line(Span(titles, "head"))]
    for key, entry in entries.items():
        lines.append(_score_row(key, entry, label))
    return lines


def _score_row(key: str, entry: Mapping[str, Any], label: int) -> Line:
    average = key in _AVERAGES
    name = fit(shorten(from_file(key), label), label)
    values = [_score(entry.get(field)) for field in ("precision", "recall", "f1-score")]
    text = " ".join([*values, f"{count(finite(entry.get('support'))):>8}"])
    return line(
        Span(name, "dim" if average else ""), " ", Span(text, "dim" if average else "value")
    )


def _score(value: object) -> str:
    number = finite(value)
    return f"{NOTHING:>6}" if number is None else f"{number:6.3f}"


def _confusion(row: Mapping[str, Any]) -> list[Line]:
    """Return the matrix, true classes down and predicted ones across; empty when there is none."""
    labels = row.get("labels")
    if not isinstance(labels, list) or not 0 < len(labels) <= MAX_MATRIX_LABELS:
        return []
    matrix = matrix_of(row)
    if matrix is None:
        return []
    places = range(matrix.size)
    counts = [[matrix.count(true, predicted) for predicted in places] for true in places]
    names = [from_file(label) for label in labels]
    label = max(7, min(10, max(len(name) for name in names)))
    cell = max(3, len(str(max(max(row) for row in counts))), min(6, max(len(n) for n in names)))
    across = " ".join(fit(shorten(name, cell), cell, right=True) for name in names)
    lines = [line(Span(fit("true\\as", label) + " " + across, "head"))]
    for index, name in enumerate(names):
        cells: list[Span] = []
        for column, value in enumerate(counts[index]):
            role = "good" if column == index else "bad" if value else "faint"
            cells += [Span(" "), Span(f"{value or '·':>{cell}}", role)]
        lines.append((Span(fit(shorten(name, label), label), ""), *cells))
    return lines


def _side_by_side(left: list[Line], right: list[Line], left_width: int) -> list[Line]:
    rows = max(len(left), len(right))
    pad = [EMPTY] * rows
    both = zip((left + pad)[:rows], (right + pad)[:rows], strict=True)
    return [(*fit_line(a, left_width + 3), *b) for a, b in both]
