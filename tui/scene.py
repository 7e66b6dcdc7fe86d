"""What the panes draw: the chosen run, the marked ones, and the user's choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from .beside import Beside
from .catalog import Entry, RunView
from .said import Said
from .session import MARK_LETTERS, Session


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
    """Notes of runs, and requests to them."""
    said: Said = field(default_factory=Said)
    """What an action came to, for the last line."""

    @property
    def together(self) -> tuple[Entry, ...]:
        """The runs that are drawn in one chart: the marked ones, and the chosen one behind them."""
        drawn = self.marked[: len(MARK_LETTERS)]
        alone = () if self.entry is None or self.entry in drawn else (self.entry,)
        return drawn + alone

    def letter(self, entry: Entry) -> str:
        """Return the letter of a marked run; empty for one that is only chosen."""
        return self.session.letter(entry.key)


@contextmanager
def glimpses(entries: Sequence[Entry]) -> Iterator[list[RunView | None]]:
    """Give the states of several runs while nobody changes them; None where one is being read."""
    with ExitStack() as stack:
        yield [stack.enter_context(entry.glimpse()) for entry in entries]
