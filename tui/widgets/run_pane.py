"""The view `run`: one run's bars, epochs, attempts, warnings and notes, on one page."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..beside import Writing
from ..entry import Entry, RunView
from ..renderables.run_page import BESIDE_WIDTH, Flow, page
from ..renderables.text import Line
from ..scene import Scene
from .around import around
from .pane import Pane


class RunPane(Pane):
    """One page; its sections are a key apart, and their titles stay in sight when it is narrow."""

    NAME = "run"
    FOLLOWS_CLOCK = True
    PROMPT = "note: "
    HELP = "Enter saves   Esc drops"

    def __init__(self) -> None:
        super().__init__()
        self._flow: Flow | None = None
        self._chosen = ""
        """The title of the section that a key went to, which stays in sight until something is
        scrolled; the last ones cannot be scrolled to the top."""
        self._first = 0
        """Columns of the epoch table that are scrolled out of sight at the left."""
        self._noted: Entry | None = None
        """The run that the note is about, which is being typed."""
        self._writing: list[Writing] = []
        """Notes that are not known to be in their files: their words may be needed again."""

    def show(self, scene: Scene) -> None:
        """Show other runs, or the same with new values."""
        if scene.entry is not self.entry:
            self._chosen, self._first = "", 0
        super().show(scene)

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return the page."""
        self._take_back()
        assert self.entry is not None  # there is a view of it
        known = around(self.scene.beside, self.entry, view)
        self._flow = page(view.listed, view.full, known, width, time.time(), self._first)
        self._first = self._flow.first
        return self._flow

    def scrolled(self, lines: Sequence[Line], height: int) -> list[Line]:
        """Return what is scrolled into view, below what stays."""
        if not isinstance(lines, Flow):
            return super().scrolled(lines, height)
        chosen = lines.place_of(self._chosen)
        if chosen is not None:
            self._top = lines.starts[chosen]
        pins = 1 if self.size.width - 2 < BESIDE_WIDTH else 0
        visible = super().scrolled(lines, height - pins)
        self._length += pins
        if head := lines.head_at(self._top):
            visible[0] = head
        at = lines.section_at(self._top) if chosen is None else chosen
        return [lines.titles(at), *visible] if pins else visible

    def scroll_lines(self, lines: int) -> None:
        """Scroll by some lines."""
        self._chosen = ""
        super().scroll_lines(lines)

    # ---- keys ----------------------------------------------------------------------------------

    def action_section(self, move: int) -> None:
        """Go to the section `move` places further on, round and round."""
        if self._flow is None:
            return
        chosen, sections = self._flow.place_of(self._chosen), self._flow.sections
        at = self._flow.section_at(self._top) if chosen is None else chosen
        self._chosen = sections[(at + move) % len(sections)].title
        self.redraw()

    def action_columns(self, move: int) -> None:
        """Scroll the epoch table sideways."""
        self._first = max(0, self._first + move)
        self.redraw()

    def action_note(self) -> None:
        """Begin a note."""
        if self.entry is not None:
            self._noted, self.prompt = self.entry, ""

    def asks(self) -> str:
        """Name the run where the note is about another one than that on screen."""
        noted = self._noted
        return self.PROMPT if noted in (None, self.entry) else f"note on {noted.name}: "

    def typed(self, text: str | None) -> None:
        """Write the note."""
        if self._noted is not None and text is not None and text.strip():
            self._writing.append(self.scene.beside.add_note(self._noted, text))
        self._noted = None

    def _take_back(self) -> None:
        """Have the words of a note that was not written in the prompt, as soon as that is free."""
        self._writing = [one for one in self._writing if one.problem or not one.ended]
        failed = next((one for one in self._writing if one.problem), None)
        if failed is not None and self.prompt is None:
            self._writing.remove(failed)
            self._noted, self.prompt = failed.entry, failed.text
        self.is_waiting |= bool(self._writing)
