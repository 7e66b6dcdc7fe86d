"""A run whose disk is full has room for its end."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import runstore
from runstore.files.run_directory import RunDirectory
from runstore.writer.reserve import NAME, RESERVE_BYTES, Reserve

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


def test_reserve_is_really_allocated_and_given_back(tmp_path: Path) -> None:
    reserve = Reserve(RunDirectory(tmp_path))
    reserve.take()
    assert (tmp_path / NAME).stat().st_blocks * 512 >= RESERVE_BYTES
    reserve.release()
    reserve.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [0, 100, RESERVE_BYTES])
def test_reserve_of_a_killed_attempt_is_taken_over(tmp_path: Path, left: int) -> None:
    (tmp_path / NAME).write_bytes(bytes(left))
    Reserve(RunDirectory(tmp_path)).take()
    status = (tmp_path / NAME).stat()
    assert status.st_size == RESERVE_BYTES
    assert status.st_blocks * 512 >= RESERVE_BYTES


def test_disk_without_room_for_it_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    Reserve(RunDirectory(tmp_path)).take()
    assert list(tmp_path.iterdir()) == []


def test_reserve_is_there_while_an_attempt_runs(tmp_path: Path, wait_until: WaitUntil) -> None:
    with runstore.init(root=tmp_path, system_interval_s=None) as run:
        reserve = run.path / NAME
        wait_until(reserve.exists, what="the reserve")
    assert not reserve.exists()
    assert "reserve" not in (run.path / "events-0001.jsonl").read_text()


# A file system of 256 KiB of this process's own, which is gone with it.
FULL = """
import json, os, shutil, subprocess, sys
from pathlib import Path
mount, reserve, out = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "runstore-test", mount], check=True)
import runstore
from runstore.writer import reserve as module
if reserve == "no":
    module.Reserve.take = lambda self: None
run = runstore.init(root=mount, system_interval_s=None)
while reserve == "yes" and not (run.path / ".reserve").exists():
    pass
for step in range(5000):
    run.log({"loss": step / 7, "accuracy": 0.5}, step=step)
while (run.path / "events-0001.jsonl").stat().st_size % 4096 < 4000:
    run._writer.event("note")  # so that the end does not fit into a block that is there
with open(f"{mount}/filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
    run._writer._beat()
    progress = json.loads((run.path / "progress.json").read_bytes())
    run.finish()
shutil.copytree(run.path, f"{out}/run")
print(json.dumps(progress))
"""


def on_a_full_disk(
    tmp_path: Path, repo_root: Path, unshare: str, *, reserve: bool
) -> tuple[Path, dict[str, Any], str]:
    (tmp_path / "mount").mkdir()
    flags = "-m" if os.getuid() == 0 else "-rm"
    done = subprocess.run(
        [
            *(unshare, flags, sys.executable, "-c", FULL, str(tmp_path / "mount")),
            *("yes" if reserve else "no", str(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    progress = json.loads(done.stdout)
    return tmp_path / "run", progress, done.stderr


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.needs_tool("unshare", "mount")
def test_end_is_written_on_a_file_system_that_is_full(
    tmp_path: Path, repo_root: Path, tool: Callable[[str], str]
) -> None:
    run_dir, progress, stderr = on_a_full_disk(tmp_path, repo_root, tool("unshare"), reserve=True)
    end = lines(run_dir / "events-0001.jsonl")[-1]
    kept = lines(run_dir / "metrics-0001.jsonl")
    assert (end["event"], end["status"]) == ("end", "finished")
    assert [row["step"] for row in kept] == list(range(len(kept)))
    assert len(kept) + end["dropped_rows"] == 5000
    assert runstore.load(run_dir).status == "finished"
    assert f"{end['dropped_rows']:,} rows were lost (disk full)" in stderr
    assert "Traceback" not in stderr
    # The heartbeat told it while it was so, though there was no room for a new document.
    assert progress["degraded"] is True
    assert progress["degraded_reason"].startswith("disk full: ")
    assert progress["degraded_reason"].endswith(" rows wait in memory")


@pytest.mark.needs_tool("unshare", "mount")
def test_without_the_reserve_that_file_system_takes_no_end(
    tmp_path: Path, repo_root: Path, tool: Callable[[str], str]
) -> None:
    """Or the test above would prove nothing."""
    run_dir, _, _ = on_a_full_disk(tmp_path, repo_root, tool("unshare"), reserve=False)
    events = (run_dir / "events-0001.jsonl").read_bytes().splitlines()
    assert not any(b'"event":"end"' in line for line in events)
