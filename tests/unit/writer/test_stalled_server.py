"""A file server that takes its time, or none at all: training goes on, and the end is bounded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runstore

# As on a network mount, which a test cannot make; everything else is as it is.
TRAIN = """
import os, time
import runstore, runstore.writer.writer
runstore.writer.writer.is_network = lambda path: True
runstore.writer.writer.HEARTBEAT_NETWORK_S = runstore.writer.writer.SYNC_INTERVAL_S = 0.1
run = runstore.init({"lr": 0.1}, system_interval_s=0.1)
os.access(run.path / "begin", os.F_OK)
for epoch in run.epochs(3):
    for batch in run.train(range(150)):
        run.track(loss=1 / (batch + 1), n=4)
        run.log({"lr": 0.1, "text": "no number"})
        time.sleep(0.002)
    for batch in run.val(range(5)):
        run.track_classification([0, 1], [0, 1])
os.access(run.path / "end", os.F_OK)
run.finish()
"""
DELAY_S = 0.15


@pytest.mark.needs_tool("strace")
def test_training_makes_no_call_to_a_server_that_delays_each_one(
    tmp_path: Path, tool: Callable[[str], str], repo_root: Path
) -> None:
    """Each write, fdatasync, openat, rename, unlink and stat of the run's files takes 150 ms."""
    run_dir, trace = tmp_path / "run", tmp_path / "trace"
    run_dir.mkdir()
    names = ["", "begin", "end", "requests", "progress.json", "run.json"]
    names += [f"{stream}-0001.jsonl" for stream in ("events", "metrics", "epochs", "reports")]
    paths = [part for name in names for part in ("-P", str(run_dir / name))]
    # All but `access`, which marks the loop's begin and end.
    slow = "write,fdatasync,fsync,openat,rename,renameat,renameat2,unlink,unlinkat,ftruncate"
    subprocess.run(
        [
            *(tool("strace"), "-f", "-o", str(trace), *paths, "-e", f"trace={slow},access,fstat"),
            *("-e", f"inject={slow}:delay_enter={int(DELAY_S * 1e6)}"),
            *(sys.executable, "-c", TRAIN),
        ],
        env={**os.environ, "PYTHONPATH": str(repo_root), "RUNSTORE_RUN": str(run_dir)},
        check=True,
    )
    calls = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    marks = [number for number, (_, call) in enumerate(calls) if call.startswith("access(")]
    begin, end = (n for n in marks if re.search(r"/(begin|end)\"", calls[n][1]))
    training = calls[begin][0]
    # Also a signal is a line of the trace, as of git's end.
    inside = [call for call in calls[begin + 1 : end] if not call[1].startswith(("---", "+++"))]
    assert [call for thread, call in inside if thread == training] == []
    assert len(inside) > 10, "the thread was at it meanwhile"
    assert runstore.load(run_dir).status == "finished"
    assert len(runstore.load(run_dir).metrics()) == 3 * (2 * 150 + 1)
