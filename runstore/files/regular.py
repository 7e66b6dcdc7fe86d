"""Opening files that somebody else has put there: regular ones only, and nothing waits.

A run directory may hold anything under any name. A FIFO would block who opens it, a device may act
on it, and a symbolic link leads out of the directory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class NotRegularError(OSError):
    """What is there is no regular file."""


def open_regular(path: Path | str) -> int:
    """Return a descriptor to read `path`, a regular file.

    Raises:
        NotRegularError: it is a link, directory, FIFO, socket or device.
        OSError: it is missing, or cannot be opened.
    """
    return opened_regular(path)[0]


def opened_regular(path: Path | str) -> tuple[int, os.stat_result]:
    """Return a descriptor as `open_regular` does, and what `fstat` says of it."""
    try:
        # Looked at first, because opening a device can have effects; and again once it is open.
        _check(os.lstat(path), path)
        descriptor = os.open(path, _FLAGS)
    except ValueError:
        raise FileNotFoundError(errno.ENOENT, "a name with a NUL byte") from None
    try:
        status = os.fstat(descriptor)
        _check(status, path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, status


def _check(status: os.stat_result, path: Path | str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise NotRegularError(errno.ELOOP, "a symbolic link, not a regular file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: Path | str, limit: int) -> bytes:
    """Return the bytes of a small file, at most `limit`.

    Raises:
        OSError: it is missing, no regular file, longer, or cannot be read.
    """
    descriptor, status = opened_regular(path)
    try:
        size = status.st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"{size:,} bytes long, the most is {limit:,}")
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


def why_unreadable(error: OSError) -> str:
    """Return the reason in lower case and a few words."""
    return (error.strerror or str(error)).lower()


def first_bytes(path: Path, count: int) -> bytes:
    """Return at most `count` bytes from the beginning of a file; none where it cannot be read."""
    return bytes_at(path, 0, count)


def bytes_at(path: Path, offset: int, count: int) -> bytes:
    """Return at most `count` bytes of a file from an offset; none where it cannot be read."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, count, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
