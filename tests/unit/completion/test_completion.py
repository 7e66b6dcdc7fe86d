"""What may become of the beginning of a run's name, and what the shells' scripts are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from runstore import tui_launcher
from runstore.cli import COMMANDS, cli
from runstore.completion.candidates import MOST, run_candidates
from runstore.completion.parameters import Directory, RunName
from runstore.errors import RunStoreError
from runstore.numbers import local_time
from runstore.runs.lookup import find
from tests.conftest import WithinCpuS

OLD, NEW = "20261120-141502-digits-22k3x7qa", "20261121-141502-digits-22k3x7qb"
ONCE = "20261122-000000-mnist-large-22k3x7qc"


def make_runs(root: Path, *names: str) -> None:
    """Make directories that are runs by their names."""
    for name in names:
        (root / name).mkdir(parents=True)


def make_plain_run(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text('{"step":1}\n')


def words(typed: str, root: Path) -> list[str]:
    return [one.value for one in run_candidates(typed, root, answer_s=60)]


# ---- candidates --------------------------------------------------------------------------------


def test_nothing_typed_offers_latest_and_all_ids_newest_first(tmp_path: Path) -> None:
    make_runs(tmp_path, OLD, ONCE, NEW)
    assert words("", tmp_path) == ["latest", ONCE, NEW, OLD]


def test_about_tells_when_a_run_was_made_and_what_latest_is(tmp_path: Path) -> None:
    make_runs(tmp_path, OLD, "20269999-999999-22k3x7qd")
    about = {one.value: one.about for one in run_candidates("", tmp_path)}
    assert about[OLD] == local_time(datetime(2026, 11, 20, 14, 15, 2, tzinfo=UTC).timestamp())
    assert about["20269999-999999-22k3x7qd"] == ""
    assert about["latest"] == "20269999-999999-22k3x7qd"


def test_name_of_one_run_is_offered_with_its_id(tmp_path: Path) -> None:
    make_runs(tmp_path, OLD, ONCE)
    (one,) = run_candidates("mni", tmp_path)
    assert (one.value, one.about) == ("mnist-large", ONCE)


def test_name_of_several_runs_becomes_their_ids_once_it_is_there(tmp_path: Path) -> None:
    make_runs(tmp_path, OLD, ONCE, NEW)
    (one,) = run_candidates("dig", tmp_path)
    assert (one.value, one.about) == ("digits", "2 runs")
    assert words("digits", tmp_path) == [NEW, OLD]


def test_what_nothing_begins_with_is_looked_for_inside_of_ids(tmp_path: Path) -> None:
    make_runs(tmp_path, OLD, ONCE, NEW)
    assert words("LARGE", tmp_path) == [ONCE]
    assert words("22k3x7qa", tmp_path) == [OLD]
    assert words("nowhere", tmp_path) == []


def test_every_word_means_the_run_that_it_stands_for(tmp_path: Path) -> None:
    """Copies in two folders, a nested run, a name with a dash in front, and plain lines."""
    make_runs(tmp_path, f"a/{OLD}", f"b/{OLD}", f"sweep/{NEW}", ONCE)
    make_plain_run(tmp_path / "by-hand")
    make_plain_run(tmp_path / "-dash")
    offered = words("", tmp_path)
    assert len(offered) == 7
    found = {find(word, tmp_path).path for word in offered}
    places = (f"a/{OLD}", f"b/{OLD}", f"sweep/{NEW}", ONCE, "by-hand", "-dash")
    assert found == {tmp_path / place for place in places}


def test_path_below_the_root_is_offered_when_a_folder_is_typed(tmp_path: Path) -> None:
    make_runs(tmp_path, f"sweep/{NEW}", f"other/{OLD}")
    assert words("sweep/2", tmp_path) == [f"sweep/{NEW}"]


@pytest.mark.parametrize(
    "name", ["a\nb", "a\tb", "a\x1b[2J", b"a\xff", "a\u202eb", "a`touch x`", "a\x7f"]
)
def test_name_that_is_not_safe_on_a_command_line_is_not_offered(
    tmp_path: Path, name: str | bytes
) -> None:
    make_plain_run(tmp_path / os.fsdecode(name))
    make_plain_run(tmp_path / "ab")
    assert words("a", tmp_path) == ["ab"]


def test_many_runs_are_cut_but_what_all_begin_with_stays(tmp_path: Path) -> None:
    make_runs(tmp_path, *(f"2026112{day}-{n:06d}-22k3x7qa" for day in (0, 1) for n in range(MOST)))
    offered = words("202", tmp_path)
    assert len(offered) == MOST + 1
    assert offered[0] == f"20261121-{MOST - 1:06d}-22k3x7qa"
    assert {word[:8] for word in offered} == {"20261120", "20261121"}
    # Whatever is typed further leads to any of them.
    assert words("20261120-000123", tmp_path) == ["20261120-000123-22k3x7qa"]


def test_twenty_thousand_runs_are_quick(tmp_path: Path, within_cpu_s: WithinCpuS) -> None:
    make_runs(tmp_path, *(f"20261120-{n:06d}-digits-22k3x7qa" for n in range(20_000)))
    with within_cpu_s(5):
        assert len(run_candidates("", tmp_path, answer_s=60)) >= MOST


@pytest.mark.parametrize("root", ["missing", "file", "file/below", "forbidden"])
def test_root_that_cannot_be_searched_offers_nothing(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "forbidden").mkdir(mode=0)
    assert words("", tmp_path / root) == []
    with pytest.raises(RunStoreError):
        find("x", tmp_path / root)


def test_root_that_is_itself_a_run_offers_it(tmp_path: Path) -> None:
    make_plain_run(tmp_path / "by-hand")
    assert words("by", tmp_path / "by-hand") == ["by-hand"]


# ---- the commands ------------------------------------------------------------------------------


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {f"runstore {name}": cli.get_command(context, name) for name in COMMANDS}
    return {name: one for name, one in found.items() if one} | {"tui": tui_launcher.command}


@pytest.mark.parametrize("name", commands())
def test_words_of_a_command_that_are_runs_or_roots_are_completed(name: str) -> None:
    for param in commands()[name].params:
        if param.name in ("run", "runs") or param.opts == ["--run"]:
            assert isinstance(param.type, RunName), param.name
        if param.name in ("root", "roots", "where"):
            own = getattr(param, "_custom_shell_complete", None)
            assert own or isinstance(param.type, Directory), param.name


def test_some_commands_take_runs() -> None:
    taking = [
        n for n, c in commands().items() if any(isinstance(p.type, RunName) for p in c.params)
    ]
    expected = {f"runstore {name}" for name in ("cat", "export", "resume", "show", "tail")}
    assert expected | {"tui"} <= set(taking)


# ---- what the scripts are told -----------------------------------------------------------------


def answer(
    *typed: str, shell: str = "zsh", cwd: Path | None = None, program: str = "cli", **env: str
) -> list[list[str]]:
    """Ask as a shell's script does; return the answer's fields."""
    module = {"cli": "runstore.cli", "tui": "runstore.tui_launcher"}[program]
    asking = {f"_RUNSTORE{one}_COMPLETE": f"{shell}_complete" for one in ("", "_TUI")}
    done = subprocess.run(
        [sys.executable, "-m", module, *typed],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **asking, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with `./runs` and `./others`."""
    make_runs(tmp_path / "runs", OLD)
    make_runs(tmp_path / "others", NEW)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "variable", "expected"),
    [
        (["show", "20"], "", OLD),
        (["show", "20"], "others", NEW),
        (["show", "--root", "others", "20"], "runs", NEW),
        (["show", "--root=others", "20"], "", NEW),
        (["export", OLD, "20"], "", OLD),
        (["cat", "--root", "~/../others", "20"], "", NEW),
    ],
)
def test_root_is_the_one_typed_else_the_variable_else_runs(
    here: Path, typed: list[str], variable: str, expected: str
) -> None:
    (here / "home").mkdir()
    said = answer(*typed, cwd=here, HOME=str(here / "home"), RUNSTORE_ROOT=variable)
    assert [item[:2] for item in said] == [["run", expected]]


