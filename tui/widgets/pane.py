"""A detail pane: a title line, or tabs, and a part of one run below it that can be scrolled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from textual import events

from ..entry import Entry, RunView
from ..messages import PaneChosen
from ..renderables.text import EMPTY, Line, Span, fit_line, line, line_width, paragraph
from ..scene import Scene
from .lines import LinesWidget, guarded
from .typed import DROPPING, KEEPING, edited, pasted

NO_RUN = "no run is chosen: there is none, or the filter leaves all out"
MARGIN = 1
"""Empty cells left of the content."""


class Pane(LinesWidget, can_focus=True):
    """Shows one aspect of the chosen run; subclasses say which, in `content`.

    What a view's keys do are its `action_…` methods (`keymap`). One that draws several runs, or
    something else than their states, has a `body` of its own.

    Abstract for the type checker alone: Textual's metaclass leaves no room for that of `abc.ABC`.
    """

    NAME = ""
    PROMPT = "/"
    """What stands before the text that is being typed into it, as a rule."""
    HELP = "Enter keeps   Esc drops"
    """What ends the typing, and how."""
    FOLLOWS_CLOCK = False
    """Whether it shows ages, which change without a new row."""

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        self.scene = Scene()
        self.prompt: str | None = None
        """What is being typed into it, while that is so: a search."""
        self.is_proposed = False
        """Nothing was typed yet into a text that was proposed: what is typed replaces it."""
        self._top = 0
        self._length = 0
        self._seen: list[Line] = []
        self._seen_of: tuple[Entry | None, int] = (None, 0)
        """The run and the number of lines that `_seen` is of."""

    @abstractmethod
    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return all lines of the pane for a run, long ones as `LazyLines`."""

    def title(self) -> str:
        """Return the pane's name in its title line."""
        return self.NAME.capitalize()

    def subtitle(self) -> str:
        """Return what follows the pane's name in its title line."""
        return ""

    # ---- what is typed into it -------------------------------------------------------------------

    def press(self, key: str, character: str | None) -> bool:
        """Take a key before it means anything else; return False when it is not for the pane."""
        if self.prompt is None:
            return self.press_outside(key, character)
        if key == "enter" or key in DROPPING:
            text, self.prompt, self.is_proposed = self.prompt, None, False
            self.typed(text if key == "enter" else None)
            self.redraw()
            return True
        if self.is_proposed and key in KEEPING:
            return self._take(self.prompt)
        more = pasted("", character or "") if self.is_proposed else None
        return self._take(more or edited(self.prompt, key, character))

    def paste(self, text: str) -> bool:
        """Add a text to what is typed; return False where nothing can be."""
        before = "" if self.is_proposed else self.prompt
        return before is not None and self._take(pasted(before, text))

    def propose(self, text: str) -> None:
        """Begin with a text that Enter takes, keys that edit keep, and what is typed replaces."""
        self.prompt, self.is_proposed = text, True

    def _take(self, text: str | None) -> bool:
        if text is None:
            return False
        self.prompt, self.is_proposed = text, False
        self.typing(text)
        self.redraw()
        return True

    def press_outside(self, key: str, character: str | None) -> bool:
        """Do the same while nothing is typed."""
        return False

    def asks(self) -> str:
        """Return what stands before the text that is typed."""
        return self.PROMPT

    def typing(self, text: str) -> None:
        """Take what is typed so far."""

    def typed(self, text: str | None) -> None:
        """Take what was typed, on Enter; None where it is dropped."""

    # ---- one step in and out ---------------------------------------------------------------------

    def enter(self) -> bool:
        """Go one step into what is shown, on Enter; return False when there is nowhere to go."""
        return False

    def leave(self) -> bool:
        """Go one step back, on Esc, before the screen does; return False when there is none."""
        return False

    def idle_hints(self) -> tuple[str, ...]:
        """Return the hints of keys that do nothing now: the last line leaves them out."""
        return ()

    def step_in_focus(self) -> float | None:
        """Return the step of the chosen run that is looked at; None: no single one."""
        return None

    @property
    def entry(self) -> Entry | None:
        """The chosen run."""
        return self.scene.entry

    def show(self, scene: Scene) -> None:
        """Show other runs, or the same with new values."""
        if scene.entry is not self.entry:
            self._top = 0
        self.scene = scene
        self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        """Return the title and the visible part of the content."""
        self._length = 0
        visible = guarded(lambda: self.body(width - MARGIN - 1, height - 1))
        margin = Span(" " * MARGIN)
        return [self._title(width, height), *((margin, *row) for row in visible)]

    def body(self, width: int, height: int) -> list[Line]:
        """Return the lines that are scrolled into view; the others are not even made."""
        if self.entry is None:
            return self.without_run(width)
        with self.entry.glimpse() as view:
            self.is_waiting = view is None
            if view is None:
                entry, self._length = self._seen_of
                return self._seen if entry is self.entry else [EMPTY]
            self._seen = self.scrolled(self.content(view, width, height), height)
            self._seen_of = self.entry, self._length
            return self._seen

    def without_run(self, width: int) -> list[Line]:
        """Return what to say where no run is chosen; beside the list, the list says it."""
        return [] if self.scene.session.view == "runs" else paragraph(NO_RUN, width)

    def scrolled(self, lines: Sequence[Line], height: int) -> list[Line]:
        """Return the part of all lines that is scrolled into view."""
        self._length = len(lines)
        self._top = max(0, min(self._top, self._length - height))
        return list(lines[self._top : self._top + height])

    def _title(self, width: int, height: int) -> Line:
        rule = "rule-focus" if self.has_focus else "rule"
        below = self._length - self._top - (height - 1)
        end = f" ↓ {below} more " if below > 0 else " ─ end " if self._top else ""
        head = self._own_title(rule)
        room = width - line_width(head) - len(end) - 1
        return fit_line((*head, Span("─" * room, rule), Span(end, "dim"), Span("─", rule)), width)

    def _own_title(self, rule: str) -> Line:
        subtitle = self.subtitle()
        return line(
            Span("─ ", rule),
            Span(self.title(), "title" if self.has_focus else "head"),
            Span(f" · {subtitle}" if subtitle else "", "dim"),
            " ",
        )

    def scroll_lines(self, lines: int) -> None:
        """Scroll by some lines."""
        self._top += lines
        self.redraw()

    def scroll_pages(self, pages: int) -> None:
        """Scroll by some pages."""
        self.scroll_lines(pages * max(1, self.size.height - 2))

    def scroll_edge(self, direction: int) -> None:
        """Scroll to the top (negative) or the end."""
        self.scroll_lines(direction * max(self._length, 1))

    def on_focus(self) -> None:
        """The title line tells where the keys go."""
        self.redraw()

    def on_blur(self) -> None:
        """The title line tells where the keys go."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Choose this pane."""
        self.post_message(PaneChosen(self.NAME))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Three lines down."""
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Three lines up."""
        event.stop()
        self.scroll_lines(-3)
