"""The journal: every run as one would have written it down, and lines that can be run again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import runstore
from runstore.cli import cli
from runstore.errors import RunStoreError
from runstore.journal.journal import since_when
from runstore.runs.notes import add_note
from runstore.runs.tagging import change_tags
from runstore.text import command_line
from tests.faults.payloads import FORBIDDEN, PAYLOAD

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

NOW = 1_795_000_000.0
PROGRAM = [sys.executable, "-m", "runstore.cli"]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def journal(*arguments: str | Path) -> str:
    result = call("journal", *arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def write(
    root: Path, number: int = 0, *, command: Sequence[object] = ("python", "x.py"), **facts: Any
) -> Path:
    """Write a finished run of format 1 as anybody may; each `number` is a day later."""
    created = NOW + number * 86_400
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created))
    run = root / f"{stamp}-run-aaaaaa{'abcdefgh'[number]}a"
    run.mkdir(parents=True)
    known = {"format": 1, "id": run.name, "name": "run", "created": created, "params": {}}
    document = {**known, "tags": [], "command": list(command), "cwd": "/there", **facts}
    (run / "run.json").write_text(json.dumps(document))
    events = [
        {"event": "open", "time": created, "format": 1, "attempt": 1},
        {"event": "end", "time": created + 90, "status": "finished"},
    ]
    (run / "events-0001.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in events))
    return run


def commands(text: str) -> list[str]:
    """Return the lines that are no comments."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


# ---- what an entry says ------------------------------------------------------------------------


def test_entry_has_all_that_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--name", "two words"])
    params = {"lr": 0.1, "opt": {"name": "adam"}}
    with runstore.init(params, root=tmp_path, name="digits", tags=["t1"]) as run:
        for epoch in run.epochs(3):
            for _ in run.train(range(2)):
                run.track(loss=1.0)
            for _ in run.val(range(1)):
                run.track(loss=1 / epoch)
    change_tags(run.path, add=["paper"])
    add_note(run.path, "first line\n\tsecond")
    first, outcome, about, *others, line = journal(tmp_path).splitlines()
    day = datetime.now().strftime("%Y-%m-%d")
    assert re.fullmatch(rf"# {day} \d\d:\d\d  {re.escape(run.path.name)}", first)
    assert re.fullmatch(r"# finished after [\d.]+s, epoch 3/3, best val/loss 0\.3333 @3", outcome)
    assert about == "# lr=0.1 opt.name=adam  tags: t1, paper"
    assert others[-2].endswith(": first line")
    assert others[-2].startswith(f"# note {day}")
    assert others[-1] == "#    second"
    assert any(re.search(r"host \S+$", other) for other in others)
    assert line == "python train.py --name 'two words'"


def test_newest_run_is_the_last_whatever_the_folder(tmp_path: Path) -> None:
    for number, folder in enumerate(("b", "a/sweep", ".", "c")):
        write(tmp_path / folder, number, command=["run", str(number)], cwd=str(Path.cwd()))
    text = journal(tmp_path)
    assert commands(text) == [f"run {number}" for number in range(4)]
    assert f"  a/sweep/{(tmp_path / 'a/sweep').iterdir().__next__().name}" in text


def test_place_of_a_run_in_the_journal_is_how_commands_find_it(tmp_path: Path) -> None:
    run = write(tmp_path / "sweep")
    place = journal(tmp_path).splitlines()[0].split("  ")[1]
    assert json.loads(call("show", "--root", tmp_path, place, "--json").stdout)["id"] == run.name


def test_failed_run_says_why_and_when(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), runstore.init(root=tmp_path) as run:
        run.log({"loss": 2.0}, step=7)
        raise ValueError("boom")
    outcome = journal(tmp_path).splitlines()[1]
    assert re.fullmatch(
        r"# failed after [\d.]+s, step 7, loss 2\.0000: .*ValueError: boom", outcome
    )


