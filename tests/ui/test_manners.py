"""The monitor's manners in a real terminal: what it remembers, says, draws with and survives."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from runstore.monitor_settings import config_path, state_path
from tests.terminal import MONITOR, Terminal
from tests.ui.test_terminal import write_run
from tui.views import VIEWS

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor


def set_in_file(text: str) -> Path:
    path = config_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def leave(terminal: Terminal) -> None:
    terminal.press("q")
    assert terminal.process.wait(30) == 0


# ---- what it remembers -------------------------------------------------------------------------


def test_choices_are_found_again_and_nothing_is_written_among_the_runs(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    for name in ("alpha", "beta"):
        write_run(tmp_path, name)
    before = sorted(tmp_path.rglob("*"))
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("2 runs", "? help"))
    terminal.press("j /alpha\r3")
    wait_until(terminal.shows("•1", "1 of 2 runs", "─ Charts"))
    leave(terminal)
    again = start_monitor(tmp_path)
    wait_until(again.shows("•1", "1 of 2 runs", "─ Charts", "filter: alpha"))
    assert sorted(tmp_path.rglob("*")) == before
    leave(again)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_choices_survive_a_signal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, ending: signal.Signals
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("1 run", "? help"))
    terminal.press("4")
    wait_until(terminal.shows("─ Report"))
    terminal.process.send_signal(ending)
    assert terminal.process.wait(30) == 128 + ending
    found = state_path()
    assert found is not None
    assert json.loads(found.read_bytes())["sets"][0]["view"] == "report"


def test_damaged_state_is_one_note_that_the_next_key_takes_away(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    path = state_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text("{")
    terminal = start_monitor(tmp_path, columns=160)
    wait_until(terminal.shows("tui.json: is damaged, and begun anew"))
    terminal.press("j")
    wait_until(lambda: not terminal.shows("is damaged")())
    leave(terminal)


def test_mark_of_a_run_that_is_gone_is_forgotten(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    gone = write_run(tmp_path, "gone")
    kept = write_run(tmp_path, "kept")
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("2 runs", "? help"))
    terminal.press("  ")
    wait_until(terminal.shows("•2"))
    shutil.rmtree(gone)
    wait_until(terminal.shows("1 run "))
    leave(terminal)
    found = state_path()
    assert found is not None
    assert json.loads(found.read_bytes())["sets"][0]["marks"] == [str(kept)]


# ---- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_settings_that_are_not_understood_are_one_line_and_status_2(
    tmp_path: Path, start_monitor: StartMonitor, options: list[str]
) -> None:
    path = set_in_file('theme = "blue"')
    terminal = start_monitor(tmp_path, *options, columns=300)
    output = terminal.finish(30).decode()
    assert terminal.process.returncode == 2
    assert output.startswith(f'{path}: theme = "blue": expected one of "dark"')
    assert output.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_variable_that_is_not_understood_is_one_line_and_status_2(
    tmp_path: Path, start_monitor: StartMonitor, options: list[str]
) -> None:
    terminal = start_monitor(tmp_path, *options, RUNSTORE_TUI_FPS="nan")
    output = terminal.finish(30).decode().strip()
    assert output == "RUNSTORE_TUI_FPS=nan: expected a number from 0.2 to 30"
    assert terminal.process.returncode == 2


def test_rate_that_is_no_number_is_refused(tmp_path: Path, start_monitor: StartMonitor) -> None:
    terminal = start_monitor(tmp_path, "--fps", "nan")
    assert b"nan is not a number" in terminal.finish(30)
    assert terminal.process.returncode == 2


def test_command_line_beats_environment_beats_file(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    set_in_file("ascii = true\nmouse = false")
    write_run(tmp_path)
    from_file = start_monitor(tmp_path)
    wait_until(from_file.shows("+ finished", "? help"))
    assert b"\x1b[?1000h" not in from_file.output
    leave(from_file)
    environment = {"RUNSTORE_TUI_ASCII": "0"}
    from_environment = start_monitor(tmp_path, **environment)
    wait_until(from_environment.shows("✓ finished", "? help"))
    leave(from_environment)
    from_line = start_monitor(tmp_path, "--ascii", "--mouse", **environment)
    wait_until(from_line.shows("+ finished", "? help"))
    assert b"\x1b[?1000h" in from_line.output
    leave(from_line)


def test_config_path_is_told(start_monitor: StartMonitor) -> None:
    terminal = start_monitor("--config-path", columns=300, XDG_CONFIG_HOME="/somewhere")
    assert terminal.finish(30) == b"/somewhere/runstore/tui.toml\r\n"


# ---- what it draws with ------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 45)])
def test_console_gets_ascii_alone_in_every_view(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, columns: int, rows: int
) -> None:
    write_run(tmp_path, "größe-日本")
    terminal = start_monitor(tmp_path, columns=columns, rows=rows, TERM="linux", COLORTERM="")
    wait_until(terminal.shows("+ finished", "gro?e-????"))
    for number, view in enumerate(VIEWS[1:], 2):
        terminal.press(str(number))
        wait_until(terminal.shows(f"- {view.title}"))
    terminal.press("?")
    wait_until(terminal.shows("type to search"))
    terminal.press("\x1b")
    wait_until(lambda: not terminal.shows("type to search")())
    leave(terminal)
    assert terminal.finish(30).isascii()


@pytest.mark.parametrize(
    ("options", "env", "codes"),
    [
        ([], {"TERM": "xterm", "COLORTERM": ""}, {"16"}),
        ([], {"TERM": "xterm-256color", "COLORTERM": ""}, {"256"}),
        ([], {"TERM": "xterm-256color", "COLORTERM": "truecolor"}, {"rgb"}),
        (["--theme", "terminal"], {"COLORTERM": "truecolor"}, {"16"}),
        (["--theme", "terminal-light"], {"COLORTERM": "truecolor"}, {"16"}),
        (["--theme", "light"], {"COLORTERM": "truecolor"}, {"rgb"}),
        (["--theme", "dark"], {"NO_COLOR": "1"}, set()),
        (["--theme", "light"], {"NO_COLOR": "1"}, set()),
    ],
)
def test_theme_uses_the_colors_of_the_terminal(
    tmp_path: Path,
    start_monitor: StartMonitor,
    wait_until: WaitUntil,
    options: list[str],
    env: dict[str, str],
    codes: set[str],
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, *options, columns=160, rows=45, **env)
    wait_until(terminal.shows("✓ finished", "? help", "─ Chart"))
    leave(terminal)
    assert set(colors(terminal.finish(30))) == codes


def colors(output: bytes) -> Iterator[str]:
    """Yield the kinds of colours in some output."""
    for sgr in re.findall(rb"\x1b\[([0-9;]*)m", output):
        if re.search(rb"[34]8;2;", sgr):
            yield "rgb"
        elif re.search(rb"[34]8;5;", sgr):
            yield "256"
        elif re.search(rb"(^|;)(3[0-7]|4[0-7]|9[0-7]|10[0-7])(;|$)", sgr):
            yield "16"


# ---- what it says ------------------------------------------------------------------------------


def test_copy_goes_out_as_osc_52_and_is_shown(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    path = write_run(tmp_path)
    terminal = start_monitor(tmp_path, columns=200)
    wait_until(terminal.shows("1 run", "? help"))
    terminal.press("y")
    wait_until(terminal.shows("resume command"))
    terminal.press("2")
    wait_until(terminal.shows("path: sent to the clipboard", str(path)))
    sent = re.findall(rb"\x1b\]52;c;([^\x07]*)\x07", terminal.output)
    assert [base64.b64decode(one).decode() for one in sent] == [str(path)]
    terminal.press("q")
    wait_until(terminal.shows("? help"))
    leave(terminal)


def test_keys_typed_ahead_reach_the_palette_and_the_copy_menu(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    path = write_run(tmp_path)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("1 run", "? help"))
    terminal.press(":compare the\ry1")
    wait_until(terminal.shows("run id: sent to the clipboard", path.name))
    terminal.press("y")
    wait_until(terminal.shows("─ Compare"))
    leave(terminal)


@pytest.mark.parametrize(
    ("keys", "shows"),
    [("68?", "type to search"), ("68:", "Commands and runs"), ("68y", "Copy of")],
)
def test_keys_typed_before_an_overlay_are_not_lost(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, keys: str, shows: str
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("✓ finished", "? help"))
    terminal.press(keys)
    wait_until(terminal.shows(shows))
    terminal.press("\x1b")
    assert wait_until(terminal.shows("─ Samples"))


@pytest.mark.parametrize("name", ["quit", "keys of all views"])
def test_palette_does_what_belongs_to_the_whole_program(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, name: str
) -> None:
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("? help"))
    terminal.press(f":{name}")
    wait_until(terminal.shows(f"> {name}", "▸ "))
    terminal.press("\r")
    if name == "quit":
        assert terminal.process.wait(30) == 0
    else:
        assert wait_until(terminal.shows("type to search"))


@pytest.mark.parametrize("option", ["--bell", "--no-bell"])
def test_end_of_a_run_rings_only_when_asked_to(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, option: str
) -> None:
    run = runstore.init(root=tmp_path, name="live", resume="never")
    run.log({"loss": 1.0}, step=1)
    terminal = start_monitor(tmp_path, option)
    wait_until(terminal.shows("▶ running", "? help"))
    run.finish()
    # A pane that follows the clock may show it a moment before the bell is looked at.
    wait_until(terminal.shows("✓ finished", *["live finished"] * (option == "--bell")))
    leave(terminal)
    # It also ends sequences, such as that of the mouse pointer's shape.
    alone = re.sub(rb"\x1b\][^\x07\x1b]*\x07", b"", terminal.finish(30))
    assert alone.count(b"\x07") == (option == "--bell")


def test_several_roots_are_told_apart_and_none_is_listed_twice(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    for place in ("a", "a/inner", "b"):
        write_run(tmp_path / place, "digits")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    roots = [tmp_path / name for name in ("a", "a/inner", "b", "link", "missing", "away")]
    terminal = start_monitor(*roots, columns=160, rows=45)
    wait_until(terminal.shows("3 runs", "a/digits", "inner/digits"))
    wait_until(terminal.shows("missing: no such directory (and 1 more)"))
    assert sum("/digits" in line for line in terminal.lines()) == 3
    (tmp_path / "missing").mkdir()
    write_run(tmp_path / "missing", "late")
    wait_until(terminal.shows("4 runs", "missing/late"))
    leave(terminal)


# ---- what it survives --------------------------------------------------------------------------


def test_root_that_vanishes_stays_on_screen_as_gone_and_goes_on_when_it_comes_back(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    root, away = tmp_path / "runs", tmp_path / "away"
    write_run(root)
    terminal = start_monitor(root)
    wait_until(terminal.shows("1 run ", "✓ finished", "? help"))
    root.rename(away)
    wait_until(terminal.shows("1 run ", "✗ gone", "✓ finished", "no such directory", "last step"))
    away.rename(root)
    wait_until(terminal.shows("1 run ", "✓ finished", "last step"))
    wait_until(lambda: not terminal.shows("✗ gone")())
    leave(terminal)


def fills(lines: list[str], columns: int) -> bool:
    """Tell whether the first line and the title of a pane were made for so many columns."""
    title = next((line for line in lines if line.startswith("─ Progress")), "")
    return lines[0].endswith(("live", "quiet")) and len(title) == columns


def without_ages(lines: list[str]) -> list[str]:
    """Return the lines of a screen that time alone does not change."""
    return [line for line in lines if " ago" not in line and "○" not in line and "●" not in line]


def test_storm_of_sizes_ends_with_the_right_screen(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, columns=160, rows=45)
    wait_until(terminal.shows("✓ finished", "? help", "─ Chart"))
    for number in range(200):
        terminal.resize(40 + number * 7 % 160, 10 + number * 3 % 50)
    terminal.resize(100, 30)
    shows = terminal.shows(" 1 Runs  2 Run  3 Charts", "✓ finished", "? help")
    wait_until(lambda: shows() and fills(terminal.lines(), 100), what="the last size")
    lines = terminal.lines()
    assert lines[0].startswith(" runstore") and lines[-1].startswith(" ? help")
    assert not any("too small" in line for line in lines)
    terminal.press("\x0c")
    lasting = without_ages(lines)
    wait_until(lambda: without_ages(terminal.lines()) == lasting, what="the same screen drawn anew")
    leave(terminal)


@pytest.mark.needs_tool("bash")
@pytest.mark.parametrize("around", ["", "sh -c '\"$@\"; true' script"])
def test_ctrl_z_and_fg_under_a_shell(
    tmp_path: Path, tool: Callable[[str], str], wait_until: WaitUntil, around: str
) -> None:
    write_run(tmp_path)
    shell = [tool("bash"), "--norc", "--noprofile", "-i"]
    terminal = Terminal(shell, 80, 24, {"PS1": "ready> ", "HISTFILE": os.devnull})
    try:
        wait_until(terminal.shows("ready>"))
        terminal.press(f"{around} {shlex.join([*MONITOR, str(tmp_path)])}\r")
        wait_until(terminal.shows("✓ finished", "? help"))
        for _ in range(2):
            terminal.press("\x1a")
            wait_until(terminal.shows("Stopped", "ready>"))
            terminal.press("echo st''ill\r")
            wait_until(terminal.shows("still"))
            terminal.press("fg\r")
            wait_until(terminal.shows("✓ finished", "? help"))
            wait_until(lambda: not terminal.shows("Stopped")(), what="the rest of the screen")
            terminal.press("2")
            wait_until(terminal.shows("─ Run"))
            terminal.press("1")
            wait_until(terminal.shows("─ Progress"))
        terminal.press("q")
        wait_until(terminal.shows("ready>"))
        terminal.press("stty -a | grep -o ' echo '; exit\r")
        assert b" echo " in terminal.finish(30)
    finally:
        terminal.close()


def test_ctrl_z_is_refused_where_no_shell_could_resume(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("✓ finished", "? help"))
    terminal.press("\x1a")
    wait_until(terminal.shows("cannot suspend: no shell has started"))
    terminal.press("2")
    wait_until(terminal.shows("─ Run"))
    leave(terminal)


def test_interpreter_without_a_home_starts(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, HOME="/nonexistent", TERM="xterm-256color")
    wait_until(terminal.shows("✓ finished", "? help"))
    terminal.press("3")
    wait_until(terminal.shows("─ Charts"))
    leave(terminal)
