"""What was different between two runs, and one of them once more, from the same code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runstore.files.paths import looks_like_run_id
from runstore.journal.patches import differing_lines, file_patches

pytestmark = pytest.mark.needs_tool("git")

SCRIPT = """
import json, os, sys
import runstore

SCALE = 1
with runstore.init({"lr": float(sys.argv[1])}, root="runs", name="r") as run:
    run.log({"loss": SCALE}, step=1)
print(json.dumps([SCALE, sys.argv[1:], os.getcwd(), os.environ.get("PYTHONHASHSEED")]))
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a script in a folder, and one commit."""
    folder = tmp_path / "project"
    (folder / "exp").mkdir(parents=True)
    (folder / "exp" / "train.py").write_text(SCRIPT)
    (folder / "logo.bin").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("runs/\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "First")
    return folder


@pytest.fixture
def program(project: Path) -> Program:
    """Run `runstore` in the folder of the script."""

    def call(
        *arguments: str | Path, cwd: Path = project / "exp", **env: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runstore.cli", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False
        )

    return call


def train(project: Path, lr: str = "0.1", **env: str) -> Path:
    before = set(runs_of(project))
    command = [sys.executable, "train.py", lr]
    subprocess.run(
        command, cwd=project / "exp", env=environment(**env), check=True, capture_output=True
    )
    (made,) = set(runs_of(project)) - before
    return made


def runs_of(project: Path) -> list[Path]:
    root = project / "exp" / "runs"
    return sorted(root.iterdir()) if root.is_dir() else []


def edit(project: Path, old: str, new: str) -> None:
    script = project / "exp" / "train.py"
    script.write_text(script.read_text().replace(old, new))


def rewrite(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((run / "run.json").read_text())
    change(document)
    (run / "run.json").write_text(json.dumps(document))


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of a refusal."""
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    (line,) = done.stderr.splitlines()
    return line


# ---- reproduce: the recipe ---------------------------------------------------------------------


