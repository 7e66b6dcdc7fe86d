"""Where the socket of a login lies that several commands share."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def new_socket() -> Path:
    """Return a path for a socket that nobody else can reach, and that does not exist.

    A folder of the user's own is used again, so that none is left when this process is killed; ssh
    removes the socket. The path is short, because the kernel takes some hundred bytes:
    $TMPDIR may be as long as it likes.
    """
    folder = _folder_of_user()
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if not is_own or status.st_mode & 0o077:
            # Somebody else was there first: one whose name nobody knows.
            folder = Path(tempfile.mkdtemp(prefix="runstore-"))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="runstore-"))
    return folder / f"{os.getpid()}-{secrets.token_hex(4)}"


def _folder_of_user() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(runtime) < 40 and os.access(runtime, os.W_OK):
        return Path(runtime, "runstore")
    return Path(f"/tmp/runstore-{os.getuid()}")
