"""Every key, once: bindings, hint line, help, palette and the README come from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textual.binding import Binding, BindingType

from .views import VIEWS


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that a key does."""

    keys: str
    """Textual's names, separated by commas."""
    shown: str
    """How people write them."""
    action: str
    """Of the app or the main screen; with `views`, of the view's pane."""
    does: str
    """For the help screen and the README."""
    hint: str = ""
    """One or two words for the hint line; empty: not shown there."""
    views: tuple[str, ...] = ()
    """Where it does this; empty: wherever no view has the key for itself."""


KEYS = (
    *(
        Key(str(number), str(number), f"view('{view.name}')", view.does)
        for number, view in enumerate(VIEWS, 1)
    ),
    Key("down,j", "↓ j", "move(1)", "next run, or down in the pane"),
    Key("up,k", "↑ k", "move(-1)", "previous run, or up in the pane"),
    Key("J", "J", "run(1)", "next run, whatever pane has the keys"),
    Key("K", "K", "run(-1)", "previous run, whatever pane has the keys"),
    Key("pagedown,ctrl+d", "PgDn Ctrl+d", "page(1)", "one page down"),
    Key("pageup,ctrl+u", "PgUp Ctrl+u", "page(-1)", "one page up"),
    Key("g,home", "g Home", "edge(-1)", "first run, or top of the pane"),
    Key("G,end", "G End", "edge(1)", "last run, or end of the pane"),
    Key("enter", "Enter", "open", "open the run; enlarge the pane", "open"),
    Key("escape", "Esc", "back", "back: leave the pane, drop the filter, go to the runs", "back"),
    Key("tab", "Tab", "next_pane(1)", "next pane", "pane"),
    Key("shift+tab", "Shift+Tab", "next_pane(-1)", "previous pane"),
    Key("space", "Space", "mark", "mark the run: charts and comparison show the marked ones"),
    Key("U", "U", "unmark", "take all marks away"),
    Key("c", "c", "view('compare')", "compare the marked runs"),
    Key("slash", "/", "filter", "show only some runs", "filter"),
    Key("p", "p", "pause", "hold the screen still; reading goes on", "pause"),
    Key("r", "r", "rescan", "look for new runs and read all of them again"),
    Key("y", "y", "copy", "copy of the run: its id, path, resume command, params, values"),
    Key("colon,ctrl+p", ": Ctrl+p", "palette", "everything by its name: commands, runs, themes"),
    Key("ctrl+l", "Ctrl+l", "redraw", "draw the whole screen again"),
    Key("ctrl+z", "Ctrl+z", "suspend_process", "suspend; `fg` comes back"),
    Key("question_mark", "?", "help", "the keys of all views, searched by typing", "help"),
    Key("q,ctrl+c", "q Ctrl+c", "quit", "quit", "quit"),
    # ---- runs
    # ---- run
    # ---- charts
    Key("m", "m", "metric(1)", "next metric", "metric", views=("runs", "charts")),
    Key("M", "M", "metric(-1)", "previous metric", views=("runs", "charts")),
    # ---- report
    # ---- compare
    # ---- log
    # ---- system
    # ---- samples
)

_APP_ACTIONS = {"quit", "suspend_process", "redraw", "help"}


def app_bindings() -> list[BindingType]:
    """Return the bindings that work on every screen."""
    return [
        Binding(key.keys, key.action, key.does, show=False)
        for key in KEYS
        if key.action in _APP_ACTIONS
    ]


def main_bindings() -> list[BindingType]:
    """Return the bindings of the main screen: each key asks `find` what it does now."""
    names = dict.fromkeys(
        name for key in KEYS if key.action not in _APP_ACTIONS for name in key.keys.split(",")
    )
    return [Binding(name, f"key('{name}')", show=False) for name in names]


def find(name: str, view: str) -> Key | None:
    """Return what a key does in a view: what the view has it for, or else what it does anywhere.

    Args:
        name: Textual's name of the key.
        view: the view on screen.
    """
    found = [key for key in KEYS if name in key.keys.split(",")]
    own = (key for key in found if view in key.views)
    return next(own, next((key for key in found if not key.views), None))


def shown_in(view: str) -> Iterator[Key]:
    """Yield the keys that work in a view, its own first."""
    yield from (key for key in KEYS if view in key.views)
    yield from (key for key in KEYS if not key.views and find(key.keys.split(",")[0], view) is key)


def hints(view: str, going_back: bool) -> list[tuple[str, str]]:
    """Return (key, what it does) for the hint line, the most needed first.

    Args:
        view: the view on screen; its own hints come behind help.
        going_back: there is something to go back from.
    """
    own = [(key.shown.split()[0], key.hint) for key in KEYS if view in key.views and key.hint]
    named = {key.hint: key.shown.split()[0] for key in KEYS if key.hint and not key.views}
    first: Sequence[str] = ("help", "back" if going_back else "open")
    last: Sequence[str] = ("filter", "pane", "pause", "quit")
    return [
        *((named[hint], hint) for hint in first),
        *own,
        *((named[hint], hint) for hint in last if hint in named),
    ]


def as_markdown() -> str:
    """Return the table of keys for the README."""
    rows = [f"| {_code(key.shown)} | {_where(key)}{key.does} |" for key in KEYS]
    return "\n".join(["| key | does |", "|---|---|", *rows])


def _where(key: Key) -> str:
    return f"{' and '.join(key.views)}: " if key.views else ""


def _code(shown: str) -> str:
    return " ".join(f"`{name}`" for name in shown.split())
