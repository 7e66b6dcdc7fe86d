"""A disk that is really full: the kernel cuts the write short, and there is room again later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("unshare")]

SCRIPT = """
import json, subprocess, sys
from pathlib import Path

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True)
sys.path.insert(0, sys.argv[2])
import runstore
from runstore.writer import writer

writer.SYNC_INTERVAL_S = writer.HEARTBEAT_LOCAL_S = 0.05
ballast = disk / "ballast"
run = runstore.init(root=disk / "runs", system_interval_s=None)
ballast.write_bytes(bytes(300_000))
logged = 0

def log(rows, size):
    global logged
    for _ in range(rows):
        logged += 1
        run.log({"i": float(logged), "x" * size: 1.0})

log(1500, 150)
progress = run._writer.degraded
if sys.argv[3] == "room again":
    ballast.unlink()
log(100, 10)
run.finish()

found = runstore.load(run.path)
rows = [int(row["i"]) for row in found.metrics()]
end = found.state.ended or {}
for path in run.path.glob("*.jsonl"):
    for line in path.read_bytes().splitlines():
        json.loads(line)
print(json.dumps({"degraded": progress, "logged": logged, "kept": len(rows),
                  "in_order": rows == sorted(set(rows)), "status": found.status,
                  "dropped": end.get("dropped_rows", 0)}))
"""


@pytest.mark.parametrize("then", ["room again", "stays full"])
def test_rows_of_a_full_disk_are_finished_exactly_or_counted(
    tmp_path: Path, repo_root: Path, then: str
) -> None:
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this account may not mount")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", SCRIPT, str(tmp_path), str(repo_root), then],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["degraded"], told
    assert told["in_order"], told
    assert told["status"] == "finished", told
    assert told["kept"] + told["dropped"] == told["logged"] == 1600, told
    assert (told["dropped"] == 0) == (then == "room again"), told
