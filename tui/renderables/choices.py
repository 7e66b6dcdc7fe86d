"""A list to choose from: what of it matches what was typed, and its lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from .text import EMPTY, Line, Span, fit, fit_line, line, line_width, shorten

KEY_CELLS = 16
"""Of the column of keys in a list of keys."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to choose."""

    does: str
    """Safe text on one line."""
    key: str = ""
    """The key that does it too, as people write it."""
    group: str = ""
    """What it belongs to: a heading of the list."""
    value: object = None
    """For whoever offers it."""


def matching(choices: Iterable[Choice], typed: str, most: int | None = None) -> list[Choice]:
    """Return the choices that hold each typed word; without any, those with its letters in order.

    Those that begin with what was typed come first, otherwise the order stays.

    Args:
        choices: looked through from the first one on.
        typed: what was typed; nothing matches all.
        most: how many are wanted.
    """
    known = choices if isinstance(choices, Sequence) else list(choices)
    words = typed.lower().split()
    if not words:
        return list(known[:most])
    holding = [choice for choice in known if all(word in _text(choice) for word in words)]
    letters = "".join(words)
    found = holding or [choice for choice in known if _in_order(letters, choice.does.lower())]
    found.sort(key=lambda choice: not choice.does.lower().startswith(words[0]))
    return list(islice(found, most))


def _text(choice: Choice) -> str:
    return f"{choice.group} {choice.does} {choice.key}".lower()


def _in_order(letters: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)


def grouped_lines(choices: Sequence[Choice], width: int) -> list[Line]:
    """Return the choices below the headings of their groups, keys on the left."""
    out: list[Line] = []
    group = None
    for choice in choices:
        if choice.group != group:
            group = choice.group
            out += [EMPTY] * bool(out) + [line(Span(group, "title"))]
        does = shorten(choice.does, width - KEY_CELLS)
        out.append(line(Span(fit(choice.key, KEY_CELLS), "key"), does))
    return out


def chosen_lines(choices: Sequence[Choice], chosen: int, width: int) -> list[Line]:
    """Return one line of `width` cells per choice, keys at its end; a mark is at the chosen one."""
    out: list[Line] = []
    for place, choice in enumerate(choices):
        is_on = place == chosen
        mark = Span("▸ " if is_on else "  ", "key")
        group = line(Span(f"{choice.group}: ", "dim")) if choice.group else EMPTY
        key = line(Span(f"  {choice.key}", "key")) if choice.key else EMPTY
        left = fit_line((mark, *group, Span(choice.does)), width - line_width(key))
        row = (*left, *key)
        out.append((Span("", "cursor"), *row) if is_on else row)
    return out
