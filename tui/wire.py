"""Send a terminal only the cells that changed, and never faster than it shows them.

Textual writes every refreshed region again in full, with a complete colour sequence per piece of
text, and lets thirty frames queue up: a table that changes ten times a second costs 80-140 KB/s,
and over a slow link a key press shows its effect ten seconds late. This layer stands between the
compositor and the driver. It keeps two grids of cells, what the screen should show and what the
terminal was last told, and writes the difference (a fifteenth of the bytes). After each frame it
asks the terminal for its cursor position; the next frame waits for the answer, because an answer
is the only proof that everything before it has crossed the link.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len
from rich.color import ColorSystem
from textual.app import App
from textual.strip import Strip

from .sequences import change_pen, move_cursor, on_blank

if TYPE_CHECKING:
    from rich.segment import Segment
    from textual import events
    from textual.screen import Screen
    from textual.timer import Timer

try:
    from textual._compositor import ChopsUpdate, LayoutUpdate
except ImportError:  # a Textual that draws differently: its own output is correct, only larger
    SUPPORTED = False
else:
    SUPPORTED = hasattr(App, "_display") and hasattr(Strip, "render_ansi")

ACK_REQUEST = "\x1b[6n"
ACK_TIMEOUT_S = 2.0
MAX_QUEUED_WRITES = 1
"""Frames that may wait in Textual's writer thread; with more, its queue blocks the event loop."""
MAX_JOINED_GAP = 4
"""Bytes of unchanged cells that are not dearer to repeat than to jump over (`ESC[9C`)."""
MOST_PENS = 200
"""Colours of a frame whose pieces are sorted by them; pictures have thousands, all different."""
_SURE = re.compile("[ -~\u2500-\u259f\u2800-\u28ff]*")
"""One cell wide in every terminal that draws lines at all."""
_QUEUE_RETRY_S = 0.05
_SMALL_FRAME = 64
"""Bytes below which a frame is not worth an answer."""

Cell = tuple[str, str]
"""The characters of one cell ("" in the right half of a wide one) and its SGR parameters."""

_BLANK: Cell = (" ", "")
_UNKNOWN: Cell = ("\0", "")


