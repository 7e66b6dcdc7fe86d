"""Which columns of the run list fit, and how wide they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from runstore.numbers import NOTHING
from runstore.sources import NATIVE

from .facts import UNDER_WAY, Facts
from .text import from_file, width_of

STATUS, NAME, SOURCE, EPOCH, DONE = "@status", "@run", "@source", "@epoch", "@done"
PERCENT, RATE, ETA, LEFT, TOOK = "@percent", "@rate", "@eta", "@left", "@took"
PULLED, BEST = "@pulled", "@best"
"""What columns are called that are no metric and no parameter."""
PARAM = "params."
"""In front of a parameter's name."""
TITLES = {
    STATUS: "STATUS",
    NAME: "RUN",
    SOURCE: "SOURCE",
    EPOCH: "EPOCH",
    DONE: "DONE",
    PERCENT: "",
    RATE: "IT/S",
    ETA: "ETA",
    LEFT: "LEFT",
    TOOK: "TOOK",
    PULLED: "PULLED",
    BEST: "BEST",
}

_UNSORTED = frozenset({PERCENT, PULLED})
"""Columns that nothing is sorted by."""
STATUS_WIDTH = 13
"""A glyph, a blank, and the longest word: `interrupted`."""
GLYPH_WIDTH = 2
NARROW = 56
"""Below it the list has glyphs without words: it stands beside a view."""
SMALL = 72
RATE_WIDTH = 6
TIME_WIDTH = 6
LEFT_WIDTH = 7
"""A time, and the mark of one that is not enough."""
PERCENT_WIDTH = 4
BEST_WIDTH = 11
"""A value and its epoch: `0.1238 @120`."""
FIRST_METRICS = 2
"""So many come before the best epoch."""
PULLED_WIDTH = 6
MIN_EPOCH, MAX_EPOCH = 5, 9
MIN_NAME, MAX_NAME = 14, 36
SHORTEST_NAME = 8
"""What a name may shrink to so that one metric fits."""
MIN_METRIC, TIGHT_METRIC, MAX_METRIC = 8, 12, 14
SPREAD_METRIC = 14
"""Of a mean and a deviation: `0.3182±0.0123`."""
MIN_PARAM = 6
INDENT = 2
"""Of the runs of a group."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column right of the name."""

    id: str
    """One of `TITLES`, `params.NAME`, or a metric."""
    width: int

    @property
    def title(self) -> str:
        """Return its title, which may be longer than it is wide."""
        return TITLES.get(self.id, from_file(self.id.removeprefix(PARAM)))


@dataclass(frozen=True, slots=True)
class Columns:
    """The widths of the list's columns, in cells."""

    status: int
    name: int
    cells: tuple[Column, ...] = ()
    sort: str = ""
    """The column that the runs are sorted by; empty for none."""
    ascending: bool = True
    left: int = 0
    """How many columns are scrolled out to the left."""
    right: int = 0
    """How many more there are to the right."""

    def at(self, x: int) -> str:
        """Return the column at a cell of the line, counted from 0; empty between two."""
        if x < self.status:
            return STATUS
        start = self.status + (self.status > GLYPH_WIDTH)
        if start <= x < start + self.name:
            return NAME
        start += self.name + 1
        for column in self.cells:
            if start <= x < start + column.width:
                return {PERCENT: DONE, PULLED: ""}.get(column.id, column.id)
            start += column.width + 1
        return ""

    @property
    def ids(self) -> list[str]:
        """What can be sorted by, from left to right."""
        return [STATUS, NAME, *(column.id for column in self.cells if column.id not in _UNSORTED)]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user has chosen of the list's columns."""

    sort: str = ""
    ascending: bool = True
    first: int = 0
    """How many columns are scrolled out to the left."""
    spread: bool = False
    """Rows of several runs have a mean and a deviation."""
    indent: int = 0
    """Of some of the names."""


def plan_columns(
    width: int, metrics: Sequence[str], facts: Iterable[Facts], choice: Choice | None = None
) -> Columns:
    """Return the columns for a list of `width` cells that shows these runs.

    The name gets what it needs; two metrics and the best epoch come before anything else that is
    optional. Where a run of another tool is among them, each says whose it is, if one metric still
    fits. How fast they are has a column where one of our own is under way: only those tell it.

    Args:
        width: Cells.
        metrics: Metrics and `params.NAME`, the most telling first.
        facts: Of the runs that are shown.
        choice: What they are sorted by, and what is scrolled out.
    """
    choice = choice or Choice()
    shown = list(facts)
    wants = _wants(shown, choice)
    sizes = _Sizes(shown, choice)
    if width < NARROW:
        columns = _narrow(width, metrics, wants, sizes, choice)
    elif choice.first:
        columns = _scrolled(width, metrics, wants, sizes, choice)
    else:
        columns = _whole(width, metrics, wants, sizes)
    return replace(columns, sort=choice.sort, ascending=choice.ascending)