def test_monitor_looks_for_runs_below_its_root(here: Path) -> None:
    assert answer("others", "--run", "20", cwd=here, program="tui")[0][1] == NEW
    assert answer("--once", "--run", "20", cwd=here, program="tui")[0][1] == OLD
    assert answer("oth", cwd=here, program="tui") == [["dir", "oth", ""]]


def test_other_words_are_what_the_command_takes(here: Path) -> None:
    assert ["plain", "show"] in [item[:2] for item in answer("s", cwd=here)]
    assert [item[1] for item in answer("cat", OLD, "e", cwd=here)] == ["events", "epochs", "exec"]
    assert ["plain", "--json"] in [item[:2] for item in answer("show", "--j", cwd=here)]
    assert answer("exec", "--", "py", cwd=here) == [["command", "py", ""]]
    assert answer("exec", "--", "python", "tr", cwd=here) == [["file", "tr", ""]]
    assert answer("show", "./", cwd=here) == [["dir", "./", ""]]


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("runstore show a", "a", "ab\\ c:d=e"),
        ("runstore show 'ab c", "'ab c", "ab c:d=e"),
        ('runstore show "ab c', '"ab c', "ab c:d=e"),
        ("runstore show ab\\ c", "ab\\ c", "ab\\ c:d=e"),
        ("runstore show ab\\ c:", "", "d=e"),  # bash's word begins behind the colon
        ("runstore show ab\\ c:d=", "", "e"),
        ("runstore show ab\\ c:d", "dxxx", "d=e"),  # the cursor is inside of the word
        ("runstore show --root=runs a", "a", "ab\\ c:d=e"),
        ("runstore show a'b c", "a'b c", "b c:d=e"),  # from the quote on
        ("runstore show 'a'b", "'a'b", "ab\\ c:d=e"),
    ],
)
def test_bash_gets_what_it_will_put_in_the_place_of_its_word(
    tmp_path: Path, line: str, word: str, expected: str
) -> None:
    make_plain_run(tmp_path / "runs" / "ab c:d=e")
    assert answer(line, word, shell="bash", cwd=tmp_path) == [["run", expected]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_commands_imports_none_of_them(shell: str) -> None:
    code = "import sys; from runstore.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *(["runstore s", "s"] if shell == "bash" else ["s"])],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "_RUNSTORE_COMPLETE": f"{shell}_complete",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "plain\tshow" in done.stdout
    assert "runstore.cli.show" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_printed_by_the_command_and_in_clicks_way(shell: str) -> None:
    own = subprocess.run(
        [sys.executable, "-m", "runstore.cli", "completion", shell], capture_output=True, check=True
    )
    clicks = subprocess.run(
        [sys.executable, "-m", "runstore.cli"],
        env={**os.environ, "_RUNSTORE_COMPLETE": f"{shell}_source"},
        capture_output=True,
        check=True,
    )
    assert own.stdout == clicks.stdout
    assert b"_RUNSTORE_TUI_COMPLETE" in own.stdout


@pytest.mark.needs_tool("shellcheck")
def test_script_for_bash_passes_shellcheck(tool: Callable[[str], str], repo_root: Path) -> None:
    path = repo_root / "runstore" / "completion" / "runstore.bash"
    subprocess.run([tool("shellcheck"), "--shell=bash", str(path)], check=True)
