"""Classification reports of the chosen run."""

from __future__ import annotations

from collections.abc import Mapping

from ..catalog import RunView
from ..renderables.report import Made, report
from ..renderables.text import Line
from .pane import Pane


class ReportPane(Pane):
    """The newest classification reports."""

    NAME = "report"

    def __init__(self) -> None:
        super().__init__()
        self._drawn: tuple[int, Mapping[str, object]] = (0, {})
        self._table: list[Line] = []
        self._made: Made = {}

    def content(self, view: RunView, width: int, height: int) -> list[Line]:
        """Return the reports, validation first; they change with an epoch, not with a step."""
        drawn = (width, view.full.reports)
        if drawn != self._drawn or not self._table:
            self._table = report(view.full, width, self._made)
            self._drawn = drawn
        return self._table
