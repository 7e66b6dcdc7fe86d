"""Torn tails are moved aside whole, and nothing else of a file is touched."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runstore.files import seal as module
from runstore.files.seal import Sealed, seal, torn_tail

WHOLE = b'{"step":1,"time":1.5,"a":0.5}\n{"step":2,"time":2.5,"a":0.25}\n'
ROW = '{"step":3,"time":3.5,"naïve/☃":1.5,"back\\\\slash\\u2028":2.0}\n'.encode()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("whole", [WHOLE, b""], ids=["behind rows", "alone"])
def test_row_torn_at_any_byte_is_kept_aside_and_leaves_whole_lines(
    tmp_path: Path, whole: bytes
) -> None:
    """ASCII, inside a UTF-8 code point, behind a backslash: at every offset of a row."""
    assert b"\\\\" in ROW
    assert not ROW.isascii()
    for size in range(1, len(ROW)):
        path = write(tmp_path / f"metrics-{size:04d}.jsonl", whole + ROW[:size])
        assert torn_tail(path) == size
        assert seal(path) == Sealed(path.name, size, f"{path.name}.torn")
        assert path.read_bytes() == whole
        assert path.with_name(f"{path.name}.torn").read_bytes() == ROW[:size]
        for line in path.read_text("utf-8").splitlines():
            json.loads(line)


@pytest.mark.parametrize(
    "tail", [b"\0" * 359, b"\0" * (3 << 20), b'{"step":3,' + b"\0" * 5000, b"x" * (1 << 20)]
)
def test_nuls_and_long_tails_go_aside_whole(tmp_path: Path, tail: bytes) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + tail)
    assert seal(path) == Sealed(path.name, len(tail), f"{path.name}.torn")
    assert path.read_bytes() == WHOLE
    assert path.with_name(f"{path.name}.torn").read_bytes() == tail


@pytest.mark.parametrize("data", [b"", b"\n", WHOLE, b"no json\n", b"\0\0\0\n"])
def test_line_with_its_newline_is_never_touched(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", data)
    before = path.stat()
    assert torn_tail(path) is None
    assert seal(path) is None
    assert path.read_bytes() == data
    assert path.stat() == before
    assert list(tmp_path.iterdir()) == [path]


def test_earlier_sidecars_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics-0001.jsonl"
    for tail in (b"first", b"second", b"third"):
        write(path, WHOLE + tail)
        seal(path)
    names = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert names == {
        path.name: WHOLE,
        f"{path.name}.torn": b"first",
        f"{path.name}.torn.1": b"second",
        f"{path.name}.torn.2": b"third",
    }


def test_tail_without_an_end_in_sight_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE)
    os.truncate(path, 40 << 30)
    with pytest.raises(OSError, match="no newline in its last 64 MiB"):
        torn_tail(path)
    with pytest.raises(OSError, match="no newline"):
        seal(path)
    assert path.stat().st_size == 40 << 30
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """Without hanging on a FIFO, nor cutting what a link points to."""
    outside = write(tmp_path / "outside.txt", b"no newline")
    link, fifo = tmp_path / "metrics-0001.jsonl", tmp_path / "metrics-0002.jsonl"
    link.symlink_to(outside)
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path):
        with pytest.raises(OSError):
            seal(path)
    assert outside.read_bytes() == b"no newline"


def test_file_stays_as_it_is_when_the_copy_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + b"torn")

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "write_all", full)
    with pytest.raises(OSError, match="No space"):
        seal(path)
    assert path.read_bytes() == WHOLE + b"torn"
    assert list(tmp_path.iterdir()) == [path]


def test_copy_is_durable_before_the_bytes_leave_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + b"torn")
    calls: list[str] = []
    fsync, ftruncate = os.fsync, os.ftruncate

    def note_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def note_ftruncate(descriptor: int, size: int) -> None:
        calls.append("ftruncate")
        ftruncate(descriptor, size)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "ftruncate", note_ftruncate)
    seal(path)
    assert calls == [f"fsync {path}.torn", f"fsync {tmp_path}", "ftruncate", f"fsync {path}"]


def test_file_that_grows_meanwhile_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + b'{"st')
    keep_aside = module._keep_aside

    def writer_lives(file: Path, tail: bytes) -> str:
        with file.open("ab") as late:
            late.write(b'ep":3}\n')
        return keep_aside(file, tail)

    monkeypatch.setattr(module, "_keep_aside", writer_lives)
    with pytest.raises(OSError, match="somebody writes it"):
        seal(path)
    assert path.read_bytes() == WHOLE + b'{"step":3}\n'


def test_two_processes_that_seal_a_file_at_a_time_make_one_sidecar(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from runstore.files.seal import seal;"
        "print('ready', flush=True); input(); print(seal(Path(sys.argv[1])), flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    for again in range(3):
        path = write(tmp_path / f"metrics-{again + 1:04d}.jsonl", WHOLE + b"x" * (8 << 20))
        both = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(path)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for one in both:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in both:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        answers = sorted(one.communicate()[0].strip() for one in both)
        assert answers[0] == "None"
        assert answers[1].startswith("Sealed(")
        assert [file.name for file in tmp_path.glob(f"{path.name}.torn*")] == [f"{path.name}.torn"]


def test_one_who_seals_waits_for_the_file_s_lock(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + b'{"st')
    done: list[Sealed | None] = []
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: done.append(seal(path)))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert torn_tail(path) == 4
    waiting.join()
    assert done == [Sealed(path.name, 4, f"{path.name}.torn")]


def test_a_lock_that_never_comes_free_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.05)
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + b'{"st')
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="somebody holds its lock"):
            seal(path)
    assert torn_tail(path) == 4


def test_what_may_not_be_sealed_any_more_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics-0001.jsonl", WHOLE + b'{"st')
    with pytest.raises(OSError, match="a new attempt has begun"):
        seal(path, may=lambda: False)
    assert torn_tail(path) == 4
    assert os.listdir(tmp_path) == [path.name]


def test_tail_that_is_not_read_whole_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a FUSE file system may answer."""
    path = tmp_path / "metrics-0001.jsonl"
    path.write_bytes(b"{}\n" + b"x" * 100)
    pread = os.pread

    def short(descriptor: int, size: int, offset: int) -> bytes:
        return pread(descriptor, min(size, 7) if offset else size, offset)

    monkeypatch.setattr(os, "pread", short)
    with pytest.raises(OSError, match="cannot be read whole"):
        seal(path)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size == 103
