"""The view `samples`."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog import RunView
from ..renderables.text import Line
from .pane import Pane


class SamplesPane(Pane):
    """The view `samples`."""

    NAME = "samples"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return its lines."""
        return []
