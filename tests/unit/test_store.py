"""Finding runs below a root, and the one that somebody means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runstore.errors import AmbiguousRunError, RootNotFoundError, RunNotFoundError
from runstore.sources import RunRef, native, plain
from runstore.store import discover, find

FIRST = "20260101-000000-digits-aaaaaaaa"
SECOND = "20260102-000000-digits-bbbbbbbb"
THIRD = "20260103-000000-words-cccccccc"


def make_run(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "run.json").write_text('{"format":1}')
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    make_run(root / SECOND)
    make_run(root / FIRST)
    make_run(root / "sweep" / "deeper" / THIRD)
    return root


def names(refs: list[RunRef]) -> list[str]:
    return [ref.name for ref in refs]


def test_runs_are_found_in_nested_folders_newest_first(root: Path) -> None:
    assert names(discover([root])) == [THIRD, SECOND, FIRST]


def test_scan_does_not_descend_into_a_run(root: Path) -> None:
    make_run(root / FIRST / "checkpoints" / "20260104-000000-inner-dddddddd")
    (root / "named").mkdir()
    (root / "named" / "run.json").write_text("{}")
    make_run(root / "named" / "inner")
    assert sorted(names(discover([root]))) == sorted([FIRST, SECOND, THIRD, "named"])


def test_run_may_be_given_as_a_root(root: Path) -> None:
    assert names(discover([root / FIRST])) == [FIRST]


def test_run_that_two_roots_hold_is_shown_once(root: Path) -> None:
    assert len(discover([root, root / "sweep", root])) == 3


def test_links_to_folders_are_followed_but_not_in_circles(root: Path, tmp_path: Path) -> None:
    elsewhere = make_run(tmp_path / "disk2" / "20260105-000000-far-eeeeeeee").parent
    (root / "linked").symlink_to(elsewhere)
    (root / "sweep" / "up").symlink_to(root)
    (root / "loop").symlink_to(root / "loop")
    (root / "dangling").symlink_to(root / "nothing")
    found = names(discover([root]))
    assert sorted(found) == sorted([FIRST, SECOND, THIRD, "20260105-000000-far-eeeeeeee"])


def test_folder_is_known_by_its_own_name_whatever_links_lie_beside_it(tmp_path: Path) -> None:
    """W&B's `latest-run` leads to a run in the same folder."""
    for name in "abcdefgh":
        (tmp_path / name).symlink_to(FIRST)
    make_run(tmp_path / FIRST)
    assert names(discover([tmp_path])) == [FIRST]


def test_hidden_folders_are_not_searched(root: Path) -> None:
    make_run(root / ".trash" / "old")
    assert len(discover([root])) == 3


def test_empty_directory_is_shown_for_what_it_is(root: Path) -> None:
    (root / "empty").mkdir()
    ref = next(ref for ref in discover([root]) if ref.name == "empty")
    reader = ref.source.open_run(ref.path, patient=False)
    reader.glance()
    assert reader.state.status.reason == "an empty directory: nothing was written yet"


def test_empty_directory_given_by_its_path_is_a_run_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert find(str(tmp_path / "empty"), tmp_path).name == "empty"


def test_empty_root_has_no_runs(tmp_path: Path) -> None:
    assert discover([tmp_path]) == []


def test_directory_of_json_lines_is_a_run(root: Path) -> None:
    (root / "mine").mkdir()
    (root / "mine" / "log.jsonl").write_text('{"step":1}\n')
    (root / "notes").mkdir()
    (root / "notes" / "todo.txt").write_text("nothing")
    found = {ref.name: ref.source for ref in discover([root])}
    assert found["mine"] is plain
    assert found[FIRST] is native
    assert "notes" not in found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_directory_is_shown_not_passed_over(root: Path) -> None:
    (root / FIRST).chmod(0)
    (root / "locked").mkdir(mode=0)
    try:
        refs = {ref.name: ref for ref in discover([root])}
        reader = refs["locked"].source.open_run(refs["locked"].path, patient=False)
        reader.glance()
        assert "Permission denied" in reader.state.status.reason
        assert FIRST in refs
    finally:
        (root / FIRST).chmod(0o700)


def test_folders_nested_without_end_are_not_searched_for_ever(tmp_path: Path) -> None:
    make_run(tmp_path.joinpath(*["d"] * 30) / FIRST)
    assert discover([tmp_path]) == []


def test_missing_root_is_said(tmp_path: Path) -> None:
    with pytest.raises(RootNotFoundError, match="no such directory"):
        discover([tmp_path / "nothing"])


def test_root_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("run,step")
    with pytest.raises(RootNotFoundError, match=r"out\.csv: is a file, expected a directory of"):
        discover([tmp_path / "out.csv"])
    with pytest.raises(RootNotFoundError, match="no such directory"):
        discover([tmp_path / "out.csv" / "runs"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_root_is_said(root: Path) -> None:
    root.chmod(0)
    try:
        with pytest.raises(RootNotFoundError, match="cannot be read: permission denied"):
            discover([root])
        with pytest.raises(RootNotFoundError, match="cannot be read: permission denied"):
            discover([root / "sweep"])
    finally:
        root.chmod(0o700)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (FIRST, FIRST),
        ("20260101", FIRST),
        ("20260103-000000-w", THIRD),
        ("latest", THIRD),
        (f"sweep/deeper/{THIRD}", THIRD),
    ],
)
def test_run_is_found_by_id_prefix_and_latest(root: Path, wanted: str, found: str) -> None:
    assert find(wanted, root).name == found


