"""A bar for what takes longer than a second: on a terminal only, and gone at the end.

    for ref in watched(refs, "reading runs", len(refs)):
        …

It is drawn on standard error, over itself, with carriage returns and blanks and nothing else. It
never meets the data: a loop that prints (`prints=True`) has none where standard output is a
terminal, and no loop has one where it is a pipe, whose reader may write to the same terminal.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeVar

import click

from runstore.numbers import count, duration, percent, rate
from runstore.threads import start_daemon

T = TypeVar("T")
APPEARS_S = 1.0
REDRAWN_S = 0.2
CELLS = 20
NARROWEST = 20

_shown: _Bar | None = None
"""The bar of this process: one at a time, that of the innermost loop."""


def watched(
    items: Iterable[T], what: str, total: int | None = None, *, prints: bool = False
) -> Iterator[T]:
    """Yield the items; from the second second on a bar tells how far that is.

    Args:
        items: what is looped over.
        what: what is done to them, as in `reading runs`.
        total: how many there are, for a share and the time that is left.
        prints: the loop's body prints to standard output.
    """
    bar = _bar(what, total, prints=prints)
    if bar is None:
        yield from items
        return
    try:
        for item in items:
            yield item
            bar.done += 1
    finally:
        bar.end()


def hide() -> None:
    """Take the bar off the screen, so that a line can be printed; it comes back by itself."""
    if _shown is not None:
        _shown.erase()


def _bar(what: str, total: int | None, *, prints: bool) -> _LoopBar | None:
    """Begin a bar where one may be seen."""
    context, terminal = click.get_current_context(silent=True), _terminal(prints=prints)
    if context is None or terminal is None:
        return None
    bar = _LoopBar(what, total, terminal)
    # A loop that is left by an exception is ended before anybody says so.
    context.call_on_close(bar.end)
    bar.begin()
    return bar


@contextmanager
def drawn(text: Callable[[], str]) -> Iterator[None]:
    """Draw what `text` returns, over itself, where a bar may be seen; it is called by a thread."""
    terminal = _terminal(prints=False)
    if terminal is None:
        yield
        return
    bar = _Bar(text, terminal)
    bar.begin()
    try:
        yield
    finally:
        bar.end()


def _terminal(*, prints: bool) -> int | None:
    """Return the descriptor of the terminal that may get a bar."""
    if os.environ.get("TERM", "") in ("", "dumb"):
        return None
    try:
        # Not sys.stderr: what guards it would make the carriage returns visible.
        terminal, out = _descriptor(sys.__stderr__), _descriptor(sys.__stdout__)
        mode = os.fstat(out).st_mode
    except (OSError, ValueError):  # closed, or none at all
        return None
    meets_data = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (prints and os.isatty(out))
    return terminal if os.isatty(terminal) and not meets_data else None


def _descriptor(stream: TextIO | None) -> int:
    if stream is None:
        raise ValueError
    return stream.fileno()


class _Bar:
    """Draws itself from a thread, so that one long step is seen too."""

    def __init__(self, text: Callable[[], str], terminal: int) -> None:
        self._text, self._terminal = text, terminal
        self._drawn = 0
        """Cells that are on the screen now."""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._outer: _Bar | None = None

    def begin(self) -> None:
        global _shown
        hide()
        self._outer, _shown = _shown, self
        start_daemon(self._draw_again, "runstore-progress")

    def end(self) -> None:
        """Take it off the screen for good."""
        global _shown
        self._over.set()
        if _shown is self:
            _shown = self._outer
        self.erase()

    def erase(self) -> None:
        with self._lock:
            self._write(f"\r{' ' * self._drawn}\r" if self._drawn else "")
            self._drawn = 0

    def _draw_again(self) -> None:
        wait_s = APPEARS_S
        while not self._over.wait(wait_s):
            self._draw()
            wait_s = REDRAWN_S

    def _draw(self) -> None:
        text = self._text()
        with self._lock:
            if self._over.is_set() or _shown is not self:
                return
            text = text[: self._width() - 1]
            self._write(f"\r{text.ljust(self._drawn)}")
            self._drawn = len(text)

    def _width(self) -> int:
        with suppress(OSError):
            return max(NARROWEST, os.get_terminal_size(self._terminal).columns)
        return 80

    def _write(self, text: str) -> None:
        with suppress(OSError):
            os.write(self._terminal, text.encode())


class _LoopBar(_Bar):
    """Tells how far a loop is."""

    def __init__(self, what: str, total: int | None, terminal: int) -> None:
        super().__init__(self._line, terminal)
        self.done = 0
        self._what, self._total = what, total
        self._begun = time.monotonic()

    def _line(self) -> str:
        return line(self._what, self.done, self._total, time.monotonic() - self._begun)


def line(what: str, done: int, total: int | None, elapsed_s: float) -> str:
    """Return `reading runs [#####---------------]  25%  1,000/4,000  412/s  7s left`."""
    speed = done / elapsed_s if elapsed_s > 0 else 0.0
    pace = f"  {rate(speed)}/s" if speed >= 0.1 else ""
    if not total:
        return f"{what}  {count(done)}{pace}  {duration(elapsed_s)}"
    share = min(1.0, done / total)
    left = f"{duration((total - done) / speed)} left" if 0 < done < total else duration(elapsed_s)
    return f"{what} {strip(share)} {percent(share):>4}  {count(done)}/{count(total)}{pace}  {left}"


def strip(share: float) -> str:
    """Return `[#####---------------]` for a quarter."""
    cells = int(share * CELLS)
    return f"[{'#' * cells}{'-' * (CELLS - cells)}]"
