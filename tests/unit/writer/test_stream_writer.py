"""One stream's file under everything that a disk, a signal, a thread or a fork can do to it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer import part, stream_writer
from runstore.writer.stream_writer import StreamWriter

FIRST = StreamFile(1, 0, "metrics")


class Told:
    """What a stream told its owner."""

    def __init__(self) -> None:
        self.cuts: list[tuple[str, int]] = []
        self.problems: list[str] = []

    def cut(self, file: str, size: int) -> None:
        self.cuts.append((file, size))

    def writer(self, run_dir: Path, *, queued: bool = False) -> StreamWriter:
        directory = RunDirectory(run_dir)
        return StreamWriter(
            directory, FIRST, queued=queued, on_cut=self.cut, on_problem=self.problems.append
        )


@pytest.fixture
def told() -> Told:
    return Told()


def line(number: int, width: int = 0) -> bytes:
    return b'{"step":%d,"pad":"%s"}\n' % (number, b"x" * width)


def steps(path: Path) -> list[int]:
    return [json.loads(text)["step"] for text in path.read_bytes().splitlines()]


def run_python(code: str, *arguments: str, prefix: list[str] | None = None) -> str:
    """Run code in a process of its own and return what it printed."""
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [*(prefix or []), sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_line_is_in_the_file_when_append_returns(tmp_path: Path, told: Told) -> None:
    writer = told.writer(tmp_path)
    for number in range(3):
        writer.append(line(number))
        assert steps(tmp_path / FIRST.name) == list(range(number + 1))
    writer.close()


def test_file_appears_with_its_first_row(tmp_path: Path, told: Told) -> None:
    writer = told.writer(tmp_path)
    writer.sync()
    assert writer.position() is None
    assert list(tmp_path.iterdir()) == []
    writer.finish()
    assert list(tmp_path.iterdir()) == []
    assert writer.tallies == {}


def test_somebody_elses_file_is_never_appended_to(tmp_path: Path, told: Told) -> None:
    (tmp_path / FIRST.name).write_bytes(b"theirs\n")
    writer = told.writer(tmp_path)
    with pytest.raises(FileExistsError):
        writer.create()
    writer.append(line(1))
    writer.finish()
    assert (tmp_path / FIRST.name).read_bytes() == b"theirs\n"
    assert steps(tmp_path / "metrics-0001.1.jsonl") == [1]
    assert writer.dropped_rows == 0
    assert told.cuts == [(FIRST.name, 0)]
    assert "was there before" in told.problems[0]
    assert list(writer.tallies) == ["metrics-0001.1.jsonl"]


def test_rows_wait_when_every_name_is_taken(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.parts.MOST_TAKEN_NAMES", 2)
    for name in (FIRST.name, "metrics-0001.1.jsonl", "metrics-0001.2.jsonl"):
        (tmp_path / name).touch()
    writer = told.writer(tmp_path)
    writer.append(line(1))
    assert writer.failing
    assert told.cuts == []
    (tmp_path / "metrics-0001.2.jsonl").unlink()
    writer.drain()
    assert steps(tmp_path / "metrics-0001.2.jsonl") == [1]
    writer.close()


def test_tally_is_that_of_the_file(tmp_path: Path, told: Told) -> None:
    writer = told.writer(tmp_path)
    for number in range(100):
        writer.append(line(number, number))
        if number % 7 == 0:
            writer.sync()
    writer.finish()
    data = (tmp_path / FIRST.name).read_bytes()
    assert writer.tallies[FIRST.name].to_record() == {
        "rows": 100,
        "bytes": len(data),
        "crc32": f"{zlib.crc32(data):08x}",
    }


def test_file_is_left_for_the_next_part_when_full(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 500)
    writer = told.writer(tmp_path)
    for number in range(30):
        writer.append(line(number, 30))
        writer.sync()
    writer.finish()
    parts = sorted(tmp_path.iterdir(), key=lambda path: (len(path.name), path.name))
    assert [path.name for path in parts][:2] == ["metrics-0001.jsonl", "metrics-0001.1.jsonl"]
    assert [step for path in parts for step in steps(path)] == list(range(30))
    for path in parts:
        data = path.read_bytes()
        tally = writer.tallies[path.name]
        assert (tally.bytes, tally.crc32) == (len(data), zlib.crc32(data))
        assert tally.rows == data.count(b"\n")


def test_rotation_passes_over_somebody_elses_part(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 10)
    (tmp_path / "metrics-0001.1.jsonl").touch()
    writer = told.writer(tmp_path)
    writer.append(line(1))
    writer.sync()
    writer.append(line(2))
    assert steps(tmp_path / "metrics-0001.2.jsonl") == [2]
    assert told.cuts == [("metrics-0001.1.jsonl", 0)]
    writer.finish()


def test_rotation_without_room_for_a_file_keeps_the_old_one(
    tmp_path: Path, told: Told, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 10)
    writer = told.writer(tmp_path)
    writer.append(line(1))
    disk.refuse_new_files()
    writer.sync()
    writer.append(line(2))
    assert steps(tmp_path / FIRST.name) == [1, 2]
    assert not writer.failing
    writer.finish()


# A process that may write files of 1,000 bytes only: the kernel itself cuts the write short.
SHORT_WRITE = """
import json, resource, sys
from pathlib import Path
from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer.stream_writer import StreamWriter

