"""The monitor as a user has it: a process in a terminal, real keys, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from tests.terminal import Terminal
from tui.wire import ACK_REQUEST

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor


def write_run(root: Path, name: str = "digits", epochs: int = 3) -> Path:
    """Write a small finished run and return its directory."""
    with runstore.init({"lr": 0.01}, root=root, name=name, tags=["demo"]) as run:
        for epoch in run.epochs(epochs):
            for batch in run.train(range(20)):
                run.track(loss=1 / (1 + epoch * 20 + batch), n=1)
            for _ in run.val(range(2)):
                run.track(loss=0.5 / epoch, accuracy=0.9, n=1)
    return run.path


def append(path: Path, **row: float) -> None:
    """Append a row by hand, as a user's own script does."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 45), (60, 15)])
def test_run_is_listed_with_status_epoch_and_last_metrics(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, columns: int, rows: int
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, columns=columns, rows=rows)
    wait_until(terminal.shows("1 run ", "✓ finished", "digits", "3/3"))
    row = next(line for line in terminal.lines() if "✓ finished" in line)
    assert re.search(r"\b0\.\d{4}\b", row)


def test_row_appended_by_hand_appears_within_a_second(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    metrics = tmp_path / "plain" / "metrics.jsonl"
    metrics.parent.mkdir()
    append(metrics, step=1, loss=2.5)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("2.5000", "step 1"))
    waited = []
    for step in range(2, 7):
        begun = time.monotonic()
        append(metrics, step=step, loss=1 / step)
        wait_until(terminal.shows(f"{1 / step:.4f}", f"step {step}"), what="the appended row")
        waited.append(time.monotonic() - begun)
    # The best of five: the machine may be busy with other things for a moment.
    assert min(waited) < 1.0


def test_run_that_starts_later_appears_without_a_key(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    root = tmp_path / "runs"
    terminal = start_monitor(root)
    wait_until(terminal.shows("no such directory", "Waiting"))
    root.mkdir()
    wait_until(terminal.shows("No runs in"))
    write_run(root)
    assert wait_until(terminal.shows("1 run ", "✓ finished"))


def test_chart_epochs_and_filter_are_one_key_away(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path, "alpha")
    write_run(tmp_path, "beta")
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("2 runs", "last step"))
    terminal.press("3")
    assert wait_until(terminal.shows("▸ loss", "━━ train", "·· val", "step"))
    terminal.press("2")
    assert wait_until(terminal.shows("★     3", "EPOCH"))
    terminal.press("1")
    terminal.press("/alph")
    assert wait_until(terminal.shows("1 of 2 runs"))
    terminal.press("\x1b")
    assert wait_until(lambda: not terminal.shows("1 of 2 runs")())
    terminal.press("?")
    assert wait_until(terminal.shows("type to search"))


