"""A classification report as a table: scores by class, how they changed, where they went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runstore.numbers import NOTHING, count
from runstore.text import printable

from .class_report import LONGEST_NAME, ClassReport, ClassScores, ScoreColumns
from .sparkline import sparkline
from .text import EMPTY, LazyLines, Line, Span, fit, from_file, line, shorten

SCORE_NAMES = ("precision", "recall", "F1")
SORTS = ("report", "score", "support", "name")
"""What the classes may be sorted by; `report`: as the report has them."""
LEAST_RANGE = 0.1
"""What the height of a trend stands for at least: scores are between 0 and 1."""
_HEADS = ("prec", "recall", "f1")
_NAME = 20
_TREND, _LEAST_TREND = 12, 6
_CELL = 7


@dataclass(frozen=True, slots=True)
class Choice:
    """How the table is to look."""

    sort: str = "report"
    """One of `SORTS`."""
    score: int = 2
    """The place in `SCORE_NAMES` of the score that is sorted by, and whose change is shown."""

    find: str = ""
    """Classes that have this in their name, in letters of either size, come first."""

    def is_found(self, name: str) -> bool:
        """Tell whether a class is one of those that come first."""
        return bool(self.find) and self.find.lower() in name.lower()

    @property
    def told(self) -> str:
        """The order in words."""
        first = f"{from_file(self.find)} first, " if self.find else ""
        return (
            first
            + {
                "report": "as reported",
                "score": f"{SCORE_NAMES[self.score]}, lowest first",
                "support": "support, largest first",
                "name": "by name",
            }[self.sort]
        )


def in_order(report: ClassReport, choice: Choice) -> list[int]:
    """Return the places of the classes in the order of the table: those that were found first."""
    order = _sorted(report, choice)
    return sorted(order, key=lambda at: not choice.is_found(report.labels[at]))


def _sorted(report: ClassReport, choice: Choice) -> list[int]:
    """Return the places of the classes, those with undefined scores at the end."""
    labels, scores = report.labels, report.scores
    places = range(len(labels))
    match choice.sort:
        case "score":
            return sorted(places, key=lambda at: _or_last(scores[labels[at]][choice.score]))
        case "support":
            return sorted(places, key=lambda at: -(scores[labels[at]].support or 0.0))
        case "name":
            return sorted(places, key=lambda at: _natural(labels[at]))
        case _:
            return list(places)


def _or_last(score: float | None) -> float:
    return math.inf if score is None else score


def _natural(name: str) -> tuple[str, int, str]:
    """Return what sorts `digit 10` behind `digit 9`."""
    head = name.rstrip("0123456789")
    number = name[len(head) :]
    return (head.lower(), int(number[:18] or -1), name)


class ScoreTable:
    """The table of one report; its lines are made when they are looked at."""

    def __init__(
        self,
        report: ClassReport,
        history: Sequence[ScoreColumns],
        choice: Choice,
        room: int,
    ) -> None:
        """Lay the columns out.

        Args:
            report: What is shown.
            history: The scores of the reports up to this one, as far as they are known, it
                included; oldest first.
            choice: What the user has chosen.
            room: Cells.
        """
        self._report, self._history, self._choice = report, history, choice
        self._order = in_order(report, choice)
        names = [printable(name) for name in report.scores]
        fixed = 3 * _CELL + 2 * (_CELL + 2)
        longest = max(map(len, names), default=0)
        self._name = max(8, min(longest, _NAME, room - fixed))
        left = room - self._name - fixed
        # A short run needs less for its trends; a heading needs some.
        wanted = max(_LEAST_TREND, min(_TREND, len(history)))
        self._wide = left >= 3 * (wanted + 1)
        if self._wide:  # what the trends leave goes to names that would be cut
            spare = left - 3 * (wanted + 1)
            self._name += max(0, min(spare, min(longest, LONGEST_NAME) - self._name))
        self._trend = wanted if self._wide or left > wanted else max(0, left - 1)
        trends = 3 if self._wide else 1
        self.width = self._name + fixed + trends * (self._trend + (self._trend > 0))
        """Cells, at most the room."""

    @property
    def head(self) -> Line:
        """The names of the columns."""
        heads = "".join(
            f"{name + self._mark(at):>{_CELL}}" + self._head_of_trend(self._wide)
            for at, name in enumerate(_HEADS)
        )
        ends = f"{'change':>{_CELL + 2}}{'support':>{_CELL + 2}}"
        return (Span(fit("class", self._name) + heads + ends + self._own_trend_head(), "head"),)

    def _mark(self, at: int) -> str:
        return "▾" if at == self._choice.score else ""

    def _head_of_trend(self, shown: bool) -> str:
        return " " + fit("", self._trend) if shown else ""

    def _own_trend_head(self) -> str:
        if self._wide or not self._trend:
            return ""
        return " " + fit("trend", self._trend)

    @property
    def lines(self) -> Sequence[Line]:
        """The classes in order, then the averages."""
        rows = [self._report.labels[at] for at in self._order]
        averages = self._report.averages
        gap = [None] if rows and averages else []
        names: list[str | None] = [*rows, *gap, *averages]

        def make(at: int) -> Line:
            name = names[at]
            return EMPTY if name is None else self._row(name, "dim" if at > len(rows) else "")

        return LazyLines(len(names), make)

    def _row(self, name: str, role: str) -> Line:
        scores = self._report.scores[name]
        spans = [Span(fit(shorten(from_file(name), self._name, keep_end=True), self._name), role)]
        for at in range(3):
            strong = at == self._choice.score and not role
            spans.append(Span(_score(scores[at]), "value" if strong else role))
            if self._wide:
                spans.append(Span(" " + self._trend_of(name, at), "bar"))
        spans.append(self._change(name, scores))
        spans.append(Span(f"{_support(scores):>{_CELL + 2}}", role))
        if self._trend and not self._wide:
            spans.append(Span(" " + self._trend_of(name, self._choice.score), "bar"))
        return line(*spans)

    def _trend_of(self, name: str, score: int) -> str:
        values = [columns.score(name, score) for columns in self._history]
        return sparkline(values, self._trend, LEAST_RANGE)

    def _change(self, name: str, scores: ClassScores) -> Span:
        now = scores[self._choice.score]
        before = (
            self._history[-2].score(name, self._choice.score) if len(self._history) > 1 else None
        )
        return change(now, before, _CELL + 2)


def change(now: float | None, before: float | None, width: int) -> Span:
    """Return `▲+0.012`, `▼-0.003`, `=`, or nothing where there is no value to compare with."""
    if now is None or before is None or not math.isfinite(before):
        return Span(" " * width)
    difference = now - before
    if abs(difference) < 0.0005:
        return Span(f"{'=':>{width}}", "dim")
    arrow, role = ("▲", "good") if difference > 0 else ("▼", "bad")
    return Span(f"{arrow}{difference:+.3f}".rjust(width), role)


def _score(score: float | None) -> str:
    return f"{NOTHING:>{_CELL}}" if score is None else f"{score:{_CELL}.3f}"


def _support(scores: ClassScores) -> str:
    return count(scores.support)
