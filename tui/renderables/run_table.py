"""The run list: which columns fit, and one line per run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runstore.numbers import NOTHING, duration, metric, percent, rate
from runstore.sources import NATIVE

from .bars import ENDED, bar
from .facts import GLYPHS, STATUS_ROLES, Facts
from .text import Line, Span, fit, from_file, line, shorten

STATUS_WIDTH = 13
"""A glyph, a blank, and the longest word: `interrupted`."""
RATE_WIDTH = 6
TIME_WIDTH = 6
PERCENT_WIDTH = 4
MIN_EPOCH, MAX_EPOCH = 5, 9
MIN_NAME = 14
SHORTEST_NAME = 8
"""What a name may shrink to so that one metric fits."""
MIN_METRIC, TIGHT_METRIC, MAX_METRIC = 8, 12, 14


@dataclass(frozen=True, slots=True)
class Columns:
    """The widths of the list's columns, in cells."""

    name: int
    epoch: int
    bar: int
    metrics: tuple[tuple[str, int], ...]
    """Metric name and width."""
    percent: bool
    took: bool
    """Whether there is room for the duration."""
    source: int = 0
    """Of the tool that wrote the run; 0 without that column."""
    rates: bool = True
    """Whether there are steps per second, and the time that is left."""


def plan_columns(width: int, metrics: Sequence[str], facts: Iterable[Facts]) -> Columns:
    """Return the columns for a list of `width` cells that shows these runs.

    The name gets what it needs and two metrics come before anything else that is optional. Where
    a run of another tool is among them, each says whose it is, if one metric still fits. Only our
    own tell how fast they are.
    """
    wants = _wants(facts)
    rates = (RATE_WIDTH + 1 + TIME_WIDTH + 1) * wants.rates
    bar_width = 4 if width < 72 else 6 if width < 100 else 10
    room = width - (STATUS_WIDTH + 1 + wants.epoch + 1 + rates) - bar_width - 1
    source = wants.source if room - wants.source - 1 >= MIN_NAME + MIN_METRIC + 1 else 0
    room -= source + bool(source)
    wanted_name = max(MIN_NAME, min(36, wants.name))
    chosen: list[tuple[str, int]] = []
    for name in metrics:
        size = max(MIN_METRIC, min(MAX_METRIC, len(name)))
        if room - size - 1 < wanted_name:
            size = min(size, TIGHT_METRIC)
        keep = (SHORTEST_NAME, MIN_NAME, wanted_name)[min(2, len(chosen))]
        if room - size - 1 < keep:
            break
        chosen.append((name, size))
        room -= size + 1
    has_percent = room - PERCENT_WIDTH - 1 >= wanted_name
    room -= (PERCENT_WIDTH + 1) * has_percent
    took = room - TIME_WIDTH - 1 >= wanted_name
    room -= (TIME_WIDTH + 1) * took
    # What is left over goes to the bar, up to a length where more says nothing more.
    spare = max(0, min(24 - bar_width, room - wanted_name))
    return Columns(
        name=max(1, room - spare),
        epoch=wants.epoch,
        bar=bar_width + spare,
        metrics=tuple(chosen),
        percent=has_percent,
        took=took,
        source=source,
        rates=wants.rates,
    )


class _Wants(NamedTuple):
    """What the runs of a list want, in cells."""

    name: int
    epoch: int
    source: int
    """0 where all are our own."""
    rates: bool


def _wants(facts: Iterable[Facts]) -> _Wants:
    shown = list(facts)
    sources = {one.source for one in shown}
    foreign = sources - {NATIVE.name}
    return _Wants(
        name=max(map(name_width, shown), default=0),
        epoch=max(MIN_EPOCH, min(MAX_EPOCH, max(map(len, map(epoch_text, shown)), default=0))),
        source=max(map(len, sources | {"SOURCE"})) if foreign else 0,
        rates=not foreign or NATIVE.name in sources,
    )


def header(columns: Columns) -> Line:
    """Return the column titles."""
    cells = [
        fit("  STATUS", STATUS_WIDTH),
        fit("RUN", columns.name),
        *([fit("SOURCE", columns.source)] if columns.source else []),
        fit("EPOCH", columns.epoch, right=True),
        fit("", columns.bar),
        *([" " * PERCENT_WIDTH] if columns.percent else []),
        *([fit("IT/S", RATE_WIDTH, right=True)] if columns.rates else []),
        *([fit("ETA", TIME_WIDTH, right=True)] if columns.rates else []),
        *([fit("TOOK", TIME_WIDTH, right=True)] if columns.took else []),
        *(_metric_title(name, size) for name, size in columns.metrics),
    ]
    return line(Span(" ".join(cells), "head"))


def _metric_title(name: str, size: int) -> str:
    return fit(shorten(from_file(name), size, keep_end=True), size, right=True)


def row(facts: Facts, columns: Columns) -> Line:
    """Return one run; every column is there, with a dash where nothing is known."""
    role = STATUS_ROLES.get(facts.word, "dim")
    alive = facts.word in ("running", "stalled")
    status = fit(f"{GLYPHS.get(facts.word, '?')} {facts.word}", STATUS_WIDTH)
    spans = [Span(status, role), Span(" "), *_name(facts, columns.name), Span(" ")]
    if columns.source:
        spans += [Span(fit(facts.source, columns.source), "dim"), Span(" ")]
    spans += [Span(fit(epoch_text(facts), columns.epoch, right=True)), Span(" ")]
    spans += [*bar(facts.fraction, columns.bar, "bar" if alive else ENDED), Span(" ")]
    if columns.percent:
        done = "" if facts.fraction is None else percent(facts.fraction)
        spans += [Span(fit(done, PERCENT_WIDTH, right=True)), Span(" ")]
    if columns.rates:
        spans += [_quantity(rate(facts.it_per_s), RATE_WIDTH), Span(" ")]
        spans += [_quantity(duration(facts.eta_s), TIME_WIDTH), Span(" ")]
    if columns.took:
        spans += [_quantity(duration(facts.duration_s), TIME_WIDTH, "dim"), Span(" ")]
    for name, size in columns.metrics:
        spans += [_value(facts.last.get(name), size), Span(" ")]
    return tuple(spans[:-1])


def unread_row(name: str, columns: Columns) -> Line:
    """Return the line of a run that was found and not read yet."""
    status = fit("  reading …", STATUS_WIDTH)
    return line(Span(status, "dim"), " ", Span(shorten(name, columns.name, keep_end=True), "dim"))


def name_width(facts: Facts) -> int:
    """Return the cells that a run's name wants, with what tells it from its namesakes."""
    return len(facts.name) + (1 + len(facts.apart[0]) if facts.apart[0] else 0)


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


def epoch_text(facts: Facts) -> str:
    """Return `7/30`, `7` or nothing."""
    if facts.epoch is None:
        return NOTHING if facts.epochs is None else f"{NOTHING}/{facts.epochs}"
    return str(facts.epoch) if facts.epochs is None else f"{facts.epoch}/{facts.epochs}"


def _quantity(text: str, width: int, role: str = "") -> Span:
    return Span(fit(text, width, right=True), "dim" if text == NOTHING else role)


def _value(value: float | None, width: int) -> Span:
    text = metric(value)
    role = "bad" if text in ("nan", "inf", "-inf") else "value"
    return _quantity(text, width, role)
