"""Small documents that are always whole: written beside, synced, renamed into place."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_document(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file at `path` with `data` so that a reader sees the old or the new, whole.

    Args:
        path: the document; its directory must exist.
        data: everything it will hold.
        durable: survive power loss too (fsync of the file before the rename, of the directory
            after it: without the first, XFS was seen to leave 0 bytes). A heartbeat, rewritten
            every second, does without.

    Raises:
        OSError: the disk is full, the directory is gone, …; the old document is untouched.
    """
    directory = _open_directory(path.parent)
    try:
        replace_document(directory, path.name, data, durable=durable)
    finally:
        os.close(directory)


def replace_document(directory: int, name: str, data: bytes, *, durable: bool = True) -> None:
    """Do the same to `name` in a directory that is open as the descriptor `directory`."""
    # Of this thread alone: two that share the file would mix their documents.
    temporary = f".{name}.{os.getpid()}-{threading.get_ident()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
    try:
        try:
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if durable:
        sync_descriptor(directory)


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` once all of it is written.

    Until then it lies beside it under a name that begins with a dot; on a failure it goes, and
    what was at `path` stays. Of a link its target is replaced. What is no regular file, as a pipe
    or `/dev/stdout`, is written to as it is.

    Raises:
        OSError: the disk is full, the directory is gone, …; it names `path`.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:100]}.{os.getpid()}.tmp")
    mode = _mode(path)
    try:
        if mode is not None and not stat.S_ISREG(mode):
            with path.open("wb") as file:
                yield file
            return
        with _removed_on_failure(beside), beside.open("wb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            os.fsync(file.fileno())
            beside.rename(target)
    except OSError as error:
        # A write that fails names no file.
        if error.filename in (None, str(beside)):
            error.filename = str(path)
        raise


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def rewrite_in_place(directory: int, name: str, data: bytes, *, durable: bool = True) -> None:
    """Write a document over the old one: for a full disk, and where rename does not work.

    A reader may meet half of it. One write, as long as the old document at least, so that the
    moment is short and no bytes of the old one stay behind it.

    Raises:
        OSError: the disk does not take it; half of it may be there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, 0o666, dir_fd=directory)
    try:
        # JSON may be followed by spaces.
        write_all(descriptor, data.ljust(os.fstat(descriptor).st_size))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte of `data`; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(directory: Path) -> None:
    """Make new names in `directory` survive power loss, where the file system can do that."""
    descriptor = _open_directory(directory)
    try:
        sync_descriptor(descriptor)
    finally:
        os.close(descriptor)


def sync_descriptor(directory: int) -> None:
    """Do the same to a directory that is open as the descriptor `directory`."""
    try:
        os.fsync(directory)
    except OSError:
        # Some network and FUSE file systems refuse fsync of a directory; the rename stands.
        return


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
