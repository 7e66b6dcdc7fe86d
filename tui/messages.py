"""What widgets say to the screen. Each replaces an older one of its kind that is still waiting."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class RunChosen(Message):
    """The cursor of the list stands on another run."""

    key: str | None
    """None when the list is empty."""

    def can_replace(self, message: Message) -> bool:
        """Only the newest choice counts."""
        return isinstance(message, RunChosen)


@dataclass
class ShownRunsChanged(Message):
    """Other runs are visible in the list now."""

    keys: tuple[str, ...]

    def can_replace(self, message: Message) -> bool:
        """Only the newest set counts."""
        return isinstance(message, ShownRunsChanged)


@dataclass
class ViewChosen(Message):
    """A view was asked for with the mouse."""

    view: str


@dataclass
class PaneChosen(Message):
    """A pane of the current view was clicked."""

    pane: str


@dataclass
class ColumnClicked(Message):
    """The title of a column of the list was clicked."""

    column: str


@dataclass
class GroupToggled(Message):
    """The chosen group's row was clicked twice."""
