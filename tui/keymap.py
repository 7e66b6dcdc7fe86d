"""Every key, once: bindings, hint line, help, palette and the pages come from here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
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
    """For the help screen and docs/monitor.md."""
    hint: str = ""
    """One or two words for the hint line; empty: not shown there."""
    views: tuple[str, ...] = ()
    """Where it does this; empty: wherever no view has the key for itself."""


_SAMPLES = ("samples",)
_CHARTS = ("charts",)

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
    Key("v", "v", "mark_range", "mark all from the last marked run to this one"),
    Key("A", "A", "mark_all", "mark all runs that are listed"),
    Key("U", "U", "unmark", "take all marks away"),
    Key("c", "c", "view('compare')", "compare the marked runs"),
    Key("slash", "/", "filter", "show only some runs", "filter"),
    Key("E", "E", "ask('stop')", "ask the run to stop: it saves and ends as interrupted"),
    Key("W", "W", "ask('checkpoint')", "ask the run to write a checkpoint and go on"),
    Key("B", "B", "bell", "ring when a run ends, fails or becomes NaN; again: be quiet"),
    Key("p", "p", "pause", "hold the screen still; reading goes on", "pause"),
    Key("r", "r", "rescan", "look for new runs and read all of them again"),
    Key("y", "y", "copy", "copy of the run: its id, path, resume command, params, values"),
    Key("i", "i", "raw", "rows as they are in its files: newest, damaged, at the cursor"),
    Key("colon,ctrl+p", ": Ctrl+p", "palette", "everything by its name: commands, runs, themes"),
    Key("ctrl+l", "Ctrl+l", "redraw", "draw the whole screen again"),
    Key("ctrl+z", "Ctrl+z", "suspend_process", "suspend; `fg` comes back"),
    Key("question_mark", "?", "help", "the keys of all views, searched by typing", "help"),
    Key("q,ctrl+c", "q Ctrl+c", "quit", "quit", "quit"),
    # ---- runs
    Key("s", "s", "sort(1)", "sort by the next column; the newest run first", "sort", ("runs",)),
    Key("S", "S", "reverse", "the other end first", views=("runs",)),
    Key("h,left", "h ←", "sideways(-1)", "columns further left", views=("runs",)),
    Key("l,right", "l →", "sideways(1)", "columns further right", views=("runs",)),
    Key("o", "o", "columns", "choose metrics and parameters as columns", views=("runs",)),
    Key(
        "t",
        "t",
        "group",
        "one row for runs that differ in their seed; for folders",
        "group",
        ("runs",),
    ),
    Key("e", "e", "errors", "only runs that failed, crashed or have a NaN", "errors", ("runs",)),
    Key("n", "n", "note", "write a note about the run, on its page", views=("runs",)),
    # ---- run
    Key("s", "s", "section(1)", "next section", "section", views=("run",)),
    Key("S", "S", "section(-1)", "previous section", views=("run",)),
    Key("right,l", "→ l", "columns(1)", "further columns of the epochs", views=("run",)),
    Key("left,h", "← h", "columns(-1)", "columns of the epochs before these", views=("run",)),
    Key("n", "n", "note", "write a note about the run", "note", views=("run",)),
    # ---- charts
    Key("m", "m", "metric(1)", "next metric", "metric", views=("runs", "charts")),
    Key("M", "M", "metric(-1)", "previous metric", views=("runs", "charts")),
    Key("left,h", "← h", "side(-1)", "chart to the left; in one alone: the cursor", views=_CHARTS),
    Key("right,l", "→ l", "side(1)", "chart to the right; in one alone: the cursor", views=_CHARTS),
    Key("shift+left,H", "H", "jump(-1)", "cursor a tenth of the width to the left", views=_CHARTS),
    Key("shift+right,L", "L", "jump(1)", "cursor a tenth of the width to the right", views=_CHARTS),
    Key("plus,equals_sign,z", "+ = z", "zoom(1)", "zoom in", "zoom", views=_CHARTS),
    Key("minus", "-", "zoom(-1)", "zoom out", views=_CHARTS),
    Key("0", "0", "zoom(0)", "no zoom", "no zoom", views=_CHARTS),
    Key("greater_than_sign,full_stop", "> .", "pan(1)", "right in the zoomed axis", views=_CHARTS),
    Key("less_than_sign,comma", "< ,", "pan(-1)", "left in the zoomed axis", views=_CHARTS),
    Key("t", "t", "x_axis", "x axis: step, epoch, time", "x axis", views=_CHARTS),
    Key("x", "x", "log_y", "logarithmic value axis of the chart", "log", views=_CHARTS),
    Key("X", "X", "log_x", "logarithmic x axis", views=_CHARTS),
    Key("right_square_bracket", "]", "smooth(1)", "smooth more", "smooth", views=_CHARTS),
    Key("left_square_bracket", "[", "smooth(-1)", "smooth less", views=_CHARTS),
    Key("o", "o", "outliers", "cut outliers off, or show them", views=_CHARTS),
    Key("slash", "/", "search", "show only some metrics", "metrics", views=_CHARTS),
    # ---- report
    Key("left_square_bracket", "[", "epoch(-1)", "the epoch before", "epoch", views=("report",)),
    Key("right_square_bracket", "]", "epoch(1)", "the next epoch", views=("report",)),
    Key("left_curly_bracket", "{", "last_epoch(-1)", "the first epoch", views=("report",)),
    Key("right_curly_bracket", "}", "last_epoch(1)", "follow the newest", views=("report",)),
    Key("v", "v", "part", "table, matrix or pairs first", "view", views=("report",)),
    Key("t", "t", "split", "the next split", "split", views=("report",)),
    Key("s", "s", "sort", "sort the classes by another column", "sort", views=("report",)),
    Key("m", "m", "score", "precision, recall or F1: sorted by, change shown", views=("report",)),
    Key("slash", "/", "find", "classes with this in their name first", "class", views=("report",)),
    Key("n", "n", "shares", "counts, or percent of the true class", views=("report",)),
    Key("left,h", "← h", "column(-1)", "matrix one column to the left", views=("report",)),
    Key("right,l", "→ l", "column(1)", "matrix one column to the right", views=("report",)),
    Key("less_than_sign", "<", "columns(-1)", "matrix one page to the left", views=("report",)),
    Key("greater_than_sign", ">", "columns(1)", "matrix one page to the right", views=("report",)),
    # ---- compare
    Key("left,h", "← h", "column(-1)", "the run to the left", views=("compare",)),
    Key("right,l", "→ l", "column(1)", "the run to the right", "run", views=("compare",)),
    Key("less_than_sign", "<", "columns(-1)", "runs further left", views=("compare",)),
    Key("greater_than_sign", ">", "columns(1)", "runs further right", views=("compare",)),
    Key("a", "a", "all_params", "all parameters, or those that differ", "all", views=("compare",)),
    Key("s", "s", "sort", "the best first, by the next metric", "sort", views=("compare",)),
    Key("d", "d", "patches", "patch of the first run against this one's", "patch", ("compare",)),
    Key("e", "e", "export", "write Markdown or CSV to a file", "export", views=("compare",)),
    # ---- log
    Key("f", "f", "follow", "follow the end, or stay", "follow", views=("log",)),
    Key("slash", "/", "search", "search, without regard to case", "search", views=("log",)),
    Key("n", "n", "hit(1)", "next hit below", views=("log",)),
    Key("N", "N", "hit(-1)", "next hit above", views=("log",)),
    Key("o", "o", "part", "output, events, or both", "output", views=("log",)),
    Key("w", "w", "wrap", "wrap long lines, or cut them", "wrap", views=("log",)),
    Key("left,h", "← h", "pan(-1)", "left in lines that are cut", views=("log",)),
    Key("right,l", "→ l", "pan(1)", "right in lines that are cut", views=("log",)),
    # ---- system
    Key("t", "t", "window(1)", "longer time: 10 min, an hour, all", "time", views=("system",)),
    Key("T", "T", "window(-1)", "shorter time", views=("system",)),
    Key("right,l", "→ l", "rank(1)", "next rank, or all together", "rank", views=("system",)),
    Key("left,h", "← h", "rank(-1)", "previous rank", views=("system",)),
    # ---- samples
    Key("left_square_bracket", "[", "sample(-1)", "previous step", "prev", views=_SAMPLES),
    Key("right_square_bracket", "]", "sample(1)", "next step", "next", views=_SAMPLES),
    Key("left_curly_bracket", "{", "leap(-1)", "back by a tenth of all steps", views=_SAMPLES),
    Key("right_curly_bracket", "}", "leap(1)", "on by a tenth of all steps", views=_SAMPLES),
    Key("g,home", "g Home", "end(-1)", "first step", views=_SAMPLES),
    Key("G,end", "G End", "end(1)", "newest step, and follow it", views=_SAMPLES),
    Key("space", "Space", "play", "play the steps up to the newest", "play", views=_SAMPLES),
    Key("n", "n", "name(1)", "one name after the other, then all", "name", views=_SAMPLES),
    Key("N", "N", "name(-1)", "the same backwards", views=_SAMPLES),
    Key("plus,equals_sign,z", "+ z", "zoom(1)", "enlarge", "zoom", views=_SAMPLES),
    Key("minus", "-", "zoom(-1)", "make smaller again", views=_SAMPLES),
    Key("0", "0", "zoom(0)", "fit into the pane", views=_SAMPLES),
    Key("left,h", "← h", "right(-1)", "to the left when enlarged, or back", views=_SAMPLES),
    Key("right,l", "→ l", "right(1)", "to the right when enlarged, or on", views=_SAMPLES),
    Key("v", "v", "look", "colours, shades or characters", views=_SAMPLES),
    # ---- hosts
    Key("r", "r", "again", "pull from all machines and ask them, now", "now", views=("hosts",)),
)

EVERYDAY = (
    *("down", "up", "enter", "escape", "tab", "space", "c", "slash"),
    *("p", "y", "colon", "question_mark", "q"),
)
"""The keys, by the first of their names, that a beginner needs; none of them is a view's own."""

