"""What the monitor is set to: which of the places that say it wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runstore.monitor_settings import (
    KEYS,
    Settings,
    SettingsError,
    config_path,
    read_settings,
    settings_in,
    state_path,
)


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "tui.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "none" / "tui.toml") == Settings()
    assert read_settings(None) == Settings()


def test_every_key_can_be_set(tmp_path: Path) -> None:
    text = 'theme = "light"\nascii = true\nmouse = false\nbell = true\nfps = 2\n'
    found = read_settings(written(tmp_path, text))
    assert found == Settings(theme="light", ascii=True, mouse=False, bell=True, fps=2)
    assert all(getattr(found, key) is not None for key in KEYS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('theme = "blue"', 'theme = "blue": expected one of "dark", "light"'),
        ("theme = 3", "theme = 3: expected one of"),
        ("mouse = 1", "mouse = 1: expected true or false"),
        ('bell = "yes"', 'bell = "yes": expected true or false'),
        ("fps = true", "fps = true: expected a number from 0.2 to 30"),
        ("fps = 1000", "fps = 1000: expected a number from 0.2 to 30"),
        ("fps = nan", "fps = nan: expected a number"),
        ("colour = 1", "unknown key 'colour'; there are theme, ascii, mouse, bell, fps"),
        ("theme =", "no TOML: Invalid value (at"),
        (b"theme = '\xff'", "no TOML: 'utf-8' codec"),
        ("#" * 70_000, "longer than 64 KiB"),
    ],
)
def test_what_is_not_understood_is_one_line_with_file_key_and_what_is_allowed(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as raised:
        read_settings(path)
    assert str(raised.value).startswith(f"{path}: {told}")
    assert "\n" not in str(raised.value)


def test_every_key_can_be_set_in_the_environment() -> None:
    environ = {
        "RUNSTORE_TUI_THEME": "light",
        "RUNSTORE_TUI_ASCII": "1",
        "RUNSTORE_TUI_MOUSE": "Off",
        "RUNSTORE_TUI_BELL": "",
        "RUNSTORE_TUI_FPS": " 2.5 ",
    }
    assert settings_in(environ) == Settings(theme="light", ascii=True, mouse=False, fps=2.5)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("THEME", "pink", "one of dark, light, terminal, terminal-light"),
        ("ASCII", "maybe", "1 or 0"),
        ("MOUSE", "2", "1 or 0"),
        ("BELL", "\x1b[2J", "1 or 0"),
        ("FPS", "fast", "a number from 0.2 to 30"),
        ("FPS", "100", "a number from 0.2 to 30"),
        ("FPS", "nan", "a number from 0.2 to 30"),
    ],
)
def test_variable_that_is_not_understood_is_one_line_with_name_value_and_what_is_expected(
    variable: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        settings_in({f"RUNSTORE_TUI_{variable}": value})
    shown = value.replace("\x1b", r"\x1b")
    assert str(raised.value) == f"RUNSTORE_TUI_{variable}={shown}: expected {expected}"


def test_variable_does_not_matter_where_the_command_line_says_something() -> None:
    assert settings_in({"RUNSTORE_TUI_FPS": "fast"}, besides=Settings(fps=1)) == Settings()


def test_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: is a directory"):
        read_settings(tmp_path)


def test_what_is_said_first_wins_also_when_it_says_no() -> None:
    line, file = Settings(mouse=False, fps=5), Settings(mouse=True, theme="light")
    assert line.over(file) == Settings(mouse=False, fps=5, theme="light")


def test_places_are_those_of_xdg_and_relative_ones_are_passed_over() -> None:
    home = Path.home()
    assert config_path({}) == home / ".config/runstore/tui.toml"
    assert config_path({"XDG_CONFIG_HOME": "/etc/me"}) == Path("/etc/me/runstore/tui.toml")
    assert state_path({"XDG_STATE_HOME": "here"}) == home / ".local/state/runstore/tui.json"


def test_console_of_the_kernel_gets_ascii_unless_somebody_says_otherwise() -> None:
    assert Settings().is_ascii("linux")
    assert not Settings(ascii=False).is_ascii("linux")
    assert not Settings().is_ascii("xterm-256color")
    assert Settings(ascii=True).is_ascii("xterm-256color")
