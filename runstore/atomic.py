"""Small documents that are always whole: written beside, synced, renamed into place."""

from __future__ import annotations

import os
import threading
from pathlib import Path


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
    # Of this thread alone: two that share the file would mix their documents.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        try:
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte of `data`; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(directory: Path) -> None:
    """Make new names in `directory` survive power loss, where the file system can do that."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network and FUSE file systems refuse fsync of a directory; the rename stands.
        return
    finally:
        os.close(descriptor)
