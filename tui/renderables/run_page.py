"""The page of one run: sections below each other, and beside each other where there is room."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import overload

from runstore.numbers import count
from runstore.runs.notes import Notes
from runstore.sources import NATIVE
from runstore.state.run_state import RunState

from . import badges, details
from .attempts import attempts
from .epochs import EpochTable, epoch_table
from .notes import notes
from .text import EMPTY, Line, Span, fit_line, from_file, hanging, join, line, line_width

BESIDE_WIDTH = 100
"""From here on attempts, warnings and notes stand beside the status."""
DIGEST = 9
"""Lines of a section that stands beside the status; a longer one follows below in full."""
WARNINGS_SHOWN = 200
_GAP = 3
_FOREIGN = "kept only in runs that runstore wrote"


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of a run besides its states."""

    notes: Notes = field(default_factory=Notes)
    requests: Sequence[Line] = ()
    superseded: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    title: str
    lines: Sequence[Line]
    number: int | None = None
    """How many there are of what it lists, for its title."""
    head: Line = EMPTY
    """Stays in sight while its lines are scrolled."""
    is_marked: bool = False
    """Whether its title warns."""


class Flow(Sequence[Line]):
    """The lines of sections, one after the other; each line is made when it is looked at."""

    def __init__(
        self, sections: Iterable[Section], width: int, *, has_bare_start: bool = False
    ) -> None:
        """Put a title line above each section, with a bare start not the first, and a blank below.

        Args:
            sections: the parts.
            width: cells.
            has_bare_start: the first section needs no title.
        """
        self.sections = tuple(sections)
        self._parts: list[Sequence[Line]] = []
        self.starts: list[int] = []
        """Line of each section's title."""
        self._begins: list[int] = []
        at = 0
        for section in self.sections:
            self.starts.append(at)
            above = [_title(section, width)] if at or not has_bare_start else []
            above += [section.head] if section.head else []
            for part in (above, section.lines, [EMPTY]):
                self._parts.append(part)
                self._begins.append(at)
                at += len(part)
        self._length = max(0, at - 1)
        self._width = width
        self.first = 0
        """Columns of the epoch table that are scrolled out of sight at the left."""

    def __len__(self) -> int:
        """Return how many lines there are."""
        return self._length

    @overload
    def __getitem__(self, place: int) -> Line: ...

    @overload
    def __getitem__(self, place: slice) -> list[Line]: ...

    def __getitem__(self, place: int | slice) -> Line | list[Line]:
        """Make one line or some."""
        if isinstance(place, slice):
            return [self._at(at) for at in range(self._length)[place]]
        return self._at(range(self._length)[place])

    def _at(self, place: int) -> Line:
        part = bisect_right(self._begins, place) - 1
        return self._parts[part][place - self._begins[part]]

    def section_at(self, top: int) -> int:
        """Return which section the line `top` belongs to."""
        return max(0, bisect_right(self.starts, top) - 1)

    def place_of(self, title: str) -> int | None:
        """Return the number of a section, from 0; None where it is not on the page by itself."""
        return next((at for at, one in enumerate(self.sections) if one.title == title), None)

    def head_at(self, top: int) -> Line:
        """Return the head that was scrolled out of sight above the line `top`, if any."""
        at = self.section_at(top)
        section = self.sections[at]
        rows_end = self.starts[at] + len(section.lines)
        is_hidden = bool(section.head) and self.starts[at] + 1 < top < rows_end
        return section.head if is_hidden else EMPTY

    def titles(self, current: int) -> Line:
        """Return a row of all titles, the current one marked."""
        shown = [_tab(section, at == current) for at, section in enumerate(self.sections)]
        return fit_line(join(shown, " "), self._width)


def _tab(section: Section, is_current: bool) -> Line:
    text = f"{section.title} {section.number}" if section.number else section.title
    role = "warn" if section.is_marked else "tab"
    return (Span(f"[{text}]", "title"),) if is_current else (Span(f" {text} ", role),)


