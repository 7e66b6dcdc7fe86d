"""The palette: everything that can be done, looked for by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ..catalog import Catalog
from ..commands import MOST_RUNS, GoToRun
from ..entry import Entry
from ..renderables.choices import Choice, chosen_lines, holds, matching
from ..renderables.facts import Facts, facts_of, tell_apart
from ..renderables.root_names import RootNames
from ..renderables.text import Line, Span, from_file, line
from .overlay import OverlayScreen


class ChoiceScreen(OverlayScreen[Choice]):
    """A list with a cursor; gives what was chosen, or None."""

    def __init__(self, title: str, choices: Sequence[Choice], *, takes_text: bool = True) -> None:
        """Offer some choices."""
        super().__init__(title, "Enter does it · Esc closes", takes_text=takes_text)
        if not takes_text:
            self.box.styles.height = len(choices) + 2
        self._choices = choices
        self._found: list[Choice] = []
        self._at = 0

    def find(self) -> list[Choice]:
        """Return what matches what was typed."""
        return matching(self._choices, self.typed)

    def content(self) -> tuple[list[Line], int | None]:
        """Look for what was typed."""
        self._found = self.find()
        self._at = max(0, min(self._at, len(self._found) - 1))
        rows = chosen_lines(self._found, self._at, self.box.text_width)
        return rows or [line(Span("nothing of that name", "dim"))], self._at

    def text_changed(self) -> None:
        """Begin at the top again."""
        self._at = 0
        super().text_changed()

    def move(self, lines: int) -> None:
        """Move the cursor."""
        self._at += lines
        self.refill()

    def clicked(self, line: int) -> None:
        """Choose what was clicked."""
        if line < len(self._found):
            self._at = line
            self.enter()

    def press(self, key: str, character: str | None) -> bool:
        """Where nothing is typed, the key of a choice chooses it."""
        named = [choice for choice in self._choices if choice.key == character]
        if self.box.typed is not None or not named:
            return super().press(key, character)
        self.close(named[0])
        return True

    def enter(self) -> None:
        """Choose; also when what was typed has not been drawn yet."""
        self.refill()
        self.close(self._found[self._at] if self._found else None)


class PaletteScreen(ChoiceScreen):
    """Commands, and the runs that match what is typed."""

    def __init__(self, choices: Sequence[Choice], catalog: Catalog) -> None:
        """Offer commands, and the runs of a catalog."""
        super().__init__("Commands and runs", choices)
        self._catalog = catalog

    def find(self) -> list[Choice]:
        """Return matching commands, then matching runs; runs only when something is typed."""
        commands, words = super().find(), self.typed.lower().split()
        runs = self._runs(words) if words else []
        # Commands that have no more than the letters are a guess; a run that has the words is none.
        is_guess = bool(commands) and not holds(commands[0], words)
        return runs + commands if is_guess else commands + runs

    def _runs(self, words: list[str]) -> list[Choice]:
        searched = ((e, f"{e.kept.told}\n{e.key}\n{e.word}".lower()) for e in self._catalog.entries)
        holding = (entry for entry, text in searched if all(word in text for word in words))
        entries = list(islice(holding, MOST_RUNS))
        names = RootNames(self._catalog.roots, self._catalog.hosts.names)
        read = {entry.key: names.marked(facts, entry.key) for entry, facts in _facts(entries)}
        told = {
            key: f"{facts.name} {facts.apart[0]}  {facts.word}".replace("   ", "  ")
            for key, facts in zip(read, tell_apart(list(read.values())), strict=True)
        }
        return [
            Choice(
                told.get(entry.key, from_file(entry.ref.id)), group="run", value=GoToRun(entry.key)
            )
            for entry in entries
        ]


def _facts(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Facts]]:
    """Yield what is known of the runs that have a reader, and are not being read right now."""
    for entry in entries:
        with entry.glimpse(wait_s=0) as view:
            if view is not None and view.known:
                yield entry, facts_of(view.listed)
