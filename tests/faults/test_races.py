"""Readers beside a writer, and many processes at the same moment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runstore
from runstore.files.paths import StreamFile
from runstore.runs.lookup import find
from runstore.sources import open_run
from tests.faults.sample import Sample

pytestmark = pytest.mark.faults

LONG_ROWS = """
import sys, time
import runstore

run = runstore.init(root="runs", system_interval_s=None)
print(run.path, flush=True)
values = {f"metric/{'x' * 80}{n}": 1.0 for n in range(1000)}
deadline = time.monotonic() + float(sys.argv[1])
logged = 0
while time.monotonic() < deadline:
    logged += 1
    run.log({"i": float(logged), **values})
    time.sleep(0.005)
run.finish()
print(logged, flush=True)
"""


@pytest.mark.timeout(400)
def test_reader_beside_a_writer_of_100_kb_rows_sees_a_prefix_at_every_moment(
    tmp_path: Path, repo_root: Path, sample: Sample
) -> None:
    """Half lines are seen half the time; none may be taken for a row, nor for damage."""
    seconds = max(5.0, 60 * sample.share)
    with subprocess.Popen(
        [sys.executable, "-c", LONG_ROWS, str(seconds)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        run_dir = tmp_path / process.stdout.readline().strip()
        reader = open_run(find(str(run_dir), run_dir.parent), patient=True)
        began, seen, polls = time.monotonic(), 0, 0
        busy = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        while process.poll() is None:
            reader.poll()
            polls += 1
            assert reader.state.bad_line_count == 0
            assert reader.state.row_count >= seen
            seen = reader.state.row_count
            if seen:
                assert reader.state.last["i"] == seen
            time.sleep(0.02)
        busy = resource.getrusage(resource.RUSAGE_SELF).ru_utime - busy
        elapsed, logged = time.monotonic() - began, int(process.stdout.read())
    while reader.poll() or reader.behind:
        pass
    assert reader.state.row_count == logged
    assert polls > 10
    assert busy < elapsed
    assert [int(row["i"]) for row in runstore.load(run_dir).metrics()] == list(range(1, logged + 1))


CROWD = """
import os, sys, time
from pathlib import Path
import runstore, runstore.launch.launch, runstore.run.run

go = time.monotonic() + 0.5
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        time.sleep(max(0.0, go - time.monotonic()))
        run = runstore.init(root="runs", name="crowd", system_interval_s=None)
        run.log({"pid": os.getpid()})
        run.finish()
        os._exit(0)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children].count(0))
"""


def test_a_thousand_processes_that_start_at_once_get_a_directory_each(
    tmp_path: Path, repo_root: Path, sample: Sample
) -> None:
    number = max(100, round(1000 * sample.share))
    done = subprocess.run(
        [sys.executable, "-c", CROWD, str(number)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    assert int(done.stdout) == number
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == number
    for run_dir in runs:
        rows = (run_dir / StreamFile(1, 0, "metrics").name).read_bytes().splitlines()
        assert len(rows) == 1
