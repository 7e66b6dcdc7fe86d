"""Files in which each line is a row, whatever wrote them: what JSON lines and tables share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from runstore.files.cursor import READ_BYTES
from runstore.files.records import JsonObject
from runstore.files.regular import first_bytes
from runstore.sources.columns import Columns, of_split, split_in
from runstore.sources.counting import Counting
from runstore.sources.layout import Opener, names_in
from runstore.sources.log_files import Batch, ForeignRow, LineFile, LogFile


@dataclass(slots=True)
class RowsLayout:
    """A directory of such files, each a log of its own (a `Layout`), for one reader."""

    NAME: str
    EVIDENCE: str
    holds_rows: Callable[[Path, str], bool]
    """Tells of a directory and a name in it whether that is such a file."""
    open: Callable[[Path, bool], LogFile]
    IS_ONE_SERIES: bool = False
    _held: set[str] = field(default_factory=set)
    """Those that were seen to be such files: to look into each again at every poll would cost more
    than what is new."""

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the files of rows."""
        names = [n for n in names_in(directory) if self._holds(directory, n)]
        return {n: partial(self.open, directory / n) for n in names}

    def _holds(self, directory: Path, name: str) -> bool:
        if name in self._held:
            return True
        holds = self.holds_rows(directory, name)
        # What is in an empty file is not known yet.
        if holds and first_bytes(directory / name, 1):
            self._held.add(name)
        return holds


class RowsFile(ABC):
    """One file whose lines are rows."""

    _split_by_name = True
    """Rows that say nothing of a split are of the one that is in the file's name. So they are
    called the same whether or not a file of another split lies beside it, or comes later."""

    def __init__(self, path: Path, patient: bool, *, is_epochs: bool = False) -> None:
        """Follow `path`; say whether it is known for a table of epochs; see `Cursor`."""
        self._path, self._patient, self._is_epochs = path, patient, is_epochs
        self._split = split_in(path.name) if self._split_by_name else ""
        self._begin(Counting(is_known_by_epochs=is_epochs))

    def _begin(self, counting: Counting) -> None:
        self._columns, self._counting = Columns(), counting
        name = self._path.name
        self._lines = LineFile(self._path, name, self._translate, patient=self._patient)

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self._lines.size

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new; all of it once more where it turns out to count otherwise."""
        was_contradicted = self._counting.contradicted
        batch = self._lines.poll(budget)
        if batch.restarted:
            self._begin(Counting(is_known_by_epochs=self._is_epochs))
        elif self._counting.contradicted and not was_contradicted:
            self._begin(self._counting)
        else:
            return batch
        batch = self._lines.poll(budget)
        batch.restarted = True
        return batch

    def glance(self) -> Batch:
        """Return the first rows, and the last ones."""
        return self._lines.glance()

    @abstractmethod
    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        """Add what a line means (`log_files.Translate`)."""

    def _add(
        self, record: JsonObject, number: int, batch: Batch, size_bytes: int, line: bytes = b""
    ) -> None:
        """Add a record as a row of the stream that it belongs to.

        `line` is the line, where it is JSON: it is printed as it is when nothing had to be changed.
        """
        row, split = self._columns.row(record), self._columns.split
        step = row.get("step")
        known = "val" if self._counting.is_evaluation(row) else self._split
        if known and not split:
            row = of_split(row, known)
        stream = self._counting.place(row, split)
        if line and (row.get("step") != step or row != record):
            line = b""
        stream = "epochs" if self._is_epochs else stream
        batch.rows.append(ForeignRow(stream, row, number, size_bytes, line))
