"""The view `run`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..catalog import RunView
from ..renderables import details
from ..renderables.text import EMPTY, Line
from .pane import Pane


class RunPane(Pane):
    """The view `run`."""

    NAME = "run"

    def content(self, view: RunView, width: int, height: int) -> Sequence[Line]:
        """Return its lines."""
        return [
            *details.progress(view.listed, width, time.time()),
            EMPTY,
            *details.epochs(view.full, width),
            EMPTY,
            *details.events(view.full, width),
        ]
