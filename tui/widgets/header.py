"""The first line: what is watched, how many runs there are, and whether the screen is live."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..renderables.facts import GLYPHS, STATUS_ROLES
from ..renderables.text import Line, Span, line, line_width, shorten, spread
from .lines import LinesWidget

SLOW_LINK_S = 0.2
Counts = tuple[tuple[str, int], ...]
"""(status word, how many)."""


@dataclass(frozen=True, slots=True)
class Headline:
    """What the first line says."""

    roots: str
    runs: str
    """`1,000 runs`, or `3 of 1,000 runs` under a filter."""
    counts: Counts
    place: str = ""
    paused: bool = False
    gone: bool = False
    """A root is not there now: what is listed below it is as it was."""
    changed_s: float | None = None
    """Seconds since anything changed; None: nothing yet."""
    round_trip_s: float | None = None
    """How long the terminal takes to answer."""
    rung: str = ""
    """What the bell rang for."""
    run: Line = ()
    """The run that the view is of, in place of the roots, where no list beside it tells."""


class HeaderLine(LinesWidget):
    """One line; see `Headline`."""

    headline = Headline("", "", ())

    def update_from(self, headline: Headline) -> None:
        """Show other facts."""
        if headline != self.headline:
            self.headline = headline
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the line; what is least needed goes first when it is narrow."""
        shown = self.headline
        roots = Span(shorten(shown.roots, max(8, width // 4), keep_end=True))
        where = shown.run or (roots,)
        right = self._right(width)
        start = line(Span(" runstore ", "tab-on"), " ", *where, "  ", Span(shown.runs, "title"))
        for counts in (_in_words, _where_needed, _by_glyph):
            left = line(*start, *counts(shown.counts))
            if line_width(left) + line_width(right) < width:
                break
        return [spread(left, right, width)]

    def _right(self, width: int) -> Line:
        shown = self.headline
        parts: list[Span] = []
        if shown.rung:
            room = max(16, width // 3)
            parts.append(Span(shorten(shown.rung, room) + "   ", "warn-strong"))
        elif shown.place and width >= 100:
            parts.append(Span(shown.place + "   ", "dim"))
        if shown.round_trip_s is not None and shown.round_trip_s > SLOW_LINK_S:
            parts.append(Span(f"link {shown.round_trip_s * 1000:.0f} ms   ", "warn"))
        if shown.paused:
            parts.append(Span("PAUSED ", "warn-strong"))
        elif shown.gone:
            parts.append(Span("✗ gone ", "bad"))
        elif shown.changed_s is not None and shown.changed_s < 2:
            parts.append(Span("● live ", "good"))
        else:
            parts.append(Span("○ quiet ", "dim"))
        return tuple(parts)


def _in_words(counts: Counts) -> list[Span]:
    return [_count(word, number, f" {word}") for word, number in counts]


def _where_needed(counts: Counts) -> list[Span]:
    """Say the words only of those that share a glyph: failed and crashed."""
    often = Counter(GLYPHS[word] for word, _ in counts)
    return [
        _count(word, number, f" {word}" if often[GLYPHS[word]] > 1 else "")
        for word, number in counts
    ]


def _by_glyph(counts: Counts) -> list[Span]:
    """Count those that share a glyph together."""
    together: dict[str, tuple[str, int]] = {}
    for word, number in counts:
        first, before = together.get(GLYPHS[word], (word, 0))
        together[GLYPHS[word]] = (first, before + number)
    return [_count(word, number, "") for word, number in together.values()]


def _count(word: str, number: int, told: str) -> Span:
    return Span(f"  {GLYPHS[word]} {number:,}{told}", STATUS_ROLES.get(word, "dim"))
