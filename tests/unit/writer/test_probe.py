"""What a directory cannot do is said before the run starts, and costs no more than it must."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.errors import RunStoreError, UnusableDirectoryError
from runstore.files.run_directory import RunDirectory
from runstore.writer.probe import MISSING, Probe, probe


def tried(path: Path) -> Probe:
    directory = RunDirectory(path)
    try:
        return probe(directory)
    finally:
        directory.close()


def opened(run: runstore.Run) -> dict[str, Any]:
    line = (run.path / "events-0001.jsonl").read_bytes().splitlines()[0]
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def refuse(number: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def test_local_directory_can_do_everything_and_keeps_nothing(tmp_path: Path) -> None:
    assert tried(tmp_path) == Probe(append=True, rename=True, lock=True)
    assert list(tmp_path.iterdir()) == []
    with runstore.init(root=tmp_path, system_interval_s=None) as run:
        pass
    assert "without" not in opened(run)


PROBE = """
import sys
from pathlib import Path
from runstore.writer.probe import probe
from runstore.files.run_directory import RunDirectory

print(probe(RunDirectory(Path(sys.argv[1]))).without)
"""


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize(
    ("inject", "without"),
    [
        ("flock:error=ENOSYS", ["lock"]),
        ("flock:error=ENOLCK", ["lock"]),
        ("flock:error=EOPNOTSUPP", ["lock"]),
        ("flock:error=EAGAIN", []),
        ("/rename.*:error=EPERM", ["rename"]),
    ],
)
def test_call_that_the_file_system_refuses_is_named(
    tmp_path: Path, tool: Callable[[str], str], repo_root: Path, inject: str, without: list[str]
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    done = subprocess.run(
        [
            *(tool("strace"), "-f", "-o", os.devnull, "-e", f"trace={inject.partition(':')[0]}"),
            *("-e", f"inject={inject}", sys.executable, "-c", PROBE, str(run_dir)),
        ],
        env={**os.environ, "PYTHONPATH": str(repo_root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{without}\n"
    assert list(run_dir.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL])
def test_mount_without_appending_refuses_the_run_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write = os.write

    def once(descriptor: int, data: bytes) -> int:
        if os.fstat(descriptor).st_size:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", once)
        assert not tried(tmp_path).append
        with pytest.raises(UnusableDirectoryError, match="object stores") as caught:
            runstore.init(root=tmp_path)
    assert isinstance(caught.value, RunStoreError)
    assert isinstance(caught.value, OSError)
    assert "give the run another root" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_appended_bytes_that_no_reader_sees_are_no_appending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As mountpoint-s3: nothing is visible before the file is closed."""
    monkeypatch.setattr(os, "read", lambda descriptor, size: b"")
    assert not tried(tmp_path).append


def test_mount_without_rename_gets_its_documents_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "rename", refuse(errno.EPERM))
    monkeypatch.setattr(Path, "replace", refuse(errno.EPERM))
    with caplog.at_level(logging.WARNING), runstore.init(root=tmp_path, name="s3") as run:
        run.log({"a": 1.0}, step=1)
    assert opened(run)["without"] == ["rename"]
    assert json.loads((run.path / "run.json").read_bytes())["name"] == "s3"
    assert json.loads((run.path / "progress.json").read_bytes())["beat"] >= 1
    assert [MISSING["rename"] in message for message in caplog.messages] == [True]
    assert runstore.load(run.path).status == "finished"


def test_mount_without_locks_says_once_which_promise_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOSYS))
    with caplog.at_level(logging.WARNING), runstore.init(root=tmp_path) as run:
        pass
    assert (opened(run)["without"], opened(run)["lock"]) == (["lock"], False)
    assert [message for message in caplog.messages if "no locks here" in message] == caplog.messages
    assert len(caplog.messages) == 1


def test_full_disk_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", refuse(errno.ENOSPC))
    assert tried(tmp_path) == Probe()
    assert list(tmp_path.iterdir()) == []


READ_ONLY = """
import subprocess, sys
mounted = ["--bind", "-o", "ro", sys.argv[1], sys.argv[1]]
subprocess.run(["mount", *mounted], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", sys.argv[1]], check=True)
import runstore
try:
    runstore.init(root=sys.argv[1], resume=sys.argv[2])
except runstore.RunStoreError as error:
    print(error)
"""


@pytest.mark.needs_tool("unshare")
@pytest.mark.parametrize("resume", ["never", "a run"])
def test_read_only_directory_is_refused_in_one_line(
    tmp_path: Path, repo_root: Path, tool: Callable[[str], str], resume: str
) -> None:
    with runstore.init(root=tmp_path, system_interval_s=None) as run:
        pass
    before = sorted(path.name for path in tmp_path.rglob("*"))
    flags = "-m" if os.getuid() == 0 else "-rm"
    done = subprocess.run(
        [
            *(tool("unshare"), flags, sys.executable, "-c", READ_ONLY, str(tmp_path)),
            run.id if resume == "a run" else resume,
        ],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    where = run.path if resume == "a run" else tmp_path
    assert done.stdout == (
        f"{where}: no file can be made there (Read-only file system); give the run another root, "
        "on a disk or a share\n"
    )
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
