"""The parts of one stream: which file is written now, which were left, what each should hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from runstore.files.paths import StreamFile
from runstore.files.run_directory import RunDirectory
from runstore.writer.part import FileTally, Part, cut_back

PART_BYTES = 64 << 20
"""A part is closed at this size: rsync then skips it, and a checksum covers a bounded file."""
MOST_TAKEN_NAMES = 100
"""So many names of parts are passed over because another process made files of that name."""


class Parts:
    """`metrics-0001.jsonl`, `metrics-0001.1.jsonl`, … The stream's lock is held by the caller."""

    __slots__ = (
        "_cut",
        "_cut_files",
        "_directory",
        "_is_shared",
        "_on_cut",
        "_on_problem",
        "current",
        "tallies",
    )

    def __init__(
        self,
        directory: RunDirectory,
        first: StreamFile,
        on_cut: Callable[[str, int], None],
        on_problem: Callable[[str], None],
        is_shared: Callable[[], bool],
    ) -> None:
        """Open nothing yet; see `StreamWriter`."""
        self._directory = directory
        self._is_shared = is_shared
        self._on_cut = on_cut
        self._on_problem = on_problem
        self.current = Part(directory, first)
        """The part that is written, or the next one, which is not open yet."""
        self.tallies: dict[str, FileTally] = {}
        self._cut: tuple[str, int] | None = None
        """What `on_cut` is to be told once the next part is open."""
        self._cut_files: dict[str, int] = {}
        """The files that were left behind a fault, and where their valid rows end."""

    def create(self) -> None:
        """Create the current part.

        Raises:
            FileExistsError: another process has.
            OSError: it cannot be created.
        """
        self._open(self.current.name)

    def open_if_needed(self) -> None:
        """Open the current part, unless it is open."""
        if not self.current.is_open:
            self._open_free(self.current.name)
        if self._cut is not None:
            # Before the rows that are written again, or a kill in between would show them twice.
            cut, self._cut = self._cut, None
            self._on_cut(*cut)

    def _open_free(self, name: StreamFile) -> None:
        """Open the part `name`, or the first one behind it whose name is free.

        What is there is the other writer's, of a stream that has two. Otherwise it came with half a
        copy of another run; it stays, and does not count.
        """
        taken: list[str] = []
        while True:
            try:
                self._open(name)
                break
            except FileExistsError:
                if len(taken) == MOST_TAKEN_NAMES:
                    raise
                taken.append(name.name)
                name = replace(name, part=name.part + 1)
        for file in () if self._is_shared() else taken:
            self._on_cut(file, 0)
            self._on_problem(f"{file} was there before; its rows do not count, {name.name} is used")

    def _open(self, name: StreamFile) -> None:
        owed_bytes = 0 if self.current.is_open else self.current.owed_bytes
        part = Part(self._directory, name, owed_bytes=owed_bytes)
        part.open()
        self.current.close()
        self.current = part
        self.tallies[name.name] = part.tally

    def _next_name(self) -> StreamFile:
        return replace(self.current.name, part=self.current.name.part + 1)

    def rotate_when_full(self) -> None:
        """Go on in the next part; the one left behind is synced and complete."""
        part = self.current
        part.count()
        if part.tally.bytes >= PART_BYTES and part.synced == part.tally:
            # No room for a new file: this one still works, and the next sync tries again.
            with suppress(OSError):
                self._open_free(self._next_name())

    def leave(self, owed_bytes: int | None) -> None:
        """Leave the current part behind a fault.

        Args:
            owed_bytes: how much of it will be written again to the next part, all that is not
                durable; None when it is not known, and the file counts as it is.
        """
        left = self.current
        left.close()
        self.current = Part(self._directory, self._next_name(), owed_bytes=owed_bytes or 0)
        if owed_bytes is None:
            # What was left before may have gone with it: those files have the only copy.
            self._cut_files.clear()
            return
        self.tallies[left.name.name] = left.synced
        self._cut = left.name.name, left.synced.bytes
        self._cut_files[left.name.name] = left.synced.bytes

    def forget(self, part: Part) -> None:
        """Have nothing to say of a part that was left because somebody deleted it."""
        self.tallies.pop(part.name.name, None)
        self._cut_files.pop(part.name.name, None)
        self._cut = None

    def measure(self) -> None:
        """Make the current part's tally true."""
        self.current.measure()
        self.tallies[self.current.name.name] = self.current.tally

    def cut_back(self) -> None:
        """Cut the files that were left, once their lines are safe elsewhere.

        A file server that was full has left NULs behind the cut, which no JSON parser takes.
        """
        part = self.current
        if part.is_open and part.synced.bytes >= part.owed_bytes:
            for name, size in self._cut_files.items():
                with suppress(OSError):
                    cut_back(self._directory, name, size)
