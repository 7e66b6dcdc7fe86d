"""Progress of a split where the script runs: a bar on a terminal, a line per 30 s in a batch log.

Everything goes to stderr. tqdm draws the bar when it is installed (extra `train`).
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping
from typing import Protocol

LINE_INTERVAL_S = 30.0
POSTFIX_INTERVAL_S = 0.25


class SplitDisplay(Protocol):
    """What the loop tells about a split."""

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """`batch` batches were begun; `values` are the latest tracked ones."""

    def close(self, summary: str) -> None:
        """The split has ended."""


def split_display(title: str, batches: int | None) -> SplitDisplay:
    """Return a bar when stderr is a terminal and tqdm is there, lines otherwise."""
    if _on_terminal() and importlib.util.find_spec("tqdm"):
        return BarDisplay(title, batches)
    return LineDisplay(title, batches)


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

        self._bar = tqdm(total=batches, desc=title, leave=False, dynamic_ncols=True)
        self._next_postfix = 0.0

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """Move the bar; tqdm itself decides when to draw."""
        now = time.monotonic()
        if values and now >= self._next_postfix:
            self._next_postfix = now + POSTFIX_INTERVAL_S
            self._bar.set_postfix_str(_short(values), refresh=False)
        self._bar.update(batch - self._bar.n)

    def close(self, summary: str) -> None:
        """Replace the bar by one line that stays."""
        self._bar.close()
        _say(summary)


class LineDisplay:
    """One line per 30 s: a batch log must not fill with carriage returns."""

    def __init__(self, title: str, batches: int | None) -> None:
        """Say nothing before 30 s have passed."""
        self._title = title
        self._of = f"/{batches}" if batches is not None else ""
        self._next_line = time.monotonic() + LINE_INTERVAL_S

    def advance(self, batch: int, values: Mapping[str, float]) -> None:
        """Print the position when it is time."""
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + LINE_INTERVAL_S
            _say(f"{self._title} {batch}{self._of} {_short(values)}")

    def close(self, summary: str) -> None:
        """Print the split's means."""
        _say(summary)


def _short(values: Mapping[str, float]) -> str:
    return " ".join(f"{key.rpartition('/')[2]} {value:.4g}" for key, value in values.items())


def _say(line: str) -> None:
    """Print to stderr; a closed or full stderr must not end the training."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{line.rstrip()}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return
