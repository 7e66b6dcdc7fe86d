"""Asks a live run to stop, or for a checkpoint, after asking the user."""

from __future__ import annotations

from textual.app import App

from runstore.runs.requests import Kind, why_refused
from runstore.text import printable

from ..beside import Beside
from ..entry import Entry

_WILL = {
    "stop": "It finishes its step, writes a checkpoint and ends as interrupted.",
    "checkpoint": "It finishes its step, writes a checkpoint and goes on.",
}
_ASKED = {"stop": "Ask this run to stop?", "checkpoint": "Ask this run for a checkpoint?"}


def ask(app: App[None], beside: Beside, entry: Entry, kind: Kind) -> None:
    """Refuse in one line what cannot be asked; otherwise show a question, and ask on a yes."""
    from .confirm import ConfirmScreen  # the first paint need not wait for it

    with entry.glimpse() as view:
        if view is None:
            beside.said.say("the run is being read: try again in a moment")
            return
        state = view.listed
        name, why = (
            printable(state.name),
            why_refused(state, is_asked_there=beside.is_elsewhere(entry)),
        )
        told = f"{state.status.word}: {printable(state.status.reason)}"
    if why:
        beside.said.say(f"{name}: {why}")
        return

    def answered(yes: bool | None) -> None:
        if yes:
            beside.ask(entry, kind)

    facts = [name, printable(beside.place_of(entry)), told]
    app.push_screen(ConfirmScreen(_ASKED[kind], facts, _WILL[kind]), answered)
