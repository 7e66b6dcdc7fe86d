"""Nothing that a run says drives the terminal of whoever looks at it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from runstore import console
from runstore.cli import COMMANDS
from runstore.text import PrintableFilter
from tests.faults.payloads import ESCAPES, FORBIDDEN, MARKUP, PAYLOAD, events, write_hostile_run
from tests.terminal import MONITOR, Terminal
from tui.keymap import KEYS, Key
from tui.views import NAMES

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

STREAMS = ("metrics", "epochs", "reports", "system", "events")
ARGUMENT = PAYLOAD.replace("\0", "")
KEY_CODES = {
    "down": "\x1b[B", "up": "\x1b[A", "right": "\x1b[C", "left": "\x1b[D", "pagedown": "\x1b[6~",
    "pageup": "\x1b[5~", "shift+left": "\x1b[1;2D", "shift+right": "\x1b[1;2C", "enter": "\r",
    "escape": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "space": " ", "ctrl+l": "\x0c",
    "slash": "/", "question_mark": "?", "colon": ":", "plus": "+", "minus": "-",
    "left_square_bracket": "[", "right_square_bracket": "]", "left_curly_bracket": "{",
    "right_curly_bracket": "}", "less_than_sign": "<", "greater_than_sign": ">",
}  # fmt: skip
# What goes on with what a key has begun, and leaves it; the newest values are copied on the way.
NEXT = {
    "filter": ["\x1b"],
    "search": ["a", "\r", "\x1b"],
    "columns": ["\x1b"],
    "note": ["a", "\x1b"],
    "export": ["\x1b"],
    "help": ["\x1b"],
    "palette": ["r", "\x1b"],
    "pause": ["p"],
    "copy": ["5", "\x1b"],
    "ask": ["n", "\x1b"],
}
# They end or stop the program.
LAST = ("quit", "suspend_process")


def lines_of(command: str, run: str, root: str) -> list[list[str]]:
    """Return the ways in which a command is called; one that is new is called with a run too."""
    other = next(str(path) for path in sorted(Path(root).iterdir()) if "plain" in path.name)
    known = {
        "cat": [[run, stream] for stream in STREAMS] + [["--all", run, "metrics"]],
        "demo": [["--no-tui", "--epochs", ARGUMENT]],
        "export": [["--format", form, *more, run]
                   for form in ("csv", "json", "jsonl", "markdown", "parquet", "tensorboard")
                   for more in ([], ["--table", "epochs"], ["--table", "reports"],
                                ["--table", "runs"], ["--shape", "long"])],
        "diff": [[run, other], [other, run], ["--json", run, other]],
        "journal": [[*form, root] for form in ([], ["--json"], ["--markdown"], ["--last", "3"])]
                   + [["--filter", ARGUMENT, root], ["--since", ARGUMENT, root]],
        "ls": [[root], ["--json", root], [ARGUMENT], ["--filter", ARGUMENT, root]],
        "note": [[run, ARGUMENT], [root, "x"]],
        "reproduce": [[run], [run, "--repo", ARGUMENT], [run, "--into", ARGUMENT, "--anyway"]],
        "rm": [[run], ["--yes", root], ["--yes", "--even-unknown", other]],
        "query": [[*form, sql, root] for form in ([], ["--json"], ["--jsonl"], ["--csv"])
                  for sql in ("FROM runs", "FROM params", "FROM metrics", "FROM reports", ARGUMENT)]
                 + [["--root", root], ["--json", "--root", root]],
        "resume": [["--root", root, run], [run, "--", ARGUMENT]],
        "script": [["--", ARGUMENT], ["--name", ARGUMENT, "--time", ARGUMENT, "--", "x"]],
        "show": [[run], ["--json", run], ["--root", root, ARGUMENT[:20]]],
        "tag": [[run, f"+{ARGUMENT}"], [run, "+x"], [run, f"-{ARGUMENT}"], [run, other]],
        "tail": [[run], ["-f", run]],
        "tensorboard": [["--port", ARGUMENT, root], ["--host", ARGUMENT, root]],
    }  # fmt: skip
    everywhere = [["--help"], [ARGUMENT], [f"--{ARGUMENT}"]]
    return [[command, *line] for line in (*known.get(command, [[run], [root]]), *everywhere)]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    root = tmp_path_factory.mktemp("hostile") / "runs"
    yield root, write_hostile_run(root)


def assert_harmless(output: bytes) -> None:
    """The terminal got none of the payload, and nobody saw a traceback."""
    text = output.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    found = [char for char in FORBIDDEN if char in text]
    assert not found, (found, text[:2000])
    assert "Traceback" not in text, text


def test_schemas_give_events_of_every_kind() -> None:
    assert {"open", "end", "warning"} <= {str(event["event"]) for event in events()}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_command_hands_the_terminal_what_a_run_says(
    command: str, hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    root, run = hostile
    environment = {"RUNSTORE_ROOT": str(tmp_path / "runs"), "HOME": str(tmp_path)}
    # The bar of a command that takes over a second is drawn with carriage returns of its own.
    environment["TERM"] = "dumb"
    for line in lines_of(command, str(run), str(root)):
        interrupted = ("timeout", "-s", "INT", "3") if "-f" in line else ()
        program = (*interrupted, sys.executable, "-m", "runstore.cli", *line)
        terminal = Terminal(program, 120, 40, environment)
        try:
            assert_harmless(terminal.finish(60))
        finally:
            terminal.close()


@pytest.mark.parametrize(
    "line",
    [
        ["--once"],
        ["--once", "--run"],
        ["--once", "--ascii", "--run"],
        ["--json"],
        ["--plain"],
        ["--help"],
        [f"--{ARGUMENT}"],
        ["--theme", ARGUMENT],
    ],
)
def test_monitor_as_text_hands_the_terminal_nothing(
    line: list[str], hostile: tuple[Path, Path]
) -> None:
    root, run = hostile
    where = [str(run), str(root)] if "--run" in line else [str(root)]
    interrupted = ("timeout", "-s", "INT", "5") if "--plain" in line else ()
    terminal = Terminal((*interrupted, *MONITOR, *line, *where), 120, 40, {})
    try:
        assert_harmless(terminal.finish(60))
    finally:
        terminal.close()


@pytest.mark.faults
@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 45)])
def test_no_view_of_the_monitor_hands_the_terminal_what_a_run_says(
    columns: int, rows: int, hostile: tuple[Path, Path], wait_until: WaitUntil
) -> None:
    root, _ = hostile
    terminal = Terminal((*MONITOR, str(root)), columns, rows, {})
    try:
        wait_until(terminal.shows("4 runs", "last step"), 60)
        drawn = bytearray()
        for keys in every_key():
            terminal.press(keys)
            if keys == "\x1b":
                time.sleep(0.2)  # with a key right behind it, it would be Alt and that key
            wait_until(lambda: quiet(terminal), what="the screen to settle")
            assert terminal.process.poll() is None, keys
        terminal.press(f"/{MARKUP}")
        wait_until(terminal.shows("[/]"))
        terminal.press("\x1b")
        wait_until(lambda: not terminal.shows("Esc drops")(), what="the filter to close")
        terminal.press("q")
        drawn += terminal.finish(30)
    finally:
        terminal.close()
    assert_only_textual_speaks(bytes(drawn))
    assert terminal.process.returncode == 0


def every_key() -> Iterator[str]:
    """Yield what each key of the monitor sends: those of each view for each of the runs."""
    for key in KEYS:
        if not key.views and key.action not in LAST:
            yield from sent_by(key)
    for _ in range(4):
        for number, view in enumerate(NAMES, 1):
            for key in KEYS:
                if view in key.views:
                    yield str(number)
                    yield from sent_by(key)
        yield "1"
        yield "j"


def sent_by(key: Key) -> Iterator[str]:
    name = key.keys.split(",")[0]
    yield KEY_CODES.get(name, name)
    yield from NEXT.get(key.action.partition("(")[0], ())


def quiet(terminal: Terminal) -> bool:
    before = len(terminal.output)
    time.sleep(0.15)
    return len(terminal.output) == before


def assert_only_textual_speaks(output: bytes) -> None:
    """Escape sequences are the toolkit's own; of the payload's there is none."""
    text = output.decode("utf-8", "surrogateescape")
    for name, escape in ESCAPES.items():
        if name != "CSI":
            parts = [part for part in escape.split("\x1b\\") if part]
            assert not [part for part in parts if part in text], name
    assert "\x1b[31;1;46;5m" not in text
    c1_and_bidi = [char for char in FORBIDDEN if ord(char) > 0x7E]
    assert not [char for char in c1_and_bidi if char in text]
    assert "Traceback" not in text
    assert "pane error" not in text


def test_warnings_of_a_training_are_one_safe_line_each(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger(console.__name__.partition(".")[0])
    assert any(isinstance(found, PrintableFilter) for found in log.filters)
    log.warning("%s went wrong", f"metric {PAYLOAD}\n")
    assert_harmless(caplog.records[-1].getMessage().encode())


def test_console_of_a_training_gets_no_control_characters(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = PAYLOAD.replace("/", "|").replace("\0", "")
    with runstore.init(name=PAYLOAD, root=tmp_path / name) as run:
        for _ in run.epochs(1):
            run.begin_split(name, batches=1)
            run.track(**{name: 1.0})
            run.end_split()
    assert_harmless(capfd.readouterr().err.encode())
