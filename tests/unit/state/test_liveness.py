"""What a run is said to be doing, against real processes and real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from runstore.environment.process import ProcessIdentity, current_process, is_stopped, start_time
from runstore.files.records import decode, encode
from runstore.numbers import span
from runstore.sources.native import NativeReader
from runstore.state.evidence import lock_is_free
from runstore.state.liveness import BEAT_MISSED_S, Liveness
from runstore.state.progress import Progress
from runstore.state.status import Status
from runstore.writer.writer import RunWriter


class WaitUntil(Protocol):
    def __call__(
        self, predicate: Callable[[], object], timeout_s: float = 5.0, *, what: str = ""
    ) -> Any: ...


WRITER = """
import sys, time
from pathlib import Path
from runstore.writer.writer import RunWriter
writer = RunWriter(Path(sys.argv[1]), 1, progress=lambda: {"idle_s": 0.0})
writer.append("metrics", {"step": 1, "time": writer.clock(), "a": 1.0})
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def process(
    run_dir: Path, repo_root: Path, wait_until: WaitUntil
) -> Iterator[subprocess.Popen[str]]:
    """A process that has a run open, behind its first heartbeat."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        wait_until((run_dir / "progress.json").exists, what="a heartbeat")
        yield started
        started.kill()


def status_of(run_dir: Path) -> Status:
    reader = NativeReader(run_dir, patient=False)
    reader.glance()
    return reader.state.status


def edit_open_event(run_dir: Path, **changes: Any) -> None:
    """Change facts in the `open` event in place: the file stays the same one."""
    path = run_dir / "events-0001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[0] = encode({**decode(lines[0]), **changes})
    path.write_bytes(b"".join(lines))


def test_run_of_a_live_process_is_running(run_dir: Path, process: subprocess.Popen[str]) -> None:
    assert status_of(run_dir) == Status("running", f"process {process.pid}")


def test_run_of_a_killed_process_has_crashed_with_the_reason(
    run_dir: Path, process: subprocess.Popen[str]
) -> None:
    process.kill()
    process.wait()
    status = status_of(run_dir)
    assert status.word == "crashed"
    assert status.reason.startswith(f"process {process.pid} is gone, last row ")


def test_zombie_is_gone(
    run_dir: Path, process: subprocess.Popen[str], wait_until: WaitUntil
) -> None:
    process.kill()
    stat = Path(f"/proc/{process.pid}/stat")
    wait_until(lambda: b") Z " in stat.read_bytes(), what="a zombie")
    assert status_of(run_dir).word == "crashed"


def test_stopped_process_is_stalled_and_goes_on(
    run_dir: Path, process: subprocess.Popen[str], wait_until: WaitUntil
) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(process.pid), what="SIGSTOP")
    assert status_of(run_dir) == Status("stalled", f"process {process.pid} is stopped")
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: not is_stopped(process.pid), what="SIGCONT")
    assert status_of(run_dir).word == "running"


@pytest.mark.parametrize("dead", [False, True])
def test_copy_of_a_run_proves_nothing(
    tmp_path: Path, run_dir: Path, process: subprocess.Popen[str], dead: bool
) -> None:
    if dead:
        process.kill()
        process.wait()
    # The next heartbeat is on its way under another name.
    shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("*.tmp"))
    status = status_of(tmp_path / "copy")
    assert status.word == "unknown"
    assert status.reason.startswith("a copy of a run on ")


def test_copy_that_is_kept_up_to_date_shows_a_life_and_no_death(
    tmp_path: Path, run_dir: Path, process: subprocess.Popen[str]
) -> None:
    """Of a process that is long gone here: a copy does not know, and must not tell."""
    copy, now = tmp_path / "copy", [1000.0]
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("*.tmp"))
    process.kill()
    process.wait()
    reader, liveness = NativeReader(copy, patient=False), Liveness(lambda: now[0])

    def judged(beat: int) -> Status:
        document = json.loads((copy / "progress.json").read_text())
        (copy / "progress.json").write_text(json.dumps({**document, "beat": beat}))
        reader.glance()
        return liveness.judge(reader.state, copy / "events-0001.jsonl")

    assert judged(100).word == "unknown"
    now[0] += 5
    assert judged(105).word == "running"
    assert "whose heart beats" in judged(105).reason
    now[0] += BEAT_MISSED_S + 1
    assert judged(105).word == "unknown"


def test_copy_of_an_ended_run_has_its_end(tmp_path: Path, run_dir: Path) -> None:
    writer = RunWriter(run_dir, 1)
    writer.end({"status": "failed", "reason": "ValueError: no"})
    shutil.copytree(run_dir, tmp_path / "copy")
    assert status_of(tmp_path / "copy") == Status("failed", "ValueError: no")


def test_run_whose_documents_alone_have_come_is_not_taken_for_a_planned_one(
    tmp_path: Path, run_dir: Path, process: subprocess.Popen[str]
) -> None:
    copy = tmp_path / "copy" / run_dir.name
    copy.mkdir(parents=True)
    (copy / "run.json").write_text('{"format":1,"id":"run"}')
    shutil.copy2(run_dir / "progress.json", copy / "progress.json")
    assert status_of(copy) == Status("unknown", "it has begun, but its events are not here")


def test_pid_used_again_is_another_process(run_dir: Path, process: subprocess.Popen[str]) -> None:
    started = start_time(process.pid)
    assert started is not None
    edit_open_event(run_dir, pid_start=started - 1)
    assert status_of(run_dir).word == "crashed"


def test_run_of_an_earlier_boot_has_crashed(run_dir: Path, process: subprocess.Popen[str]) -> None:
    edit_open_event(run_dir, boot_id="00000000-0000-0000-0000-000000000000")
    status = status_of(run_dir)
    assert status.word == "crashed"
    assert "was rebooted" in status.reason


def test_held_lock_of_another_host_means_running(
    run_dir: Path, process: subprocess.Popen[str]
) -> None:
    edit_open_event(run_dir, host="node7", boot_id="another")
    assert status_of(run_dir) == Status("running", "on node7, its lock is held")
    process.kill()
    process.wait()
    status = status_of(run_dir)
    assert status.word == "crashed"
    assert status.reason.startswith("its lock is free: gone from node7")


def test_free_lock_proves_nothing_where_the_writer_had_none(
    run_dir: Path, process: subprocess.Popen[str]
) -> None:
    process.kill()
    process.wait()
    edit_open_event(run_dir, host="node7", boot_id="another", lock=False)
    status = status_of(run_dir)
    assert status.word == "unknown"
    assert status.reason.startswith("on node7, last sign of life 20")


def test_child_of_a_fork_does_not_keep_a_dead_run_alive(
    run_dir: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    """A DataLoader worker outlives its killed parent."""
    code = WRITER.replace(
        'print("ready", flush=True)',
        "import os\nchild = os.fork()\nif child: print(child, flush=True)",
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert lock_is_free(run_dir / "events-0001.jsonl") is False
            parent.kill()
            parent.wait()
            # The child drops the lock when it first runs, which a busy machine may delay.
            wait_until(lambda: lock_is_free(run_dir / "events-0001.jsonl"), what="the lock")
            edit_open_event(run_dir, host="node7", boot_id="another")
            assert status_of(run_dir).word == "crashed"
        finally:
            os.kill(child, signal.SIGKILL)


class Viewer:
    """A reader of a run elsewhere, with a clock of its own, that sees heartbeats only."""

    def __init__(self, run_dir: Path) -> None:
        self.now = 1000.0
        self.reader = NativeReader(run_dir)
        self.reader._liveness = Liveness(lambda: self.now)
        self.progress = run_dir / "progress.json"

    def look(self, beat: int, **fields: Any) -> Status:
        document = {"attempt": 1, "beat": beat, "time": 0.0, **fields}
        self.progress.write_text(json.dumps(document))
        self.reader.glance()
        return self.reader.state.status


@pytest.fixture
def viewer(run_dir: Path) -> Viewer:
    writer = RunWriter(run_dir, 1)
    writer._stop.set()
    writer._thread.join()
    for stream in writer._all_streams():
        stream.close()
    writer._release_lock()
    edit_open_event(run_dir, host="node7", boot_id="another", lock=False)
    return Viewer(run_dir)


def test_heartbeat_counts_only_when_seen_to_change(viewer: Viewer) -> None:
    """The time in it may be hours off; only this viewer's clock is asked."""
    assert viewer.look(5).word == "unknown"
    viewer.now += 10
    assert viewer.look(5).word == "unknown"
    assert viewer.look(6) == Status("running", "on node7, its heart beats")
    viewer.now += 30
    assert viewer.look(6).word == "running"
    viewer.now += 10
    assert viewer.look(6) == Status("unknown", "on node7, no heartbeat for 40 s")
    assert viewer.look(7).word == "running"


