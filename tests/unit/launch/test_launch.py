"""How a run is opened: a directory of its own, or the one that a launcher hands over."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import runstore
from runstore.errors import AttemptError, RootNotFoundError, RunNotFoundError, RunStoreError
from runstore.launch import attempts

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


@pytest.fixture(autouse=True)
def fresh_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process joins the launcher's run once; each test is a process of its own."""
    monkeypatch.setattr(attempts, "_handed_over", False)


def document(run: runstore.Run) -> dict[str, Any]:
    found = json.loads((run.path / "run.json").read_bytes())
    assert isinstance(found, dict)
    return found


@dataclass
class Settings:
    lr: float
    layers: tuple[int, ...]


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 0.5, "layers": [1, 2]},
        argparse.Namespace(lr=0.5, layers=[1, 2]),
        Settings(0.5, (1, 2)),
        {"lr": np.float64(0.5), "layers": (np.int64(1), 2)},
    ],
    ids=["dict", "namespace", "dataclass", "numpy"],
)
def test_params_of_any_kind_are_json_in_the_document(tmp_path: Path, params: object) -> None:
    with runstore.init(params, root=tmp_path) as run:
        assert run.params["lr"] == 0.5
    assert document(run)["params"] == {"lr": 0.5, "layers": [1, 2]}
    assert runstore.load(run.path).params == {"lr": 0.5, "layers": [1, 2]}


def test_params_that_json_does_not_know_are_written_as_text(tmp_path: Path) -> None:
    odd = {"path": Path("/data"), "nan": math.nan, 3: {"s": {1}}, "big": 2**80, "\udcff": "\ud800"}
    with runstore.init(odd, root=tmp_path) as run:
        pass
    assert document(run)["params"] == {
        "path": "/data", "nan": "nan", "3": {"s": [1]}, "big": str(2**80), "\\udcff": "\\ud800",
    }  # fmt: skip


