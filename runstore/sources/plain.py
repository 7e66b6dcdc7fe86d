"""A directory of plain JSON lines, one row each, written by anything.

    echo '{"step":1,"loss":2}' >> runs/x/metrics.jsonl

Files named `epochs…` are read as epoch rows, all others as metrics. No process is on record, so
what the monitor can tell is whether rows arrive.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runstore.cursor import READ_BYTES
from runstore.errors import FormatError
from runstore.liveness import STALL_S, span
from runstore.paths import Stream, StreamFile
from runstore.regular import why_unreadable
from runstore.sources.reading import (
    FollowedFile,
    RowLine,
    file_rows,
    fold_chunk,
    glance_file,
    unreadable,
)
from runstore.state import RunState
from runstore.status import Status
from runstore.tail import Tail

NAME = "jsonl"


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """Any `*.jsonl` makes the directory a run."""
    return any(name.endswith(".jsonl") for name in names)


def open_run(directory: Path, *, patient: bool = True) -> PlainReader:
    """Return a reader; nothing is read yet."""
    return PlainReader(directory, patient=patient)


@dataclass(frozen=True, slots=True, order=True)
class NamedFile(StreamFile):
    """A file whose name tells nothing."""

    file_name: str = ""

    @property
    def name(self) -> str:
        """The name as it is."""
        return self.file_name


class PlainReader:
    """Follows the JSON lines of one directory."""

    def __init__(self, directory: Path, *, patient: bool = True) -> None:
        """Follow `directory`; see `Tail` for `patient`."""
        self.state = RunState(directory, source=NAME)
        self.refused: FormatError | None = None
        self.unlisted = ""
        self._patient = patient
        self._files: dict[str, FollowedFile] = {}
        self._parts = 0
        self._sizes: dict[str, int] | None = None
        """Of each file at the last look; None before the first."""
        self._grew: float | None = None

    @property
    def behind(self) -> bool:
        """Whether the last poll stopped at its budget."""
        return any(file.more for file in self._files.values())

    def glance(self) -> bool:
        """Read the last rows of each file."""
        self._find_files()
        changed = False
        for file in self._files.values():
            changed |= glance_file(self.state, file)
        return self.judge() or changed

    def poll(self, budget: int = READ_BYTES) -> bool:
        """Read what is new, in full, about `budget` bytes at most."""
        self._find_files()
        changed = False
        for file in self._files.values():
            if not file.complete:
                self.state.forget(file.name)
                file.tail, file.complete = Tail(file.tail.path, patient=self._patient), True
            changed |= fold_chunk(self.state, file, file.tail.poll(budget))
        return self.judge() or changed

    def learn_cuts(self) -> None:
        """Nothing in a plain file supersedes anything."""

    def files(self, stream: Stream) -> list[Path]:
        """Return the files of a stream that are there now."""
        self._find_files()
        return [f.tail.path for f in self._files.values() if f.name.stream == stream]

    def rows(self, stream: Stream) -> Iterator[RowLine]:
        """Yield every row of a stream, file by file."""
        self._find_files()
        if self.unlisted:
            yield unreadable("", self.unlisted)
        for file in self._files.values():
            if file.name.stream == stream:
                yield from file_rows(file.tail.path)

    def _find_files(self) -> None:
        try:
            names = sorted(n for n in os.listdir(self.state.path) if n.endswith(".jsonl"))
        except OSError as error:
            self.state.problems["."] = f"cannot be read: {error.strerror}"
            self.unlisted = why_unreadable(error)
            return
        self.unlisted = ""
        self.state.problems.pop(".", None)
        for name in self._files.keys() - set(names):
            self.state.forget(self._files.pop(name).name)
        for name in names:
            if name not in self._files:
                stream: Stream = "epochs" if name.startswith("epoch") else "metrics"
                # Foreign files have no attempts; a part each keeps their rows apart.
                self._parts += 1
                file = NamedFile(1, self._parts, stream, 0, name)
                tail = Tail(self.state.path / name, patient=self._patient)
                self._files[name] = FollowedFile(file, tail)

    def judge(self) -> bool:
        """Decide whether rows still come; tell whether that changed."""
        before = self.state.status
        now = time.monotonic()
        if self._files_grew():
            self._grew = now
        self.state.status = self._status(now)
        return self.state.status != before

    def _files_grew(self) -> bool:
        """Tell whether any file has more bytes than at the last look.

        That there was something to read proves nothing: long files are read in pieces.
        """
        before = self._sizes
        self._sizes = {name: file.tail.size for name, file in self._files.items()}
        if before is None:
            return False
        return any(size > before.get(name, 0) for name, size in self._sizes.items())

    def _status(self, now: float) -> Status:
        if self._grew is not None and now - self._grew < STALL_S:
            return Status("running", "rows arrive")
        if self._grew is not None:
            return Status("stalled", f"no row for {span(now - self._grew)}")
        return Status("unknown", "plain JSON lines, no process on record")
