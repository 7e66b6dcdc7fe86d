"""A list to choose from: what of it matches what was typed, and its lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from .text import EMPTY, Line, Span, fit, fit_line, line, line_width

KEY_CELLS = 14
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

    Those that hold what was typed as it was typed come first, otherwise the order stays.

    Args:
        choices: looked through from the first one on.
        typed: what was typed; nothing matches all.
        most: how many are wanted.
    """
    known = choices if isinstance(choices, Sequence) else list(choices)
    words = typed.lower().split()
    if not words:
        return list(known[:most])
    holding = [choice for choice in known if holds(choice, words)]
    letters = "".join(words)
    found = holding or [choice for choice in known if _in_order(letters, choice.does.lower())]
    found.sort(key=lambda choice: _distance(choice.does.lower(), words))
    return list(islice(found, most))


def holds(choice: Choice, words: Iterable[str]) -> bool:
    """Tell whether each word, in lower case, is in what a choice is called."""
    return all(word in _text(choice) for word in words)


def _distance(does: str, words: Sequence[str]) -> int:
    """Return 0 for what is called as was typed, and more for what only has the words."""
    typed = " ".join(words)
    ways = (does.startswith(typed), typed in does, does.startswith(words[0]))
    return ways.index(True) if True in ways else len(ways)


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
        does = textwrap.wrap(choice.does, max(20, width - KEY_CELLS)) or [""]
        out.append(line(Span(fit(choice.key, KEY_CELLS), "key"), does[0]))
        out += [line(" " * KEY_CELLS, more) for more in does[1:]]
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