def _title(section: Section, width: int) -> Line:
    number = f" {count(section.number)}" if section.number else ""
    title = line(Span(section.title, "warn-strong" if section.is_marked else "title"), number, " ")
    return (*title, Span("─" * max(0, width - line_width(title)), "rule"))


def page(
    listed: RunState, full: RunState, around: Around, width: int, now: float, first: int = 0
) -> Flow:
    """Return the page of a run.

    Args:
        listed: the run's status, position and newest values.
        full: its history, as far as it was read.
        around: its notes and requests.
        width: cells.
        now: Unix seconds.
        first: how many columns of the epoch table are scrolled out of sight at the left.
    """
    table = epoch_table(full, width, first)
    is_wide = width >= BESIDE_WIDTH
    left = (width - _GAP) * 11 // 20 if is_wide else width
    status = _status(listed, full, around, left, now)
    lists = _lists(full, around, width)
    if is_wide:
        right = width - _GAP - left
        beside = Flow([_digest(section) for section in _lists(full, around, right)], right)
        status = _joined(status, beside, left)
        lists = [section for section in lists if len(section.lines) > DIGEST]
    flow = Flow([Section("Status", status), _epochs(table), *lists], width, has_bare_start=True)
    flow.first = table.first
    return flow


def _status(listed: RunState, full: RunState, around: Around, width: int, now: float) -> list[Line]:
    found = badges.of(full, whole=full is not listed)
    return [
        *details.status(listed, width),
        *badges.lines(found, width),
        *(fit_line(row, width) for row in around.requests),
        *details.bars(listed, width, full),
        *details.parameters(listed, width),
        *details.last_step(listed, width, now),
    ]


def _epochs(table: EpochTable) -> Section:
    if not table.rows:
        return Section("Epochs", [table.head])
    return Section("Epochs", table.rows, len(table.rows), table.head)


def _lists(full: RunState, around: Around, width: int) -> list[Section]:
    warnings, warned = _warnings(full, width)
    found, foreign = around.notes, full.source != NATIVE.name
    noted = [line(Span(_FOREIGN, "dim"))] if foreign else notes(found, width)
    return [
        Section("Attempts", attempts(full, width, around.superseded), len(full.attempts)),
        Section("Warnings", warnings, warned, is_marked=warned > 0),
        Section("Notes", noted, len(found.notes) + found.left_out),
    ]


def _warnings(state: RunState, width: int) -> tuple[list[Line], int]:
    """Return what is wrong with the files, and what the run said, the newest first; how many."""
    warnings = state.warnings
    told = [from_file(text) for text in reversed(warnings[-WARNINGS_SHOWN:])]
    own = [text for text in details.trouble(state) if text not in told and ": see " not in text]
    lines = [
        row
        for text in (*own, *told)
        for row in hanging(line(Span("! ", "warn")), text, width, "warn")
    ]
    if len(warnings) > WARNINGS_SHOWN:
        rest = f"and {len(warnings) - WARNINGS_SHOWN:,} earlier ones"
        lines.append(line(Span(rest, "dim")))
    return lines or [line(Span("none", "dim"))], len(own) + len(warnings)


def _digest(section: Section) -> Section:
    if len(section.lines) <= DIGEST:
        return section
    more = line(Span(f"… {len(section.lines) - DIGEST + 1:,} more lines below", "dim"))
    lines = [*section.lines[: DIGEST - 1], more]
    return Section(section.title, lines, section.number, is_marked=section.is_marked)


def _joined(left: Sequence[Line], right: Sequence[Line], width: int) -> list[Line]:
    """Put lines beside others, with a rule between them."""
    rule = Span(" │ ", "rule")
    pairs = zip_longest(left, right, fillvalue=EMPTY)
    return [(*fit_line(one, width), rule, *other) for one, other in pairs]