problems = []
writer = StreamWriter(
    RunDirectory(Path(sys.argv[1])),
    StreamFile(1, 0, "metrics"), on_cut=print, on_problem=problems.append,
)
soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
for number in range(40):
    if number == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
    if number == 30 and sys.argv[2] == "recovers":
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        writer.drain()
    writer.append(b'{"step":%d,"pad":"%s"}\\n' % (number, b"x" * 150))
failing = writer.failing
writer.finish()
tally = {name: tally.to_record() for name, tally in writer.tallies.items()}
print(json.dumps([problems, failing, writer.dropped_rows, tally]))
"""


def test_short_write_is_finished_not_restarted(tmp_path: Path) -> None:
    problems, failing, dropped, tallies = json.loads(
        run_python(SHORT_WRITE, str(tmp_path), "recovers")
    )
    assert steps(tmp_path / FIRST.name) == list(range(40))
    assert (failing, dropped) == (False, 0)
    assert "File too large" in problems[0]
    assert problems[1:] == ["writing metrics-0001.jsonl works again"]
    assert tallies[FIRST.name]["bytes"] == (tmp_path / FIRST.name).stat().st_size


def test_disk_that_stays_full_leaves_whole_lines_and_a_true_count(tmp_path: Path) -> None:
    problems, failing, dropped, tallies = json.loads(
        run_python(SHORT_WRITE, str(tmp_path), "stays full")
    )
    kept = steps(tmp_path / FIRST.name)
    assert kept == list(range(len(kept)))
    assert len(kept) + dropped == 40
    assert failing
    assert len(problems) == 1
    assert tallies[FIRST.name]["rows"] == len(kept)
    assert tallies[FIRST.name]["bytes"] == (tmp_path / FIRST.name).stat().st_size


# The second write of unsynced lines fails, and the third is taken.
QUEUED_WRITE_FAILS = """
import os, resource, sys
from pathlib import Path
from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer.stream_writer import StreamWriter

writer = StreamWriter(
    RunDirectory(Path(sys.argv[1])),
    StreamFile(1, 0, "metrics"), queued=True, on_cut=print, on_problem=print,
)
path = Path(sys.argv[1], "metrics-0001.jsonl")
for number in range(6):
    if number == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, -1))
    writer.append(b'{"step":%d}\\n' % number)
    writer.drain()
    if number == 1:
        writer.sync()
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
writer.drain()
writer.finish()
"""


def test_after_a_failed_write_a_file_server_is_not_believed(tmp_path: Path) -> None:
    """NFS tells of lost pages in the next write, and the sync behind it says OK."""
    told = run_python(QUEUED_WRITE_FAILS, str(tmp_path)).splitlines()
    assert steps(tmp_path / FIRST.name) == [0, 1]
    assert steps(tmp_path / "metrics-0001.1.jsonl") == [2, 3, 4, 5]
    assert f"metrics-0001.jsonl {(tmp_path / FIRST.name).stat().st_size}" in told
    assert ("writing metrics-0001.jsonl failed (File too large); rows are written again") in told


def test_rows_that_vanished_from_the_file_are_written_again(tmp_path: Path, told: Told) -> None:
    writer = told.writer(tmp_path)
    writer.append(line(0))
    writer.sync()
    durable = (tmp_path / FIRST.name).stat().st_size
    for number in range(1, 5):
        writer.append(line(number))
    os.truncate(tmp_path / FIRST.name, durable + 7)
    writer.sync()
    assert told.cuts == [(FIRST.name, durable)]
    writer.append(line(5))
    writer.finish()
    assert visible_steps(tmp_path, told) == list(range(6))
    assert steps(tmp_path / FIRST.name) == [0]


def test_memory_for_a_dead_disk_is_bounded(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_writer, "WAITING_BYTES", 1000)
    writer = told.writer(tmp_path / "not there yet")
    for number in range(100):
        writer.append(line(number, 80))
    assert writer.dropped_rows == 90
    (tmp_path / "not there yet").mkdir()
    writer.drain()
    writer.append(line(100))
    assert steps(tmp_path / "not there yet" / FIRST.name) == [*range(10), 100]
    assert told.problems[-1] == "writing metrics-0001.jsonl works again, 90 rows were lost"
    writer.close()


FAILED_SYNC = """
import json, os, sys
from pathlib import Path
from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer.stream_writer import StreamWriter

