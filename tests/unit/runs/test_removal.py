"""Runs are removed: whole, only dead ones, and nothing that does not belong to them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import runstore
from runstore.cli import cli
from runstore.doctor import Doctor
from runstore.errors import RemovalError, RunStoreError
from runstore.runs.lookup import find
from runstore.runs.notes import add_note
from runstore.runs.removal import LEFT, contents, doomed, left_beside, remove
from runstore.runs.store import discover

PROGRAM = [sys.executable, "-m", "runstore.cli"]
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run_dir(root: Path) -> Path:
    return finished(root)


def finished(root: Path) -> Path:
    with runstore.init(root=root, name="old") as run:
        run.log({"loss": 1.0}, step=1)
    return run.path


def call(*arguments: str | Path, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["rm", *map(str, arguments)], input=answer)


def refusal(*arguments: str | Path) -> str:
    result = call("--yes", *arguments)
    assert isinstance(result.exception, RunStoreError), result.output
    assert "removed " not in result.stdout
    return str(result.exception)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


# ---- asking ------------------------------------------------------------------------------------


def test_it_tells_what_would_be_lost_and_asks(root: Path, run_dir: Path) -> None:
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "step-00000001-0001.pt").write_bytes(b"x" * 3_000_000)
    os.link(run_dir / "checkpoints" / "step-00000001-0001.pt", run_dir / "checkpoints" / "best.pt")
    (run_dir / "thesis.tex").write_text("mine")
    add_note(run_dir, "keep me")
    result = call("--root", root, "latest", answer="n\n")
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    for part in ("finished", "2.9 MiB", "1 checkpoint of 2.9 MiB", "1 note,", "thesis.tex"):
        assert part in told, part
    assert "Remove 1 run, 2.9 MiB, for good? [y/N]" in told
    assert (run_dir / "thesis.tex").exists()


def test_yes_removes_it_and_says_so(root: Path, run_dir: Path) -> None:
    result = call(run_dir, answer="y\n")
    assert (result.exit_code, result.stdout) == (0, f"removed {run_dir}\n")
    assert os.listdir(root) == []


def test_nobody_to_answer_is_no_yes(run_dir: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "rm", str(run_dir)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("runstore: nothing was removed: nobody answered")
    assert runstore.load(run_dir).status == "finished"


def test_several_runs_are_removed_once_each(root: Path) -> None:
    runs = [finished(root) for _ in range(3)]
    kept = finished(root)
    result = call("--yes", *runs, runs[0])
    assert result.stdout.count("removed ") == 3
    assert os.listdir(root) == [kept.name]


def test_one_that_is_refused_saves_the_others(root: Path, run_dir: Path) -> None:
    message = refusal("--root", root, run_dir, "nothing-like-it")
    assert "no run 'nothing-like-it'" in message
    assert "none of the others was removed either" in message
    assert run_dir.is_dir()


# ---- what is refused ---------------------------------------------------------------------------


@pytest.fixture
def live(root: Path) -> Iterator[Path]:
    code = (
        f"import runstore, time; run = runstore.init(root={str(root)!r}); "
        "print(run.path, flush=True); time.sleep(99)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    yield Path(process.stdout.readline().strip())
    process.kill()
    process.wait()
    process.stdout.close()


def test_live_run_is_never_removed(live: Path) -> None:
    for more in ([], ["--even-unknown"]):
        message = refusal(live, *more)
        assert "it is running" in message
        assert "requests/stop" in message
    assert (live / "run.json").exists()


def test_run_that_comes_alive_after_the_look_gets_its_name_back(root: Path, run_dir: Path) -> None:
    one = doomed(find(str(run_dir), root), root)
    with runstore.init(root=root, resume=run_dir):
        with pytest.raises(RemovalError, match="it is running"):
            remove(one)
        assert runstore.load(run_dir).status == "running"
    assert runstore.load(run_dir).status == "finished"
    assert list(left_beside([root])) == []


def test_run_of_which_nobody_knows_is_removed_only_on_request(root: Path, live: Path) -> None:
    copy = root / "20260101-000000-copy-aaaaaaaa"
    shutil.copytree(live, copy)
    assert "may be alive; --even-unknown removes it" in refusal(copy)
    assert copy.is_dir()
    assert call("--yes", "--even-unknown", copy).exit_code == 0
    assert not copy.exists()
    assert live.is_dir()


def test_planned_run_may_be_about_to_start(root: Path) -> None:
    planned = root / "20260101-000000-planned-aaaaaaaa"
    planned.mkdir(parents=True)
    document = {"format": 1, "id": planned.name, "name": "", "created": 1.0, "params": {}}
    (planned / "run.json").write_text(json.dumps(document))
    assert "it is planned" in refusal(planned)
    assert call("--yes", "--even-unknown", planned).exit_code == 0


def test_link_to_a_run_is_no_run(root: Path, run_dir: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(run_dir)
    assert "is a link to" in refusal(link)
    behind = tmp_path / "other"
    behind.mkdir()
    (behind / "team").symlink_to(root)
    assert "links are not followed" in refusal("--root", behind, run_dir.name)
    assert "links are not followed" in refusal("--root", behind, behind / "team" / run_dir.name)
    assert run_dir.is_dir()


def test_root_may_be_a_link(root: Path, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").symlink_to(root)
    assert call("--yes", "--root", tmp_path / "scratch", "latest").exit_code == 0
    assert not run_dir.exists()


def test_what_links_in_a_run_lead_to_stays(run_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "dear.bin").write_bytes(b"x" * 5_000_000)
    (run_dir / "data").symlink_to(data)
    (run_dir / "dear.bin").symlink_to(data / "dear.bin")
    assert contents(run_dir).size_bytes < 1_000_000
    assert call("--yes", run_dir).exit_code == 0
    assert (data / "dear.bin").stat().st_size == 5_000_000


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"metrics.jsonl": '{"step":1}\n'}, "a run of jsonl"),
        ({"run.json": '{"name":"of some other tool"}'}, "nothing in it says"),
        ({"run.json": '{"format":1,"id":"x"}', ".git/HEAD": "ref"}, "it has a .git"),
        ({"notes.txt": "mine"}, "no run"),
        ({}, "no run"),
    ],
)
def test_directory_that_is_no_run_of_ours_is_refused(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    for name, text in files.items():
        file = tmp_path / "x" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "x").mkdir(exist_ok=True)
    if not files:
        # An empty directory is a run only by its name.
        result = call("--yes", tmp_path / "x")
        assert isinstance(result.exception, RunStoreError)
    else:
        assert told in refusal(tmp_path / "x")
    assert (tmp_path / "x").is_dir()


def test_directory_called_like_a_run_that_holds_other_things_is_refused(root: Path) -> None:
    odd = root / "20260101-000000-odd-aaaaaaaa"
    odd.mkdir(parents=True)
    (odd / "thesis.tex").write_text("mine")
    assert "nothing in it says" in refusal("--even-unknown", odd)
    (odd / "thesis.tex").unlink()
    (odd / ".run.json.1-2.tmp").write_text("")
    assert call("--yes", "--even-unknown", odd).exit_code == 0


def test_folder_of_runs_is_refused(root: Path, run_dir: Path) -> None:
    assert "is no run; 1 run below it" in refusal(root)
    assert run_dir.is_dir()


def test_current_directory_is_not_removed_from_below(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_dir)
    assert "the current directory is in it" in refusal(run_dir)


def test_newer_format_is_refused(run_dir: Path) -> None:
    document = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps({**document, "format": 2}))
    assert "format 2" in refusal(run_dir)


@as_user
def test_directory_that_may_not_be_written_loses_nothing(root: Path, run_dir: Path) -> None:
    root.chmod(0o555)
    try:
        assert "permission denied" in refusal(run_dir)
        assert runstore.load(run_dir).status == "finished"
    finally:
        root.chmod(0o755)


# ---- killed in the middle ----------------------------------------------------------------------


def left_by_a_kill(root: Path, run_dir: Path) -> Path | None:
    """Kill a removal as soon as it has begun; return what it left, if it was not too quick."""
    aside = root / f"{LEFT}{run_dir.name}"
    command = [*PROGRAM, "rm", "--yes", str(run_dir)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not aside.exists() and process.poll() is None and time.monotonic() < deadline:
            pass
        process.send_signal(signal.SIGKILL)
    return aside if aside.exists() else None


def test_removal_that_is_killed_leaves_nothing_that_passes_for_a_run(root: Path) -> None:
    kept = finished(root)
    left: Path | None = None
    for _ in range(5):
        run_dir = finished(root)
        (run_dir / "samples").mkdir()
        for number in range(5000):
            (run_dir / "samples" / f"{number}.png").touch()
        left = left_by_a_kill(root, run_dir)
        assert not run_dir.exists()
        if left is not None:
            break
    assert left is not None, "the removal was never killed in the middle"
    assert [ref.path for ref in discover([root])] == [kept]
    doctor = Doctor(root)
    list(doctor.examine())
    assert [one.file for one in doctor.about_root() if one.code == "left_removal"] == [str(left)]
    second = finished(root)
    result = call("--yes", second)
    assert f"{left} is left of a removal that was interrupted" in result.stderr.replace("\n", "")
    assert call("--yes", left).exit_code == 0
    assert os.listdir(root) == [kept.name]


def test_name_that_an_earlier_removal_has_left_is_not_used_again(root: Path, run_dir: Path) -> None:
    one = doomed(find(str(run_dir), root), root)
    aside = root / f"{LEFT}{run_dir.name}"
    aside.mkdir()
    (aside / "of-an-earlier-one").touch()
    remove(one)
    assert os.listdir(root) == [aside.name]
    assert os.listdir(aside) == ["of-an-earlier-one"]


def test_left_directory_is_no_place_for_a_link(root: Path, run_dir: Path, tmp_path: Path) -> None:
    (root / f"{LEFT}x").symlink_to(tmp_path)
    assert list(left_beside([root])) == []
    assert isinstance(call("--yes", root / f"{LEFT}x").exception, RunStoreError)
    assert tmp_path.is_dir()
