"""The next attempt seals what dead attempts left torn, and leaves alone what may be written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.environment.process import current_process
from runstore.files.paths import StreamFile
from runstore.launch.leftovers import seal_left_files, torn_files

ROW = '{"step":2,"time":2.5,"naïve":1.5,"a\\\\b":0.5}\n'.encode()


def dead_process() -> dict[str, Any]:
    """The identity of a process of this machine that is gone."""
    code = (
        "import json; from runstore.environment.process import current_process;"
        "print(json.dumps(current_process().to_record()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def dead() -> dict[str, Any]:
    return dead_process()


def make_run(root: Path, opened: dict[str, Any], *, torn: bytes = ROW[:20]) -> Path:
    """A run whose only attempt has an `open` event, and a metrics file that ends torn."""
    run_dir = root / "20261120-141502-k3x9qa7b"
    run_dir.mkdir()
    events = run_dir / "events-0001.jsonl"
    events.touch()
    inode = events.stat().st_ino
    event = {"event": "open", "time": 1.0, "format": 1, "attempt": 1, "inode": inode, **opened}
    events.write_text(json.dumps(event) + "\n")
    whole = b'{"step":1,"time":1.5,"a":0.5}\n'
    (run_dir / "metrics-0001.jsonl").write_bytes(whole + torn)
    return run_dir


def events_of(run_dir: Path, attempt: int) -> list[dict[str, Any]]:
    text = (run_dir / f"events-{attempt:04d}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def sealed_in(run_dir: Path, attempt: int = 2) -> list[tuple[str, int, str]]:
    events = [e for e in events_of(run_dir, attempt) if e["event"] == "sealed"]
    return [(event["file"], event["bytes"], event["torn"]) for event in events]


def every_line_is_json(run_dir: Path) -> bool:
    files = [*run_dir.glob("*.jsonl"), *run_dir.glob("checkpoints/*.jsonl")]
    for path in files:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            return False
        for line in data.decode("utf-8").splitlines():
            json.loads(line)
    return bool(files)


def test_next_attempt_moves_a_torn_row_aside_wherever_it_was_cut(
    tmp_path: Path, dead: dict[str, Any]
) -> None:
    for size in range(1, len(ROW), 3):
        root = tmp_path / str(size)
        root.mkdir()
        run_dir = make_run(root, dead, torn=ROW[:size])
        with runstore.init(root=root, resume=run_dir, system_interval_s=None) as run:
            run.log({"a": 1.0}, step=2)
        torn = "metrics-0001.jsonl.torn"
        assert sealed_in(run_dir) == [("metrics-0001.jsonl", size, torn)]
        assert (run_dir / torn).read_bytes() == ROW[:size]
        assert every_line_is_json(run_dir)
        assert [row["step"] for row in runstore.load(run_dir).metrics()] == [1, 2]


def test_all_streams_and_the_manifest_are_sealed(tmp_path: Path, dead: dict[str, Any]) -> None:
    run_dir = make_run(tmp_path, dead)
    (run_dir / "checkpoints").mkdir()
    for name in (
        "metrics-0001.1.jsonl",
        "epochs-0001.jsonl",
        "reports-0001.jsonl",
        "system-0001.jsonl",
        "checkpoints/manifest.jsonl",
    ):
        (run_dir / name).write_bytes(b"\0" * 10)
    with (run_dir / "events-0001.jsonl").open("ab") as events:
        events.write(b'{"event":"war')
    (run_dir / "notes.jsonl").write_bytes(b"mine")
    runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None).finish()
    assert [file for file, _, _ in sealed_in(run_dir)] == [
        "epochs-0001.jsonl",
        "events-0001.jsonl",
        "metrics-0001.1.jsonl",
        "metrics-0001.jsonl",
        "reports-0001.jsonl",
        "system-0001.jsonl",
        "checkpoints/manifest.jsonl",
    ]
    assert (run_dir / "checkpoints/manifest.jsonl.torn").read_bytes() == b"\0" * 10
    assert (run_dir / "notes.jsonl").read_bytes() == b"mine"


@pytest.mark.parametrize("size", [0, 1])
def test_empty_files_stay_and_end_no_start(tmp_path: Path, dead: dict[str, Any], size: int) -> None:
    """As after a power loss: names without bytes."""
    run_dir = make_run(tmp_path, dead, torn=b"")
    for stream in ("metrics", "epochs", "system"):
        (run_dir / f"{stream}-0001.jsonl").write_bytes(b"\0" * size)
    (run_dir / "run.json").write_bytes(b"")
    (run_dir / "progress.json").write_bytes(b"")
    with runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None) as run:
        run.log({"a": 1.0}, step=2)
    assert len(sealed_in(run_dir)) == 3 * size
    assert (run_dir / "metrics-0001.jsonl").read_bytes() == b""
    assert [row["step"] for row in runstore.load(run_dir).metrics()] == [2]


ELSEWHERE = {"host": "node7", "boot_id": "another", "pid": 1, "pid_start": 1, "pid_ns": "pid:[1]"}


@pytest.mark.parametrize(
    "opened",
    [ELSEWHERE, {**ELSEWHERE, "lock": False}, {}, None],
    ids=["elsewhere", "no locks", "no identity", "a copy"],
)
def test_file_whose_writer_may_be_alive_is_left_alone(
    tmp_path: Path, dead: dict[str, Any], opened: dict[str, Any] | None
) -> None:
    copied = {**dead, "inode": 1, "lock": True}
    run_dir = make_run(tmp_path, copied if opened is None else opened)
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints/manifest.jsonl").write_bytes(b'{"file')
    before = (run_dir / "metrics-0001.jsonl").read_bytes()
    runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None).finish()
    assert (run_dir / "metrics-0001.jsonl").read_bytes() == before
    assert (run_dir / "checkpoints/manifest.jsonl").read_bytes() == b'{"file'
    assert sealed_in(run_dir) == []


@pytest.mark.parametrize(
    "opened",
    [
        {**ELSEWHERE, "lock": True},
        {**ELSEWHERE, "host": os.uname().nodename},
    ],
    ids=["lock is free", "rebooted"],
)
def test_writer_elsewhere_that_is_proven_dead_is_sealed(
    tmp_path: Path, opened: dict[str, Any]
) -> None:
    run_dir = make_run(tmp_path, opened)
    runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None).finish()
    assert [file for file, _, _ in sealed_in(run_dir)] == ["metrics-0001.jsonl"]


def test_attempt_that_slurm_started_again_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}
    run_dir = make_run(tmp_path, {**ELSEWHERE, "environment": before})
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None).finish()
    assert len(sealed_in(run_dir)) == 1


def test_live_attempts_files_are_not_sealed(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, current_process().to_record())
    before = (run_dir / "metrics-0001.jsonl").read_bytes()
    assert torn_files(run_dir) == [run_dir / "metrics-0001.jsonl"]
    assert seal_left_files(run_dir) == ([], [])
    assert (run_dir / "metrics-0001.jsonl").read_bytes() == before


@pytest.mark.parametrize("ended", [False, True])
def test_file_of_another_rank_is_sealed_when_its_own_process_is_gone(
    tmp_path: Path, dead: dict[str, Any], ended: bool
) -> None:
    run_dir = make_run(tmp_path, dead, torn=b"")
    me = current_process().to_record()
    processes = [{"rank": 0, **dead}, {"rank": 1, **dead}, {"rank": 2, **me}]
    ranks = {"event": "ranks", "time": 1.0, "world_size": 4, "processes": processes}
    events = [ranks, *([{"event": "end", "time": 2.0, "status": "finished"}] if ended else [])]
    with (run_dir / "events-0001.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    for rank in (1, 2, 3):
        (run_dir / StreamFile(1, 0, "metrics", rank).name).write_bytes(b'{"step')
    sealed, problems = seal_left_files(run_dir)
    assert [one.file for one in sealed] == ["metrics.rank1-0001.jsonl"]
    assert problems == []


def test_older_attempts_are_each_judged_by_their_own_evidence(
    tmp_path: Path, dead: dict[str, Any]
) -> None:
    run_dir = make_run(tmp_path, ELSEWHERE)
    events = run_dir / "events-0002.jsonl"
    events.touch()
    inode = events.stat().st_ino
    opened = {"event": "open", "time": 2.0, "format": 1, "attempt": 2, "inode": inode, **dead}
    events.write_text(json.dumps(opened) + "\n")
    (run_dir / "metrics-0002.jsonl").write_bytes(b"torn")
    runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None).finish()
    assert [file for file, _, _ in sealed_in(run_dir, 3)] == ["metrics-0002.jsonl"]


def test_what_cannot_be_sealed_is_a_warning(tmp_path: Path, dead: dict[str, Any]) -> None:
    run_dir = make_run(tmp_path, dead)
    (run_dir / "epochs-0001.jsonl").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    runstore.init(root=tmp_path, resume=run_dir, system_interval_s=None).finish()
    warnings = [e["message"] for e in events_of(run_dir, 2) if e["event"] == "warning"]
    assert warnings == [
        "the torn end of epochs-0001.jsonl stays there (Too many levels of symbolic links)"
    ]
    assert (tmp_path / "elsewhere").read_bytes() == b"not ours"
    assert [file for file, _, _ in sealed_in(run_dir)] == ["metrics-0001.jsonl"]


def test_torn_files_that_cannot_be_judged_are_told(
    tmp_path: Path, dead: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server that is away for a moment: the run goes on, and says what it could not see."""
    run_dir = make_run(tmp_path, dead)
    (run_dir / "events-0001.jsonl").rename(run_dir / "kept")
    (run_dir / "events-0001.jsonl").symlink_to("kept")
    sealed, problems = seal_left_files(run_dir)
    told = "the torn end of metrics-0001.jsonl stays there (events-0001.jsonl: "
    assert sealed == []
    assert problems[-1].startswith(told)

    def away(_path: object) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "listdir", away)
    told = "torn ends of earlier attempts' files may stay there (Input/output error)"
    assert seal_left_files(run_dir) == ([], [told])


