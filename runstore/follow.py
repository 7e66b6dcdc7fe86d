"""The newest rows of a run and those to come, without reading the rest."""

from __future__ import annotations

from pathlib import Path

from runstore.paths import Stream, StreamFile
from runstore.records import RecordError, decode, integer
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
        self._reader.learn_cuts()
        for path in reversed(self._reader.files(self._stream)):
            missing = count - len(rows)
            self._tails[path], lines = self._last_lines(path, missing)
            rows = (lines[-missing:] if missing else []) + rows
        return rows

    def poll(self) -> list[bytes]:
        """Return the rows that came since."""
        rows: list[bytes] = []
        for path in self._reader.files(self._stream):
            tail = self._tails.setdefault(path, Tail(path))
            rows += _new_lines(tail)
        return rows

    def _last_lines(self, path: Path, count: int) -> tuple[Tail, list[bytes]]:
        """Return a cursor at the end of the rows that count, and at least the last `count` rows."""
        state, file = self._reader.state, StreamFile.parse(path.name)
        limit = state.cuts.get(path.name)
        hidden_from = state.hidden_from(file.attempt) if file else None
        tail = Tail(path, limit=limit)
        chunk = tail.jump(max(1, count) * BYTES_PER_ROW)
        lines = _valid(chunk.lines, hidden_from)
        if chunk.more:
            lines += _new_lines(tail, hidden_from)
        if len(lines) < count and chunk.offset > 0:
            tail = Tail(path, limit=limit)
            lines = _new_lines(tail, hidden_from)
        return tail, lines


def _new_lines(tail: Tail, hidden_from: int | None = None) -> list[bytes]:
    lines: list[bytes] = []
    more = True
    while more:
        chunk = tail.poll()
        lines += _valid(chunk.lines, hidden_from)
        more = chunk.more
    return lines


def _valid(lines: list[bytes], hidden_from: int | None) -> list[bytes]:
    return [line for line in lines if _counts(line, hidden_from)]


def _counts(line: bytes, hidden_from: int | None) -> bool:
    try:
        row = decode(line)
    except RecordError:
        return False
    step = integer(row, "step")
    return hidden_from is None or step is None or step < hidden_from
