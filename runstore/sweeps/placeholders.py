"""A command with placeholders: `python train.py --lr {lr}`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from runstore.errors import SweepError
from runstore.metrics.values import shown_as_text
from runstore.text import printable

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")


def filled(command: Sequence[str], params: Mapping[str, Any]) -> list[str]:
    """Return the command with a cell's values in the place of their names.

    Raises:
        SweepError: it has a placeholder that is no parameter.
    """
    return [_filled(word, params) for word in command]


def names_in(command: Sequence[str]) -> list[str]:
    """Return what stands in braces, in order."""
    return [
        found["name"]
        for word in command
        for found in _TOKEN.finditer(word)
        if found["name"] is not None
    ]


def check(command: Sequence[str], names: Collection[str]) -> None:
    """Refuse a command that has other placeholders than these.

    Raises:
        SweepError: in one line.
    """
    filled(command, dict.fromkeys(names, ""))


def _filled(word: str, params: Mapping[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found["name"]
        if name is not None and name in params:
            return as_text(params[name])
        if found[0] in ("{{", "}}"):
            return found[0][0]
        raise _unknown(word, found[0], params)

    return _TOKEN.sub(value, word)


def _unknown(word: str, found: str, params: Mapping[str, Any]) -> SweepError:
    there = f"the sweep has {', '.join(params)}" if params else "the sweep has no parameters"
    literal = "{{ and }} stand for braces that mean themselves"
    where = f"in {shown_as_text(word)} of the command"
    if len(found) == 1:
        return SweepError(f"a {found} without its other half {where}; {literal}")
    return SweepError(f"unknown placeholder {printable(found)} {where}; {there}; {literal}")


def as_text(value: Any) -> str:
    """Return a value as it stands in a command: texts as they are, the rest as JSON writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
