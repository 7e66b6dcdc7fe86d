"""The view `system`."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog import RunView
from ..renderables.text import Line
from .pane import Pane


class SystemPane(Pane):
    """The view `system`."""

    NAME = "system"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return its lines."""
        return []
