"""`runstore exec` on a terminal: what is typed, pressed and drawn there is as without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from runstore.environment.process import is_stopped
from runstore.sources.native import NativeReader
from runstore.state.status import Status
from tests.conftest import WaitUntil
from tests.terminal import Terminal

RUNSTORE = (sys.executable, "-m", "runstore.cli")


class Screen(Terminal):
    """A terminal whose program is `runstore exec` in a directory of its own."""

    def __init__(self, here: Path, *command: str, columns: int = 80) -> None:
        root = ["--root", str(here / "runs")]
        arguments = [*RUNSTORE, "exec", *root, "--", *command]
        super().__init__(arguments, columns, 24, {"RUNSTORE_NOTHING": ""})
        self.here = here

    @property
    def run_dir(self) -> Path:
        (found,) = (self.here / "runs").iterdir()
        return found

    @property
    def log(self) -> str:
        return (self.run_dir / "output.log").read_text()

    def status(self) -> Status:
        reader = NativeReader(self.run_dir)
        reader.glance()
        return reader.state.status


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def open_screen(opened: ExitStack, here: Path, *command: str) -> Screen:
    screen = Screen(here, *command)
    opened.callback(screen.close)
    return screen


def python(script: str) -> tuple[str, ...]:
    return sys.executable, "-c", script


def test_terminal_stays_a_terminal_of_the_same_size(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    script = (
        "import os, signal, sys, time\n"
        "def resized(*_): os.write(1, b'now %d %d\\n' % os.get_terminal_size(1))\n"
        "signal.signal(signal.SIGWINCH, resized)\n"
        "print([os.isatty(n) for n in range(3)], *os.get_terminal_size(1))\n"
        "while True: time.sleep(0.1)\n"
    )
    screen = open_screen(opened, tmp_path, *python(script))
    wait_until(screen.shows("[True, True, True] 80 24"))
    screen.resize(100, 30)
    wait_until(screen.shows("now 100 30"))
    screen.process.terminate()
    screen.process.wait()
    assert screen.log.startswith("[True, True, True] 80 24\nnow ")


def test_line_that_is_typed_reaches_the_command(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    screen = open_screen(opened, tmp_path, *python("print('hello', input('name? '))"))
    wait_until(screen.shows("name?"))
    screen.press("bob\r")
    wait_until(screen.shows("hello bob"))
    assert screen.process.wait() == 0


def test_ctrl_c_reaches_the_command_once(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Two that come together would be one: exec is held until the command has had the first."""
    script = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "print('up')\n"
        "while found := signal.sigtimedwait({signal.SIGINT}, 3): print('by', found.si_pid)\n"
    )
    screen = open_screen(opened, tmp_path, *python(script))
    wait_until(screen.shows("up"))
    screen.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(screen.process.pid))
    screen.press("\x03")
    time.sleep(1)
    screen.process.send_signal(signal.SIGCONT)
    screen.process.wait()
    assert screen.log == "up\nby 0\n"
    assert screen.status() == Status("interrupted", "SIGINT")