class FrameDiff:
    """Two grids of cells and the escape sequences that turn one into the other."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._want = [[_BLANK] * width for _ in range(height)]
        self._have = [[_UNKNOWN] * width for _ in range(height)]
        self._dirty = set(range(height))

    @property
    def dirty(self) -> bool:
        """Whether a row was written since the last `encode`."""
        return bool(self._dirty)

    def forget(self) -> None:
        """Assume nothing about what the terminal shows; the next frame is complete."""
        self._have = [[_UNKNOWN] * self.width for _ in range(self.height)]
        self._dirty = set(range(self.height))

    def put(
        self, y: int, x: int, segments: Iterable[Segment], colors: ColorSystem, x1: int, x2: int
    ) -> None:
        """Write `segments` into row `y` from column `x`, keeping only columns `x1` to `x2 - 1`."""
        if not 0 <= y < self.height:
            return
        row = self._want[y]
        x2 = min(x2, self.width)
        for text, style, control in segments:
            if control:
                continue
            sgr = "" if style is None else Strip.render_ansi(style, colors)
            if text.isascii():
                x = _put_ascii(row, x, text, sgr, x1, x2)
            else:
                x = _put_wide(row, x, text, sgr, x1, x2)
        self._dirty.add(y)

    def encode(self) -> str:
        """Return the sequences that bring the terminal up to date, and count them as shown."""
        pieces: list[_Piece] = []
        for y in sorted(self._dirty):
            want, have = self._want[y], self._have[y]
            if want == have:
                continue
            for start, end in _changed_runs(want, have):
                pieces += _cut(want, start, end, y)
            self._have[y] = want.copy()
        self._dirty.clear()
        pens: dict[str, int] = {}
        for piece in pieces:
            pens.setdefault(piece.sgr, len(pens))
        order: Iterable[int] = range(len(pieces))
        if len(pens) > MOST_PENS:
            return _written(pieces, order, self.width, _set_pen)
        by_pen = sorted(order, key=lambda index: pens[pieces[index].sgr])
        orders = (order, by_pen)
        return min((_written(pieces, one, self.width, change_pen) for one in orders), key=len)


def _set_pen(_: str, sgr: str) -> str:
    return f"\x1b[0;{sgr}m"


class _Piece(NamedTuple):
    """Neighbouring cells of a row that are written with the same SGR parameters."""

    y: int
    x: int
    end: int
    sgr: str
    text: str
    continues: bool
    """The piece before it ends where it begins."""


def _cut(row: list[Cell], start: int, end: int, y: int) -> Iterator[_Piece]:
    """Yield the pieces of a stretch; blanks go with any colour that has their background."""
    first, sgr = start, row[start][1]
    for x in range(start + 1, end):
        text, cell_sgr = row[x]
        if cell_sgr == sgr or (text == " " and cell_sgr == on_blank(sgr)):
            continue
        written = "".join([cell[0] for cell in row[first:x]])
        if written.strip(" ") or sgr != on_blank(cell_sgr):
            yield _Piece(y, first, x, sgr, written, first > start)
            first = x
        sgr = cell_sgr
    yield _Piece(y, first, end, sgr, "".join([cell[0] for cell in row[first:end]]), first > start)


def _written(
    pieces: list[_Piece], order: Iterable[int], width: int, change: Callable[[str, str], str]
) -> str:
    """Return the sequences that write the pieces in that order."""
    out: list[str] = []
    sgr, at_x, at_y, last = "", None, -1, -2
    for index in order:
        y, x, end, piece_sgr, text, continues = pieces[index]
        is_next = continues and index == last + 1
        if not is_next:
            out.append(move_cursor(at_x, at_y, x, y))
        if piece_sgr != sgr:
            out.append(change(sgr, piece_sgr))
            sgr = piece_sgr
        out.append(text)
        # A terminal that draws something wider may even have gone on to the next row.
        is_sure = (at_y >= 0 or not is_next) and (text.isascii() or _SURE.fullmatch(text))
        at_x, at_y, last = end if end < width else None, y if is_sure else -1, index
    if sgr:
        out.append("\x1b[m")
    return "".join(out)


def _put_ascii(row: list[Cell], x: int, text: str, sgr: str, x1: int, x2: int) -> int:
    start, end = max(x, x1), min(x + len(text), x2)
    if start < end:
        blank = (" ", on_blank(sgr))
        row[start:end] = [
            blank if char == " " else (char, sgr) for char in text[start - x : end - x]
        ]
    return x + len(text)


def _put_wide(row: list[Cell], x: int, text: str, sgr: str, x1: int, x2: int) -> int:
    for char in text:
        # Box drawing, blocks and braille are nearly all that is not ASCII, and one cell wide.
        narrow = "\u2500" <= char < "\u25fd" or "\u2800" <= char < "\u2900"
        width = 1 if narrow else cell_len(char)
        if width == 0:
            if x1 < x <= x2:  # a combining mark belongs to the cell on its left
                base, base_sgr = row[x - 1]
                row[x - 1] = (base + char, sgr if base == " " else base_sgr)
            continue
        if x1 <= x < x2:
            row[x] = (char, sgr if char != " " else on_blank(sgr))
            if width == 2 and x + 1 < len(row):
                row[x + 1] = ("", sgr)
        x += width
    return x


def _changed_runs(want: list[Cell], have: list[Cell]) -> Iterable[tuple[int, int]]:
    """Yield (start, end) of the stretches to write, short gaps joined, wide characters whole."""
    width = len(want)
    x = 0
    while x < width:
        if want[x] == have[x]:
            x += 1
            continue
        start = x
        end = _end_of_run(want, have, start)
        while start > 0 and want[start][0] == "":
            start -= 1
        while end < width and want[end][0] == "":
            end += 1
        yield start, end
        x = end


def _end_of_run(want: list[Cell], have: list[Cell], start: int) -> int:
    """Return where a stretch ends: unchanged cells are written where a jump is not shorter."""
    sgr, bytes_of_gap = want[start][1], 0
    end = x = start + 1
    for x in range(end, len(want)):
        text, cell_sgr = want[x]
        if want[x] != have[x]:
            sgr, bytes_of_gap, end = cell_sgr, 0, x + 1
            continue
        bytes_of_gap += 1 if text.isascii() else 3
        is_same = cell_sgr == sgr or (text == " " and on_blank(sgr) == cell_sgr)
        if bytes_of_gap > MAX_JOINED_GAP or not is_same:
            break
    return end


class AckGate:
    """Decides when the next frame may be sent.

    It holds nothing back until the terminal has answered once: some recorders and test harnesses
    never do, and they are not slow links.
    """

    def __init__(self) -> None:
        self.round_trip_s: float | None = None
        """From the last request to its answer; None before the first answer."""
        self._asked_at: float | None = None

    def wait_s(self, now: float) -> float:
        """Return how long the next frame must wait; 0.0 when it may go now."""
        if self._asked_at is None or self.round_trip_s is None:
            return 0.0
        return max(0.0, self._asked_at + ACK_TIMEOUT_S - now)

    def asked(self, now: float) -> None:
        """Note that an answer was requested, unless an earlier request is still open."""
        if self._asked_at is None or self.wait_s(now) == 0.0:
            self._asked_at = now

    def answered(self, now: float) -> None:
        """Note the terminal's answer."""
        if self._asked_at is not None:
            self.round_trip_s = now - self._asked_at
            self._asked_at = None

    def reset(self) -> None:
        """Forget an open request: after a suspend its answer went to somebody else."""
        self._asked_at = None


