"""A directory for what a query needs besides the runs' own files; it is gone when the query is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from runstore.errors import RunStoreError
from runstore.files.regular import open_regular

COPY_BYTES = 1 << 20
_open: set[Path] = set()
"""The directories that are there now."""


def remove_all() -> None:
    """Remove every temporary directory: for who is about to be ended by a signal."""
    for path in list(_open):
        # Once more: another thread of DuckDB's may put a file there meanwhile.
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)


class Scratch:
    """A temporary directory, readable by its owner only; `$TMPDIR` says where."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="runstore-query-"))
        _open.add(self.path)
        self._count = 0

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        _open.discard(self.path)

    def next_path(self) -> Path:
        """Return the path of a file that is not there yet."""
        self._count += 1
        return self.path / f"{self._count}.jsonl"

    def write(self, lines: Iterable[bytes]) -> Path:
        """Write lines, each with its newline, into a new file.

        Raises:
            RunStoreError: there is no room.
        """
        path = self.next_path()
        try:
            with path.open("wb") as file:
                file.writelines(lines)
        except OSError as error:
            raise self._no_room(error) from None
        return path

    def copy(self, source: str, begin: int, end: int | None) -> Path:
        """Copy the whole lines between two bytes of a file.

        Raises:
            OSError: the file cannot be read.
            RunStoreError: there is no room.
        """
        descriptor = open_regular(source)
        try:
            size = os.fstat(descriptor).st_size
            return self.write(_whole_lines(descriptor, begin, size if end is None else end))
        finally:
            os.close(descriptor)

    def link(self, source: str) -> Path:
        """Return another name of a file, for a path that SQL cannot spell."""
        path = self.next_path()
        path.symlink_to(source)
        return path

    def _no_room(self, error: OSError) -> RunStoreError:
        why = (error.strerror or str(error)).lower()
        return RunStoreError(
            f"{self.path}: a temporary copy cannot be written ({why}); set TMPDIR to another place"
        )


def _whole_lines(descriptor: int, begin: int, end: int) -> Iterable[bytes]:
    """Yield what lies between two bytes up to the last newline there."""
    rest = b""
    while begin < end and (data := os.pread(descriptor, min(COPY_BYTES, end - begin), begin)):
        begin += len(data)
        whole, newline, data = data.rpartition(b"\n")
        if newline:
            yield rest + whole + newline
            rest = b""
        rest += data