def test_manifest_waits_for_an_attempt_whose_events_cannot_be_read(
    tmp_path: Path, dead: dict[str, Any]
) -> None:
    run_dir = make_run(tmp_path, dead, torn=b"")
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints/manifest.jsonl").write_bytes(b'{"file')
    (run_dir / "events-0002.jsonl").symlink_to("away")
    assert seal_left_files(run_dir)[0] == []
    (run_dir / "events-0001.jsonl").rename(run_dir / "kept")
    (run_dir / "events-0002.jsonl").unlink()
    assert seal_left_files(run_dir)[0] == []
    (run_dir / "kept").rename(run_dir / "events-0001.jsonl")
    # Claimed, and killed before its `open`.
    (run_dir / "events-0002.jsonl").touch()
    assert [one.file for one in seal_left_files(run_dir)[0]] == ["checkpoints/manifest.jsonl"]


def test_launcher_that_is_gone_does_not_speak_for_an_init_out_of_sight(
    tmp_path: Path, dead: dict[str, Any]
) -> None:
    run_dir = make_run(tmp_path, dead)
    exec_file = run_dir / "exec-0001.jsonl"
    (run_dir / "events-0001.jsonl").rename(exec_file)
    (run_dir / "events-0001.jsonl").symlink_to("away")
    assert seal_left_files(run_dir)[0] == []
    (run_dir / "events-0001.jsonl").unlink()
    assert [one.file for one in seal_left_files(run_dir)[0]] == ["metrics-0001.jsonl"]