@pytest.mark.needs_tool("bash")
def test_recipe_brings_back_commit_patch_directory_command_and_seed(
    project: Path, program: Program, tmp_path: Path
) -> None:
    edit(project, "SCALE = 1", "SCALE = 2")
    run = train(project, "0.5", PYTHONHASHSEED="7")
    edit(project, "SCALE = 2", "SCALE = 3")
    git(project, "commit", "-q", "-am", "Another")
    edit(project, "SCALE = 3", "SCALE = 4")
    before = state_of(project)
    done = program("reproduce", run, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    repeated = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", done.stdout],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    commit = json.loads((run / "run.json").read_text())["git"]["commit"]
    there = tmp_path / f"project-{commit[:10]}" / "exp"
    assert json.loads(repeated.stdout.splitlines()[-1]) == [2, ["0.5"], str(there), "7"]
    assert len(list((there / "runs").iterdir())) == 1
    assert state_of(project) == before


def state_of(project: Path) -> list[str]:
    """Return what must not change: branch, index, working tree, runs."""
    return [
        git(project, "rev-parse", "HEAD"),
        git(project, "symbolic-ref", "HEAD"),
        git(project, "status", "--porcelain"),
        git(project, "diff"),
        *map(str, runs_of(project)),
    ]


def test_recipe_tells_what_it_ran_with_and_what_is_here(project: Path, program: Program) -> None:
    run = train(project)
    rewrite(run, lambda known: known.update(python="3.9.1", versions={"torch": "0.4"}))
    told = program("reproduce", run).stdout.splitlines()[1]
    here = ".".join(map(str, sys.version_info[:3]))
    assert f"with python 3.9.1 (here {here}), torch 0.4 (here " in told


def test_program_that_is_in_no_commit_is_taken_from_where_the_run_was(
    project: Path, program: Program, tmp_path: Path
) -> None:
    (project / "exp" / ".venv").mkdir()
    (project / "exp" / ".venv" / "python").symlink_to(sys.executable)
    run = train(project)
    rewrite(run, lambda known: known.update(command=[".venv/python", "train.py", "1"]))
    line = program("reproduce", run).stdout.splitlines()[-1]
    assert f"{project}/exp/.venv/python train.py 1" in line


def test_launched_run_gets_its_params_again(
    project: Path, program: Program, tmp_path: Path
) -> None:
    """A cell of a sweep: a launcher wrote run.json, with params that no command line has."""
    planned = project / "exp" / "runs" / "20260101-000000-cell-aaaaaaaa"
    planned.mkdir(parents=True)
    params = {"lr": 0.25, "width": 8}
    train_in(project, planned, params)
    rewrite(planned, lambda known: known.update(pid=1, params=params))
    done = program("reproduce", planned, "--into", tmp_path / "again", "--start")
    assert done.returncode == 0, done.stderr
    (again,) = (tmp_path / "again" / "exp" / "runs").iterdir()
    assert json.loads((again / "run.json").read_text())["params"] == params
    assert looks_like_run_id(again.name) and again.name != planned.name


def train_in(project: Path, run: Path, params: dict[str, Any]) -> None:
    env = environment(RUNSTORE_RUN=str(run), RUNSTORE_PARAMS=json.dumps(params))
    command = [sys.executable, "train.py", "0.1"]
    subprocess.run(command, cwd=project / "exp", env=env, check=True, capture_output=True)


# ---- reproduce: done ---------------------------------------------------------------------------


def test_into_makes_a_worktree_and_start_runs_the_command_in_it(
    project: Path, program: Program, tmp_path: Path
) -> None:
    edit(project, "SCALE = 1", "SCALE = 2")
    run = train(project)
    before = state_of(project)
    done = program("reproduce", run, "--into", "../../again", "--start")
    again = tmp_path / "again"
    assert json.loads(done.stdout) == [2, ["0.1"], str(again / "exp"), None]
    assert state_of(project) == before
    (take_away,) = [line for line in done.stderr.splitlines() if "take it away: " in line]
    subprocess.run(shlex.split(take_away.partition("take it away: ")[2]), check=True)
    assert not again.exists()


def test_into_alone_makes_the_code_and_prints_the_command(
    project: Path, program: Program, tmp_path: Path
) -> None:
    done = program("reproduce", train(project), "--into", tmp_path / "again")
    assert done.stdout.startswith(f"cd {tmp_path}/again/exp && ")
    assert not (tmp_path / "again" / "exp" / "runs").exists()


def test_command_of_exec_is_a_run_again(project: Path, program: Program, tmp_path: Path) -> None:
    assert program("exec", "--name", "plain", "--", "sh", "-c", "exit 3").returncode == 3
    done = program("reproduce", "latest", "--into", tmp_path / "again", "--start")
    assert done.returncode == 3
    (again,) = (tmp_path / "again" / "exp" / "runs").iterdir()
    assert json.loads((again / "run.json").read_text())["name"] == "plain"


def test_exit_status_is_that_of_the_command(
    project: Path, program: Program, tmp_path: Path
) -> None:
    run = train(project)
    rewrite(run, lambda known: known.update(command=["sh", "-c", "exit 7"]))
    assert program("reproduce", run, "--into", tmp_path / "a", "--start").returncode == 7
    rewrite(run, lambda known: known.update(command=["no-such-program"]))
    done = program("reproduce", run, "--into", tmp_path / "b", "--start")
    assert done.returncode == 1
    assert "no-such-program: cannot be started" in done.stderr.splitlines()[-1]


def test_hook_of_the_repository_is_not_run(project: Path, program: Program, tmp_path: Path) -> None:
    hook = project / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    assert program("reproduce", train(project), "--into", tmp_path / "again").returncode == 0
    assert not (tmp_path / "hooked").exists()


@pytest.mark.parametrize("place", ["inside", ".", "../exp/x", "../../there", "../../no/such"])
def test_directory_that_is_none_of_its_own_is_refused(
    project: Path, program: Program, tmp_path: Path, place: str
) -> None:
    (tmp_path / "there").mkdir()
    run = train(project)
    before = state_of(project)
    line = one_line(program("reproduce", run, "--into", place))
    assert any(why in line for why in ("is left alone", "is there already", "no such directory"))
    assert state_of(project) == before


def test_patch_that_does_not_apply_leaves_nothing(
    project: Path, program: Program, tmp_path: Path
) -> None:
    edit(project, "SCALE = 1", "SCALE = 2")
    run = train(project)
    patch = run / "patch.diff"
    patch.write_text(patch.read_text().replace("SCALE = 1", "SCALE = 9"))
    line = one_line(program("reproduce", run, "--into", tmp_path / "again"))
    assert "patch.diff does not apply to its commit" in line
    assert not (tmp_path / "again").exists()
    assert git(project, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize("target", ["../outside", "/outside", ".git/config", "exp/../../x"])
def test_patch_writes_nothing_outside_of_the_new_directory(
    project: Path, program: Program, tmp_path: Path, target: str
) -> None:
    run = train(project)
    new = f"diff --git a/{target} b/{target}\nnew file mode 100644\n--- /dev/null\n+++ b/{target}\n"
    (run / "patch.diff").write_text(f"{new}@@ -0,0 +1 @@\n+owned\n")
    before = (project / ".git" / "config").read_text()
    line = one_line(program("reproduce", run, "--into", tmp_path / "again"))
    assert "does not apply" in line
    assert (project / ".git" / "config").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]


# ---- reproduce: what is missing ----------------------------------------------------------------


def missing(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = done.stderr.splitlines()
    told = [line.removeprefix("runstore: missing: ") for line in lines]
    comments = [line for line in done.stdout.splitlines() if line.startswith("# missing: ")]
    assert [line.removeprefix("# missing: ") for line in comments] == told
    return told


def test_run_outside_of_git_has_a_command_and_no_code(tmp_path: Path, program: Program) -> None:
    (tmp_path / "plain" / "exp").mkdir(parents=True)
    (tmp_path / "plain" / "exp" / "train.py").write_text(SCRIPT)
    run = train(tmp_path / "plain")
    done = program("reproduce", run)
    assert done.returncode == 1
    assert missing(done)[0].startswith("no commit is on record")
    assert all(line.startswith("#") for line in done.stdout.splitlines())
    assert "train.py 0.1" in done.stdout
    line = one_line(program("reproduce", run, "--into", tmp_path / "again", "--anyway"))
    assert "no commit is on record" in line


def test_commit_that_is_not_there_is_named_with_where_it_may_be(
    project: Path, program: Program, tmp_path: Path
) -> None:
    run = train(project)
    commit = "c0ffee" * 6 + "beef"
    remote = "https://example.org/x.git"
    rewrite(run, lambda known: known["git"].update(commit=commit, remote=remote))
    done = program("reproduce", run)
    assert done.returncode == 1
    (told,) = missing(done)
    assert told == (
        f"commit c0ffeec0ff is not in {project}/exp: name a clone of {remote} that has it with "
        "--repo, or fetch it"
    )
    assert not [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert "c0ffeec0ff is not in" in one_line(program("reproduce", run, "--into", tmp_path / "x"))


def test_clone_that_has_the_commit_is_named(
    project: Path, program: Program, tmp_path: Path
) -> None:
    run = train(project)
    shutil.move(run, tmp_path / run.name)
    git(tmp_path, "clone", "-q", str(project), "clone")
    shutil.rmtree(project)
    run = tmp_path / run.name
    assert program("reproduce", run, cwd=tmp_path).returncode == 1
    assert program("reproduce", run, cwd=tmp_path / "clone").returncode == 0
    done = program("reproduce", run, "--repo", "clone", "--into", "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / "exp" / "train.py").exists()
    line = one_line(program("reproduce", run, "--repo", ".", cwd=tmp_path))
    assert "no git repository; --repo names a checkout or a clone" in line


def test_checkout_of_another_user_that_git_does_not_trust_is_told(
    project: Path, program: Program
) -> None:
    """As one that is mounted into a container."""
    # What git's own tests say for it: to give files away needs root.
    others = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    told = f"git does not trust {project}, which belongs to another user; to let it: git config "
    run = train(project)
    (line,) = missing(program("reproduce", run, **others))
    assert told in line
    assert f"--add safe.directory {project}" in line
    assert told in one_line(program("reproduce", run, "--repo", project, **others))

    second = train(project, **others)
    assert json.loads((second / "run.json").read_text())["git"] is None
    events = map(json.loads, (second / "events-0001.jsonl").read_text().splitlines())
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert warning.startswith("the commit and its changes are not on record: git does not trust")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("patch_truncated", "was cut at 1 MiB"),
        ("patch_redacted", "secrets were taken out of patch"),
    ],
)
def test_patch_that_is_not_whole_is_applied_only_anyway(
    project: Path, program: Program, tmp_path: Path, key: str, told: str
) -> None:
    edit(project, "SCALE = 1", "SCALE = 2")
    run = train(project)
    rewrite(run, lambda known: known["git"].update({key: True}))
    done = program("reproduce", run)
    assert done.returncode == 1
    assert told in missing(done)[0]
    line = one_line(program("reproduce", run, "--into", tmp_path / "again"))
    assert told in line and "--anyway goes on without" in line
    assert not (tmp_path / "again").exists()
    done = program("reproduce", run, "--into", tmp_path / "again", "--anyway")
    assert done.returncode == 0
    applied = "SCALE = 2" in (tmp_path / "again" / "exp" / "train.py").read_text()
    # The last file of a patch that was cut may be half of it.
    assert applied is (key == "patch_redacted")


def test_changed_binary_file_is_named_and_the_rest_applied_anyway(
    project: Path, program: Program, tmp_path: Path
) -> None:
    edit(project, "SCALE = 1", "SCALE = 2")
    (project / "logo.bin").write_bytes(bytes(reversed(range(256))))
    run = train(project)
    assert "content of changed binary files: logo.bin" in missing(program("reproduce", run))[0]
    done = program("reproduce", run, "--into", tmp_path / "again", "--anyway")
    assert done.returncode == 0, done.stderr
    assert "SCALE = 2" in (tmp_path / "again" / "exp" / "train.py").read_text()


def test_files_that_git_did_not_track_are_told_and_no_reason_to_refuse(
    project: Path, program: Program
) -> None:
    (project / "exp" / "local.py").write_text("")
    done = program("reproduce", train(project))
    assert done.returncode == 0
    (told,) = missing(done)
    assert told.startswith("1 entry of the checkout that git did not track")


def test_patch_that_was_deleted_is_missed(project: Path, program: Program) -> None:
    edit(project, "SCALE = 1", "SCALE = 2")
    run = train(project)
    (run / "patch.diff").unlink()
    assert "patch.diff is not there" in missing(program("reproduce", run))[0]


def test_command_without_its_secrets_is_not_started(
    project: Path, program: Program, tmp_path: Path
) -> None:
    run = train(project)
    command = ["python", "train.py", "--token", "<redacted>"]
    rewrite(run, lambda known: known.update(command=command, command_redacted=True))
    done = program("reproduce", run)
    assert done.returncode == 1
    assert "secrets were taken out of the command" in missing(done)[0]
    assert done.stdout.splitlines()[-1].startswith("# cd ")
    line = one_line(program("reproduce", run, "--into", tmp_path / "again", "--start"))
    assert "secrets were taken out of the command" in line
    assert not (tmp_path / "again").exists()
    assert program("reproduce", run, "--into", tmp_path / "again").returncode == 0


@pytest.mark.parametrize("prefix", ["../../..", "/etc", "x/../../.."])
def test_directory_on_record_leads_nowhere_else(
    project: Path, program: Program, prefix: str
) -> None:
    run = train(project)
    rewrite(run, lambda known: known["git"].update(prefix=prefix))
    done = program("reproduce", run)
    assert prefix not in done.stdout
    assert "is not on record: its top is taken" in done.stdout


@pytest.mark.parametrize("settings", ["noprefix", "mnemonicPrefix", "relative"])
def test_patch_applies_whatever_the_users_settings_of_git(
    project: Path, program: Program, tmp_path: Path, settings: str
) -> None:
    git(project, "config", f"diff.{settings}", "true")
    edit(project, "SCALE = 1", "SCALE = 2")
    done = program("reproduce", train(project), "--into", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "SCALE = 2" in (tmp_path / "again" / "exp" / "train.py").read_text()


def test_start_needs_a_place(project: Path, program: Program) -> None:
    done = program("reproduce", train(project), "--start")
    assert done.returncode == 2
    assert "--start goes with --into DIR" in done.stderr


# ---- diff --------------------------------------------------------------------------------------


def test_diff_tells_params_variables_commits_and_patches_apart(
    project: Path, program: Program
) -> None:
    first = train(project, "0.1", PYTHONHASHSEED="1")
    git(project, "commit", "-q", "--allow-empty", "-m", "Second")
    edit(project, "SCALE = 1", "SCALE = 2")
    second = train(project, "0.2")
    printed = program("diff", first, second).stdout
    assert [line.split() for line in printed.splitlines() if line.startswith("  lr")] == [
        ["lr", "0.1", "0.2"]
    ]
    assert [line.split() for line in printed.splitlines() if line.startswith("  $")] == [
        ["$PYTHONHASHSEED", "1", "–"]
    ]
    assert "commits of B alone\n  " in printed and " Second\n" in printed
    assert "commits of A alone" not in printed
    assert "++SCALE = 2" in printed
    found = json.loads(program("diff", second, first, "--json").stdout)
    assert found["params"] == {"lr": [0.2, 0.1]}
    assert [commit["subject"] for commit in found["commits"][0]] == ["Second"]
    assert found["commits"][1] == []
    assert found["code"]["patch"][1] is None


def test_diff_of_equal_runs_says_so(project: Path, program: Program) -> None:
    done = program("diff", train(project), train(project))
    assert done.returncode == 0
    assert "nothing that is on record differs" in done.stderr


def test_diff_of_a_run_with_itself_is_refused(project: Path, program: Program) -> None:
    run = train(project)
    assert "are the same run" in one_line(
        program("diff", run, f"../exp/runs/{run.name}/../{run.name}")
    )


# ---- patches -----------------------------------------------------------------------------------


def part(name: str, *lines: str) -> bytes:
    head = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n"
    return (head + "".join(f"{line}\n" for line in lines)).encode()


def test_patch_falls_into_its_files_and_headers_inside_of_hunks_are_none() -> None:
    first, second = part("a b.py", "-x", "+diff --git a/no b/no"), part("c/d", "+y")
    parts = file_patches(b"junk\n" + first + second)
    assert [one.data for one in parts] == [first, second]
    assert [one.name for one in parts] == ["a b.py", "c/d"]
    assert file_patches(b"") == []


def test_equal_files_are_left_out_of_a_diff_of_patches() -> None:
    same = part("same.py", "-x", "+y")
    one = same + part("a.py", "-lr", "+lr 1")
    other = same + part("a.py", "-lr", "+lr 2")
    lines = list(differing_lines(one, other, ("A", "B")))
    assert lines[:2] == ["--- A", "+++ B"]
    assert [line for line in lines if line.startswith(("++", "-+"))][1:] == ["-+lr 1", "++lr 2"]
    assert not any("same.py" in line for line in lines)


def test_long_files_are_told_apart_without_comparing_them() -> None:
    one, other = (part("big", *(f"+{sign}{n}" for n in range(3000))) for sign in "ab")
    lines = list(differing_lines(one, other, ("A", "B")))
    assert lines[2:] == ["# diff --git a/big b/big: differs; too long to be compared here"]
