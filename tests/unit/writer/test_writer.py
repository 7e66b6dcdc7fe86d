"""One attempt's writer: who may start it, what its end says, and that it never raises."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runstore.errors import AttemptError
from runstore.sources.native import NativeReader
from runstore.tables.run_data import load
from runstore.writer.writer import RunWriter
from tests.conftest import remove_live

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def end_of(run_dir: Path, attempt: int = 1) -> dict[str, Any]:
    last = rows(run_dir / f"events-{attempt:04d}.jsonl")[-1]
    assert last["event"] == "end"
    return last


def descriptors_below(path: Path) -> list[str]:
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            held.append(str(entry.readlink()))
    return [target for target in held if target.startswith(str(path))]


def log(writer: RunWriter, step: int) -> None:
    writer.append("metrics", {"step": step, "time": writer.clock(), "a": float(step)})


def test_end_tells_rows_bytes_and_checksum_of_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 2000)
    writer = RunWriter(tmp_path, 1)
    for step in range(200):
        log(writer, step)
        if step % 20 == 0:
            writer.sync()
            writer.append("epochs", {"epoch": step, "time": writer.clock(), "loss": 0.5})
    writer.end({"status": "finished"})
    files = end_of(tmp_path)["files"]
    on_disk = {p.name for p in tmp_path.glob("*.jsonl")} - {"events-0001.jsonl"}
    assert files.keys() == on_disk
    assert len(on_disk) > 3
    for name, tally in files.items():
        data = (tmp_path / name).read_bytes()
        crc = f"{zlib.crc32(data):08x}"
        assert tally == {"rows": data.count(b"\n"), "bytes": len(data), "crc32": crc}


def test_one_of_two_starters_wins(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    won: list[RunWriter] = []
    lost: list[AttemptError] = []

    def start() -> None:
        barrier.wait()
        try:
            won.append(RunWriter(tmp_path, 1))
        except AttemptError as error:
            lost.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert "attempt 1 was started by another process" in str(lost[0])
    log(won[0], 1)
    won[0].end({"status": "finished"})
    assert len(rows(tmp_path / "events-0001.jsonl")) == 2


def test_who_does_not_get_the_attempt_keeps_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "events-0001.jsonl").touch()
    before = descriptors_below(tmp_path)
    with pytest.raises(AttemptError):
        RunWriter(tmp_path, 1)
    assert descriptors_below(tmp_path) == before == []


def test_open_event_comes_first_and_says_who_writes(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 3, opening={"cuts": {"metrics-0002.jsonl": 10}})
    opened = rows(tmp_path / "events-0003.jsonl")[0]
    writer.end({})
    assert opened["event"] == "open"
    assert (opened["attempt"], opened["format"], opened["pid"]) == (3, 1, os.getpid())
    assert opened["cuts"] == {"metrics-0002.jsonl": 10}
    assert opened["inode"] == (tmp_path / "events-0003.jsonl").stat().st_ino


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 1)
    writer.end({"status": "finished"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    writer.append("reports", {"step": 1})
    writer.event("warning", {"message": "late"})
    writer.end({"status": "failed"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_stream_first_used_by_a_forked_child_stays_the_parents(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 1)
    child = os.fork()
    if child == 0:
        writer.append("epochs", {"epoch": 99})
        os._exit(0)
    os.waitpid(child, 0)
    writer.append("epochs", {"epoch": 1})
    writer.end({"status": "finished"})
    assert rows(tmp_path / "epochs-0001.jsonl") == [{"epoch": 1}]
    assert "dropped_rows" not in end_of(tmp_path)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread look every few milliseconds."""
    for name in ("SYNC_INTERVAL_S", "HEARTBEAT_LOCAL_S", "QUEUE_INTERVAL_S"):
        monkeypatch.setattr(f"runstore.writer.writer.{name}", 0.02)