def test_live_run_is_running_for_some_time(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        run.log({"loss": 2.0}, step=7)
        assert "# running for " in journal(tmp_path)


def test_resumed_run_shows_its_newest_command_where_it_is_another_one(tmp_path: Path) -> None:
    run = write(tmp_path, command=["python", "x.py"])
    opening = {"event": "open", "time": NOW + 100, "format": 1, "attempt": 2, "cuts": {}}
    ended = {"event": "end", "time": NOW + 200, "status": "finished"}
    for command, expected in ((["python", "x.py"], False), (["python", "x.py", "--more"], True)):
        lines = [{**opening, "command": command}, ended]
        (run / "events-0002.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
        text = journal(tmp_path)
        assert "2 attempts" in text
        assert ("# newest attempt: python x.py --more" in text) is expected


def test_commit_says_whether_there_is_a_patch(tmp_path: Path) -> None:
    git = {"commit": "c0ffee" * 6 + "beef", "branch": "main", "dirty": True, "untracked": 0}
    run = write(tmp_path, git=git, host="gpu01")
    assert "# commit c0ffeec0ff on main  host gpu01" in journal(tmp_path)
    (run / "patch.diff").write_text("diff --git a/x b/x\n")
    assert "# commit c0ffeec0ff +patch on main  host gpu01" in journal(tmp_path)


def test_other_tools_runs_are_there_as_far_as_they_tell(tmp_path: Path) -> None:
    write(tmp_path)
    plain = tmp_path / "by-hand"
    plain.mkdir()
    (plain / "metrics.jsonl").write_text('{"step":1,"loss":2}\n')
    newest = journal(tmp_path).split("\n\n")[-1].splitlines()
    assert newest[0].endswith("  by-hand  (jsonl)")
    assert newest[0].startswith("# before 2")
    assert newest[1:] == [
        "# unknown, step 1, loss 2.0000: " + newest[1].partition(": ")[2],
        "# no command on record",
    ]


def test_scripts_of_wandb_and_mlflow_are_lines_for_python(repo_root: Path) -> None:
    foreign = repo_root / "tests" / "fixtures" / "foreign"
    assert "\npython /home/user/train.py features\n" in journal(foreign / "wandb")
    lines = journal(foreign / "mlflow").splitlines()
    scripts = [number for number, line in enumerate(lines) if line == "python train.py"]
    assert scripts
    told = "# without its arguments, which are not on record:"
    assert {lines[number - 1] for number in scripts} == {told}


def test_run_without_a_document_or_without_anything(tmp_path: Path) -> None:
    (tmp_path / "20261120-120000-empty-aaaaaaaa").mkdir()
    run = write(tmp_path)
    (run / "run.json").unlink()
    assert journal(tmp_path).count("# no command on record") == 2


def test_command_of_a_long_document_is_not_lost(tmp_path: Path) -> None:
    write(tmp_path, command=["python", "long.py"], params={f"p{n}": "x" * 99 for n in range(900)})
    text = journal(tmp_path)
    assert "python long.py" in text
    assert "and 840 more" in text


def test_notes_of_many_lines_are_comments_all_of_them(tmp_path: Path) -> None:
    run = write(tmp_path)
    add_note(run, "one\n\nrm -rf /\n# three\r\nfour" + "\nmore" * 100)
    text = journal(tmp_path)
    assert len(commands(text)) == 1
    assert "#   rm -rf /" in text
    assert "more lines" in text


# ---- lines to run again ------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_command_line_is_one_harmless_line(arguments: list[str]) -> None:
    line = command_line(arguments)
    assert line.isprintable() or not any(char in line for char in FORBIDDEN)
    assert "\n" not in line


@pytest.mark.needs_tool("bash")
def test_command_of_exec_is_a_run_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "runstore").write_text(f'#!/bin/sh\nexec {command_line(PROGRAM)} "$@"\n')
    (tmp_path / "bin" / "runstore").chmod(0o755)
    env = environment() | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    first = ["runstore", "exec", "--name", "a b", "--tag", "-t", "--", "sh", "-c", "echo 'x y'"]
    subprocess.run(first, cwd=tmp_path, env=env, check=True, capture_output=True)
    (line,) = commands(journal(tmp_path / "runs"))
    done = subprocess.run(["bash", "-c", line], env=env, check=True, capture_output=True, text=True)
    assert done.stdout == "x y\n"
    runs = runstore.load_all(tmp_path / "runs")
    assert [(run.name, run.tags, run.status) for run in runs] == [("a b", ["-t"], "finished")] * 2


@pytest.mark.needs_tool("bash")
def test_line_gives_bash_the_words_that_were_given(tmp_path: Path) -> None:
    words = [
        *("plain", "two words", "", "it's", 'a"b', "$HOME `id` $(id)", "!!", "*", "~", "#x", "<a>"),
        *(
            "a\nb'c\\n\\",
            "\t",
            "\x1b]0;t\x07",
            "\x7f",
            "é☃",
            "\u202e",
            "\x85\u2028",
            "-n",
            "=",
            "\\",
        ),
    ]
    where = tmp_path / "odd 'dir'\n"
    where.mkdir()
    show = "import sys,os,json;print(json.dumps([os.getcwd(),sys.argv[1:]]))"
    write(tmp_path / "runs", command=[sys.executable, "-c", show, *words], cwd=str(where))
    (line,) = commands(journal(tmp_path / "runs"))
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, check=True)
    assert json.loads(done.stdout) == [str(where), words]


