"""`runstore sweep` as it is typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import runstore
from runstore.cli.manual import Manual
from runstore.cli.sweep import command as sweep_command
from runstore.cli.words import WORDS, WordsCommand

ROOT = Path(__file__).resolve().parents[3]
RUNSTORE = (sys.executable, "-m", "runstore.cli")
TRAINING = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int)
args = parser.parse_args()
if args.lr == 3:
    raise SystemExit("three is too much")
for step in range(1, args.epochs + 1):
    print(json.dumps({"step": step, "loss": args.lr / step}))
"""
COMMAND = ("--", sys.executable, "train.py", "--lr", "{lr}", "--epochs", "{n}")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAINING)
    return tmp_path


def sweep(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    given = {"capture_output": True, "text": True, "check": False, **options}
    return subprocess.run([*RUNSTORE, "sweep", *words], **given)


def statuses(here: Path) -> dict[str, str]:
    folders = (path.parent for path in here.glob("runs/*/*/run.json"))
    return {folder.name: runstore.load(folder).status for folder in folders}


# ---- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "grids", "zips", "rest"),
    [
        ("--grid a=1 --grid b=2", [("a=1",), ("b=2",)], [], []),
        ("--grid a=1 b=2 -- c=3", [("a=1", "b=2")], [], ["c=3"]),
        ("--zip a=1 b=2 --zip c=3 -- x", [], [("a=1", "b=2"), ("c=3",)], ["x"]),
        ("--zip a=1 b=2 --grid c=3 python d=4", [("c=3",)], [("a=1", "b=2")], ["python", "d=4"]),
        ("--grid=a=1 python", [("a=1",)], [], ["python"]),
        ("--grid a python", [("a",)], [], ["python"]),
        ("-- --grid a=1", [], [], ["--grid", "a=1"]),
    ],
)
def test_option_takes_the_assignments_behind_it(
    words: str, grids: list[Any], zips: list[Any], rest: list[str]
) -> None:
    found: dict[str, Any] = {}

    @click.command(
        cls=WordsCommand,
        manual=Manual(statuses={}, see=()),
        context_settings={"allow_interspersed_args": False},
    )
    @click.option("--grid", type=WORDS, multiple=True)
    @click.option("--zip", type=WORDS, multiple=True)
    @click.argument("rest", nargs=-1)
    def command(**given: Any) -> None:
        found.update(given)

    command.main(words.split(), standalone_mode=False)
    assert [list(found[name]) for name in ("grid", "zip", "rest")] == [grids, zips, rest]


def test_option_without_a_word_is_refused() -> None:
    assert "'--grid' requires an argument" in sweep("--grid").stderr


# ---- the plan ------------------------------------------------------------------------------------


def test_dry_run_shows_the_plan_and_writes_nothing(here: Path) -> None:
    done = sweep("--grid", "lr=0.1,0.2", "n=1..2", "--dry-run", "--jobs", "3", *COMMAND)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("sweep runs/train-")
    assert lines[0].endswith(": 4 to run")
    assert lines[1] == f"3 at a time: {sys.executable} train.py --lr {{lr}} --epochs {{n}}"
    assert [line.split() for line in lines[3:]] == [
        ["DO", "CELL", "STATUS"],
        ["run", "lr=0.1,n=1", "planned:", "new"],
        ["run", "lr=0.1,n=2", "planned:", "new"],
        ["run", "lr=0.2,n=1", "planned:", "new"],
        ["run", "lr=0.2,n=2", "planned:", "new"],
    ]
    assert os.listdir(here) == ["train.py"]