def test_live_run_without_a_step_is_stalled(viewer: Viewer) -> None:
    viewer.look(1)
    assert viewer.look(2, idle_s=30.0).word == "running"
    assert viewer.look(3, idle_s=300.0) == Status(
        "stalled", "on node7, its heart beats, no step for 5 min"
    )


def test_slow_steps_are_no_stall(viewer: Viewer) -> None:
    viewer.look(1)
    assert viewer.look(2, idle_s=300.0, it_per_s=0.01).word == "running"
    assert viewer.look(3, idle_s=1500.0, it_per_s=0.01).word == "stalled"


def test_local_process_without_a_step_is_stalled(
    run_dir: Path, process: subprocess.Popen[str]
) -> None:
    """On this boot the beat's own clock tells how long ago it was."""
    reader = NativeReader(run_dir)
    reader.glance()
    assert reader.state.progress is not None
    beat = reader.state.progress.monotonic
    assert beat is not None
    reader._liveness = Liveness(lambda: beat + 59)
    assert reader._liveness.judge(reader.state, run_dir / "events-0001.jsonl").word == "running"
    reader._liveness = Liveness(lambda: beat + 90)
    assert reader._liveness.judge(reader.state, run_dir / "events-0001.jsonl") == Status(
        "stalled", f"process {process.pid} is there, no step for 90 s"
    )