def test_command_of_this_directory_has_no_cd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, cwd=str(tmp_path))
    assert commands(journal(tmp_path)) == [f"(cd {tmp_path} && python x.py)"]
    monkeypatch.chdir(tmp_path)
    assert commands(journal(tmp_path)) == ["python x.py"]


def test_command_without_its_secrets_is_a_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "x.py", "--api-key", "planted-h7Kq2xW9"])
    with runstore.init(root=tmp_path):
        pass
    text = journal(tmp_path)
    assert commands(text) == []
    assert "# secrets were taken out of the command:" in text
    assert "x.py --api-key '<redacted>'" in text
    assert "planted" not in text
    assert json.loads(journal(tmp_path, "--json"))[0]["command_redacted"] is True


def test_hostile_run_adds_no_line_of_its_own(tmp_path: Path) -> None:
    attack = f"{PAYLOAD}\nrm -rf /\n"
    root = tmp_path / "runs"
    run = write(root, command=[attack, attack], cwd=f"/{attack}", name=attack, host=attack)
    document = json.loads((run / "run.json").read_text())
    git = {"commit": attack, "branch": attack, "remote": attack, "prefix": attack}
    attacked = {**document, "tags": [attack], "params": {attack: attack}, "git": git, "id": attack}
    (run / "run.json").write_text(json.dumps(attacked))
    (run / "notes").mkdir()
    note = {"time": NOW, "text": attack, "user": attack, "host": attack}
    (run / "notes" / "20261120-120000-aaaaaaaa.json").write_text(json.dumps(note))
    run.rename(root / attack.replace("/", "|").replace("\0", ""))
    for form in ([], ["--markdown"]):
        text = journal(root, *form)
        assert not [char for char in FORBIDDEN if char in text.replace("\n", "")]
        assert not [line for line in text.splitlines() if line.startswith("rm ")]
    assert len(commands(journal(root))) == 1


# ---- which runs --------------------------------------------------------------------------------