def test_live_launchers_files_are_not_sealed_also_behind_the_end_of_its_init(
    tmp_path: Path, dead: dict[str, Any]
) -> None:
    run_dir = make_run(tmp_path, dead)
    end = {"event": "end", "time": 2.0, "status": "finished", "files": {}}
    with (run_dir / "events-0001.jsonl").open("a") as events:
        events.write(json.dumps(end) + "\n")
    exec_file = run_dir / "exec-0001.jsonl"
    exec_file.touch()
    inode = exec_file.stat().st_ino
    opened = {"event": "open", "time": 1.0, "format": 1, "attempt": 1, "inode": inode}
    exec_file.write_text(json.dumps(opened | current_process().to_record()) + "\n")
    assert seal_left_files(run_dir) == ([], [])
    exec_file.write_text(json.dumps(opened | dead) + "\n")
    assert [one.file for one in seal_left_files(run_dir)[0]] == ["metrics-0001.jsonl"]


def test_nothing_is_sealed_once_another_attempt_was_claimed(
    tmp_path: Path, dead: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt that comes between the look and the lock may write to the manifest."""
    run_dir = make_run(tmp_path, dead)
    flock = fcntl.flock

    def claimed_meanwhile(descriptor: int, operation: int) -> None:
        (run_dir / "events-0002.jsonl").touch()
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr("runstore.files.seal.fcntl.flock", claimed_meanwhile)
        sealed, problems = seal_left_files(run_dir)
    assert sealed == []
    assert "a new attempt has begun" in problems[0]
    assert torn_files(run_dir) == [run_dir / "metrics-0001.jsonl"]
