"""What `runstore exec` writes while the disk is full, and beside an `init`."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runstore.errors import AttemptError
from runstore.exec.recorder import Recorder
from runstore.sources.native import NativeReader
from runstore.state.status import Status
from runstore.tables.run_data import load
from runstore.writer.writer import RunWriter
from tests.conftest import WaitUntil


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "exec-0001.jsonl").read_text().splitlines()]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(tmp_path)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(directory: Path) -> None:
    with (directory / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_end_finds_room_on_a_full_disk(small: Path, wait_until: WaitUntil) -> None:
    recorder = Recorder(small, 1, {"command": ["true"]}, {})
    recorder.start(lambda: None)
    wait_until((small / ".reserve").exists)
    wait_until((small / "progress.json").exists)
    fill(small)
    recorder.log.put(b"line\n" * 20_000)
    recorder.warn_once("long", "x" * 9000)
    recorder.end({"status": "finished"})
    reader = NativeReader(small)
    reader.glance()
    assert reader.state.status == Status("finished")
    execution = reader.state.attempts[1].execution
    assert execution is not None
    assert execution.ended is not None
    kept = (small / "output.log").stat().st_size
    assert execution.ended["log_lost_bytes"] + kept == 100_000
    assert not (small / ".reserve").exists()


def test_rows_stop_when_an_init_has_claimed_the_attempt(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    recorder.take_row({"step": 1, "loss": 1})
    (tmp_path / "events-0001.jsonl").touch()
    recorder.take_row({"step": 2, "loss": 1})
    recorder.end({"status": "finished"})
    rows = (tmp_path / "metrics-0001.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1]
    assert events(tmp_path)[-1]["files"]["metrics-0001.jsonl"]["rows"] == 1


@pytest.mark.parametrize("first", ["recorder", "init"])
def test_rows_of_both_count_whoever_makes_the_first_file(tmp_path: Path, first: str) -> None:
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    recorder.take_row({"step": 1, "loss": 1})
    writer = RunWriter(tmp_path, 1)
    if first == "recorder":
        recorder.end({"status": "finished"})
    writer.append("metrics", {"step": 2, "loss": 0.5})
    writer.end({"status": "finished"})
    if first == "init":
        recorder.end({"status": "finished"})
    assert sorted(row["step"] for row in load(tmp_path).metrics()) == [1, 2]
    assert not load(tmp_path).state.warnings


def test_exit_does_not_finish_an_init_that_could_write_nothing(tmp_path: Path) -> None:
    """As on a full disk: its events are there without a byte, and its rows are lost."""
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    (tmp_path / "events-0001.jsonl").touch()
    recorder.end({"status": "finished", "reason": "", "code": 0})
    assert load(tmp_path).state.status == Status("crashed", "exit status 0 without run.finish()")


def test_end_does_not_wait_for_a_disk_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runstore.exec.recorder.END_TELL_S", 0.1)
    monkeypatch.setattr("runstore.exec.recorder.END_WAIT_S", 0.3)
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    answer = threading.Event()
    monkeypatch.setattr("runstore.writer.part._sync_data", lambda _descriptor: answer.wait(60.0))
    recorder.take_row({"step": 1, "loss": 1})
    recorder.end({"status": "finished"})
    told = capsys.readouterr().err
    assert not answer.is_set()
    assert "the disk has not answered" in told
    answer.set()


def test_cut_is_in_the_file_before_the_rows_that_are_written_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    refused = iter([errno.EIO])

    def sync(_descriptor: int) -> None:
        for number in refused:
            raise OSError(number, os.strerror(number))

    recorder.take_row({"step": 1, "loss": 1})
    recorder._metrics.drain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runstore.writer.part._sync_data", sync)
        recorder._metrics.sync()
    assert (tmp_path / "metrics-0001.1.jsonl").stat().st_size
    assert [event["event"] for event in events(tmp_path)] == ["open", "cut"]
    recorder.end({"status": "finished"})


def test_launcher_that_died_before_its_command_is_told_so(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        Recorder(tmp_path, 1, {"command": ["true"]}, {})
        os._exit(0)
    os.waitpid(pid, 0)
    status = load(tmp_path).state.status
    assert status.word == "crashed"
    assert status.reason.endswith("before it started its command")


def test_init_that_outlives_its_command_is_running(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    writer = RunWriter(tmp_path, 1)
    recorder.end({"status": "finished", "reason": "", "code": 0})
    assert load(tmp_path).state.status == Status("running", f"process {os.getpid()}")
    writer.end({"status": "finished"})


def test_launcher_elsewhere_that_is_gone_proves_nothing_of_its_command(tmp_path: Path) -> None:
    file = tmp_path / "exec-0001.jsonl"
    file.touch()
    elsewhere = {"host": "node7", "boot_id": "another", "pid_ns": "pid:[1]", "lock": True}
    numbers = {"format": 1, "attempt": 1, "pid": 1, "pid_start": 1, "inode": file.stat().st_ino}
    opened = {"event": "open", "time": 1.0, "command": ["true"], **elsewhere, **numbers}
    started = {"event": "start", "time": 1.0, "pid": 2, "pid_start": 2}
    file.write_text(f"{json.dumps(opened)}\n{json.dumps(started)}\n")
    status = load(tmp_path).state.status
    assert status.word == "unknown"
    assert status.reason.endswith("its command may go on")


def test_attempt_is_claimed_by_one_only(tmp_path: Path) -> None:
    first = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    with pytest.raises(AttemptError, match="attempt 1 was started by another process"):
        Recorder(tmp_path, 1, {"command": ["true"]}, {})
    first.end({"status": "finished"})


def test_step_beyond_what_json_readers_keep_is_refused_with_a_warning(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1, {"command": ["true"]}, {})
    recorder.take_row({"step": 2**60, "loss": 1})
    recorder.take_row({"step": 1, "_secret": 1, "loss": 1})
    recorder.end({"status": "finished"})
    warnings = [e["message"] for e in events(tmp_path) if e["event"] == "warning"]
    assert len(warnings) == 2
    assert "expected an integer up to" in warnings[0]
    assert "'_secret' is reserved" in warnings[1]
