"""The view `log`: what the command printed and what happened, followed and searched."""

from __future__ import annotations

from collections.abc import Sequence

from runstore.files.text_search import Needle
from runstore.state.attempt_facts import output_files

from ..entry import Entry, RunView
from ..event_scroll import EventScroll
from ..log_reading import LogReading, Page, Shape
from ..renderables.log import row_line
from ..renderables.text import Line, Span, from_file, line, paragraph
from ..side_reader import SideReader
from .pane import Pane

PARTS = ("output", "events", "both")
EVENTS_SHARE = 3
"""Where both are shown, a third is for the events."""
NO_OUTPUT = "no output.log: `runstore exec -- COMMAND` keeps what a command prints"
EMPTY_OUTPUT = "output.log is empty: nothing was printed"
SILENT = "the file system of the output does not answer"


class LogPane(Pane):
    """Output and events of the chosen run: in one time order where that could be told, so apart."""

    NAME = "log"
    HELP = "Enter searches   Esc drops"

    def __init__(self) -> None:
        super().__init__()
        self._part = "both"
        self._wrap = False
        self._reader = SideReader()
        self._readings: tuple[Entry | None, LogReading | None] = (None, None)
        self._events = EventScroll()
        self._needle: Needle | None = None
        self._printed = ""
        """Which files what the newest attempt prints goes to, in words."""

    # ---- what is shown -------------------------------------------------------------------------

    def body(self, width: int, height: int) -> list[Line]:
        """Return what is scrolled into view of the output, of the events, or of both."""
        self.is_waiting = self.entry is not None  # it grows without anything said: look again soon
        reading = self._reading()
        if reading is None:
            return self.without_run(width)
        self._learn_events()
        page = reading.page
        has_output = page.is_there or page.problem or not page.is_read
        shows_output = self._part != "events" and bool(has_output)
        is_apart = self._part == "both" and bool(self._events)
        shows_events = is_apart or self._part == "events" or not shows_output
        missing = "" if shows_output or self._part == "events" else self._why_none(page)
        lines = self._event_lines(width, height, shows_output, missing) if shows_events else []
        if shows_events and shows_output:
            lines.append(line(Span("─" * width, "rule")))
        if not shows_output:
            self._reader.ask(reading)
            return lines
        shape = Shape(width, height - len(lines), self._wrap)
        self._reader.ask(reading, now=reading.reshape(shape))
        return [*lines, *self._output_lines(reading.page)]

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return nothing: the lines are not made from the run's state alone."""
        return []

    def _reading(self) -> LogReading | None:
        entry, reading = self._readings
        if entry is not self.entry:
            entry = self.entry
            reading = LogReading(entry.ref.path) if entry is not None else None
            self._readings, self._printed = (entry, reading), ""
            self._events = EventScroll(self._wrap, self._needle)
            if reading is not None and self._needle is not None:
                reading.search(self._needle.text, stay=True)
        return reading

    def _learn_events(self) -> None:
        if self.entry is not None:
            with self.entry.glimpse() as view:
                if view is not None:
                    self._events.learn(view.full.attempts)
                    told = output_files(view.full.newest_opened or {})
                    self._printed = from_file(", ".join(told))

    def _why_none(self, page: Page) -> str:
        """Return why there is no output to show, and where it is instead."""
        if page.is_empty:
            return EMPTY_OUTPUT
        return f"no output.log: it {self._printed}" if self._printed else NO_OUTPUT

    def _event_lines(self, width: int, height: int, are_above: bool, missing: str) -> list[Line]:
        """Return the events: all of them to scroll in, or the newest above the output."""
        with_mark = self._needle is not None
        told = paragraph(missing, width) if missing else []
        room = max(1, height // EVENTS_SHARE if are_above else height - len(told))
        rows = self._events.rows(width - 2 * with_mark, room, newest=are_above)
        lines = [row_line(row, with_mark=with_mark) for row in rows]
        return [*told, *(lines or [line(Span("no events", "dim"))])]

    def _output_lines(self, page: Page) -> list[Line]:
        if self._reader.is_silent:
            return [line(Span(SILENT, "warn"))]
        problem = page.problem or self._reader.problem
        if problem and not page.rows:
            return [line(Span(f"the output cannot be read: {from_file(problem)}", "warn"))]
        return [row_line(row, with_mark=page.hits is not None) for row in page.rows]

    def subtitle(self) -> str:
        """Return what is shown, where in it, and how the search stands."""
        _, reading = self._readings
        page = reading.page if reading is not None else Page()
        if page.is_there and self._part != "events":
            is_apart = self._part == "both" and self._events
            told = ["events, output" if is_apart else "output", *_where(page)]
        else:
            told = ["events", *self._events.where()]
        return " · ".join(told)

    # ---- keys ----------------------------------------------------------------------------------

    @property
    def _scrolls_output(self) -> LogReading | None:
        """What the keys scroll, where it is the output and not the events."""
        _, reading = self._readings
        shows = self._part != "events" and reading is not None and reading.page.is_there
        return reading if shows else None

    def _draw(self) -> None:
        """Draw what a key has asked for, which may have to be read first."""
        reading = self._scrolls_output
        if reading is not None:
            self._reader.ask(reading, now=True)
        self.redraw()

    def scroll_lines(self, lines: int) -> None:
        """Scroll by some lines; upwards ends following."""
        output = self._scrolls_output
        if output is not None:
            output.move(lines)
        else:
            self._events.move(lines)
        self._draw()

    def scroll_edge(self, direction: int) -> None:
        """Go to the beginning, or to the end and follow it."""
        output = self._scrolls_output
        if output is None:
            self._events.go(direction)
        elif direction < 0:
            output.go_to_top()
        else:
            output.follow(True)
        self._draw()

    def action_follow(self) -> None:
        """Show the end from now on, or stay."""
        output = self._scrolls_output
        if output is not None:
            output.follow(not output.page.follows)
        else:
            self._events.follows = not self._events.follows
        self._draw()

    def action_part(self) -> None:
        """Show output, events, or both."""
        self._part = PARTS[(PARTS.index(self._part) + 1) % len(PARTS)]
        self._draw()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self._wrap = self._events.wrap = not self._wrap
        self._draw()

    def action_pan(self, way: int) -> None:
        """Show what is further left or right of lines that are cut."""
        columns = way * max(1, self.size.width // 2)
        output = self._scrolls_output
        if output is not None:
            output.pan(columns)
        else:
            self._events.pan = max(0, self._events.pan + columns)
        self._draw()

    def action_search(self) -> None:
        """Begin to type what is looked for."""
        self.prompt = ""

    def action_hit(self, way: int) -> None:
        """Go to the next hit."""
        output = self._scrolls_output
        if self._needle is None:
            return
        if output is not None:
            output.next_hit(way)
        else:
            self._events.look(way)
        self._draw()

    def typed(self, text: str | None) -> None:
        """Search."""
        if text is not None:
            self._search(text)

    def press_outside(self, key: str, character: str | None) -> bool:
        """End a search by Esc."""
        if key == "escape" and self._needle is not None:
            self._search("")
            return True
        return False

    def _search(self, text: str) -> None:
        self._needle = Needle(text) if text else None
        _, reading = self._readings
        if reading is not None:
            reading.search(text)
        self._events.search(self._needle)
        self._draw()


def _where(page: Page) -> list[str]:
    """Return where the page is in the output and how the search stands, in words."""
    told = ["following"] if page.follows else []
    if page.number is not None and page.lines is not None:
        last = page.number + max(0, len(page.rows) - 1)
        told.append(
            f"{page.lines:,} line{'s' * (page.lines != 1)}"
            if page.follows
            else f"line {page.number:,}–{min(last, page.lines):,} of {page.lines:,}"
        )
    else:
        told.append(f"at {page.share:.0%}, counting lines")
    if page.problem:
        told.append(from_file(page.problem))
    if page.column > 1:
        told.append(f"from column {page.column:,}")
    hits = page.hits
    if hits is not None:
        shown = from_file(hits.text)
        if hits.searched < 1 or hits.is_looking:
            told.append(f"searching {shown!r}: {hits.count:,} hits in {hits.searched:.0%}")
        elif hits.count:
            number = f"hit {hits.number:,} of " if hits.number else ""
            told.append(f"{number}{hits.count:,}{'' if hits.number else ' hits'} {shown!r}")
        else:
            told.append(f"{shown!r} is nowhere")
    return told