def test_deleted_directory_is_told_once_and_what_follows_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("runstore.writer.writer.SYNC_INTERVAL_S", 0.05)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    writer = RunWriter(run_dir, 1)
    log(writer, 1)
    writer.sync()
    # Renamed first: it is to be gone at once.
    remove_live(run_dir.rename(tmp_path / "gone"))
    run_dir.mkdir()
    deadline = time.monotonic() + 5
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.01)
    for step in range(2, 12):
        log(writer, step)
    writer.append("epochs", {"epoch": 1})
    writer.event("warning", {"message": "x"})
    assert isinstance(writer.sync(), dict)
    writer._beat()
    writer.end({"status": "finished"})
    assert list(run_dir.iterdir()) == [], "nothing comes back"
    assert writer.lost == "the run's directory was deleted while it ran; 11 rows were lost"
    told = [message for message in caplog.messages if "was deleted" in message]
    assert len(told) == len(caplog.messages) == 1


def test_deleted_directory_is_known_at_the_end_though_nobody_has_looked(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    writer = RunWriter(run_dir, 1)
    log(writer, 1)
    writer.sync()
    remove_live(run_dir.rename(tmp_path / "gone"))
    log(writer, 2)
    writer.end({"status": "finished"})
    assert writer.lost == "the run's directory was deleted while it ran; 1 row was lost"


def test_everything_follows_a_directory_that_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 100)
    quick(monkeypatch)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "archive").mkdir()
    told: list[Path] = []
    writer = RunWriter(tmp_path / "runs" / "a", 1, on_moved=told.append)
    log(writer, 0)
    moved = (tmp_path / "runs" / "a").rename(tmp_path / "archive" / "a")
    wait_until(lambda: told, what="the look at the directory")
    for step in range(1, 10):
        log(writer, step)
        writer.sync()
    writer.append("epochs", {"epoch": 1, "time": writer.clock()})
    (moved / "progress.json").unlink()
    wait_until((moved / "progress.json").exists, what="a heartbeat")
    writer.end({"status": "finished"})
    assert told == [moved]
    assert not (tmp_path / "runs" / "a").exists()
    assert [row["step"] for row in load(moved).metrics()] == list(range(10))
    assert len(list(moved.glob("metrics-*"))) > 2
    reader = NativeReader(moved)
    reader.poll()
    assert (reader.state.ended or {})["files"].keys() == {
        path.name for path in moved.glob("*.jsonl") if not path.name.startswith("events")
    }
    assert reader.state.warnings == [
        f"the run's directory was moved to {moved}; the rows follow it"
    ]


FULL_DISK = """
import resource, sys
from pathlib import Path
from runstore.writer.writer import RunWriter

writer = RunWriter(Path(sys.argv[1]), 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, -1))
for step in range(1000):
    writer.append("metrics", {"step": step, "time": writer.clock(), "a": float(step)})
writer._tell_problems()
degraded = writer.degraded
writer.end({"status": "finished"})
print(degraded)
"""


