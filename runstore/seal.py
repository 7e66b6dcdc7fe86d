"""Torn tails: the bytes behind a file's last newline, moved aside once nobody writes the file.

A killed process leaves half a line, a power loss leaves NULs. Readers leave such bytes out, but one
torn line makes jq, polars and pandas refuse the whole file. So whoever knows that the writer is
gone moves them to `metrics-0001.jsonl.torn` and cuts the file behind its last newline.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from runstore.atomic import sync_directory, write_all

MOST_TORN_BYTES = 64 << 20
"""A tail beyond this is no line that was cut: a sparse file of 40 GiB must cost nothing."""
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


def seal(path: Path) -> Sealed | None:
    """Move the bytes behind the last newline to a file beside; None when there are none.

    Only for a file whose writer is gone. The bytes are durable under their new name before they
    leave the file, so a crash in between leaves them twice, never nowhere.

    Raises:
        OSError: as `torn_tail`, or the disk does not take the copy; the file is as it was.
    """
    descriptor = _open(path, os.O_RDWR)
    try:
        size = os.fstat(descriptor).st_size
        end = _end_of_lines(descriptor, size)
        if end == size:
            return None
        torn = _keep_aside(path, os.pread(descriptor, size - end, end))
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