def test_long_plan_is_cut_unless_it_is_all_that_was_asked_for(here: Path) -> None:
    call = ("--grid", "lr=1..100", "--name", "x", "--", "no-such-program", "{lr}")
    assert "… and 60 more (--dry-run shows all)" in sweep(*call).stdout
    assert "lr=100" in sweep("--dry-run", *call).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--grid", "lr=1", "--", "x", "{lrr}"], "unknown placeholder {lrr} in '{lrr}' of the"),
        (["--grid", "lr", "--", "x"], "'lr' is no NAME=VALUE,…, such as lr=1e-3,1e-4"),
        (["--zip", "a=1,2", "b=1", "--", "x"], "must be equally many: a has 2, b has 1"),
        (["--grid", "lr=1"], "no command; give it behind --"),
        (["--", "x"], "no cells; give --grid"),
        (["--name", "none"], "runs/none is no sweep: it has no sweep.json"),
        (["--search", "lr=x", "--trials", "2", "--metric", "a:min", "--", "x"], "lr=x: expected"),
        (["--search", "lr=int:1..2", "--", "x"], "a search needs --trials N and --metric"),
        (["--search", "lr=int:1..2", "--grid", "a=1", "--", "x"], "a search and a grid: give one"),
        (["--grid", "a=0..1000", "b=0..1000", "--", "x"], "that makes 1,002,001 cells"),
    ],
)
def test_bad_input_is_one_line_and_status_2(here: Path, words: list[str], told: str) -> None:
    done = sweep(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("runstore: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(here) == ["train.py"]


def test_program_that_is_not_there_is_told_before_anything_is_written(here: Path) -> None:
    done = sweep("--grid", "a=1", "--", "no-such-program", "{a}")
    assert (done.returncode, done.stderr) == (127, "runstore: no-such-program: command not found\n")
    done = sweep("--grid", "a=1", "--", "./train.py", "{a}")
    assert (done.returncode, done.stderr) == (126, "runstore: ./train.py: permission denied\n")
    assert os.listdir(here) == ["train.py"]


def test_file_that_is_not_there_is_told(here: Path) -> None:
    done = sweep("--file", "none.toml")
    assert (done.returncode, done.stderr) == (1, "runstore: none.toml: No such file or directory\n")


def test_root_that_cannot_be_written_is_one_line(here: Path) -> None:
    (here / "runs").touch()
    done = sweep("--grid", "lr=1", "n=1", *COMMAND)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "runs" in done.stderr


# ---- running -------------------------------------------------------------------------------------


def test_sweep_runs_each_cell_once_and_again_what_failed(here: Path) -> None:
    call = ("--grid", "lr=1..3", "--grid", "n=2", "--jobs", "2")
    done = sweep(*call, *COMMAND)
    assert done.returncode == 1
    assert statuses(here) == {"lr=1,n=2": "finished", "lr=2,n=2": "finished", "lr=3,n=2": "failed"}
    assert "lr=3,n=2 failed" in done.stderr
    assert "exit status 1 (three is too much)" in done.stderr
    assert "2 of 3 cells have finished; on: runstore sweep --name train-" in done.stderr
    assert runstore.load(next(here.glob("runs/*/lr=2,n=2"))).metrics()[-1]["loss"] == 1.0

    again = sweep(*call, *COMMAND)
    assert again.returncode == 1
    assert "–   lr=3,n=2  failed: exit status 1" in again.stdout
    assert "(--retry starts those again that have failed)" in again.stdout
    assert "started" not in again.stderr
    # What is told as the way on is one: the call without it starts nothing.
    assert done.stderr.endswith(" --retry\n")
    assert again.stderr.endswith(" --retry\n")

    (here / "train.py").write_text(TRAINING.replace("args.lr == 3", "False"))
    retried = sweep("--retry", *call, *COMMAND)
    assert retried.returncode == 0, retried.stderr
    assert set(statuses(here).values()) == {"finished"}
    assert len(list(here.glob("runs/*"))) == 1
    assert sweep(*call, *COMMAND).returncode == 0


def test_time_between_attempts_is_not_the_cell_s(here: Path) -> None:
    call = ("--name", "a", "--grid", "x=1", "--", "test", "-e", "there")
    assert sweep(*call).returncode == 1
    # As if that had been yesterday: the time that is left is estimated from what a cell took.
    document = here / "runs/a/x=1/run.json"
    info = json.loads(document.read_text())
    document.write_text(json.dumps({**info, "created": info["created"] - 86_400}))
    for file in here.glob("runs/a/x=1/exec-*.jsonl"):
        events = [json.loads(line) for line in file.read_text().splitlines()]
        for event in events:
            event["time"] -= 86_400
        file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    (here / "there").touch()
    done = sweep("--retry", *call)
    assert "x=1 finished after" in done.stderr
    assert not re.search(r"finished after \S*[dhm]", done.stderr), done.stderr


def test_named_sweep_grows_and_goes_on_by_its_name(here: Path) -> None:
    assert sweep("--name", "my lr", "--grid", "lr=1", "n=1", *COMMAND).returncode == 0
    done = sweep("--name", "my lr", "--grid", "lr=1,2", "n=1", *COMMAND)
    assert done.stdout.startswith("sweep runs/my-lr: 1 to run, 1 finished\n")
    assert done.returncode == 0
    assert sweep("--name", "my lr").stdout.startswith("sweep runs/my-lr: 2 finished\n")
    other = sweep("--name", "my lr", "--grid", "lr=1", "n=1", "--", "true", "--lr", "{lr}")
    assert other.returncode == 2
    assert "is the sweep of another command" in other.stderr
    assert "not true --lr '{lr}')" in other.stderr


def test_file_says_the_whole_sweep(here: Path) -> None:
    (here / "sweep.toml").write_text(
        f'name = "whole"\ncommand = ["{sys.executable}", "train.py", "--lr={{lr}}", "--epochs=1"]\n'
        "[grid]\nlr = [0.5, 0.25]\n"
    )
    done = sweep("--file", "sweep.toml", "--grid", "lr=0.125")
    assert done.returncode == 0, done.stderr
    assert statuses(here) == {"lr=0.125": "finished"}


def test_parameters_without_a_placeholder_are_handed_over(here: Path) -> None:
    (here / "train.py").write_text(
        "import runstore\n"
        "with runstore.init({'lr': 1, 'kept': 2}) as run:\n"
        "    assert run.params == {'lr': [8, 32], 'name': 'a b', 'kept': 2}, run.params\n"
    )
    call = ("--grid", "lr=[8,32]", "name=a b", "--", sys.executable, "train.py")
    done = sweep(*call)
    assert done.returncode == 0, done.stderr
    assert list(statuses(here).values()) == ["finished"]


def test_cells_share_the_cores(here: Path) -> None:
    (here / "train.py").write_text(
        "import json, os\n"
        "path = os.environ['RUNSTORE_RUN'] + '/threads'\n"
        "open(path, 'w').write(json.dumps(os.environ.get('OMP_NUM_THREADS')))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment |= {"CUDA_VISIBLE_DEVICES": ""}
    call = ("--jobs", "9", "--", sys.executable, "train.py")
    sweep("--name", "one", "--grid", "a=1", *call, env=environment)
    sweep("--name", "two", "--grid", "a=1,2", *call, env=environment)
    environment["OMP_NUM_THREADS"] = "7"
    sweep("--name", "own", "--grid", "a=1,2", *call, env=environment)
    found = {p.parent.parent.name: json.loads(p.read_text()) for p in here.glob("runs/*/*/threads")}
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert found == {"one": None, "two": str(share), "own": "7"}


def test_tab_offers_options_and_leaves_names_to_the_user() -> None:
    context = sweep_command.make_context("sweep", [], resilient_parsing=True)
    offered = {item.value for item in sweep_command.shell_complete(context, "--")}
    assert {"--grid", "--zip", "--file", "--search", "--jobs", "--retry"} <= offered


def test_ls_takes_a_sweep_by_its_name_and_a_directory_as_it_is_typed(here: Path) -> None:
    assert sweep("--name", "grid", "--grid", "x=1,2", "--plan-only", "--", "true").returncode == 0

    def listed(*words: str) -> list[str]:
        told = subprocess.run([*RUNSTORE, "ls", "--json", *words], capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return sorted(run["id"] for run in json.loads(told.stdout))

    assert listed("grid") == listed("runs/grid") == ["x=1", "x=2"]
    assert listed("grid", "--root", "runs") == ["x=1", "x=2"]
    (here / "grid").mkdir()
    assert listed("grid") == []
    absent = subprocess.run([*RUNSTORE, "ls", "other"], capture_output=True, text=True)
    assert absent.returncode == 1
    assert len(absent.stderr.splitlines()) == 1
