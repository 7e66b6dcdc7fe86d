"""Tab in a real bash, zsh and fish, on a terminal, with real runs below real roots."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from runstore.cli import cli
from tests.conftest import WaitUntil
from tests.terminal import Terminal

SHELLS = [
    pytest.param(name, marks=pytest.mark.needs_tool(name)) for name in ("bash", "zsh", "fish")
]
pytestmark = [pytest.mark.timeout(600)]

OLD, NEW = "20261120-141502-digits-22k3x7qa", "20261121-141502-digits-22k3x7qb"
MNIST = "20261119-000000-mnist-22k3x7qc"
START = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
PREPARE = {
    "bash": "PS1='ready> '; . <(runstore completion bash)",
    "zsh": "PS1='ready> '; autoload -Uz compinit; compinit -D -u; . <(runstore completion zsh)",
    "fish": "function fish_prompt; echo -n 'ready> '; end; runstore completion fish | source",
}
# Prints as one line of JSON what a shell makes of a command line.
ARGUMENTS = """
import json, os, sys
with open("got.part", "w") as file: json.dump(sys.argv[1:], file)
os.rename("got.part", "got")
"""


class Shell(Terminal):
    """An interactive shell in a folder, whose runs are below `./runs`."""

    def __init__(self, folder: Path, command: list[str], wait: WaitUntil) -> None:
        self.folder, self._wait = folder, wait
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        super().__init__(command, 120, 50, {**env, "SHELL_SESSIONS_DISABLE": "1"})

    def run(self, line: str) -> None:
        """Type a line, and wait until the prompt is back."""
        self.press(f"{line}; touch done\n")
        self._wait((self.folder / "done").exists, what=line)
        (self.folder / "done").unlink()
        self.output.clear()

    def completed(self, typed: str) -> list[str]:
        """Return the words of a command line behind `runstore`, after Tab."""
        got = self.folder / "got"
        # Ctrl-A: to the beginning of the line, so that another program gets what is on it.
        self.press(f"{typed}\t\x01arguments \n")
        self._wait(got.exists, what=f"the words of {typed!r}")
        # zsh takes the slash behind a directory back when the word ends there.
        words = [word.removesuffix("/") for word in json.loads(got.read_text())]
        got.unlink()
        self.output.clear()
        return words[1:]

    def offered(self, typed: str, *texts: str) -> None:
        """Wait until Tab shows some texts; leave the line."""
        # bash shows nothing at a Tab that has changed the line, nor at the one behind it.
        self.press(f"{typed}\t\t\t")
        self._wait(self.shows(*texts), what=f"{texts} behind {typed!r}")
        self.press("\x03")
        self.run("true")


def program(folder: Path, name: str, *command: str) -> None:
    quoted = " ".join(f"'{word}'" for word in command)
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with runs, and the programs."""
    for place in (f"runs/{OLD}", f"runs/{NEW}", f"runs/{MNIST}", f"others/{MNIST}"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "events-0001.jsonl").write_text("{}\n")
    program(tmp_path, "runstore", sys.executable, "-m", "runstore.cli")
    program(tmp_path, "runstore-tui", sys.executable, "-m", "runstore.tui_launcher")
    program(tmp_path, "arguments", sys.executable, str(tmp_path / "arguments.py"))
    (tmp_path / "arguments.py").write_text(ARGUMENTS)
    return tmp_path


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def shell(
    request: pytest.FixtureRequest, folder: Path, opened: ExitStack, wait_until: WaitUntil
) -> Shell:
    """The shell that the test is parametrized with, ready."""
    name: str = request.param
    return open_shell(opened, folder, START[name], wait_until, PREPARE[name])


def open_shell(
    opened: ExitStack, folder: Path, command: list[str], wait: WaitUntil, prepare: str
) -> Shell:
    shell = Shell(folder, command, wait)
    opened.callback(shell.close)
    shell.run(f"cd '{folder}'; {prepare}")
    return shell


every_shell = pytest.mark.parametrize("shell", SHELLS, indirect=True)


@every_shell
def test_words_of_a_line_are_completed(shell: Shell, folder: Path) -> None:
    (folder / "show").mkdir()  # must not become `show/`
    assert shell.completed("runstore sho") == ["show"]
    assert shell.completed("runstore show la") == ["show", "latest"]
    assert shell.completed("runstore show 20261119") == ["show", MNIST]
    assert shell.completed("runstore show mni") == ["show", "mnist"]
    assert shell.completed("runstore cat latest rep") == ["cat", "latest", "reports"]
    assert shell.completed("runstore show --js") == ["show", "--json"]
    assert shell.completed("runstore export --format cs") == ["export", "--format", "csv"]
    assert shell.completed(f"runstore export {OLD} 20261121") == ["export", OLD, NEW]


@every_shell
def test_root_is_the_one_typed_else_the_variable(shell: Shell, folder: Path) -> None:
    (folder / "others" / MNIST).rename(folder / "others" / "20270101-000000-22k3x7qd")
    new = "20270101-000000-22k3x7qd"
    assert shell.completed("runstore show --root others 2027") == ["show", "--root", "others", new]
    assert shell.completed("runstore show --root=others 2027") == ["show", "--root=others", new]
    assert shell.completed("runstore show 2027") == ["show", "2027"]
    shell.run("export RUNSTORE_ROOT=others")
    assert shell.completed("runstore show 2027") == ["show", new]