def test_last_and_since_and_filter_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for number in range(5):
        tags = ["even"] if number % 2 == 0 else []
        write(tmp_path, number, command=[str(number)], params={"lr": number / 10}, tags=tags)
    day = time.strftime("%Y-%m-%d", time.gmtime(NOW + 3 * 86_400))

    def chosen(*options: str) -> str:
        found = json.loads(journal(tmp_path, "--json", *options))
        return "".join(entry["command"][0] for entry in found)

    assert chosen() == "01234"
    assert chosen("--last", "2") == "34"
    assert chosen("--last", "99") == "01234"
    assert chosen("--since", day) == "34"
    assert chosen("--since", f"{day} 23:59") == "4"
    assert chosen("--filter", "tag:even") == "024"
    assert chosen("--filter", "lr>0.15", "--last", "1") == "4"
    assert chosen("--filter", "tag:even", "--last", "2", "--since", day) == "4"
    assert chosen("--since", "2030-01-01") == ""
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ago_s"),
    [("30m", 1800), ("5 min", 300), ("12h", 43_200), ("7d", 604_800), ("2W", 1_209_600)],
)
def test_time_that_is_so_long_ago(text: str, ago_s: float) -> None:
    assert since_when(text, NOW) == NOW - ago_s


def test_times_of_the_calendar_are_local() -> None:
    today = since_when("today", NOW)
    assert datetime.fromtimestamp(today).strftime("%H:%M:%S") == "00:00:00"
    assert 0 <= NOW - today < 90_000
    assert 80_000 < today - since_when("yesterday", NOW) < 95_000
    assert since_when("2026-11-20", NOW) == datetime(2026, 11, 20).timestamp()
    assert since_when("2026-11-20 14:15", NOW) == datetime(2026, 11, 20, 14, 15).timestamp()
    assert since_when("2026-11-20T14:15:00+00:00", NOW) == 1_795_184_100