class _Wants(NamedTuple):
    """What the runs of a list want, in cells."""

    name: int
    short_name: int
    """The same where what tells namesakes apart is at its shortest."""
    epoch: int
    source: int
    """0 where all are our own."""
    rates: bool
    """Whether one is under way that tells how fast it is, or that is what they are sorted by."""
    left: bool
    """Whether a job with a time limit is among them."""
    pulled: bool
    """Whether a copy of another machine's run is among them."""
    best: bool
    """Whether one has a best epoch."""


def _wants(shown: Sequence[Facts], choice: Choice) -> _Wants:
    sources = {one.source for one in shown}
    foreign = sources - {NATIVE.name}
    indent = choice.indent
    name = max(map(name_width, shown), default=0) + indent
    short_name = max((_name_width(one, one.apart[1]) for one in shown), default=0) + indent
    return _Wants(
        name=max(MIN_NAME, min(MAX_NAME, name)),
        short_name=max(MIN_NAME, min(MAX_NAME, short_name)),
        epoch=max(MIN_EPOCH, min(MAX_EPOCH, max(map(len, map(epoch_text, shown)), default=0))),
        source=max(map(len, sources | {"SOURCE"})) if foreign else 0,
        rates=choice.sort in (RATE, ETA) or any(map(_tells_rate, shown)),
        left=any(one.job_end is not None for one in shown),
        pulled=any(one.copy is not None for one in shown),
        best=any(one.best is not None for one in shown),
    )


def _tells_rate(one: Facts) -> bool:
    return one.word in UNDER_WAY and one.source == NATIVE.name


class _Sizes:
    """How wide the columns of metrics and parameters are."""

    def __init__(self, shown: Sequence[Facts], choice: Choice) -> None:
        self._shown = shown
        self._choice = choice
        self.sort = choice.sort

    def of(self, name: str) -> int:
        arrow = self._has_arrow(name)
        if name.startswith(PARAM):
            values = (one.params.get(name.removeprefix(PARAM), "") for one in self._shown)
            title = len(name) - len(PARAM) + arrow
            return max(MIN_PARAM, min(MAX_METRIC, max(title, *map(len, values), 0)))
        least = SPREAD_METRIC if self._choice.spread else MIN_METRIC
        return max(least, min(MAX_METRIC, len(name) + arrow))

    def tight(self, name: str) -> int:
        """Return the same where room is short."""
        size = self.of(name)
        return size if self._choice.spread else min(size, TIGHT_METRIC + self._has_arrow(name))

    def _has_arrow(self, name: str) -> bool:
        return name == self._choice.sort


def _whole(width: int, metrics: Sequence[str], wants: _Wants, sizes: _Sizes) -> Columns:
    fixed = _fixed(wants)
    bar_width = 4 if width < SMALL else 6 if width < 100 else 10
    room = width - STATUS_WIDTH - 1 - bar_width - 1 - sum(one.width + 1 for one in fixed)
    is_short = wants.left or wants.pulled or room - MIN_METRIC - 1 < wants.short_name
    if width < SMALL and is_short:
        # One metric, and names that differ, come before the pace, which the ETA tells too.
        fixed = [one for one in fixed if one.id != RATE]
        room = width - STATUS_WIDTH - 1 - bar_width - 1 - sum(one.width + 1 for one in fixed)
    source = wants.source if room - wants.source - 1 >= MIN_NAME + MIN_METRIC + 1 else 0
    room -= source + bool(source)
    chosen: list[Column] = []
    # What the runs are sorted by is in sight, whatever else is not.
    best = _best_width(wants, room, MIN_NAME) if sizes.sort == BEST else 0
    room -= best + bool(best)
    for name in metrics:
        if len(chosen) == FIRST_METRICS and not best:
            best = _best_width(wants, room, wants.name)
            room -= best + bool(best)
        size = sizes.of(name)
        if room - size - 1 < wants.name:
            size = sizes.tight(name)
        keep = (SHORTEST_NAME, MIN_NAME, wants.name)[min(2, len(chosen))]
        if not chosen and room - size - 1 < keep:
            size = min(size, MIN_METRIC)
        if room - size - 1 < keep:
            break
        chosen.append(Column(name, size))
        room -= size + 1
    if len(chosen) <= FIRST_METRICS and not best:
        best = _best_width(wants, room, wants.name)
        room -= best + bool(best)
    has_percent = room - PERCENT_WIDTH - 1 >= wants.name
    room -= (PERCENT_WIDTH + 1) * has_percent
    took = room - TIME_WIDTH - 1 >= wants.name
    room -= (TIME_WIDTH + 1) * took
    # What is left over goes to the bar, up to a length where more says nothing more.
    spare = max(0, min(24 - bar_width, room - wants.name))
    epoch, *rates = fixed
    cells = (
        *([Column(SOURCE, source)] if source else []),
        epoch,
        Column(DONE, bar_width + spare),
        *([Column(PERCENT, PERCENT_WIDTH)] if has_percent else []),
        *rates,
        *([Column(TOOK, TIME_WIDTH)] if took else []),
        *([Column(BEST, best)] if best else []),
        *chosen,
    )
    out = len(metrics) - len(chosen) + (not took) + (wants.source > source)
    out += wants.best > bool(best)
    return Columns(STATUS_WIDTH, max(1, room - spare), cells, right=out)