_APP_ACTIONS = {"quit", "suspend_process", "redraw", "help"}


def app_bindings() -> list[BindingType]:
    """Return the bindings that work on every screen."""
    return [Binding(key.keys, key.action, key.does, show=False) for key in KEYS if is_of_app(key)]


def is_of_app(key: Key) -> bool:
    """Tell whether what a key does is the app's to do, not the main screen's or a pane's."""
    return key.action in _APP_ACTIONS


def main_bindings() -> list[BindingType]:
    """Return the bindings of the main screen: each key asks `find` what it does now."""
    names = dict.fromkeys(
        name for key in KEYS if not is_of_app(key) for name in key.keys.split(",")
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


def hints(view: str, going_back: bool, idle: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return (key, what it does) for the hint line, the most needed first.

    Args:
        view: the view on screen; its own hints come behind help.
        going_back: there is something to go back from.
        idle: hints of keys that do nothing now.
    """
    of_view = (key for key in KEYS if view in key.views and key.hint not in ("", *idle))
    own = [(key.shown.split()[0], key.hint) for key in of_view]
    here = [key for key in shown_in(view) if key.hint and not key.views]
    named = {key.hint: key.shown.split()[0] for key in here}
    first: Sequence[str] = ("help", "back" if going_back else "open")
    last: Sequence[str] = ("filter", "pane", "pause", "quit")
    return [
        *((named[hint], hint) for hint in first if hint in named),
        *own,
        *((named[hint], hint) for hint in last if hint in named),
    ]


def everyday() -> str:
    """Return the table of the keys that everybody needs, for the README."""
    return _table(key for key in KEYS if not key.views and key.keys.split(",")[0] in EVERYDAY)


def by_view() -> dict[str, str]:
    """Return the tables of all keys: those that work anywhere as `everywhere`, and each view's."""
    anywhere = {"everywhere": _table(key for key in KEYS if not key.views)}
    own = {view.name: _table(key for key in KEYS if view.name in key.views) for view in VIEWS}
    return anywhere | own


def _table(keys: Iterable[Key]) -> str:
    rows = [f"| {_code(key.shown)} | {key.does} |" for key in keys]
    return "\n".join(["| key | does |", "|---|---|", *rows])


def _code(shown: str) -> str:
    return " ".join(f"`{name}`" for name in shown.split())
