"""Small documents are seen whole: the old one or the new one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runstore.files.atomic import replaced_file, write_all, write_document


def test_document_is_replaced_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_document(path, b"old")
    write_document(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", ["write", "fsync"])
def test_failed_write_leaves_the_old_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "run.json"
    write_document(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fault, fail)
    with pytest.raises(OSError, match="No space"):
        write_document(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_vanished_directory_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_document(tmp_path / "gone" / "run.json", b"x")


def test_every_byte_is_written_however_short_each_write_is() -> None:
    reading, writing = os.pipe()
    data = os.urandom(300_000)  # a pipe takes 64 KiB at a time
    received = bytearray()

    def read() -> None:
        while piece := os.read(reading, 1000):
            received.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    write_all(writing, data)
    os.close(writing)
    reader.join()
    os.close(reading)
    assert bytes(received) == data


def test_reader_never_sees_half_a_document(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    documents = {b"a" * 10, b"b" * 100_000}
    write_document(path, b"a" * 10, durable=False)
    done = threading.Event()

    def rewrite() -> None:
        for _ in range(200):
            for document in documents:
                write_document(path, document, durable=False)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= documents


def test_documents_of_two_threads_do_not_mix(tmp_path: Path) -> None:
    """The heartbeat of a thread that hangs, and that of the end."""
    path = tmp_path / "progress.json"
    documents = [bytes([65 + n]) * 100_000 for n in range(4)]
    seen: set[bytes] = set()

    def rewrite(document: bytes) -> None:
        for _ in range(50):
            write_document(path, document, durable=False)
            seen.add(path.read_bytes())

    threads = [threading.Thread(target=rewrite, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= set(documents)
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_at_its_place_when_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with replaced_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_file_that_is_not_complete_leaves_what_was_there(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as caught, replaced_file(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert getattr(caught.value, "filename", str(path)) == str(path)


def test_failure_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replaced_file(tmp_path / "out.csv"):
        (tmp_path / "gone").read_bytes()
    assert caught.value.filename == str(tmp_path / "gone")


def test_target_of_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "out.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        with replaced_file(link) as file:
            file.write(content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_what_is_no_regular_file_is_written_to_as_it_is(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with replaced_file(fifo) as file:
        file.write(b"through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    assert list(tmp_path.iterdir()) == [fifo]


def test_name_as_long_as_a_name_may_be_has_room_for_its_neighbour(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with replaced_file(path) as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == [path]
