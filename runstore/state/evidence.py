"""What the events file of an attempt proves of the process that wrote it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from runstore.environment.process import ProcessIdentity
from runstore.files.records import JsonObject, integer


def is_original(opened: JsonObject, events_file: Path) -> bool:
    """Tell whether an attempt's file is where its `open` event was written, and no copy of it.

    A copied file has another inode; a file that another NFS client sees has the same one.
    """
    inode = integer(opened, "inode")
    try:
        return inode is None or events_file.stat().st_ino == inode
    except OSError:
        return False


def is_proven_gone(opened: JsonObject, events_file: Path) -> bool:
    """Tell whether the process that wrote an `open` event can never write again.

    By the same evidence as a status of `crashed`, for an attempt that need not be the newest.
    """
    if not is_original(opened, events_file):
        return False
    identity = ProcessIdentity.from_record(opened)
    if identity is not None and (identity.is_local() or identity.is_gone()):
        return identity.is_gone()
    return opened.get("lock") is True and lock_is_free(events_file) is True


def lock_is_free(path: Path) -> bool | None:
    """Tell whether nobody holds the lock on `path`; None where locks do not work."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None
    finally:
        os.close(descriptor)