def test_ctrl_z_stops_both_and_fg_goes_on(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """A shell with job control starts it, as a user's does."""
    command = f"cd {tmp_path}; {' '.join(RUNSTORE)} exec -- {sys.executable} -c"
    script = 'import time; print("up"); time.sleep(3); print("done")'
    shell = Terminal(["bash", "--norc"], 120, 24, {"PS1": "$ "})
    opened.callback(shell.close)
    shell.press(f"{command} '{script}'\r")
    wait_until(shell.shows("\nup"))
    shell.press("\x1a")
    wait_until(shell.shows("Stopped"))
    (run_dir,) = (tmp_path / "runs").iterdir()
    started = [json.loads(x) for x in (run_dir / "exec-0001.jsonl").read_text().splitlines()][1]
    assert is_stopped(started["pid"])
    shell.press("fg\r")
    wait_until(shell.shows("\ndone", "runstore: finished"))


def test_bar_is_drawn_on_the_terminal_and_one_line_in_the_log(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    pytest.importorskip("tqdm")
    script = (
        "import time\nfrom tqdm import tqdm\n"
        "for n in tqdm(range(20)): time.sleep(0.02)\n"
        'print(\'{"step": 1, "loss": 0.5}\')\n'
    )
    screen = open_screen(opened, tmp_path, *python(script))
    wait_until(screen.shows("100%|", "runstore: finished"))
    bar, row = screen.log.splitlines()
    assert bar.startswith("100%|█")
    assert bar.count("\r") == 0
    assert row == '{"step": 1, "loss": 0.5}'
    assert '"loss":0.5' in (screen.run_dir / "metrics-0001.jsonl").read_text()


def test_stdout_in_a_pipe_stays_a_pipe_beside_a_terminal(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    script = "import os, sys; print(os.isatty(1)); print(os.isatty(2), file=sys.stderr)"
    line = (
        f"{' '.join(RUNSTORE)} exec --root {tmp_path}/runs -- {sys.executable} -c '{script}' | cat"
    )
    shell = Terminal(["bash", "--norc", "-c", line], 120, 24, {})
    opened.callback(shell.close)
    wait_until(shell.shows("False", "True", "runstore: finished"))


def test_program_on_curses_gets_its_keys_and_leaves_the_terminal_as_it_was(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """It sets the modes of the terminal on which it prints, and means the keyboard."""
    script = (
        "import curses\n"
        "def main(screen):\n"
        "    screen.addstr(3, 3, 'press'); screen.refresh()\n"
        "    key = screen.getkey()\n"
        "    screen.addstr(5, 3, f'<{key}>'); screen.refresh(); screen.getkey()\n"
        "curses.wrapper(main); print('left')\n"
    )
    screen = open_screen(opened, tmp_path, *python(script))
    wait_until(screen.shows("press"))
    before = termios.tcgetattr(screen._fd)
    screen.press("q")
    wait_until(screen.shows("<q>"))
    assert not before[3] & termios.ECHO
    screen.press("q")
    screen.process.wait()
    assert termios.tcgetattr(screen._fd)[3] & termios.ECHO
    assert screen.log == "left\n"


def test_killed_exec_leaves_the_terminal_in_order(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    script = 'import time; print("up"); time.sleep(60)'
    line = (
        f"{' '.join(RUNSTORE)} exec --root {tmp_path}/runs -- {sys.executable} -c '{script}'; cat"
    )
    shell = Terminal(["bash", "--norc", "-c", line], 120, 24, {})
    opened.callback(shell.close)
    wait_until(shell.shows("\nup"))
    (run_dir,) = (tmp_path / "runs").iterdir()
    opening, started = map(json.loads, (run_dir / "exec-0001.jsonl").read_text().splitlines())
    os.kill(opening["pid"], signal.SIGKILL)
    wait_until(shell.shows("Killed"))
    modes = termios.tcgetattr(shell._fd)
    assert modes[3] & termios.ECHO
    assert modes[3] & termios.ICANON
    with suppress(ProcessLookupError):
        os.kill(started["pid"], signal.SIGKILL)


@pytest.mark.needs_tool("vim")
def test_full_screen_program_leaves_nothing_in_the_log(
    opened: ExitStack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    (tmp_path / "file").write_text("what is in the file\n")
    # By a short name: vim asks for ENTER where its first message is long.
    screen = open_screen(opened, tmp_path, "sh", "-c", f"cd {tmp_path}; exec vim -u NONE file")
    wait_until(lambda: b"what is in the file" in screen.output)
    screen.press(":q!\r")
    screen.process.wait()
    assert "what is in the file" not in screen.log


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a control group")
def test_out_of_memory_is_told_apart_from_any_other_sigkill(tmp_path: Path) -> None:
    group = Path("/sys/fs/cgroup/memory/runstore-test")
    if not group.parent.is_dir():
        pytest.skip("no memory groups of version 1 to make one in")
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text("120M")
    eat = "x = []\nwhile True: x.append(bytes(1 << 20))"
    command = [*RUNSTORE, "exec", "--root", str(tmp_path), "--", *python(eat)]
    try:
        done = subprocess.run(
            ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(group / "tasks"), *command],
            check=False,
            capture_output=True,
        )
    finally:
        group.rmdir()
    (run_dir,) = tmp_path.iterdir()
    reader = NativeReader(run_dir)
    reader.glance()
    assert reader.state.status == Status("crashed", "killed by SIGKILL, out of memory")
    assert done.returncode == 137


@pytest.mark.needs_tool("strace")
def test_command_runs_where_there_is_no_pseudo_terminal_to_be_had(
    opened: ExitStack, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """A container without /dev/pts: it prints into a pipe, and is not "command not found"."""
    missing = ["-P", "/dev/ptmx", "-e", "trace=openat", "-e", "inject=openat:error=ENOENT"]
    execute = [*RUNSTORE, "exec", "--root", str(tmp_path / "runs"), "--", "echo", "hello"]
    arguments = [tool("strace"), "-f", "-o", os.devnull, *missing, *execute]
    terminal = Terminal(arguments, 80, 24, {})
    opened.callback(terminal.close)
    assert terminal.process.wait() == 0
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert (run_dir / "output.log").read_text() == "hello\n"
