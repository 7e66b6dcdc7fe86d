"""A run whose file system is unmounted while it trains or is watched, and mounted again, or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("unshare"), pytest.mark.timeout(90)]

# `mount` and `unmount` come with each case; a private namespace has them, nobody else sees them.
SCRIPT = """
import fcntl, json, struct, subprocess, sys, time
from pathlib import Path

place, mounted = Path(sys.argv[1], "place"), Path(sys.argv[1], "mounted")
place.mkdir()
mounted.mkdir()

def do(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

CASE

import torch
import runstore
from runstore.writer import stream_writer
from runstore.writer import writer

writer.SYNC_INTERVAL_S = writer.HEARTBEAT_LOCAL_S = 0.05
stream_writer.EIO_PATIENCE_S = stream_writer.MAX_PAUSE_S = 0.1
mount()
run = runstore.init(root=mounted / "runs", system_interval_s=None)
path = run.path
run.register(model=torch.nn.Linear(2, 1))
logged = 0

def events(word):
    return word in "".join(file.read_text() for file in path.glob("events-*.jsonl"))

def log(rows, until=lambda: True):
    global logged
    deadline = time.monotonic() + 20
    for number in range(1_000_000):
        if number >= rows and (until() or time.monotonic() > deadline):
            return
        logged += 1
        run.log({"i": float(logged)}, step=logged)
        time.sleep(0.002)

log(100)
unmount()
log(300)
run.save()
if sys.argv[2] != "never":
    mount()
    log(300, until=lambda: sys.argv[2] == "another" or events("is back"))
    run.save()
run.finish()
told = {"logged": logged, "path": str(run.path), "given": str(path)}
if path.is_dir():
    found = runstore.load(path)
    rows = [int(row["i"]) for row in found.metrics()]
    saved = (path / "checkpoints").glob("*.pt")
    told |= {"kept": len(rows), "in_order": rows == sorted(set(rows)), "status": found.status,
             "saved": len(list(saved)), "dropped": (found.state.ended or {}).get("dropped_rows", 0)}
print(json.dumps(told))
"""
DIRECTORY = """
def mount():
    do("mount", "--bind", str(place), str(mounted))

def unmount():
    do("umount", "--lazy", str(mounted))
"""
MEMORY = """
def mount():
    do("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted))

def unmount():
    do("umount", "--lazy", str(mounted))
"""
# What is plugged in again is another device, and what is open on the old one fails for ever.
PULLED_DISK = """
image = place / "image"
with open(image, "wb") as file:
    file.truncate(32 << 20)
do("mkfs.ext4", "-q", "-F", str(image))

def mount():
    device = do("losetup", "--find", "--show", str(image))
    do("mount", device, str(mounted))
    do("losetup", "--detach", device)  # once nothing of it is open

def unmount():
    EXT4_IOC_SHUTDOWN = 0x8004587D
    with open(run.path / "run.json") as file:
        fcntl.ioctl(file, EXT4_IOC_SHUTDOWN, struct.pack("I", 1))
    do("umount", "--lazy", str(mounted))
"""


WATCHING = """
import json, subprocess, sys
from pathlib import Path
from tui.catalog import Catalog

root = Path(sys.argv[1], "runs")
root.mkdir()

def mount():
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True)

def write(name):
    (root / name).mkdir()
    (root / name / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\\n')

def look():
    catalog.scan()
    for entry in catalog.entries:
        catalog.glance(entry)
    print(json.dumps([[catalog.why_missing], [
        [entry.ref.name, entry.away, entry.value("loss"), entry.word] for entry in catalog.entries
    ]]))

mount()
write("a")
catalog = Catalog([root])
look()
subprocess.run(["umount", "--lazy", str(root)], check=True)
look()
mount()
write("b")
look()
"""


def in_namespace(repo_root: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script that may mount where nobody else sees it."""
    unshare = ["unshare", "--mount"]
    if os.geteuid() != 0 or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this account may not mount")
    return subprocess.run(
        [*unshare, sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_monitor_keeps_what_it_knows_while_the_root_is_not_mounted(
    tmp_path: Path, repo_root: Path
) -> None:
    done = in_namespace(repo_root, WATCHING, str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, gone, other = (json.loads(told) for told in done.stdout.splitlines())
    assert first == [[[]], [["a", False, 0.5, "unknown"]]]
    assert gone == [[["not mounted any more"]], [["a", True, 0.5, "unknown"]]]
    assert other == [[[]], [["b", False, 0.5, "unknown"]]]


def train(tmp_path: Path, repo_root: Path, case: str, then: str) -> tuple[dict[str, Any], str]:
    """Return what the script found of its run, and what it said on stderr."""
    done = in_namespace(repo_root, SCRIPT.replace("CASE", case), str(tmp_path), then)
    if done.returncode == 1 and "losetup" in done.stderr:
        pytest.skip("there are no loop devices here")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["path"] == told["given"], "checkpoints and requests go nowhere else"
    return told, done.stderr


@pytest.mark.parametrize(
    "case",
    [
        DIRECTORY,
        pytest.param(PULLED_DISK, marks=pytest.mark.needs_tool("mkfs.ext4")),
    ],
    ids=["directory", "disk pulled out"],
)
def test_run_on_a_mount_that_goes_and_comes_back_has_every_row(
    tmp_path: Path, repo_root: Path, case: str
) -> None:
    told, said = train(tmp_path, repo_root, case, "again")
    assert "the run's directory is out of sight" in said
    assert "the run's directory is back" in said
    assert told["status"] == "finished", (told, said)
    assert (told["kept"], told["dropped"]) == (told["logged"], 0), (told, said)
    assert told["in_order"]
    assert told["saved"] == 1, "the one behind the fault; what failed meanwhile was told"


@pytest.mark.parametrize("then", ["never", "another"])
def test_run_on_a_mount_that_never_comes_back_says_how_many_rows_are_out_of_sight(
    tmp_path: Path, repo_root: Path, then: str
) -> None:
    """Another file system at the same path is not the one that was there, and gets nothing."""
    told, said = train(tmp_path, repo_root, MEMORY, then)
    assert "the run's directory is out of sight" in said
    assert "is back" not in said.replace("when it is back", "")
    assert f"{told['logged']} rows are in it" in said.replace(",", "")
    assert "kept" not in told
