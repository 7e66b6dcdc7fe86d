"""The line in which a filter is typed."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from ..catalog import Entry
from ..messages import FilterClosed, FilterTyped


class FilterLine(Input):
    """Narrows the list with each letter; Enter keeps the filter, Esc drops it."""

    def __init__(self, text: str) -> None:
        super().__init__(
            text, placeholder="name, status or tag; Enter keeps, Esc drops", compact=True
        )

    def on_mount(self) -> None:
        """Type at once."""
        self.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        event.stop()
        self.post_message(FilterTyped(self.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter."""
        event.stop()
        self.post_message(FilterClosed())

    def on_key(self, event: events.Key) -> None:
        """Esc drops the filter; down goes to the list."""
        if event.key == "escape":
            self.post_message(FilterTyped(""))
        if event.key in ("escape", "down"):
            event.stop()
            event.prevent_default()
            self.post_message(FilterClosed())


def matches(entry: Entry, text: str) -> bool:
    """Tell whether every word of a filter is in the run's name, path, status or tags."""
    with entry.view() as view:
        state = view.listed
        told = (state.name, str(entry.ref.path), state.status.word, *state.tags)
    searched = "\n".join(told).lower()
    return all(word in searched for word in text.lower().split())