def test_full_disk_is_told_and_the_lost_rows_are_counted(tmp_path: Path, repo_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    kept = rows(tmp_path / "metrics-0001.jsonl")
    end = end_of(tmp_path)
    assert done.stdout == "True\n"
    assert len(kept) + end["dropped_rows"] == 1000
    assert end["files"]["metrics-0001.jsonl"]["rows"] == len(kept)
    assert "metrics-0001.jsonl fails (File too large)" in done.stderr
    warnings = [
        e["message"] for e in rows(tmp_path / "events-0001.jsonl") if e["event"] == "warning"
    ]
    assert warnings == ["writing metrics-0001.jsonl fails (File too large); rows wait in memory"]


def test_second_interrupt_during_the_end_still_leaves_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter(tmp_path, 1)
    log(writer, 1)

    def interrupted(timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.end({"status": "interrupted", "reason": "Ctrl-C"})
    assert end_of(tmp_path)["status"] == "interrupted"


def test_end_whose_writing_was_interrupted_is_written_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C once more: the end of the process calls `end` again, with other words."""
    writer = RunWriter(tmp_path, 1)
    log(writer, 1)
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        if b'"event":"end"' in bytes(data):
            raise KeyboardInterrupt
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.end({"status": "finished"})
    writer.end({"status": "interrupted"})
    end = end_of(tmp_path)
    assert end["status"] == "finished"
    assert end["files"]["metrics-0001.jsonl"]["rows"] == 1
    assert [event["event"] for event in rows(tmp_path / "events-0001.jsonl")] == ["open", "end"]


def test_leaving_the_first_events_file_keeps_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runstore.state.evidence import lock_is_free

    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 10)
    writer = RunWriter(tmp_path, 1)
    writer.event("warning", {"message": "x"})
    writer.sync()
    writer.event("warning", {"message": "y"})
    assert (tmp_path / "events-0001.1.jsonl").exists()
    assert lock_is_free(tmp_path / "events-0001.jsonl") is False
    writer.end({"status": "finished"})
    assert lock_is_free(tmp_path / "events-0001.jsonl") is True
    reader = NativeReader(tmp_path)
    reader.poll()
    assert reader.state.status.word == "finished"


def test_event_that_is_no_json_is_still_an_event(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 1)
    writer.event("warning", {"message": object(), "step": 3})
    writer.end({"status": "finished", "reason": object()})
    event = rows(tmp_path / "events-0001.jsonl")[1]
    assert event["unwritable"]
    assert (event["event"], event["step"]) == ("warning", 3)
    assert end_of(tmp_path)["status"] == "finished"


@pytest.mark.parametrize("odd", [{"epoch": object()}, None], ids=["no JSON", "raises"])
def test_odd_position_stops_neither_the_thread_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any] | None
) -> None:
    monkeypatch.setattr("runstore.writer.writer.SYNC_INTERVAL_S", 0.01)
    monkeypatch.setattr("runstore.writer.writer.HEARTBEAT_LOCAL_S", 0.01)
    asked = threading.Semaphore(0)

    def position() -> dict[str, Any]:
        asked.release()
        if odd is None:
            raise RuntimeError("dictionary changed size during iteration")
        return odd

    writer = RunWriter(tmp_path, 1, progress=position)
    for _ in range(5):
        assert asked.acquire(timeout=30), "the thread has ended"
    log(writer, 1)
    writer.end({"status": "finished"})
    assert end_of(tmp_path)["files"]["metrics-0001.jsonl"]["rows"] == 1
    warnings = [e for e in rows(tmp_path / "events-0001.jsonl") if e["event"] == "warning"]
    assert len(warnings) == 1
    assert "progress.json" in warnings[0]["message"]


def test_fault_of_a_logging_handler_reaches_neither_training_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("the user's own handler")

    writer = RunWriter(tmp_path, 1)
    handler = Broken()
    logging.getLogger("runstore").addHandler(handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _refuse_first(os.write))
            log(writer, 1)
        writer.end({"status": "finished"})
    finally:
        logging.getLogger("runstore").removeHandler(handler)
    assert end_of(tmp_path)["files"]["metrics-0001.jsonl"]["rows"] == 1


def test_rows_beside_a_stray_file_are_kept_and_are_the_only_ones_that_count(tmp_path: Path) -> None:
    """Half a copy of another run: its rows, without its events."""
    (tmp_path / "metrics-0001.jsonl").write_bytes(b'{"step":900,"time":1.0,"a":900.0}\n')
    writer = RunWriter(tmp_path, 1)
    for step in range(3):
        log(writer, step)
    writer.end({"status": "finished"})
    assert "dropped_rows" not in end_of(tmp_path)
    assert [row["step"] for row in load(tmp_path).metrics()] == [0, 1, 2]


def test_event_does_not_wait_for_a_stalled_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.writer.is_network", lambda path: True)
    writer = RunWriter(tmp_path, 1)
    assert rows(tmp_path / "events-0001.jsonl")[0]["event"] == "open"
    stalled, released = threading.Event(), threading.Event()
    write = os.write

    def stalling(descriptor: int, data: bytes) -> int:
        stalled.set()
        assert released.wait(30)
        return write(descriptor, data)

    def train() -> None:
        for epoch in range(3):
            writer.event("epoch_start", {"epoch": epoch})
            log(writer, epoch)

    monkeypatch.setattr(os, "write", stalling)
    log(writer, 0)
    assert stalled.wait(30)
    training = threading.Thread(target=train)
    training.start()
    training.join(20)
    assert not training.is_alive()
    released.set()
    writer.end({"status": "finished"})
    events = [(e["event"], e.get("epoch")) for e in rows(tmp_path / "events-0001.jsonl")]
    starts = [("epoch_start", epoch) for epoch in range(3)]
    assert events == [("open", None), *starts, ("end", None)]


def test_end_waits_for_a_stalled_server_as_long_as_it_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("runstore.writer.writer.is_network", lambda path: True)
    monkeypatch.setattr("runstore.writer.writer.END_WAIT_S", 0.5)
    monkeypatch.setattr("runstore.writer.writer.END_TELL_S", 0.1)
    writer = RunWriter(tmp_path, 1)
    stalled, released = threading.Event(), threading.Event()
    write = os.write

    def stalling(descriptor: int, data: bytes) -> int:
        stalled.set()
        assert released.wait(30)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", stalling)
    log(writer, 0)
    log(writer, 1)
    assert stalled.wait(30)
    begun = time.monotonic()
    writer.end({"status": "finished"})
    assert time.monotonic() - begun < 20
    assert "waiting for the file server, 2 rows are not written yet" in capsys.readouterr().err
    assert "the file server has not answered for" in caplog.messages[-1]
    released.set()
    # The thread goes on with it; whoever asks once more waits for that.
    writer.end({"status": "failed"})
    assert end_of(tmp_path)["status"] == "finished"
    assert end_of(tmp_path)["files"]["metrics-0001.jsonl"]["rows"] == 2


def test_sync_returns_each_open_files_size(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 1)
    log(writer, 1)
    sizes = writer.sync()
    assert sizes == {path.name: path.stat().st_size for path in tmp_path.glob("*.jsonl")}
    writer.end({})


def test_logging_handler_that_logs_does_not_deadlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    import logging

    # The thread's own look would tell, and have logged, that writing works again.
    monkeypatch.setattr("runstore.writer.writer.SYNC_INTERVAL_S", 1000.0)
    monkeypatch.setattr("runstore.writer.writer.HEARTBEAT_LOCAL_S", 1000.0)
    writer = RunWriter(tmp_path, 1)
    # Its first look is over when its heart has beaten.
    wait_until((tmp_path / "progress.json").exists)

    class Loop(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log(writer, 7)

    handler = Loop()
    logging.getLogger("runstore").addHandler(handler)
    try:
        monkeypatch.setattr(os, "write", _refuse_first(os.write))
        log(writer, 1)
        writer._tell_problems()
    finally:
        logging.getLogger("runstore").removeHandler(handler)
    writer.end({"status": "finished"})
    assert [row["step"] for row in rows(tmp_path / "metrics-0001.jsonl")] == [1, 7]


def _refuse_first(write: Any) -> Any:
    refused: list[bool] = []

    def refuse(descriptor: int, data: bytes) -> int:
        # Not a line of the heartbeat, which the thread may write meanwhile.
        if not refused and b"beat" not in bytes(data):
            refused.append(True)
            raise OSError(28, "No space left on device")
        return int(write(descriptor, data))

    return refuse


def test_heartbeat_tells_the_position(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 1, progress=lambda: {"step": 12})
    writer._beat()
    first = json.loads((tmp_path / "progress.json").read_bytes())
    writer.end({})
    second = json.loads((tmp_path / "progress.json").read_bytes())
    assert (first["step"], first["attempt"]) == (12, 1)
    assert second["beat"] > first["beat"]


def test_signals_are_left_to_the_main_thread(tmp_path: Path, wait_until: WaitUntil) -> None:
    """One that another thread takes does not wake the main thread from a sleep."""
    writer = RunWriter(tmp_path, 1)
    (thread,) = [t for t in threading.enumerate() if t.name == "runstore-writer"][-1:]

    def blocked() -> bool:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        mask = int(status.split("SigBlk:")[1].split()[0], 16)
        return all(mask >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGINT))

    assert wait_until(blocked, what="the thread's signal mask")
    writer.end({"status": "finished"})