def _best_width(wants: _Wants, room: int, keep: int) -> int:
    """Return the cells of the best epoch: none where nobody has one, or the name needs them."""
    return BEST_WIDTH if wants.best and room - BEST_WIDTH - 1 >= keep else 0


def _fixed(wants: _Wants) -> list[Column]:
    return [
        Column(EPOCH, wants.epoch),
        *([Column(PULLED, PULLED_WIDTH)] if wants.pulled else []),
        *([Column(RATE, RATE_WIDTH), Column(ETA, TIME_WIDTH)] if wants.rates else []),
        *([Column(LEFT, LEFT_WIDTH)] if wants.left else []),
    ]


def _scrolled(
    width: int, metrics: Sequence[str], wants: _Wants, sizes: _Sizes, choice: Choice
) -> Columns:
    """Return what follows `choice.first` columns; the last one is never scrolled out."""
    epoch, *rates = _fixed(wants)
    every = [
        *([Column(SOURCE, wants.source)] if wants.source else []),
        epoch,
        Column(DONE, 10),
        *rates,
        Column(TOOK, TIME_WIDTH),
        *([Column(BEST, BEST_WIDTH)] if wants.best else []),
        *(Column(name, 0) for name in metrics),
    ]
    first = min(choice.first, len(every) - 1)
    room = width - STATUS_WIDTH - 1
    return _as_many(every[first:], room, STATUS_WIDTH, wants, sizes, first)


def _narrow(
    width: int, metrics: Sequence[str], wants: _Wants, sizes: _Sizes, choice: Choice
) -> Columns:
    """Return glyph and name, and of the rest what fits: what is sorted by comes first."""
    known = {EPOCH: wants.epoch, RATE: RATE_WIDTH, ETA: TIME_WIDTH, TOOK: TIME_WIDTH, DONE: 4}
    wanted = [*metrics[:1], PERCENT, *metrics[1:2], ETA, EPOCH, RATE, *metrics[2:]]
    if not wants.rates:
        wanted = [name for name in wanted if name not in (ETA, RATE)]
    if choice.sort not in ("", STATUS, NAME):
        wanted = [choice.sort, *(name for name in wanted if name != choice.sort)]
    known |= {
        BEST: BEST_WIDTH,
        PERCENT: PERCENT_WIDTH,
        LEFT: LEFT_WIDTH,
        SOURCE: max(6, wants.source),
    }
    every = [Column(name, known.get(name, 0)) for name in wanted]
    first = min(choice.first, len(every) - 1)
    return _as_many(every[first:], width - GLYPH_WIDTH, GLYPH_WIDTH, wants, sizes, first)


def _as_many(
    every: Sequence[Column], room: int, status: int, wants: _Wants, sizes: _Sizes, first: int
) -> Columns:
    """Return as many columns as fit; those of metrics and parameters come without a width."""
    # Beside a view too: of a name that is cut, what tells runs of a sweep apart is lost first.
    keep = min(wants.short_name if status == GLYPH_WIDTH else wants.name, MAX_NAME)
    cells: list[Column] = []
    for column in every:
        size = column.width or sizes.tight(column.id)
        if room - size - 1 < (keep if cells else SHORTEST_NAME):
            if status == GLYPH_WIDTH:  # something smaller may fit
                continue
            break
        cells.append(replace(column, width=size))
        room -= size + 1
    return Columns(status, max(1, room), tuple(cells), left=first, right=len(every) - len(cells))


def name_width(facts: Facts) -> int:
    """Return the cells that a run's name wants, with what tells it from its namesakes."""
    return _name_width(facts, facts.apart[0])


def _name_width(facts: Facts, apart: str) -> int:
    return width_of(facts.name) + (1 + width_of(apart) if apart else 0)


def epoch_text(facts: Facts) -> str:
    """Return `7/30`, `7` or nothing."""
    if facts.epoch is None:
        return NOTHING if facts.epochs is None else f"{NOTHING}/{facts.epochs}"
    return str(facts.epoch) if facts.epochs is None else f"{facts.epoch}/{facts.epochs}"