cuts, problems = [], []
writer = StreamWriter(
    RunDirectory(Path(sys.argv[1])), StreamFile(1, 0, "metrics"),
    on_cut=lambda *cut: cuts.append(cut), on_problem=problems.append,
)
for number in range(60):
    writer.append(b'{"step":%d}\\n' % number)
    if number % 10 == 9:
        writer.sync()
writer.finish()
tallies = {name: tally.to_record() for name, tally in writer.tallies.items()}
print(json.dumps([cuts, problems, tallies]))
"""


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize("failing", ["1", "2", "1..3"])
def test_rows_of_a_failed_fdatasync_are_written_again(
    tmp_path: Path, tool: Callable[[str], str], failing: str
) -> None:
    """The kernel's own error: after it, a second fdatasync of the same file would say OK."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    inject = f"inject=fdatasync:error=EIO:when={failing}"
    strace = [tool("strace"), "-f", "-o", os.devnull, "-e", "trace=fdatasync", "-e", inject]
    cuts, problems, tallies = json.loads(run_python(FAILED_SYNC, str(run_dir), prefix=strace))
    assert problems[0].startswith("fdatasync of metrics-0001.jsonl failed (Input/output error)")
    counted: list[int] = []
    for path in sorted(run_dir.iterdir(), key=lambda path: len(path.name)):
        data = path.read_bytes()
        assert len(data) == dict(cuts).get(path.name, len(data)), "a left file ends at its cut"
        assert tallies[path.name] == {
            "rows": data.count(b"\n"),
            "bytes": len(data),
            "crc32": f"{zlib.crc32(data):08x}",
        }
        counted += [json.loads(text)["step"] for text in data.splitlines()]
    assert counted == list(range(60))


DEAD_FILE = """
import json, sys
from pathlib import Path
from runstore.writer import stream_writer
from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer.stream_writer import StreamWriter

stream_writer.EIO_PATIENCE_S = float(sys.argv[2])
cuts, problems = [], []
writer = StreamWriter(
    RunDirectory(Path(sys.argv[1])), StreamFile(1, 0, "metrics"),
    on_cut=lambda *cut: cuts.append(cut), on_problem=problems.append,
)
for number in range(60):
    writer.append(b'{"step":%d}\\n' % number)
    writer.drain()  # as the thread does
    if number % 20 == 5:
        writer.sync()
failing = writer.failing
writer.finish()
tallies = {name: tally.to_record() for name, tally in writer.tallies.items()}
print(json.dumps([cuts, problems, tallies, failing, writer.dropped_rows]))
"""


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize("fault", ["ESTALE", "EBADF", "ENOTCONN", "EIO"])
def test_file_that_never_takes_a_row_again_is_left_for_the_next_part(
    tmp_path: Path, tool: Callable[[str], str], fault: str
) -> None:
    inject = f"inject=write:error={fault}:when=31+"
    dead = str(tmp_path / FIRST.name)
    strace = [tool("strace"), "-f", "-o", os.devnull, "-P", dead, "-e", "trace=write", "-e", inject]
    cuts, problems, tallies, failing, dropped = json.loads(
        run_python(DEAD_FILE, str(tmp_path), "0", prefix=strace)
    )
    assert (failing, dropped) == (False, 0)
    assert problems[-1] == "writing metrics-0001.1.jsonl works again"
    parts = [tmp_path / FIRST.name, tmp_path / "metrics-0001.1.jsonl"]
    assert dict(cuts) == {FIRST.name: parts[0].stat().st_size}
    assert [step for path in parts for step in steps(path)] == list(range(60))
    for path in parts:
        assert tallies[path.name]["crc32"] == f"{zlib.crc32(path.read_bytes()):08x}"


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize(("fault", "patience_s"), [("EIO", "60"), ("ENOSPC", "0"), ("EDQUOT", "0")])
def test_fault_that_may_heal_does_not_leave_the_file(
    tmp_path: Path, tool: Callable[[str], str], fault: str, patience_s: str
) -> None:
    inject = f"inject=write:error={fault}:when=31..50"
    dead = str(tmp_path / FIRST.name)
    strace = [tool("strace"), "-f", "-o", os.devnull, "-P", dead, "-e", "trace=write", "-e", inject]
    cuts, problems, _, failing, dropped = json.loads(
        run_python(DEAD_FILE, str(tmp_path), patience_s, prefix=strace)
    )
    assert (cuts, failing, dropped) == ([], False, 0)
    assert steps(tmp_path / FIRST.name) == list(range(60))
    assert [problem.split(" (")[0] for problem in problems] == [
        "writing metrics-0001.jsonl fails",
        "writing metrics-0001.jsonl works again",
    ]


