"""Workers, exhausted descriptors, interrupted calls, and a directory that goes while it trains."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import runstore
from runstore.run.run import Run
from tests.conftest import remove_live


def run_script(code: str, *arguments: str, prefix: list[str] | None = None) -> str:
    """Run a script in a process of its own and return what it printed."""
    done = subprocess.run(
        [*(prefix or []), sys.executable, *arguments],
        input=code,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


WORKERS = """
import multiprocessing, sys
import runstore

run = None

def work(number):
    if run is not None:
        run.log({"worker": float(number)})
        run.log({"worker": float(number)})
    return number

if __name__ == "__main__":
    method, root = sys.argv[1:]
    run = runstore.init(root=root, system_interval_s=None)
    context = multiprocessing.get_context(method)
    for epoch in run.epochs(2):
        with context.Pool(3) as pool:
            for number in run.train(pool.imap(work, range(30))):
                run.track(loss=float(number))
    workers = [context.Process(target=work, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print([worker.exitcode for worker in workers])
    run.finish()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_write_nothing_and_end_as_they_should(tmp_path: Path, method: str) -> None:
    """As a DataLoader's: some end by themselves, some are ended, all with the run open."""
    script = tmp_path / "train.py"
    script.write_text(WORKERS)
    told = run_script("", str(script), method, str(tmp_path / "runs"))
    assert "[0, 0, 0]" in told
    (path,) = (tmp_path / "runs").iterdir()
    rows = [json.loads(line) for line in (path / "metrics-0001.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert not any("worker" in row for row in rows)
    assert runstore.load(path).status == "finished"
    ignored = told.count("the run belongs to its parent")
    assert ignored == (0 if method != "fork" else ignored)
    if method == "fork":
        # Once for each worker at most, though each logs twice.
        assert 3 <= ignored <= 9


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("rank", [0, 3])
def test_forked_child_that_tracks_in_the_open_split_writes_nothing(
    tmp_path: Path, rank: int
) -> None:
    """Of rank 3 it would also wait for a lock that a thread of the parent may hold."""
    run = Run(tmp_path, {}, rank=rank, all_ranks=True)
    for batch in run.train(range(3)):
        run.track(loss=float(batch))
        if batch == 1:
            child = os.fork()
            if child == 0:
                run.track(loss=99.0)
                run.write_row("metrics", {"loss": 99.0})
                os._exit(0)
            os.waitpid(child, 0)
    run.finish()
    (path,) = tmp_path.glob("metrics*")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["train/loss"] for row in rows] == [0.0, 1.0, 2.0]


def test_run_that_is_sent_to_another_process_is_refused_in_one_line(tmp_path: Path) -> None:
    with (
        runstore.init(root=tmp_path, system_interval_s=None) as run,
        pytest.raises(TypeError, match="belongs to the process that opened it"),
    ):
        pickle.dumps({"dataset": run})


EXHAUSTED = """
import os, resource, sys
import runstore
from runstore.writer import parts
parts.PART_BYTES = 3000
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
run = runstore.init(root=sys.argv[1], system_interval_s=None)
run.log({"a": 0.0}, step=0)
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError as error:
    print(error.strerror)
for step in range(1, 300):
    run.log({"a": float(step)}, step=step)
    if step == 100:
        run.write_row("epochs", {"loss": 1.0}, epoch=1, step=step)
    if step % 50 == 0:
        for stream in run._writer._all_streams():
            stream.sync()
        run._writer._beat()
for descriptor in taken:
    os.close(descriptor)
run.finish()
"""


def test_no_row_is_lost_while_there_are_no_descriptors(tmp_path: Path) -> None:
    assert "Too many open files" in run_script(EXHAUSTED, "-", str(tmp_path))
    (path,) = tmp_path.iterdir()
    data = runstore.load(path)
    assert [row["step"] for row in data.metrics()] == list(range(300))
    assert len(data.epochs()) == 1
    assert data.status == "finished"


FULL = """
import resource, sys
from pathlib import Path
from runstore.run.run import Run
run = Run(Path(sys.argv[1]), {}, rank=int(sys.argv[2]), all_ranks=True)
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
for step in range(1000):
    run.log({"loss": 1.0}, step=step)
run.finish()
"""


@pytest.mark.parametrize(("rank", "who"), [(0, ""), (3, "rank 3: ")])
def test_rows_that_the_disk_does_not_take_are_told_by_the_rank_that_loses_them(
    tmp_path: Path, rank: int, who: str
) -> None:
    told = run_script(FULL, "-", str(tmp_path), str(rank))
    (path,) = tmp_path.glob("metrics*")
    lost = 1000 - path.read_bytes().count(b"\n")
    assert lost > 500
    assert f"runstore: {who}writing {path.name} fails (File too large); rows wait" in told
    assert f"runstore: {who}{lost} rows were lost" in told


LOOP = """
import runstore
run = runstore.init(system_interval_s=None)
for step in range(200):
    run.log({"a": float(step)}, step=step)
run.finish()
"""


@pytest.mark.needs_tool("strace")
def test_storm_of_interrupted_calls_costs_nothing(
    tmp_path: Path, tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    path.mkdir()
    monkeypatch.setenv("RUNSTORE_RUN", str(path))
    calls = "write,fdatasync,fsync,openat,ftruncate"
    storm = f"inject={calls}:error=EINTR:when=2+2"
    names = ["", "metrics-0001.jsonl", "events-0001.jsonl"]
    only = [part for name in names for part in ("-P", str(path / name))]
    trace = tmp_path / "trace"
    strace = [tool("strace"), "-f", "-o", str(trace), *only, "-e", f"trace={calls}", "-e", storm]
    run_script(LOOP, "-", prefix=strace)
    assert trace.read_text().count("INJECTED") > 100
    assert [row["step"] for row in runstore.load(path).metrics()] == list(range(200))
    assert runstore.load(path).status == "finished"


REFUSING = """
import os, sys
import runstore
run = runstore.init(root=sys.argv[1], system_interval_s=None)
write = os.write
def full(descriptor, data):
    if descriptor > 2:
        raise OSError(28, "No space left on device")
    return write(descriptor, data)
os.write = full
for step in range(11):
    run.log({"a": float(step)}, step=step)
run.finish()
"""


def test_end_that_no_disk_took_is_not_said_to_be_written(tmp_path: Path) -> None:
    told = run_script(REFUSING, "-", str(tmp_path))
    assert "; its end could not be written\n" in told
    assert "runstore: 11 rows were lost (disk full)\n" in told


def trained(run: runstore.Run) -> None:
    model = torch.nn.Linear(1, 1)
    run.register(model=model)


def test_end_of_a_run_whose_directory_was_deleted_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with runstore.init(root=tmp_path, system_interval_s=None) as run:
        trained(run)
        run.log({"a": 0.0}, step=0)
        run._writer.sync()
        remove_live(run.path.rename(tmp_path / "gone"))
        run.log({"a": 1.0}, step=1)
        with caplog.at_level(logging.WARNING):
            run.save()
    assert list(tmp_path.iterdir()) == []
    told = "the run's directory was deleted while it ran; 1 row was lost\n"
    assert f"runstore: {told}" in capsys.readouterr().err
    saving = [message for message in caplog.messages if "no checkpoint" in message]
    assert saving == [
        "runstore: no checkpoint at step 1 (the run's directory was deleted); training goes on "
        f"({run.id})"
    ]


def test_checkpoints_and_requests_follow_a_moved_run(tmp_path: Path) -> None:
    moved: dict[str, Any] = {}
    with runstore.init(root=tmp_path / "runs", system_interval_s=None) as run:
        trained(run)
        run.step = 1
        run.save()
        (tmp_path / "archive").mkdir()
        moved["path"] = run.path.rename(tmp_path / "archive" / run.id)
        run._writer._look_at_directory()  # type: ignore[union-attr]
        assert run.path == moved["path"]
        run.step = 2
        run.save()
    names = sorted(path.name for path in (moved["path"] / "checkpoints").glob("step*"))
    assert names == ["step-00000001-0001.pt", "step-00000002-0001.pt"]
    assert list((tmp_path / "runs").iterdir()) == []
    assert runstore.load(moved["path"]).status == "finished"