def test_run_is_found_by_path_whatever_the_root(root: Path, tmp_path: Path) -> None:
    assert find(str(root / FIRST), tmp_path / "nowhere").name == FIRST


def test_dots_are_paths_whatever_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / FIRST)
    assert find(".", root).path.samefile(root / FIRST)


def test_table_beside_runs_is_one_for_who_names_its_folder(tmp_path: Path) -> None:
    """As it is in the list of the folder above."""
    make_run(tmp_path / "sweep" / FIRST)
    (tmp_path / "sweep" / "all.jsonl").write_text('{"step":1,"loss":2}\n')
    assert "sweep" in names(discover([tmp_path]))
    assert find(str(tmp_path / "sweep"), tmp_path).source is plain
    assert names(discover([tmp_path / "sweep"])) == [FIRST]


def test_run_is_found_by_the_name_in_its_id(root: Path) -> None:
    named = make_run(root / "20270101-000000-small-net-dddddddd")
    assert find("small-net", root).path == named
    with pytest.raises(RunNotFoundError):
        find("small", root)
    make_run(root / "20270102-000000-small-net-eeeeeeee")
    with pytest.raises(AmbiguousRunError, match="names 2 runs"):
        find("small-net", root)


def test_id_that_is_a_prefix_of_another_is_exact(root: Path) -> None:
    make_run(root / f"{FIRST}2")
    assert find(FIRST, root).name == FIRST


def test_ambiguous_prefix_names_the_matches(root: Path) -> None:
    with pytest.raises(AmbiguousRunError) as caught:
        find("2026010", root)
    assert caught.value.near == (f"sweep/deeper/{THIRD}", SECOND, FIRST)
    assert "names 3 runs" in str(caught.value)


def test_renamed_run_is_found_by_its_id_and_a_prefix_of_it(root: Path) -> None:
    renamed = make_run(root / "sweep" / "the-good-one")
    (renamed / "run.json").write_text('{"format":1,"id":"20270101-000000-old-dddddddd"}')
    for wanted in ("20270101-000000-old-dddddddd", "2027", "the-good", "sweep/the-good-one"):
        assert find(wanted, root).path == renamed
    with pytest.raises(RunNotFoundError, match="near: 20270101-000000-old-dddddddd"):
        find("old-d", root)


def test_id_of_several_copies_is_answered_with_their_paths(root: Path) -> None:
    for name in ("copy", "sweep/copy2"):
        (make_run(root / name) / "run.json").write_text('{"format":1,"id":"2027-x"}')
    with pytest.raises(AmbiguousRunError) as caught:
        find("2027-x", root)
    assert sorted(caught.value.near) == ["copy", "sweep/copy2"]
    assert "give more of the id, or a path" in str(caught.value)
    assert {find(path, root).name for path in caught.value.near} == {"copy", "copy2"}


OPENED = """
import sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from runstore.store import find
find(sys.argv[2], Path(sys.argv[1]))
print(sum(path.endswith("run.json") for path in opened))
"""


@pytest.mark.parametrize(("wanted", "documents"), [(FIRST, 0), ("20260102", 0), ("2027", 5)])
def test_documents_are_opened_only_when_no_name_matches(
    root: Path, repo_root: Path, wanted: str, documents: int
) -> None:
    make_run(root / "alias").joinpath("run.json").write_text(f'{{"format":1,"id":"{FIRST}"}}')
    make_run(root / "other").joinpath("run.json").write_text('{"format":1,"id":"2027-x"}')
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(root), wanted],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == documents


def test_document_that_holds_no_id_names_no_run(root: Path) -> None:
    (root / FIRST / "run.json").unlink()
    os.mkfifo(root / FIRST / "run.json")
    (root / SECOND / "run.json").write_bytes(b'\xff{"id":')
    with pytest.raises(RunNotFoundError):
        find("nobody", root)


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("digit", [SECOND, FIRST]), ("20260101-000000-digts-aaaaaaaa", [FIRST, SECOND])],
)
def test_unknown_run_is_answered_with_the_near_matches(
    root: Path, wanted: str, near: list[str]
) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        find(wanted, root)
    assert list(caught.value.near)[:2] == near
    assert wanted in str(caught.value)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("wanted", ["", "/", "*", "..", "latest "])
def test_odd_names_find_nothing_and_say_so(root: Path, wanted: str) -> None:
    with pytest.raises(RunNotFoundError):
        find(wanted, root)


def test_latest_of_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        find("latest", tmp_path)


def test_directory_that_is_no_run_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "plain" / "sub").mkdir(parents=True)
    with pytest.raises(RunNotFoundError, match=r"run\.json"):
        find(str(tmp_path / "plain"), tmp_path)


def test_stray_lines_in_a_root_do_not_hide_what_is_below(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep" / FIRST)
    (tmp_path / "echoed").mkdir()
    (tmp_path / "echoed" / "m.jsonl").write_text('{"step":1,"loss":2}\n')
    (tmp_path / "export.jsonl").write_text('{"step":1,"loss":2}\n')
    assert sorted(names(discover([tmp_path]))) == sorted([FIRST, "echoed"])
    assert names(discover([tmp_path / "echoed"])) == ["echoed"]
