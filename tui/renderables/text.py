"""Lines of styled text: what every renderable returns and every widget draws.

A line is a tuple of spans; a span is a text and a role. Roles are names such as "dim" or "good";
the palette of the running app decides what they look like, and `--once` drops them. Pictures have
roles that are colours themselves: `#rrggbb on #rrggbb`, `on #rrggbb`, `#rrggbb`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, overload

from rich.cells import cell_len, chop_cells, set_cell_size

from runstore.text import printable, printable_lines

ELLIPSIS = "…"


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    role: str = ""


Line = tuple[Span, ...]
EMPTY: Line = ()


class LazyLines(Sequence[Line]):
    """Lines that are made when they are looked at: a long table costs what is seen of it."""

    def __init__(self, length: int, make: Callable[[int], Line]) -> None:
        """Have `length` lines; `make` returns one of them, counted from 0."""
        self._places = range(length)
        self._make = make

    def __len__(self) -> int:
        """Return how many lines there are."""
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Line: ...

    @overload
    def __getitem__(self, place: slice) -> list[Line]: ...

    def __getitem__(self, place: int | slice) -> Line | list[Line]:
        """Make one line or some."""
        if isinstance(place, slice):
            return [self._make(at) for at in self._places[place]]
        return self._make(self._places[place])


def paragraph(text: str, width: int, role: str = "dim") -> list[Line]:
    """Return a sentence of ours as lines that are broken between words."""
    return [line(Span(row, role)) for row in textwrap.wrap(text, max(10, width))]


def broken(text: str, width: int) -> list[str]:
    """Cut a line between words; one of wide characters wherever its cells end."""
    rows = textwrap.wrap(text, width) if text.isascii() else chop_cells(text, width)
    return rows or [""]


def hanging(head: Line, text: str, width: int, role: str = "", most: int = 4) -> list[Line]:
    """Return a text behind a head; what does not fit beside it goes on below, under its beginning.

    Args:
        head: what stands in front, with its blank.
        text: safe text on one line.
        width: cells.
        role: of the text.
        most: lines; what is longer ends in an ellipsis.
    """
    indent = line_width(head)
    room = max(8, width - indent)
    if width_of(text) <= room:
        return [line(*head, Span(text, role))]
    # Cut before it is broken: a reason may be as long as a line of a file.
    rows = broken(text[: (most + 1) * room], room)
    if len(rows) > most:
        rest = " ".join(rows[most - 1 :])
        rows = [*rows[: most - 1], shorten(rest, room - 1).removesuffix(ELLIPSIS) + ELLIPSIS]
    first, *below = rows
    return [line(*head, Span(first, role)), *(line(" " * indent, Span(r, role)) for r in below)]


def width_of(text: str) -> int:
    """Return the number of terminal cells of `text`."""
    return len(text) if text.isascii() else cell_len(text)


def line(*parts: str | Span) -> Line:
    """Return a line of spans; plain strings get the plain role, empty ones are dropped."""
    spans = (part if isinstance(part, Span) else Span(part) for part in parts)
    return tuple(span for span in spans if span.text)


def plain(spans: Line) -> str:
    """Return the text of a line without its roles, safe to print."""
    return printable_lines("".join(span.text for span in spans))


def line_width(spans: Line) -> int:
    """Return the number of cells of a line."""
    return sum(width_of(span.text) for span in spans)


def from_file(value: object) -> str:
    """Return a value that came from a file as one safe line."""
    return printable(value if isinstance(value, str) else str(value))


def shorten(text: str, width: int, *, keep_end: bool = False) -> str:
    """Return `text` in at most `width` cells, with an ellipsis where it was cut.

    Args:
        text: Safe text on one line.
        width: Cells.
        keep_end: Cut in the middle, so that names which differ in their end stay apart.
    """
    if width <= 0:
        return ""
    if width_of(text) <= width:
        return text
    if width == 1:
        return ELLIPSIS
    if keep_end and width >= 8 and text.isascii():
        tail = (width - 1) // 2
        return text[: width - 1 - tail] + ELLIPSIS + text[-tail:]
    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` in exactly `width` cells."""
    text = shorten(text, width)
    padding = " " * (width - width_of(text))
    return padding + text if right else text + padding


def fit_line(spans: Line, width: int, fill_role: str = "") -> Line:
    """Return a line of exactly `width` cells: cut with an ellipsis, or filled with blanks."""
    out: list[Span] = []
    left = width
    for span in spans:
        size = width_of(span.text)
        if size > left:
            out.append(Span(fit(span.text, left), span.role))
            return tuple(out)
        out.append(span)
        left -= size
    if left:
        out.append(Span(" " * left, fill_role))
    return tuple(out)


def spread(left: Line, right: Line, width: int) -> Line:
    """Return `left` and `right` at the two ends of a line; the left part is cut first."""
    room = width - line_width(right) - 1
    if not right or room < 8:
        return fit_line(left, width)
    return (*fit_line(left, room), Span(" "), *right)


def dimmed(spans: Line) -> Line:
    """Return a line of what is no longer so."""
    return tuple(Span(span.text, "dim") for span in spans)


def join(parts: Iterable[Line], gap: str = "  ") -> Line:
    """Return the non-empty `parts` in one line, `gap` between them."""
    out: list[Span] = []
    for part in parts:
        if part and out:
            out.append(Span(gap))
        out.extend(part)
    return tuple(out)


def pack(items: Sequence[Line], width: int, gap: int = 3) -> list[Line]:
    """Return `items` in as many aligned columns as fit into `width`, row by row."""
    if not items:
        return []
    cell = max(line_width(item) for item in items)
    columns = max(1, (width + gap) // (cell + gap))
    rows = [items[start : start + columns] for start in range(0, len(items), columns)]
    return [join((fit_line(item, min(cell, width)) for item in row), " " * gap) for row in rows]
