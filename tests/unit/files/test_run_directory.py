"""A run's directory that is moved, deleted, forgotten by its server, or full."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runstore.files.run_directory import RunDirectory


def create(directory: RunDirectory, name: str) -> None:
    os.close(directory.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def test_new_files_and_documents_follow_a_move(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    (tmp_path / "run").mkdir()
    create(directory, "a")
    assert directory.moved_to() is None
    (tmp_path / "archive").mkdir()
    moved = (tmp_path / "run").rename(tmp_path / "archive" / "run")
    create(directory, "b")
    directory.write_document("c", b"{}", durable=True)
    directory.sync()
    assert {path.name for path in moved.iterdir()} == {"a", "b", "c"}
    assert not (tmp_path / "run").exists()
    assert directory.moved_to() == moved
    assert directory.moved_to() is None, "told once"
    directory.close()


def test_directory_behind_a_symbolic_link_has_not_moved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    directory = RunDirectory(tmp_path / "link")
    create(directory, "a")
    assert directory.moved_to() is None
    directory.close()


def test_deleted_directory_is_noticed_and_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    directory = RunDirectory(path)
    create(directory, "a")
    assert not directory.is_deleted()
    (path / "a").unlink()
    path.rmdir()
    assert directory.is_deleted()
    path.mkdir()
    with pytest.raises(FileNotFoundError):
        create(directory, "b")
    with pytest.raises(FileNotFoundError):
        directory.write_document("c", b"{}", durable=False)
    assert list(path.iterdir()) == []
    assert directory.is_deleted()
    directory.close()


def test_directory_that_is_not_there_yet_is_held_when_it_is(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(FileNotFoundError):
        create(directory, "a")
    assert not directory.is_deleted()
    (tmp_path / "run").mkdir()
    create(directory, "a")
    directory.close()


def test_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "progress.json").symlink_to(tmp_path / "outside")
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(OSError, match="symbolic links"):
        directory.open("progress.json", os.O_WRONLY)
    directory.can_rename = False
    with pytest.raises(OSError, match="symbolic links"):
        directory.write_document("progress.json", b"{}", durable=False)
    assert (tmp_path / "outside").read_bytes() == b"theirs"
    directory.close()


FORGOTTEN = """
import os, sys
from pathlib import Path
from runstore.files.run_directory import RunDirectory

path = Path(sys.argv[1])
directory = RunDirectory(path)
for number in range(20):
    if number == 10 and sys.argv[2] == "another":
        path.rename(path.with_name("old"))
        path.mkdir()
    try:
        os.close(directory.open(f"file-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError as error:
        print(number, error.strerror)
"""


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize("there", ["the same", "another"])
def test_descriptor_that_the_server_forgot_is_replaced_by_the_same_directory_only(
    tmp_path: Path, tool: Callable[[str], str], repo_root: Path, there: str
) -> None:
    """ESTALE for what is opened relative to the descriptor, until it is another one."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    # The first call holds the directory; the 14th is for `file-12`, relative to it.
    inject = "inject=openat:error=ESTALE:when=14"
    done = subprocess.run(
        [
            *(
                tool("strace"),
                "-f",
                "-o",
                os.devnull,
                "-P",
                str(run_dir),
                "-P",
                str(tmp_path / "old"),
            ),
            *("-e", "trace=openat", "-e", inject),
            *(sys.executable, "-c", FORGOTTEN, str(run_dir), there),
        ],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    if there == "the same":
        assert done.stdout == ""
        assert len(list(run_dir.iterdir())) == 20
    else:
        assert done.stdout == "12 Stale file handle\n"
        assert list(run_dir.iterdir()) == []


def test_document_on_a_full_disk_is_rewritten_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_document("progress.json", b'{"beat":1,"more":"and more"}\n', durable=False)
    inode = (tmp_path / "progress.json").stat().st_ino
    open_ = os.open

    def full(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path.endswith(".tmp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", full)
    for beat in (2, 3, 100_000_000_000_000_000_000_000_000_000_000):
        directory.write_document("progress.json", b'{"beat":%d}' % beat, durable=False)
        assert json.loads((tmp_path / "progress.json").read_bytes()) == {"beat": beat}
    with pytest.raises(OSError, match=r"No space left on device: '.*run\.json'"):
        directory.write_document("run.json", b"{}", durable=True)
    assert (tmp_path / "progress.json").stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    directory.close()


def test_nothing_leaks_and_a_closed_directory_can_be_used_again(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    directory = RunDirectory(tmp_path)
    for number in range(20):
        create(directory, str(number))
        directory.write_document("d", b"{}", durable=True)
        directory.close()
    assert len(os.listdir("/proc/self/fd")) == before
