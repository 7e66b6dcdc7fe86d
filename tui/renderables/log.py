"""Lines of the log view: what a command has printed, and what happened to the run."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any, NamedTuple

from rich.cells import chop_cells

from runstore.files.records import JsonObject, number
from runstore.files.text_search import Needle
from runstore.numbers import clock, duration
from runstore.state.attempt_facts import Attempt
from runstore.text import printable

from .facts import short
from .text import ELLIPSIS, Line, Span, from_file, line, width_of

MARK = "▸"
"""In front of the line that a search has found."""
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
)
"""Escape sequences (ECMA-48, xterm's ctlseqs): colours, moves, titles."""
_SAID = r": +(?![\s\d.+-])"
"""Behind a word in small letters: `error: 0.12` is a metric, `slurmstepd: error: …` is none."""
_BAD = re.compile(rf"\b(?:ERROR|CRITICAL|FATAL|Traceback|\w+Error:|Killed|error{_SAID})")
_WARN = re.compile(rf"\bWARN(?:ING)?\b|\w+Warning:|\bwarning{_SAID}")


class Row(NamedTuple):
    """One line of the screen: a line of text, or a part of one that is wrapped."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()
    """From and to which character a search has found its text."""
    role: str = ""
    is_found: bool = False
    """The hit that the search is at begins in it."""


def shown_text(data: bytes) -> str:
    """Return a line of output as it is shown: safe, without colours, on one line.

    Of a progress bar, which goes back to the line's beginning, there is what it drew last. What is
    not UTF-8 becomes `�`.
    """
    text = data.decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text
    text = text.rstrip("\r").rpartition("\r")[2]
    text = _SEQUENCE.sub("", text).expandtabs(8)
    return printable(text, limit=len(text) + 1)


def text_rows(text: str, width: int, *, wrap: bool, pan: int, needle: Needle | None) -> list[Row]:
    """Return a line of shown text as rows of at most `width` cells, one at least.

    Args:
        text: what `shown_text` has returned.
        width: cells.
        wrap: go on in the next row; otherwise what is too long is cut, with `…` where it is.
        pan: characters that are scrolled out at the left, where nothing is wrapped.
        needle: is marked where it occurs.
    """
    role = "bad" if _BAD.search(text) else "warn" if _WARN.search(text) else ""
    found = [(m.start(), m.end()) for m in needle.shown.finditer(text)] if needle else []
    if not wrap:
        return [_cut(text, width, pan, found, role)]
    rows, at = [], 0
    for piece in _pieces(text, width):
        rows.append(Row(piece, _marks(found, at, at + len(piece), 0), role))
        at += len(piece)
    return rows


def _pieces(text: str, width: int) -> list[str]:
    if not text:
        return [""]
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)]
    return chop_cells(text, width)


def _cut(text: str, width: int, pan: int, found: Sequence[tuple[int, int]], role: str) -> Row:
    left = ELLIPSIS if pan and text else ""
    # One character takes no more than two cells, and may take none.
    visible = text[pan + len(left) :][: 4 * width]
    right = ""
    if width_of(visible) > width - len(left):
        visible, right = chop_cells(visible, max(1, width - len(left) - 1))[0], ELLIPSIS
    start = pan + len(left)
    marks = _marks(found, start, start + len(visible), len(left))
    return Row(left + visible + right, marks, role)


def _marks(
    found: Sequence[tuple[int, int]], start: int, end: int, shift: int
) -> tuple[tuple[int, int], ...]:
    """Return what of the found places, in order, lies from `start` to `end`, counted from there."""
    first = bisect_right(found, start, key=itemgetter(1))  # a long line may have 60,000 of them
    here = takewhile(lambda place: place[0] < end, islice(found, first, None))
    return tuple((max(a, start) - start + shift, min(b, end) - start + shift) for a, b in here)


def row_line(row: Row, *, with_mark: bool = False) -> Line:
    """Return a row as spans: what a search has found stands out, also without colours.

    Args:
        row: the row.
        with_mark: leave room in front for the mark of the line that the search is at.
    """
    gutter = Span(f"{MARK if row.is_found else ' '} ", "key") if with_mark else Span("")
    spans, at = [gutter], 0
    for start, end in row.marks:
        spans += [Span(row.text[at:start], row.role), Span(row.text[start:end], "found")]
        at = end
    return line(*spans, Span(row.text[at:], row.role))


# ---- events ------------------------------------------------------------------------------------

_ROLES = {
    "open": "title",
    "end": "title",
    "exit": "title",
    "warning": "warn",
    "checkpoint": "good",
    "epoch_start": "dim",
    "epoch_end": "dim",
    "split_start": "dim",
    "split_end": "dim",
}
_NOT_TOLD = frozenset(
    {"event", "message", "time", "seq", "format"}
    | {"boot_id", "start_time", "pid_start", "pid_ns", "inode", "lock", "command_redacted"}
)
"""What only proves which process wrote it, or stands elsewhere in the line."""


class EventText(NamedTuple):
    """One event, as a line that can be searched and wrapped."""

    text: str
    role: str


class EventTexts:
    """The events of a run as lines; each is made once."""

    def __init__(self) -> None:
        """Know none."""
        self.lines: list[EventText] = []
        self._made: dict[int, tuple[JsonObject, EventText]] = {}
        """By the identity of the event, which is kept here so that no other one can have it."""
        self._has_several = False
        """Attempts, whose numbers are told."""

    def take(self, attempts: Mapping[int, Attempt]) -> None:
        """Have the kept events of all attempts as lines, the oldest first, with local times.

        They stand in the order in which they were written: a clock that was set back changes no
        order. The attempt's number is told where there are several, the date where it changes.
        """
        made = self._made if self._has_several == (len(attempts) > 1) else {}
        self._has_several = len(attempts) > 1
        self._made, self.lines = {}, []
        day = ""
        for attempt in sorted(attempts):
            head = f"{attempt:>3} " if self._has_several else ""
            for event in attempts[attempt].all_events:
                known, text = made.get(id(event), (None, None))
                if known is not event or text is None:
                    text = _event_text(event, head)
                self._made[id(event)] = event, text
                if (today := _day(number(event, "time"))) and today != day:
                    if day:
                        self.lines.append(EventText(f"─── {today} ───", "dim"))
                    day = today
                self.lines.append(text)


def _event_text(event: Mapping[str, Any], attempt: str) -> EventText:
    kind = str(event.get("event", "?"))
    message = event.get("message")
    told = [message] if isinstance(message, str) else []
    told += [
        _field(key, value) for key, value in event.items() if key not in _NOT_TOLD and _tells(value)
    ]
    head = f"{clock(event.get('time'))} {attempt}{from_file(kind):<12} "
    return EventText((head + from_file(" ".join(told))).rstrip(), _ROLES.get(kind, ""))


def _tells(value: object) -> bool:
    """Tell whether a field says something in a line: no lists, no empty texts, no `False`."""
    return isinstance(value, (str, int, float)) and value != "" and value is not False


def _field(key: str, value: float | str) -> str:
    if key.endswith("_s") and not isinstance(value, str):
        return f"{key[:-2]}={duration(value)}"
    return f"{key}={short(value)}"


def _day(unix_s: float | None) -> str:
    """Return the local date of a Unix time; empty where there is none."""
    return "" if unix_s is None or not abs(unix_s) < 1e12 else _date(unix_s // 900)


@lru_cache(maxsize=1024)
def _date(quarter_h: float) -> str:
    """Return the local date of a quarter of an hour: time zones differ by no less."""
    unix_s = 900 * quarter_h
    try:
        return datetime.fromtimestamp(unix_s).strftime("%Y-%m-%d")
    except (OverflowError, OSError, ValueError):
        return ""


class EventRows:
    """Events as rows of the screen: those that are not wrapped are made when they are looked at."""

    def __init__(
        self, lines: Sequence[EventText], width: int, wrap: bool, pan: int, needle: Needle | None
    ) -> None:
        """Make rows as `text_rows` does."""
        self._lines = lines
        self._width, self._wrap, self._pan, self._needle = width, wrap, pan, needle
        self._of = array("L")
        """Of each row, which event it is of; only where lines are wrapped."""
        if wrap:
            for at, (text, _) in enumerate(lines):
                self._of.extend([at] * len(self._make(text)))

    def _make(self, text: str) -> list[Row]:
        return text_rows(text, self._width, wrap=self._wrap, pan=self._pan, needle=self._needle)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._of) or len(self._lines)

    def event_of(self, row: int) -> int:
        """Return which event a row is of."""
        return self._of[row] if self._of else row

    def row_of(self, event: int) -> int:
        """Return the first row of an event."""
        return bisect_left(self._of, event) if self._of else event

    def part(self, top: int, height: int, found: int | None = None) -> list[Row]:
        """Return at most `height` rows from the row `top` on; `found` is the event to be marked."""
        rows: list[Row] = []
        if not 0 <= top < len(self):
            return rows
        first = self.event_of(top)
        skipped = top - self.row_of(first)
        for at in range(first, len(self._lines)):
            if len(rows) >= height + skipped:
                break
            text, role = self._lines[at]
            rows += [row._replace(role=role, is_found=at == found) for row in self._make(text)]
        return rows[skipped : skipped + height]
