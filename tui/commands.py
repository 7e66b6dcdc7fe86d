"""Everything that can be done, by its name: what the palette offers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import keymap
from .renderables.choices import Choice
from .renderables.run_columns import BEST
from .views import VIEWS

MOST_RUNS = 50
"""Runs that are offered at a time, of those that match."""


@dataclass(frozen=True, slots=True)
class PressKey:
    """Do what a key does, in a view that has it."""

    key: keymap.Key


@dataclass(frozen=True, slots=True)
class SortBy:
    """Sort the list by a column; empty for the newest run first."""

    column: str


@dataclass(frozen=True, slots=True)
class SetTheme:
    """Draw in other colours."""

    name: str


@dataclass(frozen=True, slots=True)
class GoToRun:
    """Put the cursor on a run."""

    key: str


def key_choices(view: str) -> list[Choice]:
    """Return every key of the table: those of the current view, of all views, and of the others."""
    keys = sorted(keymap.KEYS, key=lambda key: _rank(key, view))
    return [Choice(_does(key), key.shown, _group(key, view), PressKey(key)) for key in keys]


def _does(key: keymap.Key) -> str:
    """Return what a key does; of the view that it shows, the name too."""
    if not key.action.startswith("view(") or not key.shown.isdigit():
        return key.does
    return f"{VIEWS[int(key.shown) - 1].title}: {key.does}"


def _rank(key: keymap.Key, view: str) -> tuple[int, str]:
    if view in key.views:
        return 0, ""
    return (2, key.views[0]) if key.views else (1, "")


def _group(key: keymap.Key, view: str) -> str:
    if not key.views:
        return "everywhere"
    return view if view in key.views else " and ".join(key.views)


def command_choices(
    view: str, columns: Iterable[str], themes: Iterable[str], current_theme: str
) -> Iterator[Choice]:
    """Yield what the palette offers besides runs.

    Args:
        view: the view on screen.
        columns: what the list can be sorted by.
        themes: those that can be chosen now.
        current_theme: the one that is chosen.
    """
    for choice in key_choices(view):
        group = "" if choice.group in ("everywhere", view) else choice.group
        yield Choice(choice.does, choice.key, group, choice.value)
    yield Choice("newest run first", group="sort", value=SortBy(""))
    yield Choice("by best epoch", group="sort", value=SortBy(BEST))
    for column in columns:
        yield Choice(f"by {column}", group="sort", value=SortBy(column))
    for theme in themes:
        now = " (now)" if theme == current_theme else ""
        yield Choice(f"{theme}{now}", group="theme", value=SetTheme(theme))