def test_descriptor_that_somebody_else_closed_and_uses_gets_no_further_rows(
    tmp_path: Path, told: Told
) -> None:
    """As daemons do it: `os.closerange`, and then a file of their own."""
    (tmp_path / "run").mkdir()
    writer = told.writer(tmp_path / "run")
    descriptor = writer.create()
    writer.append(line(0))
    writer.sync()
    theirs = os.open(tmp_path / "theirs.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(theirs, descriptor)
    writer.append(line(1))
    writer.sync()
    writer.append(line(2))
    size = (tmp_path / "theirs.txt").stat().st_size
    writer.append(line(3))
    writer.finish()
    assert (tmp_path / "theirs.txt").stat().st_size == size
    os.write(descriptor, b"still open")
    os.close(descriptor)
    os.close(theirs)
    assert visible_steps(tmp_path / "run", told) == [0, 1, 2, 3]
    assert "closed by another part of the program" in told.problems[0]


def test_file_that_somebody_deletes_is_followed_by_the_next_part(
    tmp_path: Path, told: Told
) -> None:
    writer = told.writer(tmp_path)
    writer.append(line(0))
    writer.sync()
    (tmp_path / FIRST.name).unlink()
    for number in range(1, 4):
        writer.append(line(number))
        writer.sync()
        # Not before the second look: the directory may be the next to go.
        assert (tmp_path / "metrics-0001.1.jsonl").exists() == (number >= 3)
    writer.finish()
    assert steps(tmp_path / "metrics-0001.1.jsonl") == [1, 2, 3]
    assert list(writer.tallies) == ["metrics-0001.1.jsonl"]
    assert told.problems == ["metrics-0001.jsonl: it was deleted; metrics-0001.1.jsonl goes on"]


def test_nothing_is_made_in_place_of_a_deleted_directory(tmp_path: Path, told: Told) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    writer = told.writer(run_dir)
    writer.append(line(0))
    writer.sync()
    writer.append(line(1))
    shutil.rmtree(run_dir)
    writer.append(line(2))
    writer.lose()
    run_dir.mkdir()
    for number in range(3, 10):
        writer.append(line(number))
        writer.drain()
        writer.sync()
    writer.finish()
    assert list(run_dir.iterdir()) == []
    # What a good sync has covered was there, and whoever deleted it wanted that.
    assert writer.dropped_rows == 9


def test_rows_follow_a_directory_that_is_moved(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.writer.parts.PART_BYTES", 30)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    writer = told.writer(run_dir)
    writer.append(line(0))
    archive = run_dir.rename(tmp_path / "archive")
    for number in range(1, 6):
        writer.append(line(number))
        writer.sync()
    writer.finish()
    assert not run_dir.exists()
    assert len(list(archive.iterdir())) > 2
    assert visible_steps(archive, told) == list(range(6))


class Disk:
    """Faults at the border to the operating system, for the timing that strace cannot arrange."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._fdatasync = os.fdatasync
        self._open = os.open
        monkeypatch.setattr(part, "_sync_data", self.fdatasync)
        self.sync_error: OSError | None = None
        self.during_sync: Callable[[], object] = lambda: None

    def fdatasync(self, descriptor: int) -> None:
        self.during_sync()
        if self.sync_error is not None:
            error, self.sync_error = self.sync_error, None
            raise error
        self._fdatasync(descriptor)

    def refuse_new_files(self) -> None:
        def refuse(path: str, flags: int, *mode: int, dir_fd: int | None = None) -> int:
            if flags & os.O_CREAT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._open(path, flags, *mode, dir_fd=dir_fd)

        self._monkeypatch.setattr(os, "open", refuse)

    def accept_new_files(self) -> None:
        self._monkeypatch.setattr(os, "open", self._open)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def visible_steps(run_dir: Path, told: Told) -> list[int]:
    cuts = dict(told.cuts)
    parts = sorted(run_dir.iterdir(), key=lambda path: (len(path.name), path.name))
    texts = [t for p in parts for t in p.read_bytes()[: cuts.get(p.name)].splitlines()]
    return [json.loads(text)["step"] for text in texts]


def test_failed_sync_with_no_room_for_a_new_part_loses_nothing(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    """A full NFS export: fdatasync says ENOSPC once, then lies, and no file can be made."""
    writer = told.writer(tmp_path)
    for number in range(5):
        writer.append(line(number))
    disk.sync_error = OSError(errno.ENOSPC, "No space left on device")
    disk.refuse_new_files()
    writer.sync()
    writer.sync()
    writer.append(line(5))
    assert told.cuts == []
    disk.accept_new_files()
    writer.drain()
    writer.append(line(6))
    writer.finish()
    assert told.cuts == [(FIRST.name, 0)]
    assert visible_steps(tmp_path, told) == list(range(7))


def test_ended_stream_is_strictly_valid_though_a_server_made_a_hole(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    writer = told.writer(tmp_path)
    for number in range(10):
        writer.append(line(number))
    writer.sync()
    for number in range(10, 100):
        writer.append(line(number))
    disk.sync_error = OSError(errno.ENOSPC, "No space left on device")
    writer.sync()
    with (tmp_path / FIRST.name).open("r+b") as file:
        file.truncate(writer.tallies[FIRST.name].bytes)
        file.truncate(5000)  # NULs where rows were
    writer.append(line(100))
    writer.finish()
    assert (tmp_path / FIRST.name).stat().st_size == dict(told.cuts)[FIRST.name]
    parts = [tmp_path / FIRST.name, tmp_path / "metrics-0001.1.jsonl"]
    assert [step for path in parts for step in steps(path)] == list(range(101))


def test_left_file_keeps_its_rows_while_their_copy_is_not_durable(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    writer = told.writer(tmp_path)
    for number in range(10):
        writer.append(line(number))
    size = (tmp_path / FIRST.name).stat().st_size

    def fail() -> None:
        disk.sync_error = OSError(errno.EIO, "Input/output error")

    disk.during_sync = fail
    writer.finish()
    assert (tmp_path / FIRST.name).stat().st_size == size
    assert visible_steps(tmp_path, told) == list(range(10))


def test_left_file_keeps_its_rows_when_their_copy_was_too_long_to_keep(
    tmp_path: Path, told: Told, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "UNSYNCED_BYTES", 500)
    monkeypatch.setattr(part, "LOOK_BYTES", 100)
    writer = told.writer(tmp_path)
    writer.append(line(0))
    size = (tmp_path / FIRST.name).stat().st_size
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer.sync()
    for number in range(1, 100):
        writer.append(line(number))
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer._next_sync = 0.0
    writer.sync()
    writer.append(line(100))
    writer.finish()
    # Of the second file nobody knows what is durable.
    assert (tmp_path / FIRST.name).stat().st_size == size
    assert visible_steps(tmp_path, told) == list(range(101))


def test_sync_that_fails_at_the_end_is_made_good_at_once(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    writer = told.writer(tmp_path)
    writer.append(line(0))
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer.finish()
    assert (tmp_path / FIRST.name).read_bytes() == b""
    assert steps(tmp_path / "metrics-0001.1.jsonl") == [0]


def test_rows_logged_while_a_failing_sync_runs_are_kept_in_order(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    writer = told.writer(tmp_path)
    writer.append(line(0))
    writer.sync()
    writer.append(line(1))
    disk.during_sync = lambda: writer.append(line(2))
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer.sync()
    disk.during_sync = lambda: None
    writer.append(line(3))
    writer.finish()
    assert visible_steps(tmp_path, told) == [0, 1, 2, 3]


def test_rows_beyond_memory_while_a_failing_sync_runs_count_where_they_are(
    tmp_path: Path, told: Told, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "UNSYNCED_BYTES", 500)
    monkeypatch.setattr(part, "LOOK_BYTES", 100)
    writer = told.writer(tmp_path)
    writer.append(line(0))

    def log_more() -> None:
        for number in range(1, 100):
            writer.append(line(number))

    disk.during_sync = log_more
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer.sync()
    disk.during_sync = lambda: None
    writer.finish()
    assert visible_steps(tmp_path, told) == list(range(100))


def test_syncs_of_two_threads_do_not_hide_each_others_fault(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    writer = told.writer(tmp_path)
    writer.append(line(0))
    entered = threading.Event()
    second = threading.Thread(target=writer.sync)

    def start_another_sync() -> None:
        if not entered.is_set():
            entered.set()
            writer.append(line(1))
            second.start()
            second.join(0.2)

    disk.during_sync = start_another_sync
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer.sync()
    second.join()
    writer.append(line(2))
    writer.finish()
    assert visible_steps(tmp_path, told) == [0, 1, 2]


def test_a_disk_whose_syncs_keep_failing_gets_no_flood_of_parts(
    tmp_path: Path, told: Told, disk: Disk
) -> None:
    writer = told.writer(tmp_path)
    for number in range(50):
        writer.append(line(number))
        disk.sync_error = OSError(errno.EIO, "Input/output error")
        writer.sync()
    disk.sync_error = None
    writer.finish()
    assert len(list(tmp_path.iterdir())) <= 3
    assert visible_steps(tmp_path, told) == list(range(50))


def test_rows_that_no_memory_was_left_for_are_told_when_a_sync_fails(
    tmp_path: Path, told: Told, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "UNSYNCED_BYTES", 500)
    monkeypatch.setattr(part, "LOOK_BYTES", 100)
    writer = told.writer(tmp_path)
    for number in range(100):
        writer.append(line(number))
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    writer.sync()
    writer.append(line(100))
    writer.finish()
    assert "may be lost" in told.problems[0]
    assert visible_steps(tmp_path, told) == list(range(101))


def test_eight_threads_lose_and_mix_nothing(tmp_path: Path, told: Told) -> None:
    writer = told.writer(tmp_path)
    each = 10_000

    def log(thread: int) -> None:
        for number in range(each):
            writer.append(line(thread * each + number, number % 50))

    threads = [threading.Thread(target=log, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        writer.sync()
        threads[0].join(0.01)
    writer.finish()
    data = (tmp_path / FIRST.name).read_bytes()
    assert sorted(steps(tmp_path / FIRST.name)) == list(range(8 * each))
    tally = writer.tallies[FIRST.name]
    assert (tally.rows, tally.bytes, tally.crc32) == (8 * each, len(data), zlib.crc32(data))


def test_signal_handler_may_log_while_the_same_thread_logs(tmp_path: Path, told: Told) -> None:
    writer = told.writer(tmp_path)
    # Taken in one step: a handler may be interrupted by the next signal.
    numbers = itertools.count(1_000_000)

    def handler(_number: int, _frame: object) -> None:
        writer.append(line(next(numbers)))

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(30_000):
            writer.append(line(number))
            if number % 5000 == 0:
                writer.sync()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    writer.finish()
    seen = steps(tmp_path / FIRST.name)
    end = next(numbers)
    assert end > 1_000_010
    assert [step for step in seen if step < 1_000_000] == list(range(30_000))
    assert sorted(step for step in seen if step >= 1_000_000) == list(range(1_000_000, end))
    data = (tmp_path / FIRST.name).read_bytes()
    tally = writer.tallies[FIRST.name]
    assert (tally.bytes, tally.crc32) == (len(data), zlib.crc32(data))


# Python itself leaves a file to the garbage collector when it is interrupted inside `open`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(60)
def test_signal_handler_may_end_the_stream_in_the_middle_of_a_write(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a thread is about to sync, and although the write then goes on."""
    writer = told.writer(tmp_path)
    writer.append(line(0))
    write, syncing = os.write, threading.Event()

    def sync() -> None:
        with writer._sync_lock:
            syncing.set()
            writer.sync()

    thread = threading.Thread(target=sync, daemon=True)
    other = -1

    def interrupted(descriptor: int, data: bytes) -> int:
        nonlocal other
        monkeypatch.setattr(os, "write", write)
        thread.start()
        syncing.wait()
        writer.finish()
        other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", interrupted)
    writer.append(line(1))
    thread.join()
    os.close(other)
    data = (tmp_path / FIRST.name).read_bytes()
    assert data == line(0)
    assert writer.tallies[FIRST.name].to_record() == {
        "rows": 1,
        "bytes": len(data),
        "crc32": f"{zlib.crc32(data):08x}",
    }
    assert (tmp_path / "other").read_bytes() == b""


# It may come between the opening of a file and the `with` that closes it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_exception_from_a_signal_handler_leaves_nothing_held(tmp_path: Path, told: Told) -> None:
    """Ctrl-C at any instruction: the thread that syncs, and the next row, must still get in."""
    writer = told.writer(tmp_path)
    writer.append(line(0))
    kept: list[KeyboardInterrupt] = []
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        while len(kept) < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.000001 * len(kept))
                for number in itertools.count(1):
                    writer.append(line(number))
                    if number % 50 == 0:
                        writer.sync()
            except KeyboardInterrupt as error:
                # Kept with its traceback, as a caller does that handles it.
                kept.append(error)
            other = threading.Thread(target=writer.append, args=(line(0),), daemon=True)
            other.start()
            other.join(30)
            assert not other.is_alive(), "the lock is held"
            data = (tmp_path / FIRST.name).read_bytes()
            assert data.endswith(line(0)), "rows wait for somebody who left"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    writer.finish()


def test_interrupted_note_of_a_write_does_not_falsify_positions(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between a write and its note: a checkpoint taken later must not cut a row in half."""
    writer = told.writer(tmp_path)
    writer.append(line(0))
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write(descriptor, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.append(line(1))
    writer.append(line(2))
    writer.sync()
    size = (tmp_path / FIRST.name).stat().st_size
    assert writer.position() == (FIRST.name, size)
    assert steps(tmp_path / FIRST.name) == [0, 1, 2]
    writer.finish()
    assert writer.tallies[FIRST.name].rows == 3


def test_queued_append_does_not_wait_for_a_stalled_server(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = told.writer(tmp_path, queued=True)
    stalled, released = threading.Event(), threading.Event()
    write = os.write

    def stalling(descriptor: int, data: bytes) -> int:
        stalled.set()
        assert released.wait(30)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", stalling)
    writer.append(line(0))
    assert not stalled.is_set()
    server = threading.Thread(target=writer.drain)
    server.start()
    assert stalled.wait(30)
    training = threading.Thread(target=writer.append, args=(line(1),))
    training.start()
    training.join(20)
    assert not training.is_alive()
    released.set()
    server.join()
    writer.finish()
    assert steps(tmp_path / FIRST.name) == [0, 1]


def test_child_of_a_fork_writes_nothing_and_keeps_no_descriptor(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer.stream_writer import StreamWriter

writer = StreamWriter(
    RunDirectory(Path(sys.argv[1])), StreamFile(1, 0, "metrics"), on_cut=print, on_problem=print
)
writer.append(b'{"step":0}\\n')
writer._lock.acquire()  # as another thread would hold it at the moment of the fork
child = os.fork()
if child == 0:
    writer.forget_in_child()
    writer.append(b'{"step":99}\\n')
    writer.finish()
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.lexists(f"/proc/self/fd/{fd}")]
    os._exit(any("metrics" in name for name in names))
writer._lock.release()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
writer.append(b'{"step":1}\\n')
writer.finish()
"""
    assert run_python(code, str(tmp_path)).strip() == "0"
    assert steps(tmp_path / FIRST.name) == [0, 1]


def test_nothing_raises_when_the_directory_vanishes(tmp_path: Path, told: Told) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    writer = told.writer(run_dir)
    writer.append(line(0))
    writer.sync()
    (run_dir / FIRST.name).unlink()
    run_dir.rmdir()
    writer.append(line(1))
    writer.sync()
    writer.append(line(2))
    writer.finish()
    writer.append(line(3))
