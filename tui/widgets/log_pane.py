"""The view `log`."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog import RunView
from ..renderables import details
from ..renderables.text import Line
from .pane import Pane


class LogPane(Pane):
    """The view `log`."""

    NAME = "log"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return its lines."""
        return details.events(view.full, width)
