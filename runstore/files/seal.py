"""Torn tails: the bytes behind a file's last newline, moved aside once nobody writes the file.

A killed process leaves half a line, a power loss leaves NULs. Readers leave such bytes out, but one
torn line makes jq, polars and pandas refuse the whole file. So whoever knows that the writer is
gone moves them to `metrics-0001.jsonl.torn` and cuts the file behind its last newline.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runstore.files.atomic import sync_directory, write_all

MOST_TORN_BYTES = 64 << 20
"""A tail beyond this is no line that was cut: a sparse file of 40 GiB must cost nothing."""
LOCK_WAIT_S = 10.0
"""How long one who seals waits for another: a copy of 64 MiB on a slow disk."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was moved aside."""

    file: str
    """The name of the file that ends with a newline now."""
    bytes: int
    torn: str
    """The name of the file beside it that has the bytes."""


def torn_tail(path: Path) -> int | None:
    """Return how many bytes stand behind the last newline; None when the file ends with one.

    Raises:
        OSError: the file cannot be read, is no regular file, or has no newline within
            `MOST_TORN_BYTES` of its end.
    """
    descriptor = _open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        return size - _end_of_lines(descriptor, size) or None
    finally:
        os.close(descriptor)


def seal(path: Path, *, may: Callable[[], bool] = lambda: True) -> Sealed | None:
    """Move the bytes behind the last newline to a file beside; None when there are none.

    Only for a file whose writer is gone. The bytes are durable under their new name before they
    leave the file, so a crash in between leaves them twice, never nowhere. Two that seal the same
    file at a time take turns by its lock, and the second finds nothing to do.

    Args:
        path: the file.
        may: asked once the lock is held, because a new writer may have come since the caller
            looked.

    Raises:
        OSError: as `torn_tail`, the disk does not take the copy, somebody holds the lock, or the
            file may not be sealed any more; it is as it was.
    """
    descriptor = _open(path, os.O_RDWR)
    try:
        _lock(descriptor)
        if not may():
            raise OSError(errno.EBUSY, "a new attempt has begun")
        size = os.fstat(descriptor).st_size
        end = _end_of_lines(descriptor, size)
        if end == size:
            return None
        tail = os.pread(descriptor, size - end, end)
        if len(tail) < size - end:
            raise OSError(errno.EIO, "it cannot be read whole")
        torn = _keep_aside(path, tail)
        if os.fstat(descriptor).st_size != size:
            raise OSError(errno.EBUSY, "somebody writes it")
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
        return Sealed(path.name, size - end, torn)
    finally:
        os.close(descriptor)


def _open(path: Path, access: int) -> int:
    # Not to hang on a FIFO, nor to cut a file elsewhere: a run's directory may come from anywhere.
    descriptor = os.open(path, access | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def _lock(descriptor: int) -> None:
    """Take the file's lock, where this file system has locks; closing the file gives it back."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(errno.EBUSY, "somebody holds its lock") from None
            time.sleep(0.01)
        except OSError:
            return None


def _end_of_lines(descriptor: int, size: int) -> int:
    """Return the offset behind the last newline of the first `size` bytes; 0 when there is none."""
    end = size
    while end > 0:
        if size - end >= MOST_TORN_BYTES:
            raise OSError(errno.EFBIG, f"no newline in its last {MOST_TORN_BYTES >> 20} MiB")
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _keep_aside(path: Path, tail: bytes) -> str:
    """Write `tail` to a new file beside `path`, durably, and return its name."""
    descriptor, copy = _create_beside(path)
    try:
        try:
            write_all(descriptor, tail)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return copy.name


def _create_beside(path: Path) -> tuple[int, Path]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    for again in itertools.count():
        copy = path.with_name(f"{path.name}.torn{f'.{again}' if again else ''}")
        try:
            return os.open(copy, flags, 0o666), copy
        except FileExistsError:
            continue
    raise AssertionError  # `count` does not end