def test_terminal_resized_from_small_to_large_shows_all_panes(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, columns=40, rows=10)
    assert wait_until(terminal.shows("terminal too small", "needs 60x15"))
    terminal.resize(160, 45)
    # The run has no report, which takes no room then.
    assert wait_until(terminal.shows("─ Progress", "─ Chart", "─ Epochs", "─ Events"), 5)
    terminal.resize(80, 24)
    assert wait_until(terminal.shows(" 1 Runs  2 Run  3 Charts", "? help"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_leaves_the_terminal_as_it_was(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil, number: signal.Signals
) -> None:
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("? help"))
    terminal.process.send_signal(number)
    assert terminal.process.wait(30) == 128 + number
    wait_until(lambda: b"\x1b[?1049l" in terminal.output, what="leaving the alternate screen")
    for mode in (b"1000", b"1002", b"1006", b"2004"):
        assert terminal.output.rfind(b"\x1b[?%bl" % mode) > terminal.output.rfind(
            b"\x1b[?%bh" % mode
        )


def test_vanished_terminal_ends_the_monitor(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("? help"))
    terminal.hang_up()
    assert terminal.process.wait(30) == 128 + signal.SIGHUP


def test_suspended_monitor_draws_everything_again(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("✓ finished", "? help"))
    terminal.process.send_signal(signal.SIGTSTP)
    wait_until(lambda: b"\x1b[?1049l" in terminal.output, what="leaving the alternate screen")
    wait_until(lambda: _is_stopped(terminal.process.pid), what="the stop")
    terminal.output.clear()
    terminal.process.send_signal(signal.SIGCONT)
    assert wait_until(terminal.shows("✓ finished", "? help"))


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_crash_leaves_the_terminal_with_a_plain_traceback(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    code = """
import sys, runstore.tui_launcher as launcher
from tui.screens.main import MainScreen
def fail(self, *args):
    secret = "hunter" + str(2)
    raise ValueError("broken")
MainScreen.tick = fail
launcher.main()
"""
    terminal = Terminal([sys.executable, "-c", code, str(tmp_path)], 80, 24, {})
    try:
        assert terminal.process.wait(30) == 1
        assert wait_until(lambda: b"ValueError: broken" in terminal.output)
        left = bytes(terminal.output).rpartition(b"\x1b[?1049l")[2]
        assert b"Traceback (most recent call last)" in left
        assert b"\\x1b" not in left
        assert b"hunter2" not in left
    finally:
        terminal.close()


def test_mouse_movements_are_not_asked_for(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("? help"))
    assert b"\x1b[?1002h" in terminal.output
    assert b"?1003h" not in terminal.output


def test_no_color_means_no_color(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, NO_COLOR="1")
    wait_until(terminal.shows("✓ finished", "? help"))
    codes = {
        code
        for sgr in re.findall(rb"\x1b\[([0-9;]*)m", terminal.output)
        for code in sgr.split(b";")
    }
    without_colors = "0 1 2 4 7 22 24 27 39 49".split()
    assert codes <= {b"", *map(str.encode, without_colors)}


def test_nothing_is_drawn_empty_first(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("✓ finished"))
    assert b"finished" in frames(terminal.output)[0]
    wait_until(terminal.shows("─ Progress"))
    before = len(terminal.output)
    terminal.press("2")
    wait_until(terminal.shows("─ Run", "params"))
    drawn = [frame for frame in frames(terminal.output[before:]) if b"Run" in frame]
    assert b"params" in drawn[0]


def frames(output: bytearray) -> list[bytes]:
    """Return what was drawn at once; the terminal is asked for an answer behind each."""
    return bytes(output).split(ACK_REQUEST.encode())


def test_other_locale_still_draws_its_lines(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    terminal = start_monitor(tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert wait_until(terminal.shows("─ Progress"))


def test_hostile_names_are_shown_and_not_obeyed(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    with runstore.init(
        {"x\x1b]0;owned\x07": "a\x1b[2Jb\nc"}, root=tmp_path, name="evil\x1b[31m"
    ) as run:
        run.log({"loss\x1b]52;c;aGk=\x07": 1.0}, step=1)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("✓ finished", "? help", r"\x1b"))
    assert b"\x1b]0;" not in terminal.output
    assert b"\x1b]52" not in terminal.output


def test_screen_that_changes_all_the_time_costs_little_and_answers_keys(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    paths = [tmp_path / f"run{i}" / "metrics.jsonl" for i in range(8)]
    for path in paths:
        path.parent.mkdir()
        append(path, step=0, loss=1.0)
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("8 runs", "? help"))
    stop = threading.Event()

    def write_rows() -> None:
        step = 0
        while not stop.wait(0.05):
            step += 1
            for path in paths:
                append(path, step=step, loss=1 / step)

    writer = threading.Thread(target=write_rows)
    writer.start()
    try:
        wait_until(terminal.shows("running"))
        before = len(terminal.output)
        stop.wait(3)
        assert (len(terminal.output) - before) / 3 < 10_000
        waited = []
        for _ in range(5):
            begun = time.monotonic()
            terminal.press("?")
            wait_until(terminal.shows("type to search"), what="the answer to a key")
            waited.append(time.monotonic() - begun)
            terminal.press("\x1b")
            wait_until(lambda: not terminal.shows("type to search")(), what="the list to close")
        assert min(waited) < 1.0
    finally:
        stop.set()
        writer.join()


def start_in_tmux(run: Callable[..., str], root: Path, repo: Path, python: str, size: str) -> None:
    columns, _, rows = size.partition("x")
    command = f"cd {repo} && COLORTERM=truecolor {python} -m runstore.tui_launcher {root}"
    run("new-session", "-d", "-x", columns, "-y", rows, command)


@pytest.mark.needs_tool("tmux")
@pytest.mark.parametrize("size", ["80x24", "160x45"])
def test_epoch_and_chart_move_in_tmux_without_a_key(
    tmp_path: Path,
    tool: Callable[[str], str],
    repo_root: Path,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
    size: str,
) -> None:
    socket = f"runstore-{os.getpid()}-{size}"
    # tmux runs its commands by this shell; an account such as nobody has one that refuses.
    monkeypatch.setenv("SHELL", "/bin/sh")

    def tmux(*arguments: str) -> str:
        command = [tool("tmux"), "-L", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    run = runstore.init(root=tmp_path / "runs", name="live", resume="never")
    try:
        run.log({"train/loss": 1.0, "epoch": 1}, step=1)
        start_in_tmux(tmux, tmp_path / "runs", repo_root, sys.executable, size)
        wait_until(lambda: "▶ running" in tmux("capture-pane", "-p"))
        tmux("send-keys", "3")
        wait_until(lambda: "━━ train 1.0000" in tmux("capture-pane", "-p"))
        first = tmux("capture-pane", "-p")
        for step in range(2, 100):
            run.log({"train/loss": 1 / step, "epoch": 7}, step=step)
        wait_until(lambda: "━━ train 0.0101" in tmux("capture-pane", "-p"))
        later = tmux("capture-pane", "-p")
        assert braille(later) != braille(first)
        tmux("send-keys", "1")
        wait_until(lambda: re.search(r"live +7 ", tmux("capture-pane", "-p")) is not None)
    finally:
        run.finish()
        subprocess.run([tool("tmux"), "-L", socket, "kill-server"], check=False)


def braille(text: str) -> str:
    """Return the dots of a chart."""
    return "".join(char for char in text if "\u2800" < char <= "\u28ff")


def test_dumb_terminal_gets_plain_text(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_run(tmp_path)
    terminal = start_monitor(tmp_path, TERM="dumb")
    assert terminal.process.wait(30) == 0
    wait_until(terminal.shows("── events ──"))
    assert b"\x1b" not in terminal.output
