"""What the file system of a directory can do, tried out in a dozen system calls."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import suppress
from dataclasses import dataclass

from runstore.files.run_directory import NO_ROOM, RunDirectory

_PIECE = b"runstore\n"

MISSING = {
    "append": "files here cannot be appended to",
    "rename": "no rename here: documents are rewritten in place, and no checkpoint can be written",
    "lock": "no locks here: whether a killed run of another machine is dead cannot be told",
}
"""What it means that something does not work."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What works in a directory."""

    append: bool = True
    """Two appends through one descriptor, and both are read back through another one."""
    rename: bool = True
    """A file takes the name of one that is there."""
    lock: bool = True
    """An exclusive `flock`."""

    @property
    def without(self) -> list[str]:
        """The names of what does not work, as in the `open` event."""
        return [name for name in MISSING if not getattr(self, name)]


def probe(directory: RunDirectory) -> Probe:
    """Try out a directory; what is made for it is removed again.

    Raises:
        OSError: no file can be made there (read-only, no permission, no such directory).
    """
    name = f".probe-{os.getpid()}-{threading.get_ident()}"
    try:
        return _try(directory, name)
    except OSError as error:
        # A full disk says nothing of what it can do, and is no reason not to train.
        if error.errno in NO_ROOM:
            return Probe()
        raise
    finally:
        for left in (name, f"{name}.tmp"):
            with suppress(OSError):
                directory.unlink(left)


def _try(directory: RunDirectory, name: str) -> Probe:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    descriptor = directory.open(name, flags | os.O_APPEND)
    try:
        appends = _appends(directory, name, descriptor)
        locks = takes_lock(descriptor)
    finally:
        with suppress(OSError):
            os.close(descriptor)
    return Probe(appends, _renames(directory, name), locks)


def _appends(directory: RunDirectory, name: str, descriptor: int) -> bool:
    """The writer keeps its descriptor for hours, and readers look meanwhile."""
    try:
        for done in (1, 2):
            os.write(descriptor, _PIECE)
            if _read(directory, name) != _PIECE * done:
                return False
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return False
    return True


def _read(directory: RunDirectory, name: str) -> bytes:
    descriptor = directory.open(name, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 1024)
    finally:
        os.close(descriptor)


def _renames(directory: RunDirectory, name: str) -> bool:
    try:
        os.close(directory.open(f"{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        directory.rename(f"{name}.tmp", name)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return False
    return True


def takes_lock(descriptor: int) -> bool:
    """Take an exclusive lock, and tell whether this file system has locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Held by another: so they work.
        return error.errno == errno.EWOULDBLOCK
    return True