@every_shell
def test_directories_are_completed_by_the_shell(shell: Shell, folder: Path) -> None:
    (folder / "a folder").mkdir()
    assert shell.completed("runstore ls oth") == ["ls", "others"]
    assert shell.completed("runstore ls --root oth") == ["ls", "--root", "others"]
    assert shell.completed("runstore ls --root=oth") == ["ls", "--root=others"]
    assert shell.completed("runstore ls a") == ["ls", "a folder"]
    assert shell.completed("runstore show runs/20261119") == ["show", f"runs/{MNIST}"]
    assert shell.completed("runstore exec -- arguments argu")[-1] == "arguments.py"


@every_shell
def test_monitor_is_completed(shell: Shell) -> None:
    assert shell.completed("runstore-tui oth") == ["others"]
    assert shell.completed("runstore-tui --on") == ["--once"]
    assert shell.completed("runstore-tui --run 20261119") == ["--run", MNIST]
    words = shell.completed("runstore-tui others --once --run mni")
    assert words == ["others", "--once", "--run", "mnist"]


@every_shell
def test_several_are_shown_and_a_name_of_several_becomes_their_ids(shell: Shell) -> None:
    shell.offered("runstore show 202611", MNIST, OLD, NEW)
    shell.offered("runstore show digits", OLD, NEW)


@pytest.mark.parametrize("shell", SHELLS[1:], indirect=True)
def test_zsh_and_fish_tell_what_each_is(shell: Shell) -> None:
    shell.offered("runstore show 2026112", "2026-11-20 ", "2026-11-21 ")
    shell.offered("runstore s", "Show one run")


ODD = [
    "ab c",
    "bit's",
    "c$(touch pwned)",
    "y;touch pwned",
    "e:f=g h",
    "fo*",
    "gü-ö",
    "h~",
    "i#",
    'j"k',
    "k\\x",
    "w!bang",
    "x{a,b}",
    "n[z]",
    "o|touch pwned",
    "p&q",
    "q<r>",
    "r(s)",
    "s,t",
    "t?",
    "u^v",
    "v%w@x",
    "$HOME",
    "~root",
    "#hash",
    "*",
    "{1,2}",
    "!!",
    "(x)",
    ";y",
]


@every_shell
@pytest.mark.parametrize("quote", ["", "'", '"'], ids=["bare", "single", "double"])
def test_odd_names_become_one_word_that_runs_nothing(
    shell: Shell, folder: Path, quote: str
) -> None:
    for name in ODD:
        (folder / "runs" / name).mkdir()
        (folder / "runs" / name / "metrics.jsonl").write_text("{}\n")
    for name in ODD:
        begin = name[0] if name[0].isalnum() else f"\\{name[0]}"
        if quote and not (name[0].isalnum() and set(name) & set(" '\"$\\!*;")):
            continue  # inside of quotes the others are nothing special
        assert shell.completed(f"runstore show {quote}{begin}") == ["show", name]
    assert not (folder / "pwned").exists()


@every_shell
@pytest.mark.parametrize("root", ["missing", "file", "forbidden"])
def test_where_there_are_no_runs_nothing_is_said(shell: Shell, folder: Path, root: str) -> None:
    (folder / "file").write_text("")
    (folder / "forbidden").mkdir(mode=0)
    shell.run(f"export RUNSTORE_ROOT={root}")
    shell.press("runstore show abc\t")
    assert shell.completed("def") == ["show", "abcdef"]
    assert "Traceback" not in "\n".join(shell.lines())


@every_shell
def test_thousands_of_runs(shell: Shell, folder: Path, wait_until: WaitUntil) -> None:
    for number in range(20_000):
        (folder / "many" / f"20261120-{number:06d}-digits-22k3x7qa").mkdir(parents=True)
    words = shell.completed("runstore show --root many 20261120-0123")
    assert words == ["show", "--root", "many", "20261120-0123"]
    # A busy machine does not find all in the time that somebody waits: who presses again gets it.
    whole = "20261120-012345-digits-22k3x7qa"
    begin = "runstore show --root many 20261120-012345"
    wait_until(lambda: shell.completed(begin)[-1] == whole, 120)


def installation(shell: str) -> list[str]:
    """Return the lines that the help tells to run for a shell."""
    text = CliRunner().invoke(cli, ["completion", "--help"], env={"COLUMNS": "80"}).output
    (part,) = [part for part in text.split("\n\n") if part.strip().startswith(shell)]
    return [line.strip() for line in part.splitlines()[1:]]


@pytest.mark.parametrize("name", SHELLS)
def test_installed_as_the_help_says_it_is_there_in_a_new_shell(
    name: str, folder: Path, opened: ExitStack, wait_until: WaitUntil
) -> None:
    first = open_shell(opened, folder, START[name], wait_until, PREPARE[name])
    for line in installation(name):
        first.run(line)
    first.close()
    new = open_shell(opened, folder, [name, "-i"], wait_until, "true")
    assert new.completed("runstore-tui --run mni") == ["--run", "mnist"]
    assert new.completed("runstore show mni") == ["show", "mnist"]
