"""What the panes of one run show besides its states: notes, requests and superseded rows."""

from __future__ import annotations

import time

from runstore.numbers import age

from ..beside import Beside
from ..entry import Entry, RunView
from ..renderables import badges
from ..renderables.notes import requests
from ..renderables.run_page import Around
from ..renderables.text import Line, Span, from_file, line


def around(beside: Beside, entry: Entry, view: RunView) -> Around:
    """Return what is known of a run; what is old is read anew meanwhile."""
    aside, now = beside.of(entry), time.monotonic()
    told = requests(
        [(asked.request, now - asked.at) for asked in aside.asked],
        aside.pending,
        # They are joined from all attempts, which is not for nothing.
        view.full.events if aside.asked or aside.pending else (),
        time.time(),
        alive=view.listed.status.is_proven_alive,
    )
    return Around(aside.notes, [*_pulled(beside, entry), *told], aside.superseded)


def stands_out(beside: Beside, entry: Entry, view: RunView, width: int) -> list[Line]:
    """Return the lines about badges and requests, for a pane with little room."""
    found = badges.of(view.full, whole=view.full is not view.listed)
    return [*badges.lines(found, width), *around(beside, entry, view).requests]


def _pulled(beside: Beside, entry: Entry) -> list[Line]:
    """Return whence a copy was pulled, and when."""
    if not beside.is_elsewhere(entry):
        return []
    at = beside.hosts.pulled_at(entry.key)
    when = Span(f"  {age(time.time() - at) if at is not None else 'not in this session'}", "dim")
    if beside.hosts.is_gone(entry.key):
        when = Span("  gone there, this copy is left", "warn")
    return [line(Span("pulled   ", "dim"), from_file(beside.place_of(entry)), when)]
