"""The newest rows of a run and those to come, without reading the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from runstore.files.paths import Stream, StreamFile
from runstore.files.records import RecordError, decode, integer
from runstore.files.tail import Chunk, Tail
from runstore.sources import RunRef, open_run
from runstore.sources.foreign import ForeignReader

BYTES_PER_ROW = 2048
"""How far back a first guess looks for each row."""


class Follower(Protocol):
    """Follows one stream of a run."""

    unread: dict[Path, str]
    """Files that could not be read at the last look, with the reason."""

    def newest(self, count: int) -> list[bytes]:
        """Return the last `count` rows and put the cursor behind them."""

    def poll(self) -> list[bytes]:
        """Return the rows that came since."""


def follow(ref: RunRef, stream: Stream = "metrics") -> Follower:
    """Return what follows a stream of a run; nothing is read yet."""
    reader = open_run(ref)
    if isinstance(reader, ForeignReader):
        return ForeignFollower(reader, stream)
    return RowFollower(ref, stream)


class ForeignFollower:
    """Follows a log that another tool wrote; its rows are ours only once they were read."""

    def __init__(self, reader: ForeignReader, stream: Stream) -> None:
        """Follow `stream` by a reader of its own."""
        self._reader, self._stream = reader, stream
        self.unread: dict[Path, str] = {}

    def newest(self, count: int) -> list[bytes]:
        """Return the last `count` rows and put the cursor behind them."""
        self._reader.learn_cuts()
        return list(deque(self._new(), maxlen=count))

    def poll(self) -> list[bytes]:
        """Return the rows that came since."""
        return list(self._new())

    def _new(self) -> Iterator[bytes]:
        self.unread = {}
        for line in self._reader.newest(self._stream):
            if line.error is not None and not line.number:
                self.unread[self._reader.state.path / line.file] = line.error
            elif line.row is not None and not line.superseded:
                yield line.line


class RowFollower:
    """Follows a stream of a native run over all its files, those of later attempts included."""

    def __init__(self, ref: RunRef, stream: Stream = "metrics") -> None:
        """Follow `stream` of the run; nothing is read yet."""
        self._reader = open_run(ref)
        self._stream: Stream = stream
        self._tails: dict[Path, Tail] = {}
        self.unread: dict[Path, str] = {}
        """Files that could not be read at the last look, with the reason."""

    def newest(self, count: int) -> list[bytes]:
        """Return the last `count` rows and put the cursor behind them."""
        rows: list[bytes] = []
        self.unread = {}
        self._reader.learn_cuts()
        for path in reversed(self._files()):
            missing = count - len(rows)
            self._tails[path], lines = self._last_lines(path, missing)
            rows = lines + rows
        return rows

    def _files(self) -> list[Path]:
        files = self._reader.files(self._stream)
        if self._reader.unlisted:
            self.unread[self._reader.state.path] = self._reader.unlisted
        return files

    def poll(self) -> list[bytes]:
        """Return the rows that came since."""
        rows: list[bytes] = []
        self.unread = {}
        for path in self._files():
            tail = self._tails.setdefault(path, Tail(path))
            for chunk in self._chunks(tail):
                rows += _valid(chunk.lines, None)
        return rows

    def _last_lines(self, path: Path, count: int) -> tuple[Tail, list[bytes]]:
        """Return a cursor at the end of the rows that count, and at most the last `count` rows."""
        state, file = self._reader.state, StreamFile.parse(path.name)
        limit = state.cuts.get(path.name)
        hidden_from = state.hidden_from(file.attempt) if file else None
        back = max(1, count) * BYTES_PER_ROW
        while True:
            tail = Tail(path, limit=limit)
            chunk = self._seen(tail, tail.jump(back))
            lines = deque(_valid(chunk.lines, hidden_from), maxlen=count)
            for further in self._chunks(tail) if chunk.more else ():
                lines.extend(_valid(further.lines, hidden_from))
            if len(lines) == count or chunk.offset == 0:
                return tail, list(lines)
            # Rows are longer than that, or many of them do not count.
            back *= 8

    def _chunks(self, tail: Tail) -> Iterator[Chunk]:
        more = True
        while more:
            chunk = self._seen(tail, tail.poll())
            more = chunk.more
            yield chunk

    def _seen(self, tail: Tail, chunk: Chunk) -> Chunk:
        if chunk.unread:
            self.unread[tail.path] = chunk.problem or ""
        return chunk


def _valid(lines: list[bytes], hidden_from: int | None) -> list[bytes]:
    return [line for line in lines if _counts(line, hidden_from)]


def _counts(line: bytes, hidden_from: int | None) -> bool:
    try:
        row = decode(line)
    except RecordError:
        return False
    step = integer(row, "step")
    return hidden_from is None or step is None or step < hidden_from
