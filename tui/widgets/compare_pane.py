"""The view `compare`."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog import RunView
from ..renderables.text import Line
from .pane import Pane


class ComparePane(Pane):
    """The view `compare`."""

    NAME = "compare"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return its lines."""
        return []
