"""A filter of runs: what is typed for it, as a question to one run. Pure.

    digits lr>=1e-3 -status:failed          all three
    tag:demo | val/accuracy>0.9             one of both
    opt=adamw -name:old path:*/sweep/* "two words"

Nothing of it is compiled: a filter takes time that grows as its length.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from runstore.nested import flattened
from runstore.runs.summary import measured
from runstore.state.run_state import RunState

STATUS_WORDS = (
    *("planned", "pending", "running", "stalled"),
    *("finished", "failed", "interrupted", "crashed", "unknown"),
)
FIELDS = ("name", "path", "source", "status", "tag")
_IN_PART = frozenset({"name", "path"})
"""Of these a part is enough, where it is no pattern."""
_COMPARISON = re.compile(r"(.*?)(>=|<=|!=|==|=|>|<)")
_FIELD = re.compile(r"([a-z]+):")
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SAME_TO = 1e-9
"""Two numbers are equal when they differ by less than this share: 0.1 + 0.2 is 0.3."""


class QueryError(ValueError):
    """What is wrong with a filter, in a few words for one line."""


class Subject(Protocol):
    """What is asked of a run."""

    @property
    def searched(self) -> str:
        """Name, tags, path and status, in lower case."""

    @property
    def word(self) -> str:
        """The status word."""

    @property
    def name(self) -> str:
        """What the run is called."""

    @property
    def tags(self) -> Sequence[str]:
        """Its tags."""

    @property
    def key(self) -> str:
        """Its path."""

    @property
    def source(self) -> str:
        """Whose format its files have."""

    def value(self, name: str) -> str | float | None:
        """Return a parameter as text or the newest value of a metric; None without either."""


class StateSubject:
    """A run of which the state is known, as a filter asks it."""

    def __init__(self, state: RunState) -> None:
        """Answer for the run of that state."""
        self._state = state
        self.word, self.name, self.tags = state.status.word, state.name, state.tags
        self.key, self.source = str(state.path), state.source

    @property
    def searched(self) -> str:
        """Name, tags, path and status, in lower case."""
        return "\n".join((self.name, *self.tags, self.key, self.word)).lower()

    def value(self, name: str) -> str | float | None:
        """Return a parameter as text, or else the newest value of a metric; None without either."""
        params = dict(flattened(self._state.params))
        found = params.get(name, params.get(name.removeprefix("params.")))
        return measured(self._state).get(name) if found is None else str(found)


class Term(Protocol):
    """A part of a question."""

    def holds(self, run: Subject) -> bool:
        """Tell whether it is so for a run."""


@dataclass(frozen=True, slots=True)
class Query:
    """A whole question: one of the alternatives holds, with all its terms. Without any, all do."""

    alternatives: tuple[tuple[Term, ...], ...] = ()

    def __bool__(self) -> bool:
        """Tell whether it asks for anything."""
        return bool(self.alternatives)

    def holds(self, run: Subject) -> bool:
        """Tell whether a run is wanted."""
        if not self.alternatives:
            return True
        return any(all(term.holds(run) for term in terms) for terms in self.alternatives)


@dataclass(frozen=True, slots=True)
class Word:
    """A text, in lower case, in the run's name, path, tags or status."""

    text: str

    def holds(self, run: Subject) -> bool:
        """Tell whether it occurs."""
        return self.text in run.searched


@dataclass(frozen=True, slots=True)
class Not:
    """What must not be so."""

    term: Term

    def holds(self, run: Subject) -> bool:
        """Tell whether it is not so."""
        return not self.term.holds(run)


@dataclass(frozen=True, slots=True)
class OfField:
    """A fact of the run of which one of several texts is as a pattern says."""

    name: str
    wanted: str
    """In lower case."""

    def holds(self, run: Subject) -> bool:
        """Tell whether one of the field's texts matches."""
        return any(matches(self.wanted, text.lower()) for text in self._texts(run))

    def _texts(self, run: Subject) -> Sequence[str]:
        match self.name:
            case "tag":
                return run.tags
            case "path":
                return (run.key,)
            case "source":
                return (run.source,)
        return (run.name,)


@dataclass(frozen=True, slots=True)
class HasStatus:
    """The run has one of some status words."""

    words: frozenset[str]

    def holds(self, run: Subject) -> bool:
        """Tell whether it has."""
        return run.word in self.words


@dataclass(frozen=True, slots=True)
class Comparison:
    """A parameter, or the newest value of a metric, against what was typed.

    A run that has neither fits no comparison, but for `=` when its name or path has just that text:
    folders of sweeps are called `lr=0.1`.
    """

    name: str
    sign: str
    wanted: str
    """In lower case."""
    number: float | None

    def holds(self, run: Subject) -> bool:
        """Tell whether the value is there and compares so."""
        value = run.value(self.name)
        if value is None:
            return self.sign == "=" and f"{self.name}={self.wanted}".lower() in run.searched
        number = value if isinstance(value, float) else as_number(value)
        if self.sign in _ORDERS:
            wanted = self.number
            return number is not None and wanted is not None and _ORDERS[self.sign](number, wanted)
        return self._is_same(value, number) == (self.sign == "=")

    def _is_same(self, value: str | float, number: float | None) -> bool:
        if number is None or self.number is None:
            return matches(self.wanted, str(value).lower())
        if math.isnan(number) or math.isnan(self.number):
            return math.isnan(number) and math.isnan(self.number)
        return math.isclose(number, self.number, rel_tol=_SAME_TO)


