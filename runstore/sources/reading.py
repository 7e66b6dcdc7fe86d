"""What readers of line-based formats share: files, cursors, and the fold into a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runstore.errors import FormatError
from runstore.files.cursor import READ_BYTES
from runstore.files.paths import Stream, StreamFile
from runstore.files.records import (
    BYTE_ORDER_MARK,
    BadLine,
    JsonObject,
    RecordError,
    decode,
    encode,
    integer,
    metric_values,
    split_nonfinite,
)
from runstore.files.tail import OVERSIZED, Chunk, Tail
from runstore.state.run_state import RunState
from runstore.state.status import Status

GLANCE_BYTES = 8 << 10
"""What a glance reads at the end of a large file: enough for the last rows."""
UNNUMBERED = -1
"""The number of damage in a file that has no lines, whose place the error says."""
GLANCE_EVENTS_BYTES = 64 << 10
GLANCE_EPOCHS_BYTES = 4 << 20
"""A glance judges the best epoch from all rows of a file up to this size, and keeps none."""


class RunReader(Protocol):
    """Keeps one run's state up to date with its files."""

    state: RunState
    refused: FormatError | None
    """Set when a newer version wrote the run: nothing of it can be trusted."""
    unlisted: str
    """Why the directory could not be listed at the last look; empty when it could."""

    def glance(self) -> bool:
        """Read a few KiB: status, position and latest values. Tell whether anything changed."""

    def poll(self, budget: int = READ_BYTES) -> bool:
        """Read what is new, in full, about `budget` bytes at most. Tell whether anything changed.

        Call it again while `behind`.
        """

    def judge(self) -> bool:
        """Decide anew, from what was read, whether the run is alive. Tell whether that changed."""

    def rows(self, stream: Stream) -> Iterator[RowLine]:
        """Yield every row of a stream from the files, damaged and superseded ones marked."""

    def learn_cuts(self) -> None:
        """Read what tells which rows are superseded, and no more: `state.cuts`, `hidden_from`."""

    def files(self, stream: Stream) -> list[Path]:
        """Return the files of a stream that are there now, in order."""

    @property
    def behind(self) -> bool:
        """Whether the last poll stopped at its budget."""

    @property
    def size_bytes(self) -> int:
        """How long all files are that are read, as of the last look at each."""


@dataclass(slots=True)
class RowLine:
    """One line of a stream's file, as it stands there."""

    file: str
    number: int
    """From 1; 0 for a file that cannot be read further, for the reason that `error` says; or
    `UNNUMBERED`."""
    line: bytes
    """Without its newline, and without a byte order mark; empty when it is over 1 MiB."""
    row: JsonObject | None
    """None when the line is damaged."""
    superseded: bool
    """A later attempt has replaced it."""
    error: str | None = None


def file_rows(
    path: Path, *, limit: int | None = None, hidden_from: int | None = None
) -> Iterator[RowLine]:
    """Yield the whole lines of a file; rows behind `limit` bytes or from a step on are superseded.

    Args:
        path: the file; a missing one has no rows.
        limit: the byte at which its valid rows end.
        hidden_from: the step from which its rows are hidden.
    """
    tail, name = Tail(path, patient=False), path.name
    more = True
    while more:
        chunk = tail.poll()
        more = chunk.more
        if chunk.unread:
            yield unreadable(name, chunk.problem or "")
        if chunk.oversized:
            yield RowLine(name, chunk.line_number, b"", None, False, OVERSIZED)
        for index, (line, end) in enumerate(zip(chunk.lines, chunk.ends(), strict=True)):
            behind_cut = limit is not None and end > limit
            yield _row_line(name, chunk.line_number + index, line, behind_cut, hidden_from)


def unreadable(file: str, problem: str) -> RowLine:
    """Return what stands for the rows of a file that cannot be read."""
    return RowLine(file, 0, b"", None, False, problem)


def damaged(file: str, bad: BadLine) -> RowLine:
    """Return what stands for damage in a file."""
    if bad.line:
        return RowLine(file, bad.line, b"", None, False, bad.reason)
    reason = f"{bad.reason} (at byte {bad.offset:,})"
    return RowLine(file, UNNUMBERED, b"", None, False, reason)


