"""What the panes draw: the chosen run, the marked ones, and the user's choices."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from .beside import Beside
from .entry import Entry, RunView
from .grouping import group_key
from .said import Said
from .session import MARK_LETTERS, Session

MOST_IN_BANDS = 64
"""Marked runs that are drawn as means at most: each is read and kept in full."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Small, and made anew whenever something of it changes."""

    entry: Entry | None = None
    """The run under the cursor."""
    marked: tuple[Entry, ...] = ()
    """Those that are there, in the order of marking; the first eight have letters."""
    session: Session = field(default_factory=Session)
    listed: Sequence[Entry] = ()
    """The runs of the list, in its order."""
    beside: Beside = field(default_factory=Beside)
    """Notes of runs, and requests to them; and their hosts."""
    said: Said = field(default_factory=Said)
    """What an action came to, for the last line."""

    @property
    def together(self) -> tuple[Entry, ...]:
        """The runs that are shown side by side: the first marked ones, behind them the chosen."""
        return self._with_chosen(self.marked[: len(MARK_LETTERS)])

    @property
    def charted(self) -> tuple[Entry, ...]:
        """The runs of the charts: those of `together`, or all of the first eight groups."""
        if not self.session.grouped:
            return self.together
        letters = line_letters(self.session, self.marked)
        return self._with_chosen(tuple(entry for entry in self.marked if entry.key in letters))

    def _with_chosen(self, drawn: tuple[Entry, ...]) -> tuple[Entry, ...]:
        alone = () if self.entry is None or self.entry in drawn else (self.entry,)
        return drawn + alone

    @property
    def not_charted(self) -> int:
        """How many marked runs are in no chart: there are more than can be told apart."""
        return len(self.marked) - sum(entry in self.marked for entry in self.charted)

    def letter(self, entry: Entry) -> str:
        """Return the letter of a marked run; empty for one that is only chosen."""
        return self.session.letter(entry.key)


def line_letters(session: Session, marked: Sequence[Entry]) -> dict[str, str]:
    """Return the letter of each marked run's line in the charts, by the run's key.

    Each of the first eight marked runs has its own; where the list is grouped, runs that differ in
    nothing but their seeds are one line and share one, and the first eight lines have letters.
    """
    if not session.grouped:
        named = ((entry.key, session.letter(entry.key)) for entry in marked)
        return {key: letter for key, letter in named if letter}
    lines: dict[Hashable, str] = {}
    found: dict[str, str] = {}
    for entry in marked:
        line = group_key(dict(entry.kept.params())) or entry.key
        if line not in lines and len(lines) < len(MARK_LETTERS):
            lines[line] = MARK_LETTERS[len(lines)]
        if line in lines and len(found) < MOST_IN_BANDS:
            found[entry.key] = lines[line]
    return found


@contextmanager
def glimpses(entries: Sequence[Entry]) -> Iterator[list[RunView | None]]:
    """Give the states of several runs while nobody changes them; None where one is being read."""
    with ExitStack() as stack:
        yield [stack.enter_context(entry.glimpse()) for entry in entries]
