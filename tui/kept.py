"""What is known of a run without its reader: enough to filter, sort, count and group it. Pure.

Small, as a root may hold a hundred thousand runs: names are shared between them, numbers packed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from struct import Struct, pack

from runstore.files.limits import TEXT_CHARS
from runstore.metrics.ranking import RANKED_METRICS, most_telling
from runstore.nested import flattened
from runstore.state.run_state import RunState
from runstore.tables.pool import Pool

from .renderables.facts import job_end, live_progress, run_fraction
from .renderables.text import from_file

PARAMS_KEPT = 200
"""Of one run; sorting and filtering do not know further ones."""
PARAM_CHARS = 200
"""Of one parameter's value."""
POSITIONS = (
    *("epoch", "epochs", "fraction", "it_per_s", "eta_s", "duration_s", "job_end"),
    *("best", "best_order"),
)
"""The numbers that every run may have, in the order in which they are packed."""
_NUMBER = Struct("d")


class Kept:
    """A run as it was at its last read; a new one takes its place, so it needs no lock."""

    __slots__ = ("_numbers", "_param_values", "_told", "metric_names", "param_names")

    def __init__(self) -> None:
        """Know nothing: the run was not read yet."""
        self._told = ""
        self.param_names: tuple[str, ...] = ()
        self._param_values: tuple[str, ...] = ()
        self.metric_names: tuple[str, ...] = ()
        """The telling ones of many."""
        self._numbers = pack(f"{len(POSITIONS)}d", *[math.nan] * len(POSITIONS))

    @classmethod
    def of(cls, state: RunState, before: Kept, pool: Pool) -> Kept:
        """Return what is to be kept of a run; what is as `before` is not made again."""
        kept = cls()
        told = "\n".join(map(from_file, (state.name, *state.tags)))[:TEXT_CHARS]
        kept._told = before._told if told == before._told else pool.share(told)
        params = dict(islice(flattened(state.params), PARAMS_KEPT))
        kept.param_names = pool.share(tuple(pool.share(from_file(name)) for name in params))
        kept._param_values = tuple(pool.share(param_text(value)) for value in params.values())
        if kept._param_values == before._param_values:
            kept._param_values = before._param_values
        last = state.last
        names = before.metric_names
        if len(names) != min(len(last), RANKED_METRICS) or any(name not in last for name in names):
            names = pool.share(tuple(map(pool.share, most_telling(last))))
        kept.metric_names = names
        numbers = (*_position(state), *(last[name] for name in names))
        kept._numbers = pack(f"{len(numbers)}d", *numbers)
        return kept

    @property
    def name(self) -> str:
        """What the run is called, safe to draw."""
        return self._told.partition("\n")[0]

    @property
    def tags(self) -> list[str]:
        """Its tags, safe to draw."""
        return self._told.split("\n")[1:]

    @property
    def told(self) -> str:
        """Name and tags, one a line."""
        return self._told

    def param(self, name: str) -> str | None:
        """Return a parameter as text; None where the run does not have it."""
        if name not in self.param_names:
            return None
        return self._param_values[self.param_names.index(name)]

    def params(self) -> Iterator[tuple[str, str]]:
        """Yield the parameters, nested ones by their full names."""
        return zip(self.param_names, self._param_values, strict=True)

    def metric(self, name: str) -> float | None:
        """Return the newest value of a metric; None where the run does not have it."""
        if name not in self.metric_names:
            return None
        return self._number(len(POSITIONS) + self.metric_names.index(name))

    def position(self, name: str) -> float | None:
        """Return one of `POSITIONS`; None where it is not known."""
        number = self._number(POSITIONS.index(name))
        return None if math.isnan(number) else number

    @property
    def is_finite(self) -> bool:
        """Whether no metric's newest value is NaN or infinite."""
        first = len(POSITIONS)
        return all(math.isfinite(self._number(first + at)) for at in range(len(self.metric_names)))

    def _number(self, at: int) -> float:
        number: float = _NUMBER.unpack_from(self._numbers, at * _NUMBER.size)[0]
        return number


UNREAD = Kept()
"""Of all runs that were not read yet."""


def param_text(value: object) -> str:
    """Return a parameter's value as text from which a number can be read back exactly."""
    text = value if isinstance(value, str) else str(value)
    return from_file(text[:PARAM_CHARS])


def _position(state: RunState) -> tuple[float, ...]:
    progress = live_progress(state)
    known = (
        state.epoch,
        state.epochs,
        run_fraction(state),
        progress.it_per_s if progress else None,
        progress.eta_s if progress else None,
        state.duration_s,
        job_end(state),
        *_best(state),
    )
    return tuple(math.nan if value is None else _as_float(value) for value in known)


def _best(state: RunState) -> tuple[float | None, float | None]:
    """Return the value of the best epoch, and a number that is less where the value is better."""
    best = state.best
    if best is None:
        return None, None
    return best.value, -best.value if state.best_rule.endswith(":max") else best.value


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