def _row_line(
    file: str, number: int, line: bytes, behind_cut: bool, hidden_from: int | None
) -> RowLine:
    try:
        row = decode(line)
    except RecordError as error:
        return RowLine(file, number, line, None, behind_cut, str(error))
    line = line.removeprefix(BYTE_ORDER_MARK)
    if hidden_from is not None:
        step = integer(row, "step")
        behind_cut = behind_cut or (step is not None and step >= hidden_from)
    return RowLine(file, number, line, row, behind_cut)


@dataclass(slots=True)
class FollowedFile:
    """One file of a run and the cursor in it."""

    name: StreamFile
    tail: Tail
    complete: bool = True
    """Every line from the beginning was folded; False after a glance jumped over some."""
    more: bool = False


def guarded(reader: RunReader, read: Callable[[], bool]) -> bool:
    """Read, and turn an unexpected failure into the run's own status: one run, not all of them."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - the boundary between a run and its neighbours
        status = Status("unknown", f"cannot be read: {type(error).__name__}: {error}")
        changed = reader.state.status != status
        reader.state.status = status
        return changed


def fold_chunk(state: RunState, file: FollowedFile, chunk: Chunk) -> bool:
    """Fold the lines of a chunk into the state; return whether there was anything."""
    name = file.name
    if chunk.problem is not None:
        changed = state.problems.get(name.name) != chunk.problem
        state.problems[name.name] = chunk.problem
        return changed
    if chunk.restarted:
        state.forget(name)
        file.complete = file.complete or name.stream != "epochs"
    state.problems.pop(name.name, None)
    file.more = chunk.more
    partial = not file.complete
    for index, (line, end) in enumerate(zip(chunk.lines, chunk.ends(), strict=True)):
        start = end - len(line) - 1
        try:
            record = decode(line)
        except RecordError as error:
            number = chunk.line_number + index if chunk.line_number else 0
            state.add_bad_line(BadLine(name.name, number, start, str(error)))
        else:
            state.apply(name, record, partial=partial, size_bytes=len(line), offset=start)
    if chunk.oversized:
        state.add_bad_line(BadLine(name.name, chunk.line_number, chunk.offset, OVERSIZED))
    torn = state.note_last_line(name.name, _half_line(file))
    return bool(chunk.lines or chunk.restarted or chunk.oversized or torn)


def _half_line(file: FollowedFile) -> BadLine | None:
    line = file.tail.unfinished_line
    if line is None:
        return None
    return BadLine(file.name.name, line, file.tail.offset, "the last line is torn")


def glance_file(state: RunState, file: FollowedFile) -> bool:
    """Bring a file's last rows into the state without reading, or keeping, all of it."""
    stream, changed = file.name.stream, False
    if file.tail.offset == 0 and _first_line_tells(file.name):
        changed = fold_chunk(state, file, file.tail.poll(GLANCE_BYTES))
        if not file.more:
            return changed
    if stream == "epochs":
        file.complete = False
    back = {
        "events": GLANCE_EVENTS_BYTES,
        "exec": GLANCE_EVENTS_BYTES,
        "epochs": GLANCE_EPOCHS_BYTES,
    }.get(stream, GLANCE_BYTES)
    before = file.tail.offset
    chunk = file.tail.jump(back)
    if chunk.offset > before and not chunk.restarted:
        file.complete = False
    changed |= fold_chunk(state, file, chunk)
    while stream == "epochs" and file.more:
        changed |= fold_chunk(state, file, file.tail.poll())
    return changed


def _first_line_tells(name: StreamFile) -> bool:
    """The events' first line says which process writes; a later attempt's first row may cut."""
    return name.stream in ("events", "exec") or (name.stream == "metrics" and name.attempt > 1)


def row_line(file: str, number: int, row: JsonObject, superseded: bool) -> RowLine:
    """Return a row as a line of ours: NaN and infinities are null, and noted."""
    values = split_nonfinite(metric_values(row))
    record = {**row, **values}
    return RowLine(file, number, encode(record).rstrip(b"\n"), record, superseded)
