"""The lines of the run list: its titles, and one per run or group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runstore.numbers import NOTHING, age, duration, metric, percent, rate

from .bars import ENDED, bar
from .facts import GLYPHS, STATUS_ROLES, Facts
from .run_columns import (
    DONE,
    GLYPH_WIDTH,
    NAME,
    PARAM,
    PERCENT,
    SOURCE,
    SPREAD_METRIC,
    STATUS,
    TITLES,
    Column,
    Columns,
    epoch_text,
    name_width,
)
from .text import Line, Span, fit, line, line_width, shorten, width_of
from .told_apart import told_apart

OLD_S = 180.0
"""A copy that is kept up to date is at most a minute old, or something is wrong."""

LEAST_APART = 8
"""Cells that a name needs to differ from others."""


@dataclass(frozen=True, slots=True)
class Together:
    """What the row of several runs shows besides their common facts."""

    count: int
    counts: Sequence[tuple[str, int]]
    """(status word, how many)."""
    folded: bool
    spread: Mapping[str, float] = field(default_factory=dict)
    """Of each metric the standard deviation of the newest values."""


def header(columns: Columns) -> Line:
    """Return the column titles; the one that is sorted by has an arrow."""
    narrow = columns.status == GLYPH_WIDTH
    spans = [Span("  " if narrow else _title(columns, STATUS, columns.status, indent=2), "head")]
    spans += [] if narrow else [Span(" ")]
    spans.append(Span(_title(columns, NAME, columns.name), "head"))
    for column in columns.cells:
        right = column.id not in (SOURCE, DONE)
        # Without the bar, whose title it has elsewhere, a percentage needs one of its own.
        name = DONE if narrow and column.id == PERCENT else column.id
        title = _title(columns, name, column.width, right=right)
        spans += [Span(" "), Span(title, "head")]
    return tuple(spans)


def _title(columns: Columns, name: str, width: int, *, right: bool = False, indent: int = 0) -> str:
    title = " " * indent + Column(name, width).title
    if name == columns.sort:
        arrow = "▲" if columns.ascending else "▼"
        return fit(
            shorten(title, width - 1, keep_end=name not in TITLES) + arrow, width, right=right
        )
    return fit(shorten(title, width, keep_end=name not in TITLES), width, right=right)


def row(facts: Facts, columns: Columns, now_s: float = 0.0, indent: int = 0) -> Line:
    """Return one run; every column is there, with a dash where nothing is known.

    Args:
        facts: Of the run.
        columns: Their widths.
        now_s: Unix seconds, to tell how long a job may still run.
        indent: Cells before the name.
    """
    status = _status(facts, columns.status)
    spans = [*status, Span(" " * indent), *_name(facts, max(1, columns.name - indent))]
    for column in columns.cells:
        spans += [Span(" "), *_cell(facts, column, now_s)]
    return tuple(span for span in spans if span.text)


def cut_apart(shown: Sequence[Facts], width: int) -> Iterator[Facts]:
    """Cut the names that are longer than `width` cells so that those of two runs still differ.

    Runs of one name keep it: `tell_apart` has found what they differ in.
    """
    if all(facts.apart[0] or width_of(facts.name) <= width for facts in shown):
        yield from shown
        return
    room = max(LEAST_APART, width - 2 * any(facts.damaged for facts in shown))
    names = told_apart(["" if facts.apart[0] else facts.name for facts in shown], room)
    for facts, name in zip(shown, names, strict=True):
        yield replace(facts, name=name) if name else facts


def label(facts: Facts, width: int) -> Line:
    """Return glyph and name of a run that has no row; the name has at most `width` cells."""
    status = Span(f"{GLYPHS.get(facts.word, '?')} ", STATUS_ROLES.get(facts.word, "dim"))
    return line(status, *_told_apart(facts, min(width, name_width(facts))))


def _status(facts: Facts, width: int) -> Line:
    """Return glyph and word, and what the badge of a NaN says, as far as there is room."""
    role = STATUS_ROLES.get(facts.word, "dim")
    glyph = GLYPHS.get(facts.word, "?")
    if width == GLYPH_WIDTH:
        return line(Span(glyph, role), Span("!", "bad") if facts.is_nan else " ")
    told = f"{glyph} {facts.word}"
    room = width - len(told)
    if facts.is_nan and room > 1:
        badge = Span(" nan" if room > 3 else " !", "bad")
        return line(Span(fit(told, width - len(badge.text)), role), badge, " ")
    return line(Span(fit(told, width), role), " ")


def group_row(
    facts: Facts, together: Together, columns: Columns, now_s: float = 0.0, indent: int = 0
) -> Line:
    """Return the row of several runs: how many are how, and what their values are on average."""
    width, before = max(1, columns.name - indent), Span(" " * indent)
    arrow = "▸" if together.folded else "▾"
    count = f"n={together.count:,}"
    if columns.status == GLYPH_WIDTH:
        spans = [Span(f"{arrow} ", "key"), before, *_label(facts, width, count)]
    else:
        status = _group_status(f"{arrow} {count}", together.counts, columns.status)
        spans = [*status, Span(" "), before, *_name(facts, width)]
    for column in columns.cells:
        deviation = together.spread.get(column.id)
        spans.append(Span(" "))
        if deviation is None or column.width < SPREAD_METRIC - 1:
            spans += _cell(facts, column, now_s)
        else:
            spans.append(_spread(facts.last[column.id], deviation, column.width))
    return tuple(spans)


def _group_status(head: str, counts: Sequence[tuple[str, int]], width: int) -> Line:
    spans = [Span(head, "key")]
    for word, number in counts:
        text = f"{GLYPHS.get(word, '?')}{number:,}"
        gap = " " if len(spans) == 1 else ""
        if line_width(tuple(spans)) + len(gap + text) > width:
            break
        spans.append(Span(gap + text, STATUS_ROLES.get(word, "dim")))
    return (*spans, Span(" " * (width - line_width(tuple(spans)))))


def _label(facts: Facts, width: int, count: str) -> Line:
    room = max(1, width - len(count) - 1)
    return (*_name(facts, room), Span(fit(f" {count}", width - room), "dim"))


def _spread(mean: float, deviation: float, width: int) -> Span:
    if not math.isfinite(mean):
        return _value(mean, width)
    texts = (
        f"{metric(mean)}±{metric(deviation)}",
        f"{mean:.4g}±{deviation:.2g}",
        f"{mean:.3g}±{deviation:.1g}",
        f"{mean:.1e}±{deviation:.0e}",
    )
    text = next((one for one in texts if len(one) <= width), texts[-1])
    return _quantity(text, width, "value")


def unread_row(name: str, columns: Columns, indent: int = 0) -> Line:
    """Return the line of a run that was found and not read yet."""
    width = max(1, columns.name - indent)
    told = " " * indent + shorten(name, width, keep_end=True)
    if columns.status == GLYPH_WIDTH:
        return line(Span("… ", "dim"), Span(told, "dim"))
    status = fit("  reading …", columns.status)
    return line(Span(status, "dim"), " ", Span(told, "dim"))


def _name(facts: Facts, width: int) -> Line:
    if facts.damaged and width > 4:
        return (*_told_apart(facts, width - 2), Span(" !", "warn"))
    return _told_apart(facts, width)


def _told_apart(facts: Facts, width: int) -> Line:
    """Return the name and the difference; where room is short, the difference stays longer."""
    apart = facts.apart[0] if name_width(facts) <= width else facts.apart[1]
    if not apart:
        return line(Span(fit(shorten(facts.name, width, keep_end=True), width), "name"))
    apart = shorten(apart, max(1, width - 4), keep_end=True)
    name = shorten(facts.name, max(1, width - len(apart) - 1))
    rest = fit(apart, width - len(name) - 1)
    return line(Span(name, "name"), " ", Span(rest, "dim"))


def _cell(facts: Facts, column: Column, now_s: float) -> Line:
    """Return what a run has in one column, as wide as that is."""
    width = column.width
    match column.id:
        case "@source":
            return (Span(fit(facts.source, width), "dim"),)
        case "@epoch":
            return (Span(fit(epoch_text(facts), width, right=True)),)
        case "@done":
            alive = facts.word in ("running", "stalled")
            return bar(facts.fraction, width, "bar" if alive else ENDED)
        case "@percent":
            done = "" if facts.fraction is None else percent(facts.fraction)
            return (Span(fit(done, width, right=True)),)
        case "@rate":
            return (_quantity(rate(facts.it_per_s), width),)
        case "@eta":
            return (_quantity(duration(facts.eta_s), width),)
        case "@left":
            return (_time_left(facts, width, now_s),)
        case "@pulled":
            return (_pulled(facts, width, now_s),)
        case "@best":
            return (_best(facts, width),)
        case "@took":
            return (_quantity(duration(facts.duration_s), width, "dim"),)
    if column.id.startswith(PARAM):
        return (_quantity(facts.params.get(column.id.removeprefix(PARAM), NOTHING), width),)
    return (_value(facts.last.get(column.id), width),)


def _time_left(facts: Facts, width: int, now_s: float) -> Span:
    """Return how long the job may still run, marked where the run needs longer."""
    if facts.job_end is None or not now_s:
        return _quantity(NOTHING, width)
    left_s = max(0.0, facts.job_end - now_s)
    is_short = facts.eta_s is not None and facts.eta_s > left_s
    return _quantity(f"{duration(left_s)}{'!' if is_short else ' '}", width, "bad" * is_short)


def _best(facts: Facts, width: int) -> Span:
    """Return the value of the best epoch and which one that was."""
    if facts.best is None:
        return _quantity(NOTHING, width)
    epoch = "" if facts.best_epoch is None else f" @{facts.best_epoch}"
    text = f"{metric(facts.best)}{epoch}"
    return _quantity(text if len(text) <= width else metric(facts.best), width, "value")


def _pulled(facts: Facts, width: int, now_s: float) -> Span:
    """Return how old the copy is; one that should be newer stands out, and one that is all."""
    if facts.copy is None:
        return _quantity(NOTHING, width)
    if facts.copy.is_gone:
        return _quantity("gone", width, "warn")
    if not facts.copy.at:
        return _quantity("never", width, "warn")
    old_s = now_s - facts.copy.at
    return _quantity(age(old_s).removesuffix(" ago"), width, "warn" if old_s > OLD_S else "dim")


def _quantity(text: str, width: int, role: str = "") -> Span:
    return Span(fit(text, width, right=True), "dim" if text == NOTHING else role)


def _value(value: float | None, width: int) -> Span:
    text = metric(value)
    role = "bad" if text in ("nan", "inf", "-inf") else "value"
    return _quantity(text, width, role)
