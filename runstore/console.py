"""What a run says where the script runs: a bar on a terminal, a line per 30 s in a batch log.

Everything goes to stderr. tqdm draws the bar when it is installed (extra `train`).
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Mapping
from typing import Protocol

from runstore.text import PrintableFilter, printable

# Here, because whoever logs says things on the console too.
logging.getLogger("runstore").addFilter(PrintableFilter())

LINE_INTERVAL_S = 30.0
POSTFIX_INTERVAL_S = 0.25
FREE_LINES = 40
"""Lines about the ends of splits and epochs that are printed however fast they come."""


class SplitDisplay(Protocol):
    """What the loop tells about a split."""

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """`batch` batches were begun; `values` are the latest tracked ones."""

    def leave(self) -> None:
        """The loop was left; whether the split has ended is not known yet."""

    def close(self, summary: str) -> None:
        """The split has ended."""


class LineThrottle:
    """Lets a line per 30 s through while splits go on; about their ends 40, and one per 30 s.

    A hundred thousand short epochs must not make a batch log of two hundred thousand lines. Train
    splits get no more than half of the 40: evaluations and best epochs are what people look for.
    """

    def __init__(self) -> None:
        """The first 30 s begin now."""
        now = time.monotonic()
        self._next_line = now + LINE_INTERVAL_S
        self._left = float(FREE_LINES)
        self._then = now
        self._untold = ""
        """The newest evaluation's summary, if it was not printed."""

    def due(self) -> bool:
        """Tell whether it is time for a line, and if so, begin the next 30 s."""
        now = time.monotonic()
        if now < self._next_line:
            return False
        self._next_line = now + LINE_INTERVAL_S
        return True

    def say_summary(self, summary: str, *, is_train: bool) -> None:
        """Print what a split came to, if there is room for it."""
        is_told = self._has_room(above=FREE_LINES / 2 if is_train else 0)
        if is_told:
            say(summary)
            self._next_line = time.monotonic() + LINE_INTERVAL_S
        if not is_train:
            self._untold = "" if is_told else summary

    def say_if_room(self, line: str) -> None:
        """Print a line about an epoch, if there is room for it."""
        if self._has_room(above=0):
            say(line)

    def say_last(self) -> None:
        """At the end of the run: print the last evaluation, if it was not printed yet."""
        if self._untold:
            say(self._untold)
        self._untold = ""

    def _has_room(self, above: float) -> bool:
        now = time.monotonic()
        self._left = min(FREE_LINES, self._left + (now - self._then) / LINE_INTERVAL_S)
        self._then = now
        if self._left - 1 < above:
            return False
        self._left -= 1
        return True


def split_display(
    title: str,
    batches: int | None,
    throttle: LineThrottle,
    *,
    is_train: bool = True,
    has_bar: bool = False,
) -> SplitDisplay:
    """Return a bar when stderr is a terminal and tqdm is there, lines otherwise.

    Not when the script `has_bar` of its own: two on one line are unreadable.
    """
    if not has_bar and _on_terminal() and importlib.util.find_spec("tqdm"):
        return BarDisplay(title, batches)
    return LineDisplay(title, batches, throttle, is_train=is_train)


def _on_terminal() -> bool:
    """A script may have put anything with a `write` in the place of stderr."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (AttributeError, OSError, ValueError):
        return False


class BarDisplay:
    """A tqdm bar that is gone when the split has ended."""

    def __init__(self, title: str, batches: int | None) -> None:
        """Draw an empty bar."""
        from tqdm import tqdm

        self._bar = tqdm(total=batches, desc=printable(title), leave=False, dynamic_ncols=True)
        self._next_postfix = 0.0

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """Move the bar; tqdm itself decides when to draw."""
        now = time.monotonic()
        if values and now >= self._next_postfix:
            self._next_postfix = now + POSTFIX_INTERVAL_S
            self._bar.set_postfix_str(printable(_short(values)), refresh=False)
        self._bar.update(batch - self._bar.n)

    def leave(self) -> None:
        """Take the bar away: a traceback may be next."""
        self._bar.close()

    def close(self, summary: str) -> None:
        """Replace the bar by one line that stays, above the bar of an outer split."""
        self._bar.close()
        self._bar.write(printable(summary.rstrip()), file=sys.stderr)


class NoDisplay:
    """Of the processes that train together only the first says anything."""

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """Say nothing."""

    def leave(self) -> None:
        """Say nothing."""

    def close(self, summary: str) -> None:
        """Say nothing."""


class LineDisplay:
    """Few lines: a batch log must not fill with carriage returns."""

    def __init__(
        self, title: str, batches: int | None, throttle: LineThrottle, *, is_train: bool = True
    ) -> None:
        """Say nothing yet; `throttle` is the run's."""
        self._title, self._is_train = title, is_train
        self._of = f"/{batches}" if batches is not None else ""
        self._throttle = throttle

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """Print the position when it is time."""
        if self._throttle.due():
            say(f"{self._title} {batch}{self._of} {_short(values)}")

    def leave(self) -> None:
        """Say nothing: there is nothing to take away."""

    def close(self, summary: str) -> None:
        """Print the split's means if there is room for them."""
        self._throttle.say_summary(summary, is_train=self._is_train)


def _short(values: Mapping[str, float]) -> str:
    return " ".join(f"{key.rpartition('/')[2]} {value:.4g}" for key, value in values.items())


def say(line: str) -> None:
    """Print a line to stderr; a closed or full stderr must not end the training."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{printable(line.rstrip())}\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001  # a closed stderr, or whatever a script put in its place
        return
