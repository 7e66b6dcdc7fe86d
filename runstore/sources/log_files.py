"""One file of a log that another tool wrote: read on, and handed over as rows of ours.

A source says by a `Translate` what a line or a record of its format means; what growing, torn and
replaced files need is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runstore.files.cursor import READ_BYTES, Look
from runstore.files.paths import Stream
from runstore.files.record_tail import Records, RecordTail, Resync, Split
from runstore.files.records import RESERVED_KEYS, BadLine, JsonObject, RecordError
from runstore.files.regular import read_regular, why_unreadable
from runstore.files.tail import OVERSIZED, Chunk, Tail
from runstore.sources.reading import GLANCE_BYTES
from runstore.state.pieces import Block

RECORDS_GLANCE_BYTES = 64 << 10
"""What a glance reads at the end of a long file of records, in which it has to find one first."""


NO_ROWS = Block((), {}, 0.0, {})


@dataclass(slots=True)
class ForeignRow:
    """What another tool wrote, in the shape of one of our rows.

    `step` and `epoch` are integers, `time` is Unix seconds, metrics are numbers; NaN and infinities
    are floats here. In the stream `events` it is an event (docs/format.md): `open` with `time`,
    `host` …, `end` with `status` and `reason`, `warning` with `message`; besides, `purge` with
    `step`: the writer says that every metric goes on there.
    """

    stream: Stream
    row: JsonObject
    number: int
    """The number of its line or record in the file, from 1; 0 when unknown."""
    size_bytes: int
    line: bytes = b""
    """The line itself, where it is JSON and says just the same as `row`."""

    def metrics(self) -> list[str]:
        """Return the names of its metrics."""
        return [key for key in self.row if key not in RESERVED_KEYS and key[:1] != "_"]


@dataclass(slots=True)
class ForeignRows(ForeignRow):
    """Rows of metrics that a source has found as columns; `row` and `number` are the last one's."""

    block: Block = NO_ROWS
    times: Sequence[float] = ()
    numbers: range = range(0)

    def __iter__(self) -> Iterator[ForeignRow]:
        """Yield the rows one by one."""
        names = tuple(self.block.values)
        columns = zip(*self.block.values.values(), strict=True)
        rows = zip(self.block.steps, self.times, self.numbers, columns, strict=True)
        for step, time, number, values in rows:
            row = {"step": step, "time": time, **dict(zip(names, values, strict=True))}
            yield ForeignRow("metrics", row, number, self.size_bytes)


@dataclass(slots=True)
class Batch:
    """What one look at a file has brought."""

    rows: list[ForeignRow] = field(default_factory=list)
    """In the order of the file; `ForeignRows` among them, which `each_row` takes apart."""
    info: JsonObject = field(default_factory=dict)
    """Facts about the run, as in `run.json`: `name`, `params`, `tags`, `created` …; `params` adds
    to those that are known."""
    bad: list[BadLine] = field(default_factory=list)
    torn: BadLine | None = None
    """The file ends in the middle of a line or record."""
    restarted: bool = False
    more: bool = False
    problem: str | None = None
    """Why the file cannot be read."""
    unread: bool = False
    """The file is a regular one, which may hold rows."""
    passed_over: bool = False
    """Rows were not looked at that may be those of the best epoch."""
    size_bytes: int = 0
    """How far it went on in the file."""

    def each_row(self) -> Iterator[ForeignRow]:
        """Yield all rows one by one."""
        for found in self.rows:
            if isinstance(found, ForeignRows):
                yield from found
            else:
                yield found


class LogFile(Protocol):
    """One file, and how far it was read."""

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new, about `budget` bytes at most."""

    def glance(self) -> Batch:
        """Return what tells most about the run without reading all of a long file: its first and
        newest rows. `poll` is not to be called after it."""


Translate = Callable[[bytes, int, Batch], None]
"""Adds what a line (without newline) or a record means to a batch; gets its number, which is 1 at
the beginning of a file and 0 where it is unknown.

Raises:
    RecordError: it is damaged, with the reason in a few words.
