"""What the user finds again, and that no file of state ever does harm."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tui.remembered import MOST_SETS, Memory
from tui.session import Session


def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runstore" / "tui.json"


def memory(tmp_path: Path, *roots: Path) -> Memory:
    return Memory(place(tmp_path), roots or (tmp_path / "runs",))


def written(tmp_path: Path, document: Any) -> Path:
    path = place(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    path.write_bytes(text)
    return path


def test_session_comes_back_for_the_same_roots_in_any_order_and_no_others(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    chosen = Session(view="charts", filter="lr", sort="val/loss", columns=["lr"], grouped=True)
    memory(tmp_path, a, b).save(chosen)
    assert memory(tmp_path, b, a).load() == chosen
    assert memory(tmp_path, a).load() == Session()


def test_marks_come_back_when_the_root_is_named_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    memory(tmp_path, root).save(Session(marks=[f"{root}/one", f"{root}/two/three"]))
    linked = memory(tmp_path, tmp_path / "link").load()
    assert linked.marks == [f"{tmp_path}/link/one", f"{tmp_path}/link/two/three"]
    monkeypatch.chdir(root)
    assert memory(tmp_path, Path()).load().marks == ["one", "two/three"]


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff"))
    memory(tmp_path, root).save(Session(marks=[f"{root}/x"]))
    assert memory(tmp_path, root).load().marks == [f"{root}/x"]


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"\xff\x00", [], {"sets": 3}, {"version": "one"}, b"[" * 100_000],
)
def test_damaged_file_is_told_once_and_begun_anew(tmp_path: Path, document: Any) -> None:
    written(tmp_path, document)
    found = memory(tmp_path)
    assert found.load() == Session()
    assert "tui.json: is " in found.note
    found.save(Session(view="log"))
    assert memory(tmp_path).load().view == "log"


def test_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, {"version": 2, "sets": {}, "more": 1})
    before = path.read_bytes()
    found = memory(tmp_path)
    assert found.load() == Session()
    assert "newer version" in found.note
    found.save(Session(view="log"))
    assert path.read_bytes() == before


def test_values_of_other_types_are_passed_over_one_by_one(tmp_path: Path) -> None:
    root = str(tmp_path / "runs")
    odd = {"view": "nowhere", "sort": 3, "columns": ["lr", 4], "grouped": "yes", "filter": "a"}
    written(tmp_path, {"version": 1, "sets": [3, {"roots": [root], "used": "x", **odd}]})
    assert memory(tmp_path).load() == Session(columns=["lr"], filter="a")


def test_only_the_newest_sets_are_kept(tmp_path: Path) -> None:
    for number in range(MOST_SETS + 5):
        memory(tmp_path, tmp_path / str(number)).save(Session(filter=str(number)))
    sets = json.loads(place(tmp_path).read_bytes())["sets"]
    assert [one["filter"] for one in sets] == [str(n) for n in range(MOST_SETS + 4, 4, -1)]


def test_unchanged_session_is_not_written_again(tmp_path: Path) -> None:
    found = memory(tmp_path)
    session = found.load()
    found.save(session)
    assert not place(tmp_path).exists()
    session.marks.append("x")
    found.save(session)
    before = place(tmp_path).stat().st_ino
    found.save(session)
    assert place(tmp_path).stat().st_ino == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_home_that_cannot_be_written_is_one_note(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        found = memory(tmp_path)
        found.load()
        found.save(Session(view="log"))
    finally:
        tmp_path.chmod(0o700)
    assert "not kept: permission denied" in found.note


def test_file_in_place_of_the_directory_is_one_note(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    found = memory(tmp_path)
    assert found.load() == Session()
    found.save(Session(view="log"))
    assert "tui.json: cannot be" in found.note


def test_no_home_is_no_memory() -> None:
    found = Memory(None, [Path("runs")])
    assert found.load() == Session()
    found.save(Session(view="log"))
    assert found.note == ""


def test_monitors_that_save_at_once_lose_no_set(tmp_path: Path) -> None:
    def save_often(name: str) -> None:
        own = memory(tmp_path, tmp_path / name)
        for number in range(20):
            own.save(Session(filter=f"{name}{number}"))

    savers = [threading.Thread(target=save_often, args=(name,)) for name in "abcd"]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    for name in "abcd":
        assert memory(tmp_path, tmp_path / name).load().filter == f"{name}19"
    left = {path.name for path in place(tmp_path).parent.iterdir()}
    assert left == {"tui.json", ".tui.json.lock"}
