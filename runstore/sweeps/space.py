"""What is typed behind `--search`: which values a parameter may have, and what makes one better."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runstore.errors import SweepError
from runstore.sweeps.axes import check_name, values_of

EXPECTED = (
    "expected uniform:LOW..HIGH, loguniform:LOW..HIGH, int:LOW..HIGH, logint:LOW..HIGH "
    "(with ..STEP behind uniform and int), or choice:A,B,…"
)
_FLOAT = r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_BOUNDS = re.compile(rf"({_FLOAT})\.\.({_FLOAT})(?:\.\.({_FLOAT}))?")


@dataclass(frozen=True, slots=True)
class Dimension:
    """The values that one parameter may have."""

    kind: str
    """`uniform`, `loguniform`, `int`, `logint` or `choice`."""
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    choices: Sequence[Any] = field(default=())

    @property
    def is_integer(self) -> bool:
        """Whether the values are whole numbers."""
        return self.kind in ("int", "logint")

    @property
    def is_log(self) -> bool:
        """Whether a factor counts, and not a difference."""
        return self.kind in ("loguniform", "logint")


@dataclass(frozen=True, slots=True)
class Objective:
    """What a search is for: the lowest, or highest, value that a metric has in a run."""

    metric: str
    is_lower_better: bool

    def better(self, one: float, other: float) -> float:
        """Return the better of two values."""
        return min(one, other) if self.is_lower_better else max(one, other)


def searched(texts: Sequence[str]) -> dict[str, str]:
    """Return what `["lr=loguniform:1e-5..1e-1"]` says of each name.

    Raises:
        SweepError: a name is missing, or comes twice.
    """
    space: dict[str, str] = {}
    for text in texts:
        name, equals, said = text.partition("=")
        if not equals:
            raise SweepError(f"--search {text}: no NAME=KIND:…; {EXPECTED}")
        if name in space:
            raise SweepError(f"{name} is given twice; give each name once")
        space[name] = said
    return space


def dimensions(space: Mapping[str, str]) -> dict[str, Dimension]:
    """Return the values that each parameter may have.

    Raises:
        SweepError: one cannot be read, in one line.
    """
    for name in space:
        check_name(name)
    return {name: _dimension(name, said) for name, said in space.items()}


def _dimension(name: str, said: str) -> Dimension:
    kind, _, rest = said.partition(":")
    if kind == "choice":
        return Dimension(kind, choices=values_of(name, rest))
    found = _BOUNDS.fullmatch(rest)
    if kind not in ("uniform", "loguniform", "int", "logint") or found is None:
        raise SweepError(f"{name}={said}: {EXPECTED}")
    low, high = float(found[1]), float(found[2])
    one = Dimension(kind, low, high, float(found[3]) if found[3] else None)
    if problem := _problem(one):
        raise SweepError(f"{name}={said}: {problem}")
    return one


def _problem(one: Dimension) -> str:
    numbers = [one.low, one.high, *([] if one.step is None else [one.step])]
    if not all(map(math.isfinite, numbers)):
        return "a bound is beyond what a float holds"
    if one.low >= one.high:
        return f"{one.low:g} is not below {one.high:g}"
    if one.is_log and one.low <= 0:
        return f"a logarithmic scale has no {one.low:g}; begin above 0"
    if one.is_log and one.step is not None:
        return "a logarithmic scale has no step"
    if one.step is not None and one.step <= 0:
        return f"a step of {one.step:g} leads nowhere"
    if one.is_integer and not all(number.is_integer() for number in numbers):
        return "whole numbers are expected"
    return ""


def objective(text: str) -> Objective:
    """Return what `val/loss:min` says.

    Raises:
        SweepError: it says neither `min` nor `max`.
    """
    metric, _, direction = text.rpartition(":")
    if not metric or direction not in ("min", "max"):
        raise SweepError(f"--metric {text}: expected NAME:min or NAME:max, such as val/loss:min")
    return Objective(metric, direction == "min")
