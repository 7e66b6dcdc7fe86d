"""Small documents are seen whole: the old one or the new one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runstore.atomic import write_all, write_document


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
