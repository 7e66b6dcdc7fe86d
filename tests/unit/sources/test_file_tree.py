"""Which files there are below a folder, and what a look costs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runstore.sources.file_tree import LISTED_EACH, FileTree


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def age(root: Path) -> None:
    """Make folders look as if nothing had happened in them lately."""
    then = 1_700_000_000
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        os.utime(folder, (then, then))


def test_files_are_known_by_their_relative_paths(tmp_path: Path) -> None:
    put(tmp_path, "b", "a", "deep/er/c", "deep/d", ".hidden", ".cache/x")
    tree = FileTree(tmp_path, most=10)
    assert tree.look()
    assert tree.names == ["a", "b", "deep/d", "deep/er/c"]
    assert not tree.look()


def test_new_files_come_behind_the_known_ones(tmp_path: Path) -> None:
    put(tmp_path, "m")
    tree = FileTree(tmp_path, most=10)
    tree.look()
    put(tmp_path, "a/z", "b")
    assert tree.look()
    assert tree.names == ["m", "a/z", "b"]
    (tmp_path / "a" / "z").unlink()
    assert tree.look()
    assert tree.names == ["m", "b"]


def test_missing_folder_may_come_and_go(tmp_path: Path) -> None:
    tree = FileTree(tmp_path / "later", most=10)
    assert not tree.look()
    put(tmp_path, "later/a")
    assert tree.look()
    (tmp_path / "later" / "a").unlink()
    (tmp_path / "later").rmdir()
    assert tree.look()
    assert tree.names == []


def test_change_that_leaves_no_trace_is_found_within_some_looks(tmp_path: Path) -> None:
    """As on a file server whose client shows old times for a while."""
    put(tmp_path, "sub/a")
    age(tmp_path)
    tree = FileTree(tmp_path, most=10)
    tree.look()
    put(tmp_path, "sub/b")
    age(tmp_path)
    assert [tree.look() for _ in range(LISTED_EACH)].count(True) == 1
    put(tmp_path, "sub/c")
    assert tree.look()
    assert tree.names == ["sub/a", "sub/b", "sub/c"]


def test_file_that_came_within_the_same_tick_is_found(tmp_path: Path) -> None:
    """A folder that was changed just now is listed again, whatever its time says."""
    put(tmp_path, "a")
    tree = FileTree(tmp_path, most=10)
    tree.look()
    before = tmp_path.stat()
    put(tmp_path, "b")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tree.look()
    assert tree.names == ["a", "b"]


def test_links_and_devices_are_no_files_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path, "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    tree = FileTree(tmp_path, most=10)
    tree.look()
    assert tree.names == ["a"]
    linked = FileTree(tmp_path / "loop", most=10)
    assert not linked.look()


def test_more_than_the_most_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "c", "d")
    tree = FileTree(tmp_path, most=3)
    tree.look()
    put(tmp_path, "a", "b")
    tree.look()
    assert tree.names == ["c", "d", "a"]
    assert tree.left_out == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_folder_that_may_not_be_listed_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a", "sub/b")
    (tmp_path / "sub").chmod(0)
    tree = FileTree(tmp_path, most=10)
    tree.look()
    (tmp_path / "sub").chmod(0o755)
    assert tree.problem == f"{tmp_path.name}/sub/: permission denied"
    assert tree.names == ["a"]
