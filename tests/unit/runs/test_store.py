"""Finding runs below a root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runstore.errors import RootNotFoundError
from runstore.runs.store import discover
from runstore.sources.formats import NATIVE, PLAIN
from tests.root_of_runs import FIRST, SECOND, THIRD, make_root, make_run, names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "runs")


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


def test_empty_directory_is_no_run_where_none_of_ours_are(tmp_path: Path) -> None:
    """Other tools, and people, make folders for plots and caches."""
    (tmp_path / "plots").mkdir()
    (tmp_path / "cache" / "x").mkdir(parents=True)
    table = tmp_path / "second" / "log.csv"
    table.parent.mkdir()
    table.write_text("step,loss\n1,2\n")
    assert names(discover([tmp_path])) == ["second"]
    (tmp_path / "sweep" / FIRST).mkdir(parents=True)
    assert sorted(names(discover([tmp_path]))) == [FIRST, "second"]


def test_empty_root_has_no_runs(tmp_path: Path) -> None:
    assert discover([tmp_path]) == []


def test_directory_of_json_lines_is_a_run(root: Path) -> None:
    (root / "mine").mkdir()
    (root / "mine" / "log.jsonl").write_text('{"step":1}\n')
    (root / "notes").mkdir()
    (root / "notes" / "todo.txt").write_text("nothing")
    found = {ref.name: ref.source for ref in discover([root])}
    assert found["mine"] is PLAIN
    assert found[FIRST] is NATIVE
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


def test_stray_lines_in_a_root_do_not_hide_what_is_below(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep" / FIRST)
    (tmp_path / "echoed").mkdir()
    (tmp_path / "echoed" / "m.jsonl").write_text('{"step":1,"loss":2}\n')
    (tmp_path / "export.jsonl").write_text('{"step":1,"loss":2}\n')
    assert sorted(names(discover([tmp_path]))) == sorted([FIRST, "echoed"])
    assert names(discover([tmp_path / "echoed"])) == ["echoed"]


def test_files_of_a_sweep_s_jobs_are_no_place_for_runs(tmp_path: Path) -> None:
    for folder in ("grid/slurm/0001", "other/slurm/0001"):
        run_dir = tmp_path / folder
        run_dir.mkdir(parents=True)
        (run_dir / "run.json").write_text("{}")
    (tmp_path / "grid" / "sweep.json").write_text("{}")
    assert [ref.path for ref in discover([tmp_path])] == [tmp_path / "other/slurm/0001"]
