"""`--help` is a manual page: complete, true, and as wide as a terminal."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from runstore import tui_launcher
from runstore.cli import COMMANDS, cli
from runstore.cli import MANUAL as OF_ALL
from runstore.cli.manual import CONTEXT, Manual, ManualCommand

NAMES = [*(f"runstore {name}" for name in COMMANDS), "runstore-tui"]
CONTEXT_OF_COMMANDS: dict[str, Any] = {"show_default": CONTEXT["show_default"]}
HAVE_NONE = ("--help", "--version", "--fs", "--wait")
"""Options that are a mode of their own."""
PUNCTUATION = set("|&;<>()")


def command_of(name: str) -> click.Command:
    program, _, command = name.partition(" ")
    if program == "runstore-tui":
        return tui_launcher.command
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return found


def manual_of(name: str) -> Manual:
    command = command_of(name)
    assert isinstance(command, ManualCommand)
    return command.manual


def page_of(name: str) -> str:
    program, *arguments = name.split()
    of = tui_launcher.command if program == "runstore-tui" else cli
    result = CliRunner().invoke(
        of, [*arguments, "--help"], prog_name=program, env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0
    return result.stdout


def our_calls(line: str) -> Iterator[list[str]]:
    """Yield the words of each call of our programs in a line for a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    calls = [
        list(group)
        for is_word, group in itertools.groupby(words, lambda w: not set(w) <= PUNCTUATION)
        if is_word
    ]
    for call in calls:
        programs = [at for at, word in enumerate(call) if word in ("runstore", "runstore-tui")]
        if programs:
            yield call[programs[0] :]


@pytest.mark.parametrize("name", ["runstore", *NAMES])
def test_page_fits_a_terminal_and_ends_with_its_sections(name: str) -> None:
    page = page_of(name)
    assert max(map(len, page.splitlines())) <= 80
    titles = [line for line in page.splitlines() if line and not line.startswith(" ")]
    assert titles[-1] == "See also:"
    assert "Exit status:" in titles
    assert name == "runstore" or "Examples:" in titles


@pytest.mark.parametrize("name", NAMES)
def test_each_option_says_what_it_does_and_its_default(name: str) -> None:
    command = command_of(name)
    context = click.Context(command, **CONTEXT_OF_COMMANDS)
    for param in command.params:
        if not isinstance(param, click.Option) or param.hidden or param.opts[0] in HAVE_NONE:
            continue
        assert param.help, param.opts
        _, told = param.get_help_record(context) or ("", "")
        shown = "[default: " in told or "[required]" in told
        assert shown or param.is_flag or param.multiple, (param.opts, told)


@pytest.mark.parametrize("name", NAMES)
def test_help_has_its_short_name_also_without_a_group(name: str) -> None:
    command = command_of(name)
    assert command.get_help_option_names(click.Context(command)) == ["-h", "--help"]


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_a_line_that_the_program_takes(name: str) -> None:
    lines = manual_of(name).examples.values()
    calls = [call for line in lines for call in our_calls(line)]
    assert any(" ".join(call).startswith(name) for call in calls)
    for program, *arguments in calls:
        if program == "runstore-tui":
            tui_launcher.command.make_context(program, arguments)
            continue
        context = cli.make_context(program, arguments)
        own, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        command.make_context(own, rest, parent=context)


@pytest.mark.parametrize("name", NAMES)
def test_variables_that_give_options_are_listed(name: str) -> None:
    read = {
        str(param.envvar)
        for param in command_of(name).params
        if isinstance(param, click.Option) and param.envvar
    }
    assert read <= set(manual_of(name).variables)


@pytest.mark.parametrize("manual", [OF_ALL, *map(manual_of, NAMES)])
def test_what_it_says_to_see_is_there(manual: Manual, repo_root: Path) -> None:
    for see in manual.see:
        name = see.partition(" --")[0]
        is_ours = name in ("runstore", "runstore COMMAND", *NAMES)
        is_page = name.startswith("docs/") and (repo_root / name).exists()
        assert is_ours or is_page or name.endswith("(1)"), see


def test_list_of_commands_is_printed_without_importing_any() -> None:
    """`runstore --help` stays quick, however many commands there are."""
    code = (
        "import sys; sys.argv = ['runstore', '--help']\n"
        "from runstore.cli import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "See also:" in done.stdout
    loaded = {name for name in done.stderr.split() if name.startswith("runstore.")}
    assert loaded == {"runstore.cli", "runstore.errors", "runstore.cli.manual", "runstore.text"}
