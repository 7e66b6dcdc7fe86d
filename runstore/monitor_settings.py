"""What the monitor is set to: by the command line, the environment, or a file of the user's.

The launcher reads them before the screen is loaded, so this knows nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from runstore.errors import RunStoreError
from runstore.files.regular import why_unreadable
from runstore.text import printable

THEMES = ("dark", "light", "terminal", "terminal-light")
"""The last two take the 16 colours of the terminal, and leave its background alone."""
SLOWEST_FPS, FASTEST_FPS = 0.2, 30.0
PREFIX = "RUNSTORE_TUI_"
"""Of the variables, which are called as the keys of the file."""
LONGEST_FILE = 64 << 10
"""Bytes; somebody's file by that name may be anything."""
ASCII_TERMINALS = frozenset({"linux"})
"""Values of TERM whose terminal has no glyphs for curves, bars and most marks: the kernel's own
font has none of braille, `✓`, `✗` or `━`, and no room for them (256 glyphs, 512 at most)."""


class SettingsError(RunStoreError):
    """Settings that cannot be obeyed."""

    def __init__(self, place: Path | str, problem: str) -> None:
        """Refuse the file at `place`, or a variable: `RUNSTORE_TUI_FPS=fast`."""
        self.place = place
        self.problem = problem
        super().__init__(f"{place}: {problem}")


@dataclass(frozen=True, slots=True)
class Settings:
    """One value each; None where nobody has said anything."""

    theme: str | None = None
    """One of `THEMES`."""
    ascii: bool | None = None
    """Draw with ASCII characters alone; None: where the terminal has no others."""
    mouse: bool | None = None
    """Take clicks and the wheel; without it the terminal's own selection works as always."""
    bell: bool | None = None
    """Ring when a run ends while it is watched."""
    fps: float | None = None
    """How often a second the screen looks for changes."""

    def over(self, others: Settings) -> Settings:
        """Return these settings, and those of `others` where these say nothing."""
        said = {key: value for key, value in _items(self) if value is not None}
        return replace(others, **said)

    def is_ascii(self, term: str) -> bool:
        """Tell whether to draw with ASCII alone on a terminal whose TERM is `term`."""
        return self.ascii if self.ascii is not None else term in ASCII_TERMINALS


KEYS = tuple(field.name for field in fields(Settings))


def _items(settings: Settings) -> list[tuple[str, Any]]:
    return [(key, getattr(settings, key)) for key in KEYS]


def config_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the file of settings is or would be; None for a user without a home."""
    return _place("XDG_CONFIG_HOME", ".config", "tui.toml", environ)


def state_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the monitor keeps what it finds again; None for a user without a home."""
    return _place("XDG_STATE_HOME", ".local/state", "tui.json", environ)


def hosts_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where copies of other machines' runs are kept; None for a user without a home."""
    return _place("XDG_CACHE_HOME", ".cache", "hosts", environ)


def _place(variable: str, default: str, name: str, environ: Mapping[str, str]) -> Path | None:
    """Return a path below a base directory; one that is not absolute is passed over, as XDG says.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    base = environ.get(variable, "")
    if not base.startswith("/"):
        try:
            base = str(Path.home() / default)
        except RuntimeError:  # neither HOME nor an entry in the list of users
            return None
    return Path(base) / "runstore" / name


def settings_in(environ: Mapping[str, str], besides: Settings | None = None) -> Settings:
    """Return the settings in `RUNSTORE_TUI_…`; nothing is said by an empty one.

    Args:
        environ: the environment.
        besides: what was said already, and is not looked for.

    Raises:
        SettingsError: a variable has a value that is not understood.
    """
    found: dict[str, Any] = {}
    for key, allowed in _ALLOWED.items():
        name = f"{PREFIX}{key.upper()}"
        text = environ.get(name, "").strip()
        if text and (besides is None or getattr(besides, key) is None):
            found[key] = value = allowed.read(text)
            if not allowed.takes(value):
                raise SettingsError(f"{name}={_cut(printable(text))}", allowed.in_environment)
    return Settings(**found)


def read_settings(path: Path | None) -> Settings:
    """Return the settings in a file; nothing is said by one that is not there.

    Raises:
        SettingsError: it cannot be read, is no TOML, or says something that is not understood.
    """
    if path is None:
        return Settings()
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise SettingsError(path, f"cannot be read: {why_unreadable(error)}") from None
    if len(data) > LONGEST_FILE:
        raise SettingsError(path, f"longer than {LONGEST_FILE >> 10} KiB: that is no settings file")
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Settings:
    import tomllib  # most have no file

    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(path, f"no TOML: {error}") from None
    for key, value in document.items():
        allowed = _ALLOWED.get(key)
        if allowed is None:
            raise SettingsError(path, f"unknown key {key!r}; there are {', '.join(KEYS)}")
        if not allowed.takes(value):
            raise SettingsError(path, f"{key} = {_shown(value)}: expected {allowed.words}")
    return Settings(**document)


def _shown(value: object) -> str:
    """Return a value as TOML writes it, where that is one short line."""
    if isinstance(value, bool):
        return str(value).lower()
    return _cut(f'"{value}"' if isinstance(value, str) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a key may be."""

    words: str
    kinds: tuple[type, ...] = (bool,)
    choices: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 0.0

    @property
    def in_environment(self) -> str:
        """What a variable may be, in words."""
        if bool in self.kinds:
            return "expected 1 or 0"
        return f"expected {self.words.replace(chr(34), '')}"

    def read(self, text: str) -> object:
        """Return the value that a text stands for; the text itself where it is for none."""
        if bool in self.kinds:
            return _WORDS.get(text.lower(), text)
        if float not in self.kinds:
            return text
        try:
            return float(text)
        except ValueError:
            return text

    def takes(self, value: object) -> bool:
        if isinstance(value, bool) or bool in self.kinds:
            return isinstance(value, bool) and bool in self.kinds
        if not isinstance(value, self.kinds):
            return False
        if isinstance(value, str):
            return value in self.choices
        return isinstance(value, (int, float)) and self.least <= value <= self.most


_WORDS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}
_FLAG = _Allowed("true or false")
_ALLOWED = {
    "theme": _Allowed("one of " + ", ".join(f'"{theme}"' for theme in THEMES), (str,), THEMES),
    "ascii": _FLAG,
    "mouse": _FLAG,
    "bell": _FLAG,
    "fps": _Allowed(
        f"a number from {SLOWEST_FPS:g} to {FASTEST_FPS:g}",
        (int, float),
        least=SLOWEST_FPS,
        most=FASTEST_FPS,
    ),
}
