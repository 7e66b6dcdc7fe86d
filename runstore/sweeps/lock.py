"""One call at a time changes a sweep, or submits its cells."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runstore.console import say
from runstore.errors import SweepError
from runstore.files.paths import SweepPaths

QUIET_WAIT_S = 10.0
LOCK_WAIT_S = 600.0
"""So long may another call need for its jobs: Slurm takes some seconds for each array."""


@contextmanager
def lock(sweep_dir: Path) -> Iterator[None]:
    """Keep others from changing a sweep's cells and from submitting them, where there are locks.

    Raises:
        SweepError: another call has been at it for so long that it may be stuck.
        OSError: the directory takes no file.
    """
    descriptor = _open(sweep_dir)
    try:
        if not _has_locked(descriptor, QUIET_WAIT_S):
            say(f"runstore: another call is at work on the cells of {sweep_dir}: waiting for it")
            if not _has_locked(descriptor, LOCK_WAIT_S):
                raise SweepError(
                    f"another call is at work on the cells of {sweep_dir}, and does not come to "
                    "its end; nothing was changed or submitted"
                )
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _open(sweep_dir: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(SweepPaths(sweep_dir).lock, flags, 0o666)


def _has_locked(descriptor: int, wait_s: float) -> bool:
    """Wait for the lock; tell whether it is ours now, or the file system has none."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return True
    return False