"""


class LineFile:
    """A file of lines."""

    def __init__(self, path: Path, name: str, translate: Translate, *, patient: bool) -> None:
        """Follow `path`, which the user sees as `name`; see `Cursor` for `patient`."""
        self._tail = Tail(path, patient=patient)
        self._name = name
        self._translate = translate

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self._tail.size

    @property
    def reached_end(self) -> bool:
        """Whether the last look came to its end."""
        return self._tail.reached_end

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new."""
        start = self._tail.offset
        return self._batch(self._tail.poll(budget), start)

    def glance(
        self,
        between: Callable[[int, int], Batch] | None = None,
        *,
        first_bytes: int = GLANCE_BYTES,
    ) -> Batch:
        """Return the first rows, and the last ones.

        `between` returns what is worth knowing of the bytes that are passed over, and whether it
        has found the best epoch there; it gets where they begin and end.
        """
        first = Batch()
        if self._tail.offset == 0:
            first = self.poll(first_bytes)
            if not first.more:
                return first
        at = self._tail.offset
        chunk = self._tail.jump(GLANCE_BYTES)
        last = self._batch(chunk, chunk.offset)
        if chunk.offset > at and not chunk.restarted:
            skipped = between(at, chunk.offset) if between else Batch(passed_over=True)
            first = joined(first, skipped)
        return joined(first, last)

    def _batch(self, chunk: Chunk, start: int) -> Batch:
        batch = looked(chunk)
        for index, (line, end) in enumerate(zip(chunk.lines, chunk.ends(), strict=True)):
            number = chunk.line_number + index if chunk.line_number else 0
            try:
                self._translate(line, number, batch)
            except RecordError as error:
                batch.bad.append(BadLine(self._name, number, end - len(line) - 1, str(error)))
        if chunk.oversized:
            batch.bad.append(BadLine(self._name, chunk.line_number, chunk.offset, OVERSIZED))
        if (half := self._tail.unfinished_line) is not None:
            batch.torn = BadLine(self._name, half, self._tail.offset, "the last line is torn")
        batch.size_bytes = max(0, self._tail.offset - start)
        return batch


class RecordFile:
    """A file of binary records."""

    def __init__(
        self,
        path: Path,
        name: str,
        split: Split,
        translate: Translate,
        resync: Resync,
        *,
        patient: bool,
    ) -> None:
        """Follow `path`, which the user sees as `name`; see `record_tail` for what splits it."""
        self._tail = RecordTail(path, split=split, patient=patient)
        self._name = name
        self._translate = translate
        self._resync = resync

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self._tail.size

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new."""
        start = self._tail.offset
        return self._batch(self._tail.poll(budget), start)

    def glance(self) -> Batch:
        """Return the first rows, and the last ones."""
        first = Batch()
        if self._tail.offset == 0:
            first = self.poll(GLANCE_BYTES)
            if not first.more:
                return first
        records = self._tail.jump(RECORDS_GLANCE_BYTES, self._resync)
        return joined(first, self._batch(records, self._tail.offset))

    def _batch(self, records: Records, start: int) -> Batch:
        batch = looked(records)
        for index, payload in enumerate(records.payloads):
            number = records.numbers[index]
            try:
                self._translate(payload, number, batch)
            except RecordError as error:
                # Where a record lies is not kept; its number, or the look, tells where to search.
                batch.bad.append(BadLine(self._name, number, records.offset, str(error)))
        for offset, reason in records.damaged:
            batch.bad.append(BadLine(self._name, 0, offset, reason))
        if self._tail.unfinished:
            batch.torn = BadLine(self._name, 0, self._tail.offset, "the last record is torn")
        batch.size_bytes = max(0, self._tail.offset - start)
        return batch


class DocumentFile:
    """A small file that is replaced as a whole, and read anew whenever it is another one."""

    def __init__(
        self, path: Path, name: str, parse: Callable[[bytes, Batch], None], limit: int
    ) -> None:
        """Follow `path`, which the user sees as `name`; one over `limit` bytes is refused.

        `parse` adds what the bytes mean to a batch, and raises RecordError where they are damaged.
        """
        self._path, self._name, self._parse, self._limit = path, name, parse, limit
        self._signature: tuple[int, int, int] | None = None
        self._size = 0

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self._size

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what it says, where it is another one than at the last look."""
        batch = Batch()
        try:
            status = self._path.lstat()
            signature = (status.st_ino, status.st_size, status.st_mtime_ns)
            if signature == self._signature:
                return batch
            data = read_regular(self._path, self._limit)
        except FileNotFoundError:
            return batch
        except OSError as error:
            return Batch(problem=why_unreadable(error), unread=True)
        batch.restarted, self._signature = self._signature is not None, signature
        batch.size_bytes = self._size = len(data)
        try:
            self._parse(data, batch)
        except RecordError as error:
            if data.strip(b"\0 \r\n\t"):
                batch.bad.append(BadLine(self._name, error.line, 0, str(error)))
        return batch

    def glance(self) -> Batch:
        """Return the same: it is read as a whole."""
        return self.poll()


def looked(look: Look) -> Batch:
    """Return a batch without rows that tells what a look at the file has told."""
    return Batch(restarted=look.restarted, more=look.more, problem=look.problem, unread=look.unread)


def joined(first: Batch, last: Batch) -> Batch:
    """Return what two looks at the same file, one after the other, have brought."""
    if last.restarted:
        return last
    return Batch(
        rows=first.rows + last.rows,
        info=merged_info(first.info, last.info),
        bad=first.bad + last.bad,
        torn=last.torn,
        restarted=first.restarted,
        more=last.more,
        problem=last.problem or first.problem,
        unread=last.unread,
        passed_over=first.passed_over or last.passed_over,
        size_bytes=first.size_bytes + last.size_bytes,
    )


def merged_info(known: JsonObject, more: JsonObject) -> JsonObject:
    """Return facts about a run with further ones, which count where both have one."""
    params = {**(known.get("params") or {}), **(more.get("params") or {})}
    return {**known, **more, **({"params": params} if params else {})}
