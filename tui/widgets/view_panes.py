"""Which pane a view has: each is a module of its own, imported when it is first looked at."""

from __future__ import annotations

from importlib import import_module

from .pane import Pane

_HOMES = {
    "run": ("run_pane", "RunPane"),
    "charts": ("charts_pane", "ChartsPane"),
    "report": ("report_pane", "ReportPane"),
    "compare": ("compare_pane", "ComparePane"),
    "log": ("log_pane", "LogPane"),
    "system": ("system_pane", "SystemPane"),
    "samples": ("samples_pane", "SamplesPane"),
    "hosts": ("hosts_pane", "HostsPane"),
}


def make_pane(name: str) -> Pane:
    """Return a new pane of a view, or one of the small ones beside the list of runs."""
    if name in _HOMES:
        module, kind = _HOMES[name]
        pane: Pane = getattr(import_module(f".{module}", __package__), kind)()
        return pane
    from .panes import PANE_TYPES

    return PANE_TYPES[name]()
