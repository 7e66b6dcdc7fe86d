"""What the roles of a line look like: in a dark and a light theme, and in the terminal's colours.

The first colours of curves are those of Okabe and Ito (2008), lightened for dark screens; the
others were searched for, so that eyes without red, green or blue tell all eight apart. Nothing is
told by colour alone. Texts have a contrast of 4.5 to their background, the cursor's line included.
"""

from __future__ import annotations

from rich.style import Style
from textual.theme import Theme

DARK_THEME = Theme(
    name="runstore",
    primary="#56b4e9",
    secondary="#7aa2c8",
    accent="#f0c674",
    warning="#e69f00",
    error="#f07178",
    success="#7fd1a0",
    foreground="#cfd6dd",
    background="#101418",
    surface="#171d23",
    panel="#1e262e",
    dark=True,
)

LIGHT_THEME = Theme(
    name="runstore-light",
    primary="#0072b2",
    secondary="#3c6e91",
    accent="#855600",
    warning="#855600",
    error="#b3261e",
    success="#00704a",
    foreground="#22282e",
    background="#fbfcfd",
    surface="#eef1f4",
    panel="#e4e9ee",
    dark=False,
)
OWN_THEMES = (DARK_THEME, LIGHT_THEME)
THEME_NAMES = {
    "dark": DARK_THEME.name,
    "light": LIGHT_THEME.name,
    "terminal": "ansi-dark",
    "terminal-light": "ansi-light",
}
"""The names that users know (`runstore.monitor_settings`), and those of Textual."""

_BOLD = {"title", "good-strong", "warn-strong", "bad-strong", "done-strong", "dim-strong", "tab-on"}

_DARK = {
    "": "",
    "dim": "#91a0ae",
    "faint": "#46525e",
    "head": "#8fa1b3",
    "title": "#e8eef4",
    "rule": "#34404b",
    "rule-focus": "#56b4e9",
    "tab": "#8fa1b3",
    "tab-on": "#101418 on #56b4e9",
    "name": "#e8eef4",
    "value": "#e8eef4",
    "best": "#f0c674",
    "key": "#f0c674",
    "good": "#7fd1a0",
    "done": "#8fa1b3",
    "warn": "#e6b450",
    "bad": "#f5828a",
    "bar": "#56b4e9",
    "bar-edge": "#56b4e9 on #26303a",
    "bar-done": "#5d7387",
    "track": "#26303a on #26303a",
    "axis": "#46525e",
    "curves": "#56b4e9 #e69f00 #10ad82 #f0e442 #e58fbf #9922ff #ffffff #dd0033",
    "heats": "#2a2018 #3f2a18 #5c3616 #7d4312 #a4520d #c9620a",
    "hits": "#182733 #1b3548 #1d4560 #1f577b #206a98 #2080b8",
    "found": "#101418 on #f0c674",
    "cursor": "on #24384a",
    "cursor-blurred": "on #1e262e",
}
_LIGHT = {
    **_DARK,
    "dim": "#57626d",
    "faint": "#b4bcc4",
    "head": "#50606f",
    "title": "#101418",
    "rule": "#c3ccd4",
    "rule-focus": "#0072b2",
    "tab": "#50606f",
    "tab-on": "#ffffff on #0072b2",
    "name": "#101418",
    "value": "#101418",
    "best": "#855600",
    "key": "#855600",
    "good": "#00704a",
    "done": "#50606f",
    "warn": "#855600",
    "bad": "#b3261e",
    "bar": "#0072b2",
    "bar-edge": "#0072b2 on #d5dce3",
    "bar-done": "#8296a8",
    "track": "#d5dce3 on #d5dce3",
    "axis": "#a0aab4",
    "curves": "#0072b2 #d55e00 #009e73 #662244 #8866ff #444411 #0000ff #000066",
    "heats": "#fbeee0 #f8dcbd #f4c595 #eeaa68 #e68d3c #d97014",
    "hits": "#e3eef7 #c8dff0 #a5cbe6 #7db3da #5299cb #2a7fba",
    "found": "#101418 on #ffd75f",
    "cursor": "on #cfe3f3",
    "cursor-blurred": "on #e4e9ee",
}
_ANSI = {
    **dict.fromkeys(_DARK, "default"),
    "": "",
    "dim": "dim",
    "faint": "dim",
    "head": "dim",
    "rule": "dim",
    "rule-focus": "cyan",
    "tab-on": "reverse",
    "best": "bold yellow",
    "key": "bold",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
    "bar": "cyan",
    "bar-edge": "cyan",
    "bar-done": "default",
    "track": "dim",
    "axis": "dim",
    "curves": "cyan yellow magenta blue white green red default",
    "heats": "",
    "hits": "",
    "found": "reverse",
    "cursor": "reverse",
    "cursor-blurred": "underline",
}
_ANSI_LIGHT = {
    **_ANSI,  # yellow cannot be read on white
    "best": "bold magenta",
    "warn": "magenta",
    "rule-focus": "blue",
    "bar": "blue",
    "bar-edge": "blue",
    "curves": "blue red magenta cyan green black bright_red default",
}


_SEVERAL = {"curves", "heats", "hits"}
"""Entries that are a color for each of a series of roles."""


def styles_for(theme: Theme) -> dict[str, Style]:
    """Return the style of every role under a theme."""
    if theme.ansi:
        table = _ANSI if theme.dark else _ANSI_LIGHT
    else:
        table = _DARK if theme.dark else _LIGHT
    styles = {role: Style.parse(look) for role, look in table.items() if role not in _SEVERAL}
    for index, color in enumerate(table["curves"].split()):
        styles[f"curve{index}"] = Style.parse(color)
        styles[f"curve{index}-dim"] = Style.parse(color) + Style(dim=True)
    for role in ("heat", "hit"):
        styles |= _shades(role, table[f"{role}s"].split(), table["title"])
    for role in _BOLD:
        base = styles.get(role.removesuffix("-strong"), Style())
        styles[role] = styles.get(role, base) + Style(bold=True)
    return styles


def _shades(role: str, colors: list[str], ink: str) -> dict[str, Style]:
    """Return `heat1` and so on: backgrounds, or nothing where characters are the shades."""
    if not colors:
        plain = Style(bold=role == "hit")
        return {f"{role}{level}": plain for level in range(1, 7)}
    return {
        f"{role}{level}": Style.parse(f"{ink} on {color}") for level, color in enumerate(colors, 1)
    }
