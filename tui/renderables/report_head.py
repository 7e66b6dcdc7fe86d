"""What stands above a classification report: its split, which epoch of which, and its means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runstore.metrics.ranking import SPLITS
from runstore.sources import NATIVE
from runstore.state.pieces import ReportPlace
from runstore.state.run_state import RunState

from .class_report import ClassReport, ScoreColumns
from .report_table import LEAST_RANGE, change
from .sparkline import sparkline
from .text import EMPTY, Line, Span, fit_line, from_file, join, line, line_width, paragraph

_TRACK = 24
_TREND = 24
_SPLITS_NAMED = 5
_ACCURACY, _MACRO = "accuracy", "macro avg"


def split_order(split: str) -> tuple[int, str]:
    """Return what sorts splits: validation before test before training."""
    order = ("val", "valid", "validation", "eval", "test", "train")
    return (order.index(split) if split in SPLITS else len(order), split)


@dataclass(frozen=True, slots=True)
class Slide:
    """Which report of a run is shown."""

    splits: Sequence[str]
    """All that have reports, in the order of the key that changes it."""
    place: ReportPlace
    at: int
    """Among those of its split, from 0."""
    total: int
    is_following: bool
    """It is the newest, and the next one will be shown when it comes."""

    @property
    def when(self) -> str:
        """`epoch 7`; the step where the row tells no epoch."""
        if self.place.epoch is not None:
            return f"epoch {self.place.epoch:,}"
        return f"report {self.at + 1:,}" if self.place.step is None else f"step {self.place.step:,}"


def slider(slide: Slide, width: int) -> Line:
    """Return the line of the slider: the split of which, the epoch of which, and where that is."""
    head = join(
        [
            _splits(slide),
            line(Span(slide.when, "value"), Span(f" · {slide.at + 1:,} of {slide.total:,}", "dim")),
        ]
    )
    state = "newest, followed" if slide.is_following else "held; } follows the newest"
    end = Span(f"  {state}", "good" if slide.is_following else "warn")
    room = width - line_width(head) - len(end.text) - 2
    track = _track(slide, min(room, _TRACK)) if room >= 8 else EMPTY
    return fit_line((*join([head, track]), end), width)


def _splits(slide: Slide) -> Line:
    """Return all splits, the shown one in brackets; of many only that one."""
    shown = line(Span(f"[{from_file(slide.place.split)}]", "title"))
    if len(slide.splits) > _SPLITS_NAMED:
        at = slide.splits.index(slide.place.split)
        return join([shown, line(Span(f"{at + 1} of {len(slide.splits)} splits", "dim"))], " ")
    names = (
        shown if split == slide.place.split else line(Span(from_file(split), "dim"))
        for split in slide.splits
    )
    return join(names, " ")


def _track(slide: Slide, width: int) -> Line:
    at = round(slide.at / max(1, slide.total - 1) * (width - 1)) if slide.total > 1 else width - 1
    return line(Span("━" * at, "bar"), Span("●", "key"), Span("─" * (width - 1 - at), "faint"))


def means(report: ClassReport, history: Sequence[ScoreColumns], width: int) -> Line:
    """Return accuracy and macro F1 with their change, and the trend of macro F1 where it fits.

    Args:
        report: What is shown.
        history: The scores of the reports up to it, it included; oldest first.
        width: Cells.
    """
    parts = [
        _mean(report, history, name, told)
        for name, told in ((_ACCURACY, "accuracy"), (_MACRO, "macro F1"))
    ]
    parts.append(line(Span(_classes(len(report.labels)), "dim")))
    head = join(parts, "   ")
    if len(history) > 1 and line_width(head) + _TREND + 4 <= width:
        values = [columns.score(_MACRO, 2) for columns in history]
        trend = sparkline(values, min(_TREND, len(values)), LEAST_RANGE)
        head = join([head, line(Span(trend, "bar"))], "   ")
    return fit_line(head, width)


def _mean(report: ClassReport, history: Sequence[ScoreColumns], name: str, told: str) -> Line:
    found = report.scores.get(name)
    if found is None or found.f1 is None:
        return EMPTY
    before = history[-2].score(name, 2) if len(history) > 1 else None
    moved = change(found.f1, before, 7).text.strip()
    role = change(found.f1, before, 7).role
    return line(Span(f"{told} ", "head"), Span(f"{found.f1:.4f} ", "value"), Span(moved, role))


def _classes(number: int) -> str:
    return f"{number:,} class{'' if number == 1 else 'es'}"


def left_out(report: ClassReport) -> str:
    """Return what a report does not have, in words; empty when it has all."""
    told = []
    if report.omitted:
        told.append(f"{report.omitted:,} classes of the smallest support had no room in the row")
    if report.matrix is not None and report.matrix.unshown:
        total = sum(report.matrix.totals)
        told.append(f"{report.matrix.unshown:,} of {total:,} samples are in cells not in the row")
    return "; ".join(told)


def nothing(state: RunState, width: int) -> list[Line]:
    """Return what to say where a run has no report, and how one is written."""
    lines = [line(Span("no classification report yet", "title")), EMPTY]
    if state.source != NATIVE.name:
        source = from_file(state.source)
        told = f"The logs of {source} have none; runs of runstore can."
        return [*lines, *paragraph(told, width)]
    return [
        *lines,
        *paragraph("In the loop over a split, with the logits and the classes of a batch:", width),
        line("    ", Span("run.track_classification(logits, y, target_names=names)", "value")),
        *paragraph("The end of the split writes the report; it appears here.", width),
    ]