def parse(text: str) -> Query:
    """Return what a filter asks.

    Raises:
        QueryError: it is not complete, or asks for what there is not.
    """
    alternatives: list[list[Term]] = [[]]
    for word, bare in _words(text):
        if bare == "|":
            alternatives.append([])
        else:
            alternatives[-1].append(_term(word, bare))
    return Query(tuple(tuple(terms) for terms in alternatives if terms))


def matches(pattern: str, text: str) -> bool:
    """Tell whether a whole text is as a pattern says, in which `*` stands for anything."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    end = len(text) - len(last)
    if end < len(first) or not text.startswith(first) or not text.endswith(last):
        return False
    at = len(first)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


@lru_cache(maxsize=4096)
def as_number(text: str) -> float | None:
    """Return a text as a number, or None; remembers some, as runs of a sweep share their values."""
    try:
        return float(text)
    except ValueError:
        return None


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Yield each word, and the same with NUL for what was quoted; `|` is a word of its own."""
    word, bare, quoted, is_open = "", "", False, False
    for char in f"{text} ":
        if char == '"':
            quoted, is_open = not quoted, True
        elif quoted:
            word, bare = word + char, bare + "\0"
        elif char.isspace() or char == "|":
            if word:
                yield word, bare
            word, bare, is_open = "", "", False
            if char == "|":
                yield char, char
        else:
            word, bare = word + char, bare + char
    if is_open:
        raise QueryError('a " is not closed')


def _term(word: str, bare: str) -> Term:
    if bare.startswith("-"):
        if len(word) == 1:
            raise QueryError("what should not be, after '-'?")
        return Not(_term(word[1:], bare[1:]))
    if found := _COMPARISON.match(bare):
        return _comparison(word[: found.end(1)], found[2], word[found.end() :])
    if found := _FIELD.match(bare):
        return _of_field(found[1], word[found.end() :])
    return Word(word.lower())


def _comparison(name: str, sign: str, wanted: str) -> Comparison:
    if not name:
        raise QueryError(f"a name is missing before {sign}")
    if not wanted:
        raise QueryError(f"a value is missing after {name}{sign}")
    number = as_number(wanted)
    if sign in _ORDERS and number is None:
        raise QueryError(f"{name}{sign} wants a number")
    return Comparison(name, "=" if sign == "==" else sign, wanted.lower(), number)


def _of_field(name: str, wanted: str) -> Term:
    if name not in FIELDS:
        told = ", ".join(f"{field}:" for field in FIELDS)
        raise QueryError(f"no {name}: here, but {told}")
    if not wanted:
        raise QueryError(f"which {name}?")
    if name != "status":
        in_part = name in _IN_PART and "*" not in wanted
        return OfField(name, f"*{wanted}*".lower() if in_part else wanted.lower())
    words = frozenset(word for word in STATUS_WORDS if matches(f"{wanted.lower()}*", word))
    if not words:
        raise QueryError(f"no status begins with {wanted}")
    return HasStatus(words)


# ---- what may be typed next --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What occurs in the runs that are there."""

    names: Sequence[str] = ()
    """Of parameters and metrics."""
    tags: Sequence[str] = ()
    run_names: Sequence[str] = ()
    sources: Sequence[str] = ()
    values: Callable[[str], Iterable[str]] = field(default=lambda name: ())
    """Returns the texts that a parameter has."""


def complete(text: str, known: Vocabulary) -> tuple[str, list[str]]:
    """Return the text with its last word completed as far as it is certain, and what may follow.

    Where no name begins with what is typed, those that contain it are offered: `acc` gives
    `val/accuracy`.
    """
    if text.count('"') % 2:
        return text, []
    head, word = _cut(text)
    start, choices = _choices(word, known)
    typed = word[start:]
    found = [choice for choice in choices if choice.lower().startswith(typed.lower())]
    found = found or [choice for choice in choices if typed.lower() in choice.lower()]
    if not found:
        return text, []
    sure = common_start(found)
    if len(sure) < len(typed):
        return text, found
    if len(found) == 1 and any(char.isspace() or char == "|" for char in sure):
        sure = f'"{sure}"'
    return head + word[:start] + sure, found if len(found) > 1 else []


def common_start(texts: Collection[str]) -> str:
    """Return what all texts begin with: the first and the last in order differ most."""
    first, last = min(texts), max(texts)
    same = next((at for at, char in enumerate(first) if last[at : at + 1] != char), len(first))
    return first[:same]


def _cut(text: str) -> tuple[str, str]:
    """Return what is in front of the last word, with its `-`, and that word."""
    start = max(text.rfind(" "), text.rfind("|")) + 1
    start += text[start:].startswith("-")
    return text[:start], text[start:]


def _choices(word: str, known: Vocabulary) -> tuple[int, Sequence[str]]:
    """Return where in a word the part begins that can be completed, and what it may become."""
    if found := _COMPARISON.match(word):
        return found.end(), sorted(set(known.values(found[1])))
    if found := _FIELD.match(word):
        of_field = {
            "name": known.run_names,
            "source": known.sources,
            "status": STATUS_WORDS,
            "tag": known.tags,
        }
        return found.end(), of_field.get(found[1], ())
    return 0, [*known.names, *(f"{name}:" for name in FIELDS)]
