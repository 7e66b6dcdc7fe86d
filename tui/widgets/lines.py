"""A widget that draws lines of spans, refreshes only what changed, and survives errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from runstore.text import printable_lines

from ..renderables.ascii import as_ascii
from ..renderables.text import Line, Span, fit_line, from_file, line

if TYPE_CHECKING:
    from textual import events

Styles = dict[str, Style]


class LinesWidget(Widget):
    """Draws what `build` returns.

    An error in `build` becomes a line of text in this widget instead of the end of the app.
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: list[Line] = []
        self._strips: dict[int, Strip] = {}
        self._built_for: tuple[int, int] | None = None
        """The size that `_lines` were made for."""
        self._drawn_with: tuple[int, Style] | None = None
        self.is_waiting = False
        """What it shows was being read when it was to be drawn; draw again soon."""

    def build(self, width: int, height: int) -> list[Line]:
        """Return the lines to show, at most `height` of `width` cells; blank by itself."""
        return []

    def redraw(self) -> None:
        """Build again and refresh the lines that differ."""
        width, height = self.size
        if not width or not height or not self.display:
            # It has no place on screen, or not yet. What it showed before must not come back.
            if self._built_for is not None:
                self._built_for = None
                self.refresh()
            return
        lines = self._built(width, height)
        if len(lines) == len(self._lines):
            changed = [y for y, new in enumerate(lines) if new != self._lines[y]]
        else:
            changed = list(range(max(len(lines), len(self._lines))))
        self._lines = lines
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _built(self, width: int, height: int) -> list[Line]:
        self._built_for = width, height
        return guarded(lambda: self.build(width, height))[:height]

    def render_line(self, y: int) -> Strip:
        """Return one line of the widget, from the last `redraw`.

        A new size is built for here, before `on_resize` comes: a frame that shows the widget empty,
        or cut to its old size, would go to the terminal for nothing.
        """
        base, (width, height) = self.rich_style, self.size
        if self._built_for != (width, height) and height:
            self._lines = self._built(width, height)
            self._strips.clear()
        if self._drawn_with != (width, base):
            self._drawn_with = (width, base)
            self._strips.clear()
        strip = self._strips.get(y)
        if strip is None:
            spans = self._lines[y] if y < len(self._lines) else ()
            strip = self._strips[y] = _strip(spans, width, base, self._styles(), self._finish())
        return strip

    def _styles(self) -> Styles:
        styles: Styles = getattr(self.app, "role_styles", {})
        return styles

    def _finish(self) -> Callable[[str], str]:
        """Return what is done last to every text."""
        return as_ascii if getattr(self.app, "ascii_only", False) else str

    def on_resize(self, event: events.Resize) -> None:
        """Lines are made for a size."""
        if self._built_for != self.size:
            self.redraw()

    def forget_styles(self) -> None:
        """Draw again with the styles of a new theme."""
        self._strips.clear()
        self.refresh()


def _strip(
    spans: Line, width: int, base: Style, styles: Styles, finish: Callable[[str], str]
) -> Strip:
    whole = base
    if spans and spans[0].role in ("cursor", "cursor-blurred") and not spans[0].text:
        whole = base + styles[spans[0].role]
    segments = [
        # Whoever made the line has cleaned it; this is the last place where it can be done.
        Segment(
            finish(printable_lines(span.text)),
            _style(span.role, whole, styles) if span.role else whole,
        )
        for span in fit_line(spans, width)
        if span.text
    ]
    return Strip(segments, width)


def _style(role: str, whole: Style, styles: Styles) -> Style:
    known = styles.get(role)
    if known is None and (role[:1] == "#" or role[:4] == "on #"):
        known = _colors(role)
        if known.bgcolor:  # the costs of adding are those of a picture's thousand colours
            return known
    return whole + known if known else whole


@lru_cache(maxsize=1 << 14)
def _colors(role: str) -> Style:
    """Return the style of a role that is no name but colours: `#rrggbb on #rrggbb`."""
    front, _, back = role.rpartition("on ") if "on " in role else (role, "", "")
    return Style(color=_color(front.rstrip()), bgcolor=_color(back))


def _color(code: str) -> Color | None:
    # Made directly: a picture has a thousand colours, and Rich's parser takes three times as long.
    rgb = bytes.fromhex(code[1:])
    return Color(code, ColorType.TRUECOLOR, triplet=ColorTriplet(*rgb)) if code else None


def guarded(build: Callable[[], list[Line]]) -> list[Line]:
    """Return what `build` returns, or two lines about its failure."""
    try:
        return build()
    except Exception as error:  # noqa: BLE001 - one pane must not take the others down
        return [line(Span("pane error", "bad")), line(Span(_reason(error), "dim"))]


@contextmanager
def contained(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell of a failure in place of passing it on, which would end the monitor."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - what one key does must not take the rest down
        tell(f"error: {_reason(error)}")


def _reason(error: Exception) -> str:
    return from_file(f"{type(error).__name__}: {error}")
