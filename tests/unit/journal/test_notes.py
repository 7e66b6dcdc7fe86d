"""Notes of a run: added by anybody at any time, read back whole and safe to print."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runstore
from runstore.errors import NotWritableError, RunStoreError
from runstore.files.limits import NOTE_TEXT_BYTES, NOTES_KEPT
from runstore.files.paths import id_order
from runstore.runs.notes import Notes, add_note, read_notes

as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with runstore.init(root=tmp_path / "runs", name="noted") as run:
        run.log({"loss": 1.0}, step=1)
    return run.path


def test_notes_come_back_in_the_order_of_writing(run_dir: Path) -> None:
    for second in (0.0, 0.25, 7.0):
        path = add_note(run_dir, f"  at {second}\nß ☃ ", now=1_795_000_000.0 + second)
        assert path.parent == run_dir / "notes"
    found = read_notes(run_dir)
    assert [note.text for note in found.notes] == [f"at {s}\nß ☃" for s in (0.0, 0.25, 7.0)]
    assert found.notes[0].time == 1_795_000_000.0
    assert found.notes[0].user and found.notes[0].host
    assert (found.problems, found.left_out) == ((), 0)


def test_run_without_notes_has_none(run_dir: Path) -> None:
    assert read_notes(run_dir) == Notes()
    assert read_notes(run_dir / "gone") == Notes()


@pytest.mark.parametrize("text", ["", " \n\t ", "x" * (NOTE_TEXT_BYTES + 1), "ß" * 40_000])
def test_note_of_nothing_or_of_too_much_is_refused_and_leaves_nothing(
    run_dir: Path, text: str
) -> None:
    with pytest.raises(RunStoreError, match=r"nothing was written|the most is 65,536"):
        add_note(run_dir, text)
    assert not (run_dir / "notes").exists()


def test_longest_note_of_the_dearest_characters_comes_back(run_dir: Path) -> None:
    add_note(run_dir, "\x01" * NOTE_TEXT_BYTES)
    assert read_notes(run_dir).notes[0].text == r"\x01" * NOTE_TEXT_BYTES


def test_run_of_another_tool_takes_no_note(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,loss\n0,1,0.125\n")
    with pytest.raises(RunStoreError, match="a run of csv") as refused:
        add_note(tmp_path, "hello")
    assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == ["metrics.csv"]
    with pytest.raises(NotWritableError, match="No such file"):
        add_note(tmp_path / "gone", "hello")


def test_link_in_place_of_the_folder_leads_nowhere(run_dir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text('{"time": 1.0, "text": "secret"}')
    (run_dir / "notes").symlink_to(outside)
    with pytest.raises(NotWritableError, match="symbolic link") as refused:
        add_note(run_dir, "hello")
    assert refused.value.strerror == "a symbolic link, not a directory"
    assert read_notes(run_dir) == Notes(problems=("notes: not a directory",))
    assert os.listdir(outside) == ["secret.json"]


@as_user
def test_directory_that_may_not_be_written_gives_one_clear_line(run_dir: Path) -> None:
    run_dir.chmod(0o555)
    try:
        with pytest.raises(NotWritableError, match="a note cannot be written there") as refused:
            add_note(run_dir, "hello")
    finally:
        run_dir.chmod(0o755)
    assert "\n" not in str(refused.value)


def test_what_is_no_note_is_named_and_the_others_are_read(run_dir: Path, tmp_path: Path) -> None:
    good = add_note(run_dir, "good")
    folder = good.parent
    (folder / "a.json").write_text("{")
    (folder / "b\x1b[31m.json").write_text('{"text": 1}')
    (folder / "c.json").symlink_to(good)
    os.mkfifo(folder / "d.json")
    (folder / ".half.json").write_text("{")
    (folder / "readme.txt").write_text("not for us")
    (folder / "e.json").write_text('{"text": "t\\u001b[2J", "user": 5, "time": "now"}')
    found = read_notes(run_dir)
    assert {(note.text, note.user, note.time) for note in found.notes} >= {
        (r"t\x1b[2J", "", None),
    }
    assert len(found.notes) == 2
    told = "\n".join(found.problems)
    assert len(found.problems) == 4
    assert r"notes/b\x1b[31m.json: its 'text' is no text" in told
    assert "c.json: a symbolic link" in told
    assert "d.json: not a regular file" in told


def test_of_very_many_the_newest_are_read(run_dir: Path) -> None:
    folder = run_dir / "notes"
    folder.mkdir()
    for number in range(NOTES_KEPT + 5):
        name = f"20261129-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}-aaaaaa.json"
        (folder / name).write_text(json.dumps({"time": float(number), "text": str(number)}))
    found = read_notes(run_dir)
    assert found.left_out == 5
    assert [note.time for note in found.notes] == [float(n) for n in range(5, NOTES_KEPT + 5)]


def test_many_writers_at_once_lose_nothing(run_dir: Path) -> None:
    script = "import sys, pathlib; from runstore.runs.notes import add_note\n"
    script += "for i in range(20): add_note(pathlib.Path(sys.argv[1]), f'{sys.argv[2]} {i}')"
    there = [subprocess.Popen([sys.executable, "-c", script, run_dir, str(n)]) for n in range(3)]
    here = [threading.Thread(target=add_note, args=(run_dir, f"thread {n}")) for n in range(8)]
    for thread in here:
        thread.start()
    for thread in here:
        thread.join()
    assert [process.wait() for process in there] == [0, 0, 0]
    texts = {note.text for note in read_notes(run_dir).notes}
    assert texts == {f"{n} {i}" for n in range(3) for i in range(20)} | {
        f"thread {n}" for n in range(8)
    }


def test_second_look_reads_only_what_came_since(run_dir: Path) -> None:
    first = add_note(run_dir, "one", now=1_795_000_000)
    known = read_notes(run_dir)
    add_note(run_dir, "two", now=1_795_000_001)
    first.write_text("damaged, and not looked at")
    assert [note.text for note in read_notes(run_dir, known).notes] == ["one", "two"]
    first.unlink()
    assert [note.text for note in read_notes(run_dir, known).notes] == ["two"]


def test_names_sort_by_time_as_those_of_runs_do(run_dir: Path) -> None:
    names = [add_note(run_dir, "x", now=1_795_000_000 + n / 100).stem for n in range(100)]
    assert sorted(names, key=id_order) == names


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "(No space left on device); free some space there"),
        (errno.EROFS, "(Read-only file system); it can be read only there"),
        (errno.EACCES, "(Permission denied); ask who owns the run"),
    ],
)
def test_what_to_do_depends_on_why_it_cannot_be_written(number: int, advice: str) -> None:
    problem = OSError(number, os.strerror(number))
    assert advice in str(NotWritableError(Path("runs/a"), "a note", problem))