def test_heartbeat_left_by_an_earlier_attempt_is_no_stall(
    run_dir: Path, process: subprocess.Popen[str]
) -> None:
    process.kill()
    process.wait()
    second = RunWriter(run_dir, 2)
    old = {"attempt": 1, "beat": 9, "idle_s": 0.0, "monotonic": time.monotonic() - 5000}
    reader = NativeReader(run_dir)
    reader.glance()
    reader.state.progress = Progress.from_record(old)
    judged = Liveness().judge(reader.state, run_dir / "events-0002.jsonl")
    second.end({"status": "finished"})
    assert judged == Status("running", f"process {os.getpid()}")


@pytest.mark.parametrize("word", ["sublimated", {"a": 1}, ["b"], None])
def test_ended_as_something_unheard_of_is_unknown(run_dir: Path, word: object) -> None:
    RunWriter(run_dir, 1).end({"status": word})
    assert status_of(run_dir).word == "unknown"
    assert repr(word) in status_of(run_dir).reason


@pytest.mark.parametrize("word", ["sublimated", {"a": 1}, ["b"], None])
def test_command_ended_as_something_unheard_of_is_unknown(run_dir: Path, word: object) -> None:
    opened = {"event": "open", "time": 1.0, "format": 1, "attempt": 1}
    exited = {"event": "exit", "time": 2.0, "status": word}
    (run_dir / "exec-0001.jsonl").write_bytes(encode(opened) + encode(exited))
    told = f"ended as {word!r}, which this version does not know"
    assert status_of(run_dir) == Status("unknown", told)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (
            {"reason": "RuntimeError: boom", "open_epoch": 2},
            "RuntimeError: boom; inside epoch 2 of 5",
        ),
        ({"reason": "inside epoch 2 of 5", "open_epoch": 2}, "inside epoch 2 of 5"),
        ({"reason": "inside epoch 21", "open_epoch": 2}, "inside epoch 21; inside epoch 2 of 5"),
        (
            {"reason": "", "open_epoch": 2, "dropped_rows": 3},
            "inside epoch 2 of 5; 3 rows were lost",
        ),
        ({"reason": "terminated", "open_split": "test"}, "terminated; inside the split 'test'"),
        (
            {"reason": "left inside the split 'test'", "open_split": "test"},
            "left inside the split 'test'",
        ),
        ({"open_epoch": "two", "open_split": 3}, ""),
    ],
    ids=str,
)
def test_end_inside_a_stage_is_told_once(run_dir: Path, end: dict[str, Any], reason: str) -> None:
    writer = RunWriter(run_dir, 1)
    writer.event("epoch_start", {"epoch": 2, "epochs": 5})
    writer.end({"status": "failed", **end})
    assert status_of(run_dir) == Status("failed", reason)


def test_created_but_not_started_is_planned(run_dir: Path) -> None:
    (run_dir / "run.json").write_text('{"format":1,"id":"run"}')
    assert status_of(run_dir) == Status("planned", "created, not started")


def test_own_process_is_known_again() -> None:
    me = current_process()
    assert me.is_local()
    assert me.is_alive()
    assert ProcessIdentity.from_record(json.loads(json.dumps(me.to_record()))) == me


@pytest.mark.parametrize(
    "record", [{}, {"pid": "1"}, {"pid": 1, "pid_start": 1, "host": None}, {"pid": 1}]
)
def test_incomplete_identity_is_none(record: dict[str, Any]) -> None:
    assert ProcessIdentity.from_record(record) is None


def test_process_of_another_namespace_cannot_be_looked_up() -> None:
    me = current_process()
    assert not ProcessIdentity("h", me.boot_id, 1, 0, "pid:[1]").is_local()
    assert not ProcessIdentity("h", "", 1, 0, me.pid_ns).is_local()


def test_process_name_with_spaces_and_parentheses_is_parsed(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([str(program), "30"]) as process:
        try:
            started = start_time(process.pid)
            assert started is not None
            assert started > 0
        finally:
            process.kill()
    assert start_time(process.pid) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (4e5, "5 d")]
)
def test_span(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_loop_that_paused_as_long_before_is_not_stalled(tmp_path: Path) -> None:
    """One `log` per epoch of ten minutes."""
    writer = RunWriter(tmp_path, 1)
    reader = NativeReader(tmp_path)
    reader.glance()
    events, state = tmp_path / "events-0001.jsonl", reader.state
    idle = {"attempt": 1, "beat": 1, "idle_s": 900.0, "monotonic": time.monotonic()}
    state.progress = Progress.from_record(idle)
    assert Liveness().judge(state, events).word == "stalled"
    state.progress = Progress.from_record({**idle, "longest_gap_s": 600.0})
    assert Liveness().judge(state, events).word == "running"
    writer.end({"status": "finished"})
