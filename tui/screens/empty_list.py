"""What stands in place of an empty list of runs: why it is empty, and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from runstore.sources import looked_for

from ..catalog import Catalog
from ..renderables.text import EMPTY, Line, Span, from_file, line, shorten

_LOOKED_FOR = f"Looked for: {looked_for()}"


def why_empty(
    catalog: Catalog, wanted: Sequence[str], problem: str | None, width: int
) -> list[Line]:
    """Return the lines in place of the runs.

    Args:
        catalog: the runs that there are, and the roots.
        wanted: what each listed run has to be, in words; empty where nothing is left out.
        problem: why nobody can look for runs; None where that works.
        width: cells of a line.
    """
    if wanted and catalog.entries:
        text = f"no run {' and '.join(wanted)}; Esc shows all"
        return [EMPTY, line("  ", Span(text, "dim"))]
    missing = missing_roots(catalog)
    if missing:
        return [
            EMPTY,
            *(_missing_line(catalog.told(root), why, width) for root, why in missing),
            line("  ", Span("Waiting: it is shown as soon as it can be read.", "dim")),
        ]
    if problem:
        told = cannot_look(problem)
        return [EMPTY, *(line("  ", Span(text)) for text in textwrap.wrap(told, width - 4))]
    if not catalog.scanned:
        return [EMPTY, line("  ", Span("Looking for runs …", "dim"))]
    if away := [host for host in catalog.hosts.hosts if not host.is_reached]:
        waits = [f"{host.name}: {host.problem or 'waiting for the first pull …'}" for host in away]
        return [EMPTY, *(line("  ", Span(shorten(from_file(text), width - 4))) for text in waits)]
    return _no_runs_yet(", ".join(map(catalog.told, catalog.roots)), width)


def missing_roots(catalog: Catalog) -> list[tuple[Path, str]]:
    """Return the roots that cannot be looked into, each with the reason."""
    # Not strict: the thread that scans sets one after the other.
    return list(zip(catalog.missing, catalog.why_missing, strict=False))


def cannot_look(problem: str) -> str:
    """Say that nobody looks for runs, and why."""
    return f"cannot look for runs: {from_file(problem)}"


def _no_runs_yet(places: str, width: int) -> list[Line]:
    place = shorten(from_file(places), width - 32, keep_end=True)
    return [
        EMPTY,
        line("  ", Span(f"No runs in {place} yet.", "title")),
        line("  ", Span("A run appears here when its directory is made, for example by", "dim")),
        line("  ", Span(f'runstore.init(root="{place}")', "value")),
        *(line("  ", Span(text, "dim")) for text in textwrap.wrap(_LOOKED_FOR, width - 4)),
    ]


def _missing_line(root: str, why: str, width: int) -> Line:
    place = shorten(from_file(root), max(10, width - len(why) - 6), keep_end=True)
    return line("  ", Span(f"{place}: {why}", "warn"))
