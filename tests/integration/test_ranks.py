"""Several processes, one run: rank 0 writes, all agree, and a rank that dies is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.files.checkpoints import read_manifest
from runstore.state.system_history import SystemFiles, SystemHistory
from tests.conftest import WaitUntil
from tests.integration.resuming import ENVIRONMENT, SCRIPT, outcome


def torchrun(*arguments: str, processes: int = 2) -> list[str]:
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        *arguments,
    ]


def train_ranks(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        torchrun(str(SCRIPT), str(run), *options),
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_ranks(
    folder: Path, script: str, *arguments: str, processes: int = 2, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of this file by torchrun; its first argument is the root of its runs."""
    path = folder / "script.py"
    path.write_text(script)
    return subprocess.run(
        torchrun(str(path), str(folder / "runs"), *arguments, processes=processes),
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("whole") / "run"
    done = train_ranks(run)
    assert done.returncode == 0, done.stderr
    return outcome(run)


def events(run: Path, attempt: int) -> list[dict[str, Any]]:
    text = (run / f"events-{attempt:04d}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_all_ranks_share_one_directory_and_rank_0_writes_the_rows(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    assert train_ranks(run).returncode == 0
    assert outcome(run) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.name for path in run.glob("*.rank*")} <= {"system.rank1-0001.jsonl"}
    (ranks,) = [event for event in events(run, 1) if event["event"] == "ranks"]
    assert ranks["world_size"] == 2
    assert [process["rank"] for process in ranks["processes"]] == [0, 1]


def test_evaluation_sees_every_sample_once(whole: dict[str, Any]) -> None:
    """51 samples over two ranks: a sampler that pads would count 52."""
    for report in whole["reports"]:
        assert report["report"]["weighted avg"]["support"] == 51.0


@pytest.mark.parametrize(("rank", "moment"), [(1, "step 5"), (0, "inside 3"), (1, "evaluating 1")])
def test_killed_rank_is_seen_and_the_resumed_run_is_exact(
    tmp_path: Path, whole: dict[str, Any], rank: int, moment: str
) -> None:
    run = tmp_path / "run"
    done = train_ranks(run, "--kill", moment, "--kill-rank", str(rank), "--every", "1st")
    assert done.returncode != 0
    last = events(run, 1)[-1]
    if rank == 1:
        assert last["event"] == "end"
        assert last["lost_ranks"] == [1]
        assert "rank 1 is gone" in last["reason"]
    else:
        assert last["event"] != "end"
    again = train_ranks(run, "--every", "1st")
    assert again.returncode == 0, again.stderr
    assert outcome(run) == whole


def test_signal_to_one_rank_stops_all_at_the_same_step(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    done = train_ranks(
        run, "--kill", "step 6", "--kill-rank", "1", "--by", "SIGUSR1", "--every", "1h"
    )
    assert run.exists(), done.stderr
    last = events(run, 1)[-1]
    assert (last["status"], last["reason"]) == ("interrupted", "preempted with another rank")
    assert read_manifest(run)[-1].step == last["step"]
    again = train_ranks(run, "--every", "1h")
    assert again.returncode == 0, again.stderr
    assert outcome(run) == whole


@pytest.mark.parametrize("every", ["1h", "5st"])
def test_checkpoint_that_one_rank_asks_for_is_written_by_all(
    tmp_path: Path, whole: dict[str, Any], every: str
) -> None:
    """Code under `if rank == 0` and files in requests/ are known to one rank only."""
    run = tmp_path / "run"
    done = train_ranks(run, "--ask", "3", "--every", every)
    assert done.returncode == 0, done.stderr
    assert outcome(run) == whole
    assert read_manifest(run)[0].step <= 5


def test_sigterm_to_torchrun_saves_and_resumes(
    tmp_path: Path, whole: dict[str, Any], wait_until: WaitUntil
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        torchrun(str(SCRIPT), str(run), "--every", "1st"),
        env={**os.environ, **ENVIRONMENT},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: list((run / "checkpoints").glob("step-*.pt")), 60, what="a checkpoint")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    last = events(run, 1)[-1]
    assert (last["event"], last["status"]) == ("end", "interrupted"), err
    assert last["reason"].startswith("preempted")
    assert train_ranks(run, "--every", "1st").returncode == 0
    assert outcome(run) == whole


def test_one_process_goes_on_with_what_two_began_but_not_exactly(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_ranks(run, "--kill", "step 9", "--every", "1st")
    alone = [sys.executable, str(SCRIPT), str(run), "--every", "1st"]
    done = subprocess.run(
        alone, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    (resume,) = [event for event in events(run, 2) if event["event"] == "resume"]
    assert (resume["exact"], resume["not_exact"]) == (False, ["processes: 2 then, 1 now"])
    assert "not exact" in done.stderr


def test_init_before_the_process_group_is_refused_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import runstore\nrunstore.init()\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT, "RANK": "1", "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "init_process_group(…) before runstore.init(…)" in done.stderr
    assert not (tmp_path / "runs").exists()


LEAVES_AT_ONCE = """
import sys
import torch.distributed as dist
import runstore

# Nobody else gets the GIL unless the main thread waits.
sys.setswitchinterval(10)
dist.init_process_group("gloo")
with runstore.init(root=sys.argv[1]) as run:
    for _ in run.epochs(1):
        for x in run.train([1.0, 2.0]):
            run.track(loss=x)
"""


def test_no_rank_aborts_when_the_script_ends_with_the_run(tmp_path: Path) -> None:
    """A thread of gloo that drops a tensor while the interpreter ends would abort it."""
    done = run_ranks(tmp_path, LEAVES_AT_ONCE, processes=4)
    assert done.returncode == 0, done.stderr


LOGS_ON_ALL_RANKS = """
import os, signal, sys
import torch.distributed as dist
from torch import nn
import runstore

dist.init_process_group("gloo")
rank = dist.get_rank()
with runstore.init(root=sys.argv[1], all_ranks=True, save_every="1st") as run:
    run.register(model=nn.Linear(1, 1))
    for _ in run.epochs(2):
        for x in run.train([1.0, 2.0, 3.0]):
            run.track(loss=x)
            run.log({"rank": rank})
            if run.step == 5 and rank == 0 and len(sys.argv) > 2:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_of_all_ranks_are_cut_and_go_on_at_the_checkpoint(tmp_path: Path) -> None:
    assert run_ranks(tmp_path, LOGS_ON_ALL_RANKS, "die").returncode != 0
    (run,) = (tmp_path / "runs").iterdir()
    again = run_ranks(tmp_path, LOGS_ON_ALL_RANKS, RUNSTORE_RUN=str(run))
    assert again.returncode == 0, again.stderr
    names = {"": [0.0] * 6, ".rank1": [1.0] * 6}
    for rank, expected in names.items():
        cut = events(run, 2)[0]["cuts"][f"metrics{rank}-0001.jsonl"]
        kept = (run / f"metrics{rank}-0001.jsonl").read_bytes()[:cut]
        rows = [*kept.splitlines(), *(run / f"metrics{rank}-0002.jsonl").read_bytes().splitlines()]
        logged = [row for row in map(json.loads, rows) if "rank" in row]
        assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
        assert [row["rank"] for row in logged] == expected
    assert [row["step"] for row in runstore.load(run).metrics() if "rank" in row] == list(
        range(1, 7)
    )


EVALUATES_ON_RANK_0 = """
import sys, time
import torch.distributed as dist
import runstore
from runstore import several

several.LONG_WAIT_S = 0.5
dist.init_process_group("gloo")
with runstore.init(root=sys.argv[1]) as run:
    for _ in run.epochs(1):
        if run.rank == 0:
            for x in run.val([1.0]):
                run.track(loss=x)
        else:
            time.sleep(2)
            for _ in run.val([]):
                pass
"""


SAMPLED = """
import sys, time
import torch.distributed as dist
import runstore

dist.init_process_group("gloo")
interval_s = float(sys.argv[2]) or None
with runstore.init(root=sys.argv[1], system_interval_s=interval_s) as run:
    for batch in run.train(range(60)):
        run.track(loss=1.0)
        time.sleep(0.05)
dist.destroy_process_group()
"""


def test_every_rank_samples_its_own_machine(tmp_path: Path) -> None:
    done = run_ranks(tmp_path, SAMPLED, "0.3")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    history = SystemHistory()
    assert SystemFiles(run, history).read(lambda: False)
    assert history.ranks == [0, 1]
    for rank in (0, 1):
        samples = history.newest(rank)
        assert samples.last["process/rss_gib"] > 0
        assert (samples.steps_per_s() or 0) > 1, rank
    # The rows themselves are rank 0's, and the run is read as one of one process.
    assert {path.name for path in run.glob("*.rank*")} == {"system.rank1-0001.jsonl"}
    assert runstore.load(run).status == "finished"


def test_no_rank_samples_where_none_is_asked_to(tmp_path: Path) -> None:
    done = run_ranks(tmp_path, SAMPLED, "0")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert not list(run.glob("system*"))
    assert not list(run.glob("*.rank*"))


def test_evaluation_on_one_rank_says_what_it_waits_for(tmp_path: Path) -> None:
    done = run_ranks(tmp_path, EVALUATES_ON_RANK_0)
    assert done.returncode == 0, done.stderr
    assert "val: waiting for the other processes" in done.stderr


BEST_SCRIPT = """
import sys

import torch
import torch.distributed as dist

import runstore

dist.init_process_group("gloo")
LOSSES = [5.0, 1.0, 4.0, 3.0, 3.5]
with runstore.init(
    root=sys.argv[1], save_every="1ep", keep_last=1, keep_best="val/loss:min"
) as run:
    run.register(model=torch.nn.Linear(1, 1))
    checkpoints, away = run.path / "checkpoints", run.path / "away"
    for epoch in run.epochs(len(LOSSES)):
        run.count_step()
        run.log({"val/loss": LOSSES[epoch - 1]})
        if dist.get_rank() == 0 and epoch == 2:
            checkpoints.rename(away)
            checkpoints.write_text("a file where the directory should be")
        elif dist.get_rank() == 0 and epoch == 3:
            checkpoints.unlink()
            away.rename(checkpoints)
"""


def test_best_that_rank_0_could_not_write_is_not_taken_for_kept(tmp_path: Path) -> None:
    done = run_ranks(tmp_path, BEST_SCRIPT)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert done.stderr.count("no checkpoint at step 2") == 1
    rows = read_manifest(run)
    assert [(row.step, row.best) for row in rows][-3:] == [(3, True), (4, True), (5, False)]
    assert (run / "checkpoints" / "best.pt").samefile(run / "checkpoints" / rows[-2].file)


OWN_LOOP = """
import os, signal, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import runstore

dist.init_process_group("gloo")
model = DistributedDataParallel(nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with runstore.init(root=sys.argv[1], save_every="1h") as run:
    stepper = runstore.Stepper(run, model, optimizer, gradient_accumulation_steps=2)
    run.register(model=model, optimizer=optimizer)
    for epoch in run.epochs(2):
        for batch in range(4000):
            with stepper.forward():
                loss = model(torch.ones(2, 3)).square().mean()
            stepper.backward(loss)
            if batch == 20 and run.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            stepper.step()
"""


def test_own_loops_of_all_ranks_are_left_at_the_same_step(tmp_path: Path) -> None:
    done = run_ranks(tmp_path, OWN_LOOP)
    (run,) = (tmp_path / "runs").iterdir()
    last = events(run, 1)[-1]
    told = (last["event"], last["status"], last["reason"])
    assert told == ("end", "interrupted", "preempted with another rank"), done.stderr
    assert last["step"] < 2000
    assert read_manifest(run)[-1].step == last["step"]
