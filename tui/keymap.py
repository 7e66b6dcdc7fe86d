"""Every key, once: the bindings, the hint line, the help screen and the README come from here."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that a key does."""

    keys: str
    """Textual's names, separated by commas."""
    shown: str
    """How people write them."""
    action: str
    does: str
    """For the help screen and the README."""
    hint: str = ""
    """One or two words for the hint line; empty: not shown there."""


KEYS = (
    Key("down,j", "↓ j", "move(1)", "next run, or scroll the pane"),
    Key("up,k", "↑ k", "move(-1)", "previous run, or scroll the pane"),
    Key("pagedown,ctrl+d", "PgDn Ctrl+d", "page(1)", "one page down"),
    Key("pageup,ctrl+u", "PgUp Ctrl+u", "page(-1)", "one page up"),
    Key("g,home", "g Home", "edge(-1)", "first run, or top of the pane"),
    Key("G,end", "G End", "edge(1)", "last run, or end of the pane"),
    Key("enter", "Enter", "enlarge", "the current pane on the whole screen", "enlarge"),
    Key("escape", "Esc", "back", "back: leave the pane, then drop the filter", "back"),
    Key("tab", "Tab", "next_pane(1)", "next pane", "pane"),
    Key("shift+tab", "Shift+Tab", "next_pane(-1)", "previous pane"),
    Key("1", "1", "pane('progress')", "progress and the last step in full"),
    Key("2", "2", "pane('chart')", "chart of a metric"),
    Key("3", "3", "pane('epochs')", "epoch table, the best epoch marked ★"),
    Key("4", "4", "pane('report')", "classification report"),
    Key("5", "5", "pane('events')", "events of all attempts"),
    Key("m,right_square_bracket", "m ]", "metric(1)", "next metric in the chart", "metric"),
    Key("M,left_square_bracket", "M [", "metric(-1)", "previous metric in the chart"),
    Key("slash", "/", "filter", "show only runs whose name, status or tag holds a text", "filter"),
    Key("p", "p", "pause", "hold the screen still; reading goes on", "pause"),
    Key("r", "r", "rescan", "look for new runs and read all of them again"),
    Key("ctrl+l", "Ctrl+l", "redraw", "draw the whole screen again"),
    Key("ctrl+z", "Ctrl+z", "suspend_process", "suspend; `fg` comes back"),
    Key("question_mark", "?", "help", "this list", "help"),
    Key("q,ctrl+c", "q Ctrl+c", "quit", "quit", "quit"),
)

_APP_ACTIONS = {"quit", "suspend_process", "redraw", "help"}


def app_bindings() -> list[BindingType]:
    """Return the bindings that work on every screen."""
    return [_binding(key) for key in KEYS if key.action in _APP_ACTIONS]


def main_bindings() -> list[BindingType]:
    """Return the bindings of the main screen."""
    return [_binding(key) for key in KEYS if key.action not in _APP_ACTIONS]


def _binding(key: Key) -> Binding:
    return Binding(key.keys, key.action, key.does, show=False)


def hints(going_back: bool) -> list[tuple[str, str]]:
    """Return (key, what it does) for the hint line, the most needed first.

    Args:
        going_back: There is something to go back from.
    """
    enter = "back" if going_back else "enlarge"
    order = ("help", "filter", enter, "pane", "metric", "pause", "quit")
    found = {key.hint: key.shown for key in KEYS if key.hint}
    return [(found[hint].split()[0], hint) for hint in order]


def as_markdown() -> str:
    """Return the table of keys for the README."""
    rows = [f"| {_code(key.shown)} | {key.does} |" for key in KEYS]
    return "\n".join(["| key | does |", "|---|---|", *rows])


def _code(shown: str) -> str:
    return " ".join(f"`{name}`" for name in shown.split())
