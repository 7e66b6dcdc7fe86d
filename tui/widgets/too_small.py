"""What is shown in a terminal that is too small for anything else."""

from __future__ import annotations

from ..renderables.text import Line, Span, line
from ..screens.layout import MIN_HEIGHT, MIN_WIDTH
from .lines import LinesWidget


class TooSmall(LinesWidget):
    """Two lines that say what is needed."""

    def build(self, width: int, height: int) -> list[Line]:
        """Return the sizes."""
        return [
            line(Span("terminal too small", "warn")),
            line(Span(f"{width}x{height}, needs {MIN_WIDTH}x{MIN_HEIGHT}", "dim")),
        ]
