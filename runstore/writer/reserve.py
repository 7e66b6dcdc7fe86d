"""A little room on the disk, held back so that a run can write its end when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress

from runstore.files.atomic import write_all
from runstore.files.run_directory import RunDirectory

RESERVE_BYTES = 64 << 10
NAME = ".reserve"


class Reserve:
    """`.reserve`, really allocated, in the directory of a run while an attempt of it runs."""

    def __init__(self, directory: RunDirectory) -> None:
        """Hold nothing yet."""
        self._directory = directory

    def take(self) -> None:
        """Allocate it, or take over what a killed attempt left; where there is no room, do without.

        Nothing is synced: what a file system has promised, it keeps while it is mounted.
        """
        try:
            descriptor = self._directory.open(NAME, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)
            try:
                _allocate(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            # Half of it is worth nothing, and takes room from the rows.
            self.release()

    def release(self) -> None:
        """Give the room back to whoever writes next."""
        with suppress(OSError):
            self._directory.unlink(NAME)


def _allocate(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    else:
        write_all(descriptor, bytes(RESERVE_BYTES))
