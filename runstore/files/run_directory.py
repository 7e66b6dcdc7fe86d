"""A run's directory, held open: what is written follows it when somebody moves it.

Every name is opened relative to the descriptor. A directory that was removed is noticed by its link
count, and nothing is made in its place. A descriptor that a file server has forgotten (ESTALE after
a restart, an unmounted and mounted share) is replaced by the directory at the old path, if that is
the same one. One whose file system was unmounted lazily works on, but nobody sees what goes there.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from runstore.files.atomic import replace_document, rewrite_in_place, sync_descriptor

NEVER_HEALS = frozenset(
    {errno.ESTALE, errno.EBADF, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN}
)
"""A descriptor that fails so never works again; a new one may: the server was restarted, the share
mounted anew, or a careless part of the script closed it."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Result = TypeVar("Result")


class RunDirectory:
    """One run's directory. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Hold the directory at `path` from the first use on; it need not exist before."""
        self.path = path
        """Where it was when the run was opened."""
        self.can_rename = True
        """Whether documents are renamed into place; else they are rewritten where they are."""
        self._lock = threading.RLock()
        self._descriptor = -1
        self._identity: int | None = None
        self._held_at: Path | None = None

    def open(self, name: str, flags: int) -> int:
        """Open a file inside; never through a symbolic link.

        Raises:
            OSError: as `os.open`.
        """
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        return self._with(lambda held: os.open(name, flags, 0o666, dir_fd=held))

    def unlink(self, name: str) -> None:
        """Remove a file inside.

        Raises:
            OSError: as `os.unlink`.
        """
        self._with(lambda held: os.unlink(name, dir_fd=held))

    def rename(self, name: str, to: str) -> None:
        """Rename a file inside, over what has that name.

        Raises:
            OSError: as `os.rename`.
        """
        self._with(lambda held: os.rename(name, to, src_dir_fd=held, dst_dir_fd=held))

    def open_folder(self, *names: str) -> int:
        """Open a folder below, made where it is missing; the run's own directory never is.

        Raises:
            OSError: as `os.mkdir` and `os.open`.
        """
        return self._with(lambda held: _open_below(held, names))

    def sync(self) -> None:
        """Make new names survive power loss, where the file system can do that."""
        self._with(sync_descriptor)

    def write_document(self, name: str, data: bytes, *, durable: bool) -> None:
        """Replace a document, by rename; where that does not work, rewrite it in place.

        So is one that need not be durable on a full disk: the blocks that it has are enough.

        Raises:
            OSError: it cannot be written; names it.
        """
        try:
            self._write_document(name, data, durable=durable)
        except OSError as error:
            # A failed write knows no name, and the one of a temporary file says nothing.
            raise OSError(error.errno, error.strerror, str(self.path / name)) from error

    def _write_document(self, name: str, data: bytes, *, durable: bool) -> None:
        if not self.can_rename:
            self._with(lambda held: rewrite_in_place(held, name, data, durable=durable))
            return
        try:
            self._with(lambda held: replace_document(held, name, data, durable=durable))
        except OSError as error:
            if durable or error.errno not in NO_ROOM:
                raise
            self._with(lambda held: rewrite_in_place(held, name, data, durable=durable))

    def is_deleted(self) -> bool:
        """Tell whether the directory was held and is removed: nothing can be made in it again."""
        if self._descriptor < 0:
            return False
        try:
            return os.fstat(self._descriptor).st_nlink == 0
        except OSError:
            # Out of reach is not deleted: the server may come back.
            return False

    def moved_to(self) -> Path | None:
        """Return where the directory is now, when somebody moved it and the kernel tells."""
        now = _path_of(self._descriptor)
        if now is None or now == self._held_at or self.is_deleted():
            return None
        # Of a file system that was unmounted the kernel names paths from that one's own root.
        if not self._is_at(now):
            return None
        self._held_at = now
        return now

    def is_in_sight(self) -> bool:
        """Tell whether its path still leads to it: not unmounted, and nothing mounted over it.

        When it is back as another mount, what is opened from now on is opened there: of a disk
        that was pulled out, only the new mount works.
        """
        if self._descriptor < 0 or self._held_at is None:
            return True
        if not self._is_at(self._held_at):
            return False
        with suppress(OSError):
            if self.path.stat().st_dev != os.fstat(self._descriptor).st_dev:
                self._hold_anew()
        return True

    def _is_at(self, path: Path) -> bool:
        try:
            # Not the device: a share that is mounted again has another one.
            return path.stat().st_ino == self._identity
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # Out of reach is not gone: the server may come back.
            return True

    def _with(self, action: Callable[[int], Result]) -> Result:
        try:
            return action(self._held())
        except OSError as error:
            if error.errno not in NEVER_HEALS or not self._hold_anew():
                raise
        return action(self._held())

    def _held(self) -> int:
        if self._descriptor < 0:
            with self._lock:
                if self._descriptor < 0:
                    descriptor = os.open(self.path, _FLAGS)
                    self._identity = os.fstat(descriptor).st_ino
                    self._held_at = _path_of(descriptor)
                    self._descriptor = descriptor
        return self._descriptor

    def _hold_anew(self) -> bool:
        """Tell whether the same directory could be opened by its path once more."""
        with self._lock:
            try:
                descriptor = os.open(self.path, _FLAGS)
            except OSError:
                return False
            if self._identity not in (None, os.fstat(descriptor).st_ino):
                os.close(descriptor)
                return False
            # In place, so that no thread is left with a number that is closed.
            os.dup2(descriptor, self._descriptor, inheritable=False)
            os.close(descriptor)
            return True

    def forget_in_child(self) -> None:
        """Let go of it in a forked child; a thread that holds the lock does not exist there."""
        self._lock = threading.RLock()
        self.close()

    def close(self) -> None:
        """Let go of the directory; a later use holds it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def _open_below(directory: int, names: Sequence[str]) -> int:
    descriptor = os.dup(directory)
    for name in names:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, _FLAGS, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _path_of(descriptor: int) -> Path | None:
    """Return the path of an open directory, without a look at the disk; None outside Linux."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return None
