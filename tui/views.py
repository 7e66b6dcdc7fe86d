"""The nine views, once: their names, numbers and what each is for. Pure."""

from __future__ import annotations

from typing import NamedTuple


class View(NamedTuple):
    """One of the things that the screen can be."""

    name: str
    title: str
    does: str
    """For the help screen and the README."""


VIEWS = (
    View("runs", "Runs", "all runs, and a word on the chosen one"),
    View("run", "Run", "one run: bars, epochs, attempts, warnings, notes"),
    View("charts", "Charts", "all metrics; the marked runs together"),
    View("report", "Report", "classification report and confusion matrix, epoch by epoch"),
    View("compare", "Compare", "the marked runs side by side: what differs, which is best"),
    View("log", "Log", "events and output, followed and searched"),
    View("system", "System", "CPU, memory and GPUs, per rank"),
    View("samples", "Samples", "images per epoch"),
    View("hosts", "Hosts", "free GPUs, load and memory of each machine, and whose runs"),
)
NAMES = tuple(view.name for view in VIEWS)


def title(name: str) -> str:
    """Return `3 Charts`."""
    at = NAMES.index(name)
    return f"{at + 1} {VIEWS[at].title}"
