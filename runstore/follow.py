"""The newest rows of a run and those to come, without reading the rest."""

from __future__ import annotations

from pathlib import Path

from runstore.paths import Stream
from runstore.records import RecordError, decode
from runstore.sources import RunRef, open_run
from runstore.tail import Tail

BYTES_PER_ROW = 2048
"""How far back a first guess looks for each row."""


class RowFollower:
    """Follows one stream over all its files, those of later attempts included."""

    def __init__(self, ref: RunRef, stream: Stream = "metrics") -> None:
        """Follow `stream` of the run; nothing is read yet."""
        self._reader = open_run(ref)
        self._stream: Stream = stream
        self._tails: dict[Path, Tail] = {}

    def newest(self, count: int) -> list[bytes]:
        """Return the last `count` rows and put the cursor behind them."""
        rows: list[bytes] = []
        for path in reversed(self._reader.files(self._stream)):
            missing = count - len(rows)
            tail, lines = _last_lines(path, missing)
            self._tails[path] = tail
            rows = (lines[-missing:] if missing else []) + rows
        return rows

    def poll(self) -> list[bytes]:
        """Return the rows that came since."""
        rows: list[bytes] = []
        for path in self._reader.files(self._stream):
            tail = self._tails.setdefault(path, Tail(path))
            rows += _new_lines(tail)
        return rows


def _last_lines(path: Path, count: int) -> tuple[Tail, list[bytes]]:
    """Return a cursor at the end of the file, and at least the last `count` rows there are."""
    tail = Tail(path)
    chunk = tail.jump(max(1, count) * BYTES_PER_ROW)
    lines = _valid(chunk.lines)
    if chunk.more:
        lines += _new_lines(tail)
    if len(lines) < count and chunk.offset > 0:
        tail = Tail(path)
        lines = _new_lines(tail)
    return tail, lines


def _new_lines(tail: Tail) -> list[bytes]:
    lines: list[bytes] = []
    more = True
    while more:
        chunk = tail.poll()
        lines += _valid(chunk.lines)
        more = chunk.more
    return lines


def _valid(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if _is_row(line)]


def _is_row(line: bytes) -> bool:
    try:
        decode(line)
    except RecordError:
        return False
    return True
