"""The notes of a run and the requests to it, as lines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from runstore.files.records import JsonObject, integer
from runstore.numbers import age, count, local_time
from runstore.runs.notes import Note, Notes
from runstore.runs.requests import Request, in_words

from .text import Line, Span, broken, line, shorten

SHOWN = 100
"""Notes; the others are in their files."""
LINES_EACH = 12
TAKEN_SHOWN_S = 600.0
"""How long a request that was taken is told; its event stays in the log."""


@lru_cache(maxsize=8)
def notes(found: Notes, width: int) -> Sequence[Line]:
    """Return who wrote what, the newest first. Remembers: the same notes are drawn each second."""
    lines = [line(Span(f"! {shorten(problem, width - 2)}", "warn")) for problem in found.problems]
    if not found.notes and not lines:
        return [line(Span("none yet; ", "dim"), Span("n", "key"), Span(" adds one", "dim"))]
    for note in reversed(found.notes[-SHOWN:]):
        lines += _note(note, width)
    older = len(found.notes[:-SHOWN]) + found.left_out
    if older:
        lines.append(line(Span(f"and {older:,} older ones in notes/", "dim")))
    return lines


def _note(note: Note, width: int) -> Iterator[Line]:
    writer = f"{note.user or '?'}{'@' if note.host else ''}{note.host}"
    yield line(Span(shorten(f"{local_time(note.time)}  {writer}", width), "dim"))
    # Cut before it is wrapped: a note may be of 64 KiB, and a line of it too.
    rows = [
        row
        for text in note.text[: 4 * LINES_EACH * width].expandtabs(4).split("\n")
        for row in broken(text, max(8, width - 2))
    ]
    yield from (line("  ", row) for row in rows[:LINES_EACH])
    if len(rows) > LINES_EACH or len(note.text) > 4 * LINES_EACH * width:
        yield line(Span(shorten(f"  … all of it: notes/{note.name}", width), "dim"))


def requests(
    asked: Iterable[tuple[Request, float]],
    pending: Collection[Request],
    events: Iterable[JsonObject],
    now: float,
    *,
    alive: bool,
) -> list[Line]:
    """Return what the run was asked for, and whether it has taken that.

    Args:
        asked: requests from this screen, each with how many seconds ago it was made.
        pending: what lies in `requests/`.
        events: the run's events: a request is taken when one of them names its file.
        now: Unix seconds.
        alive: whether the run can still take it.
    """
    taken = {str(e.get("file")): e for e in events if e.get("event") == "request"}
    own = [
        _own(request, ago_s, taken, alive=alive)
        for request, ago_s in asked
        if request.name not in taken or ago_s < TAKEN_SHOWN_S
    ]
    names = {request.name for request, _ in asked}
    others = [
        _waiting(request, now - request.made_at, alive=alive)
        for request in pending
        if request.name not in names and request.name not in taken
    ]
    return [*others, *own]


def _own(request: Request, ago_s: float, taken: Mapping[str, JsonObject], *, alive: bool) -> Line:
    event = taken.get(request.name)
    if event is None:
        return _waiting(request, ago_s, alive=alive)
    step = integer(event, "step")
    at = f" at step {count(step)}" if step is not None else ""
    return line(Span(f"✓ {in_words(request.kind)} {age(ago_s)}: taken{at}", "good"))


def _waiting(request: Request, ago_s: float, *, alive: bool) -> Line:
    asked = f"{in_words(request.kind)} {age(ago_s)}, not taken"
    if alive:
        return line(Span(f"… {asked} yet", "warn"))
    return line(Span(f"! {asked}: the next attempt will, if requests/{request.name} stays", "warn"))