@pytest.mark.parametrize("params", [3, "lr=1", [1], print])
def test_params_that_are_no_mapping_are_refused_before_anything_is_made(
    tmp_path: Path, params: object
) -> None:
    with pytest.raises(TypeError, match="expected a dict, a namespace or a dataclass"):
        runstore.init(params, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_document_says_what_was_run(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path / "a" / "b", name="Größe 1", tags=["x", "y"]) as run:
        pass
    found = document(run)
    assert (found["format"], found["id"], found["name"]) == (1, run.path.name, "Größe 1")
    assert found["tags"] == ["x", "y"]
    assert found["cwd"] == str(Path.cwd())
    assert found["versions"].keys() >= {"torch", "numpy"}
    assert run.path.parent == tmp_path / "a" / "b"


def test_directory_for_requests_is_there_at_once(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        assert (run.path / "requests").is_dir()
        (run.path / "requests" / "note").touch()
    with runstore.init(root=tmp_path, resume=run.path):
        assert (run.path / "requests" / "note").exists()


def test_run_goes_on_where_the_directory_for_requests_cannot_be_made(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        (run.path / "requests").rmdir()
        (run.path / "requests").write_text("a file where the directory should be")
    with runstore.init(resume=run.path) as again:
        again.log({"loss": 1.0})
    assert len(runstore.load(run.path).metrics()) == 1


def test_requests_are_looked_for_every_ten_seconds_on_a_network_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr("runstore.writer.writer.is_network", lambda path: True)
    # The writer's clock goes twenty times as fast.
    clock = SimpleNamespace(time=time.time, monotonic=lambda: 20 * time.monotonic())
    monkeypatch.setattr("runstore.writer.writer.time", clock)
    monkeypatch.setattr("runstore.writer.heartbeat.time", clock)

    def beat() -> dict[str, Any]:
        path = run.path / "progress.json"
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {"beat": 0}
        return found

    with runstore.init(root=tmp_path) as run:
        wait_until(lambda: beat()["beat"] >= 1, what="the first look")
        before = beat()
        request = run.path / "requests" / "checkpoint"
        request.touch()
        wait_until(lambda: not request.exists(), what="the next look")
        wait_until(lambda: beat()["beat"] > before["beat"], what="its beat")
        after = beat()
    looks = after["beat"] - before["beat"]
    assert (after["monotonic"] - before["monotonic"]) / looks >= 10


def test_single_tag_may_be_a_string(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, tags="demo") as run:
        pass
    assert document(run)["tags"] == ["demo"]


def test_launchers_run_and_params_beat_the_scripts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTORE_RUN", str(tmp_path / "sweep" / "trial-1"))
    monkeypatch.setenv("RUNSTORE_PARAMS", '{"lr": 0.01, "depth": 3}')
    with runstore.init({"lr": 0.5, "seed": 1}, root=tmp_path / "runs", name="mine") as run:
        assert run.path == tmp_path / "sweep" / "trial-1"
        assert run.params == {"lr": 0.01, "depth": 3, "seed": 1}
        second = runstore.init(root=tmp_path / "runs")
        second.finish()
    assert document(run)["params"] == {"lr": 0.01, "depth": 3, "seed": 1}
    assert second.path.parent == tmp_path / "runs"


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "NaN"])
def test_launchers_params_that_are_no_object_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RUNSTORE_RUN", str(tmp_path / "r"))
    monkeypatch.setenv("RUNSTORE_PARAMS", text)
    with pytest.raises(RunStoreError, match="RUNSTORE_PARAMS"):
        runstore.init()


def test_run_that_is_alive_may_not_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runstore.init(root=tmp_path) as run:
        monkeypatch.setenv("RUNSTORE_RUN", str(run.path))
        with pytest.raises(AttemptError, match=rf"attempt 1 is running \(process {os.getpid()}\)"):
            runstore.init()
    assert len(list(run.path.glob("events-*"))) == 1


def start_as_slurm(
    monkeypatch: pytest.MonkeyPatch, job: str, restarts: str | None, **options: Any
) -> runstore.Run:
    monkeypatch.setenv("SLURM_JOB_ID", job)
    if restarts is None:
        monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    else:
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    return runstore.init(**options)


def test_same_slurm_job_with_a_higher_restart_count_proves_the_attempt_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is alive: only the restart count says otherwise, as on another host."""
    first = start_as_slurm(monkeypatch, "7", None, root=tmp_path)
    # What the first attempt was started with is in run.json, the second's in its `open` event.
    second = start_as_slurm(monkeypatch, "7", "1", resume=first.path)
    third = start_as_slurm(monkeypatch, "7", "2", resume=first.path)
    for run in (first, second, third):
        run.finish()
    assert [run.attempt for run in (first, second, third)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("job", "restarts"), [("7", "1"), ("7", None), ("8", "2")], ids=["same", "lower", "other job"]
)
def test_no_other_slurm_job_takes_a_live_attempt_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, restarts: str | None
) -> None:
    run = start_as_slurm(monkeypatch, "7", "1", root=tmp_path)
    with run, pytest.raises(AttemptError, match="attempt 1 is running"):
        start_as_slurm(monkeypatch, job, restarts, resume=run.path)


def test_ended_run_goes_on_as_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runstore.init({"lr": 1}, root=tmp_path) as first:
        first.log({"a": 1.0}, step=1)
        first.log({"a": 2.0}, step=2)
    written = (first.path / "run.json").read_bytes()
    monkeypatch.setenv("RUNSTORE_RUN", str(first.path))
    with runstore.init({"lr": 1}) as second:
        assert (second.path, second.attempt) == (first.path, 2)
        second.log({"a": 3.0}, step=2)
    assert (first.path / "run.json").read_bytes() == written
    assert [row["a"] for row in runstore.load(first.path).metrics()] == [1.0, 3.0]


def test_resumed_run_has_its_params_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with runstore.init({"lr": 0.1, "depth": 3}, root=tmp_path) as run:
        pass
    monkeypatch.setenv("RUNSTORE_PARAMS", '{"lr": 9.0}')  # nobody handed this run over
    with runstore.init(root=tmp_path, resume=run.id) as again:
        assert again.params == {"lr": 0.1, "depth": 3}
    with runstore.init({"lr": 0.2}, root=tmp_path, resume=run.id) as again:
        assert again.params == {"lr": 0.2, "depth": 3}
    assert document(again)["params"] == {"lr": 0.1, "depth": 3}


def test_run_planned_by_a_launcher_keeps_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "trial-1"
    run_dir.mkdir()
    planned = b'{"format":1,"id":"trial-1","name":"","created":1.0,"params":{"lr":3},"tags":[]}'
    (run_dir / "run.json").write_bytes(planned)
    monkeypatch.setenv("RUNSTORE_RUN", str(run_dir))
    with runstore.init() as run:
        assert (run.attempt, run.params) == (1, {"lr": 3})
    assert (run_dir / "run.json").read_bytes() == planned


def test_attempt_claimed_a_moment_ago_is_alive(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        events = run.path / "events-0001.jsonl"
        line = events.read_bytes()
        os.truncate(events, 0)  # as between the claim and its first line
        claimer = threading.Timer(0.2, lambda: events.write_bytes(line))
        claimer.start()
        with pytest.raises(AttemptError, match="attempt 1 is running"):
            runstore.init(root=tmp_path, resume=run.path)
        claimer.join()


def test_attempt_whose_claimer_died_at_once_is_left_behind(tmp_path: Path) -> None:
    run_dir = tmp_path / "20261120-141502-k3x9qa7b"
    run_dir.mkdir()
    (run_dir / "events-0001.jsonl").touch()
    with runstore.init({"lr": 1}, root=tmp_path, resume=run_dir) as run:
        assert run.attempt == 2
    assert document(run)["params"] == {"lr": 1}


def test_attempt_is_behind_every_stream_file_that_is_there(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        pass
    (run.path / "metrics-0004.jsonl").write_text('{"step":1,"time":1.0,"a":1.0}\n')
    with runstore.init(root=tmp_path, resume=run.path) as again:
        again.log({"a": 2.0})
    assert again.attempt == 5
    assert (run.path / "metrics-0004.jsonl").read_text() == '{"step":1,"time":1.0,"a":1.0}\n'


def test_run_that_cannot_be_described_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "handed"
    # Where the new document is written, before it is renamed.
    (run_dir / f".run.json.{os.getpid()}-{threading.get_ident()}.tmp").mkdir(parents=True)
    monkeypatch.setenv("RUNSTORE_RUN", str(run_dir))
    with pytest.raises(IsADirectoryError):
        runstore.init()
    assert runstore.load(run_dir).status == "failed"


@pytest.mark.parametrize(
    "options",
    [{"log_every": 0}, {"log_every": 2.5}, {"tags": 5}, {"best": "x"}, {"params": 3}],
    ids=repr,
)
def test_refused_option_leaves_no_directory(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        runstore.init(root=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_run_is_resumed_by_id_or_path(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        pass
    for resume in (run.id, run.path, run.id[:20]):
        with runstore.init(root=tmp_path, resume=resume) as again:
            assert again.path == run.path
    assert again.attempt == 4


def test_never_resuming_ignores_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTORE_RUN", str(tmp_path / "handed"))
    with runstore.init(root=tmp_path / "own", resume="never") as run:
        assert run.path.parent == tmp_path / "own"
    assert not (tmp_path / "handed").exists()


def test_resuming_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError, match="no launcher gave a run"):
        runstore.init(root=tmp_path, resume="must")
    # As a script's own option may be, left out or given.
    for given in (None, True):
        with pytest.raises(ValueError, match=f"resume is {given}; expected 'auto', 'must', "):
            runstore.init(root=tmp_path, resume=given)  # type: ignore[arg-type]
    with pytest.raises(RunNotFoundError):
        runstore.init(root=tmp_path, resume="20260101")
    with pytest.raises(RootNotFoundError):
        runstore.init(root=tmp_path / "none", resume="20260101")


START = """
import json
import os
import sys
import runstore
from runstore.errors import AttemptError
print("ready", flush=True)
sys.stdin.readline()
try:
    run = runstore.init()
except AttemptError:
    print("lost")
else:
    print("won", run.attempt, flush=True)
    assert json.load(open(run.path / "run.json"))["pid"] == os.getpid()
    run.log({"a": 1.0})
    sys.stdin.readline()
    run.finish()
"""


def test_one_of_two_processes_gets_the_attempt(tmp_path: Path, repo_root: Path) -> None:
    environment = {
        **os.environ,
        "RUNSTORE_RUN": str(tmp_path / "run"),
        "PYTHONPATH": str(repo_root),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
    answers = [process.stdout.readline() for process in processes if process.stdout]
    for process in processes:
        process.communicate("done\n" if process.poll() is None else None)
    assert sorted(answers) == ["lost\n", "lost\n", "won 1\n"]
    assert runstore.load(tmp_path / "run").status == "finished"
    assert len(runstore.load(tmp_path / "run").metrics()) == 1


def test_path_that_is_not_there_is_what_the_message_names(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"'out/run1'.* no such directory"):
        runstore.load("out/run1", root=tmp_path / "runs")


def test_run_goes_on_when_the_script_changes_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)
    with runstore.init(root="runs") as run:
        monkeypatch.chdir(tmp_path / "else")
        run.log({"x": 1.0})
    assert run.path.is_absolute()
    assert [row["x"] for row in runstore.load(run.path).metrics()] == [1.0]


def test_launchers_run_does_not_take_the_scripts_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_handed_over", False)
    monkeypatch.setenv("RUNSTORE_RUN", str(tmp_path / "handed"))
    with runstore.init(root=tmp_path, name="mine"):
        pass
    assert runstore.load(tmp_path / "handed").state.name == "handed"


def test_param_that_would_fill_the_document_is_left_out_and_told(tmp_path: Path) -> None:
    with runstore.init({"text": "v" * 5_000_000, "lr": 1.0}, root=tmp_path, name="big") as run:
        pass
    state = runstore.load(run.path).state
    assert state.name == "big"
    assert state.params == {"text": "<left out: 5,000,002 bytes>", "lr": 1.0}
    assert any("left out of run.json" in warning for warning in state.warnings)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a file's name")
def test_files_that_the_output_goes_to_are_on_record(tmp_path: Path) -> None:
    script = "import sys, runstore; runstore.init(root=sys.argv[1]).finish()"
    command = [sys.executable, "-c", script]
    with (tmp_path / "slurm-17.out").open("wb") as out:
        subprocess.run([*command, str(tmp_path / "file")], stdout=out, stderr=-1, check=True)
    subprocess.run([*command, str(tmp_path / "pipe")], capture_output=True, check=True)
    into_file, into_pipe = (
        json.loads(next((tmp_path / name).glob("*/events-0001.jsonl")).read_text().splitlines()[0])
        for name in ("file", "pipe")
    )
    assert into_file["stdout"] == out.name
    assert "stderr" not in into_file
    assert "stdout" not in into_pipe


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a file's name")
def test_file_with_the_number_of_a_closed_stream_is_not_taken_for_the_output(
    tmp_path: Path,
) -> None:
    """As of a service that was started with `>&-`: the next file that is opened has number 1."""
    (tmp_path / "data").write_bytes(b"samples")
    script = (
        "import sys; data = open(sys.argv[1]); import runstore; "
        "assert data.fileno() == 1; runstore.init(root=sys.argv[2]).finish()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data"), str(tmp_path / "runs")]
    subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *command], stderr=-1, check=True)
    (events,) = (tmp_path / "runs").glob("*/events-0001.jsonl")
    assert "stdout" not in json.loads(events.read_text().splitlines()[0])