class WireMixin(App[None]):
    """An App that draws through `FrameDiff` and `AckGate` when the terminal is a real one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._diff: FrameDiff | None = None
        self._gate = AckGate()
        self._held_back: Timer | None = None
        self._holds_frames = False

    @property
    def round_trip_s(self) -> float | None:
        """Seconds the terminal took to confirm the last frame; None when it does not answer."""
        return self._gate.round_trip_s

    def hold_frames(self) -> None:
        """Send nothing until `release_frames`: what is drawn meanwhile is drawn over at once."""
        self._holds_frames = True

    def release_frames(self) -> None:
        """Send what was drawn, and from now on every frame."""
        self._holds_frames = False
        self._flush_frame()

    def redraw_everything(self) -> None:
        """Draw the whole screen again, whatever the terminal shows now."""
        self._gate.reset()
        if self._diff is not None:
            self._diff.forget()
        self.refresh(layout=True)

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if not self._draws_diffs(renderable):
            super()._display(screen, renderable)
            return
        try:
            self._write_cells(screen, renderable)
            self._flush_frame()
        finally:
            self.post_display_hook()

    def _draws_diffs(self, renderable: Any) -> bool:
        driver = self._driver
        return (
            SUPPORTED
            and isinstance(renderable, (ChopsUpdate, LayoutUpdate))
            and (self._diff is not None or isinstance(renderable, LayoutUpdate))
            and driver is not None
            and not driver.is_inline
            and not driver.is_headless
            and getattr(driver, "_writer_thread", None) is not None
            and not self._batch_count
            and self._running
            and not self._closed
        )

    def _write_cells(self, screen: Screen[Any], renderable: Any) -> None:
        colors = self.console._color_system or ColorSystem.TRUECOLOR
        width, height = screen.size
        diff = self._diff
        if diff is None or (diff.width, diff.height) != (width, height):
            diff = self._diff = FrameDiff(width, height)
        if isinstance(renderable, LayoutUpdate):
            for y, strips in enumerate(renderable.strips, renderable.region.y):
                x = renderable.region.x
                for strip in strips:
                    diff.put(y, x, strip, colors, 0, width)
                    x += strip.cell_length
            return
        for y, x1, x2 in renderable.spans:
            ends = renderable.chop_ends[y]
            for end, (x, chop) in zip(ends, renderable.chops[y].items(), strict=False):
                if chop is not None and x < x2 and end > x1:
                    diff.put(y, x, chop, colors, x1, x2)

    def _flush_frame(self) -> None:
        """Write what changed, or arrange to try again when the link has caught up."""
        driver, diff = self._driver, self._diff
        if driver is None or diff is None or not diff.dirty or not self._running:
            return
        if self._holds_frames:
            return
        writer = getattr(driver, "_writer_thread", None)
        if writer is None:  # suspended; resuming draws everything again
            return
        now = time.monotonic()
        wait_s = self._gate.wait_s(now)
        if writer._queue.qsize() > MAX_QUEUED_WRITES:
            wait_s = max(wait_s, _QUEUE_RETRY_S)
        if wait_s:
            if self._held_back is None:
                self._held_back = self.set_timer(wait_s, self._retry_frame)
            return
        if frame := diff.encode():
            driver.write(self._wrap_frame(frame, now))
            driver.flush()

    def _wrap_frame(self, frame: str, now: float) -> str:
        """Add the cursor position, the mode that prevents tearing, and the request to answer."""
        x, y = self.screen.outer_size.clamp_offset(self.cursor_position)
        frame += move_cursor(None, -1, x, y)
        if self._sync_available:
            frame = f"\x1b[?2026h{frame}\x1b[?2026l"
        if len(frame) < _SMALL_FRAME:
            return frame
        self._gate.asked(now)
        return frame + ACK_REQUEST

    def _retry_frame(self) -> None:
        self._held_back = None
        self._flush_frame()

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        """Take the terminal's answer, and send what waited for it."""
        event.stop()
        self._gate.answered(time.monotonic())
        if self._held_back is not None:
            self._held_back.stop()
            self._held_back = None
        self._flush_frame()