@pytest.mark.parametrize("text", ["", "soon", "-1d", "2026-13-01", "7", "99999999d"])
def test_what_is_no_time_is_wrong_usage(tmp_path: Path, text: str) -> None:
    result = call("journal", tmp_path, "--since", text)
    assert result.exit_code == 2
    assert "is no time; expected 7d" in result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--filter", "lr>"], "a value is missing after lr>"),
        (["--filter", '"'], "is not closed"),
        (["--last", "0"], "is not in the range"),
        (["--json", "--markdown"], "one or the other"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, options: list[str], told: str) -> None:
    result = call("journal", tmp_path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_root_without_runs_is_told_and_one_that_is_not_there_refused(tmp_path: Path) -> None:
    result = call("journal", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no runs in" in result.stderr
    assert json.loads(journal(tmp_path, "--json")) == []
    assert isinstance(call("journal", tmp_path / "none").exception, RunStoreError)


def test_first_lines_come_before_the_last_run_is_read(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Its pipe stops it when that is full, with most of the runs not read yet."""
    for number in range(8):
        write(tmp_path / str(number), number, params={"long": "x" * 60_000})
    command = [*PROGRAM, "journal", "--json", str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"[\n"
        # Seven more entries do not fit into the pipe, so it cannot have come to its end.
        assert process.poll() is None
        process.stdout.close()
        wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0


# ---- other forms -------------------------------------------------------------------------------


def test_markdown_has_a_heading_for_each_day_and_a_block_for_each_command(tmp_path: Path) -> None:
    first = write(tmp_path, 0, params={"a_b": "<x>"})
    write(tmp_path, 1)
    add_note(first, "*not* emphasis\nsecond")
    text = journal(tmp_path, "--markdown")
    assert len(re.findall(r"^## \d{4}-\d\d-\d\d$", text, re.MULTILINE)) == 2
    assert text.count("```sh\n(cd /there && python x.py)\n```") == 2
    assert "a_b=&lt;x&gt;" in text
    assert r"\*not\* emphasis" in text


def test_json_has_the_facts_as_they_are(tmp_path: Path) -> None:
    run = write(tmp_path, user="ada", host="gpu01", params={"lr": 0.1})
    add_note(run, "hm", now=NOW)
    (entry,) = json.loads(journal(tmp_path, "--json"))
    assert entry["command"] == ["python", "x.py"]
    assert entry["line"] == "(cd /there && python x.py)"
    assert (entry["user"], entry["host"], entry["cwd"]) == ("ada", "gpu01", "/there")
    assert (entry["duration_s"], entry["params"]) == (90.0, {"lr": 0.1})
    assert [(note["time"], note["text"]) for note in entry["notes"]] == [(NOW, "hm")]
    assert (entry["commit"], entry["patch"], entry["dirty"]) == (None, None, False)


# ---- runstore note -----------------------------------------------------------------------------


def test_note_command_writes_what_is_given(tmp_path: Path) -> None:
    run = write(tmp_path)
    done = call("note", run, "better", "than", "before")
    assert Path(done.stdout.strip()).parent == run / "notes"
    result = CliRunner().invoke(cli, ["note", str(run), "-"], input="from\na pipe\n")
    assert result.exit_code == 0
    assert [note.text for note in runstore.load(run).notes] == [
        "better than before",
        "from\na pipe",
    ]
    shown = call("show", run).stdout
    assert ": better than before" in shown
    assert len(json.loads(call("show", run, "--json").stdout)["notes"]) == 2


@pytest.mark.needs_tool("script")
def test_note_is_written_in_the_users_editor(tmp_path: Path) -> None:
    run = write(tmp_path)
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\ncat "$1" > "$0.saw"\nsleep 0.01\n'
        '{ echo "# of an editor"; cat "$1"; } > "$1.new"; mv "$1.new" "$1"\n'
    )
    editor.chmod(0o755)
    line = command_line([*PROGRAM, "note", run])
    env = {**environment(), "VISUAL": str(editor)}
    subprocess.run(["script", "-qec", line, "/dev/null"], env=env, check=True, capture_output=True)
    assert [note.text for note in runstore.load(run).notes] == ["# of an editor"]
    assert run.name in (tmp_path / "editor.saw").read_text()


@pytest.mark.needs_tool("script")
def test_editor_that_saves_nothing_writes_no_note(tmp_path: Path) -> None:
    run = write(tmp_path)
    line = command_line([*PROGRAM, "note", run])
    env = {**environment(), "VISUAL": "true"}
    done = subprocess.run(["script", "-qec", line, "/dev/null"], env=env, capture_output=True)
    assert done.returncode == 1
    assert b"no note was written" in done.stdout
    assert not (run / "notes").exists()


@pytest.mark.parametrize("words", [[], ["-"], ["  "]])
def test_note_of_nothing_is_refused_in_one_line(tmp_path: Path, words: list[str]) -> None:
    run = write(tmp_path)
    done = subprocess.run(
        [*PROGRAM, "note", str(run), *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert not (run / "notes").exists()


def test_cell_of_a_sweep_says_when_its_command_alone_lacks_its_parameters(tmp_path: Path) -> None:
    """What `{NAME}` put into the command is there; what only RUNSTORE_PARAMS has is not."""
    script = "import runstore; runstore.init().finish()"
    sweep = [*PROGRAM, "sweep", "--root", "runs", "--grid", "lr=0.5", "seed=1"]
    for name, words in (("whole", ["{lr}", "--seed={seed}"]), ("handed", ["{lr}"])):
        command = [sys.executable, "-c", script, *words]
        subprocess.run(
            [*sweep, "--name", name, "--", *command],
            cwd=tmp_path,
            env=environment(),
            check=True,
            capture_output=True,
        )
    whole, handed = (
        journal(
            "--root", tmp_path / "runs", "--filter", "handed/" if name == "handed" else "whole/"
        )
        for name in ("whole", "handed")
    )
    assert "launcher" not in whole
    (told,) = [line for line in handed.splitlines() if "launcher" in line]
    again = told.partition("with them: ")[2]
    assert again.startswith("runstore reproduce ")
    printed = call(*again.split()[1:]).stdout
    assert 'RUNSTORE_PARAMS=\'{"lr":0.5,"seed":1}\'' in printed
