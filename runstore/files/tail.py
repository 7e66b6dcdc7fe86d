"""What is new in a growing file: whole lines since an offset, nothing lost, nothing twice.

A line counts when its newline is there. `cursor` says how the place in the file is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from runstore.files.cursor import READ_BYTES, Cursor, Look, behind_hole
from runstore.files.limits import LINES_AT_ONCE, MAX_LINE_BYTES

OVERSIZED = "a line over 1 MiB"
PASSED_OVER_BYTES = 64 << 20
"""Of a line that is too long, at once: some 30 ms."""


@dataclass(slots=True)
class Chunk(Look):
    """Whole lines, in file order, without their newlines."""

    lines: list[bytes] = field(default_factory=list)
    line_number: int = 0
    """The number of the first of them, from 1; 0 when unknown (reading began in the middle)."""
    oversized: int = 0
    """Lines over 1 MiB that were passed over."""

    def ends(self) -> Iterator[int]:
        """Yield the offset behind each line's newline."""
        end = self.offset
        for line in self.lines:
            end += len(line) + 1
            yield end


class Tail(Cursor):
    """A cursor in a file of lines."""

    def _rewind(self) -> None:
        super()._rewind()
        self._line_number = 1
        self._oversized = False

    @property
    def unfinished_line(self) -> int | None:
        """The number of a line at the very end that has no newline, as of the last poll.

        0 when reading began in the middle; None when there is no such line, when the end was not
        reached yet, or when `limit` cut it off.
        """
        within = self.limit is None or self.size <= self.limit
        half = self.reached_end and within and self.size > self.offset and not self._oversized
        return self._line_number if half else None

    def poll(self, budget: int = READ_BYTES) -> Chunk:
        """Return the whole lines that came since the last poll, about `budget` bytes at most."""
        return self._look(Chunk, lambda *opened: self._take_lines(budget, *opened))

    def jump(self, back: int) -> Chunk:
        """Go to `back` bytes before the end, and return the whole lines from there.

        For a look at the last rows of a large file. Nothing happens when the cursor is there or
        further already. Where the last line is longer than `back`, it is read all the same.
        """

        def go(fd: int, end: int) -> None:
            start = self._line_behind(fd, end - back) if end - back > self.offset else None
            if start is not None and start >= end:
                start = self._last_line(fd, end)
            if start is not None:
                self._line_number = 0
                self._oversized = False
                self._move_to(fd, start)

        return self._look(Chunk, lambda *opened: self._take_lines(READ_BYTES, *opened), go)

    def _take_lines(self, budget: int, fd: int, end: int, at_rest: bool) -> Chunk:
        if self._oversized:
            self._pass_over(fd, end)
            if self._oversized:
                return Chunk(offset=self.offset, more=self.offset < end)
        unread = max(0, end - self.offset)
        data = os.pread(fd, min(budget, unread), self.offset) if unread else b""
        if b"\n" not in data and len(data) < unread:
            data = os.pread(fd, min(MAX_LINE_BYTES + 1, unread), self.offset)
        whole = data.rfind(b"\n") + 1
        if not whole:
            return self._without_newline(data, end, at_rest)
        lines = data[: whole - 1].split(b"\n", LINES_AT_ONCE)
        left = len(lines) > LINES_AT_ONCE
        chunk = Chunk(self.offset, lines=lines[:LINES_AT_ONCE], line_number=self._line_number)
        self._wait_for_zeros(chunk, end, at_rest)
        self._advance(chunk, data)
        cut_short = left or len(data) >= budget
        chunk.more = self.offset < end and cut_short and not self._zero_retries
        return chunk

    def _without_newline(self, data: bytes, end: int, at_rest: bool) -> Chunk:
        """A partial line waits for its newline, unless it is longer than a line may be."""
        chunk = Chunk(offset=self.offset, line_number=self._line_number)
        if len(data) > MAX_LINE_BYTES and not (b"\0" in data and self._may_wait(at_rest)):
            self._zero_retries = 0
            chunk.oversized = 1
            self._oversized = True
            self._move_over(data)
            chunk.more = self.offset < end
        return chunk

    def _pass_over(self, fd: int, end: int) -> None:
        """Go on to the end of a line that is longer than a line may be, some way at a time.

        A hole has no newline in it, and need not be read: 40 GiB of it take 4 KiB on a disk.
        """
        at, stop = self.offset, min(end, self.offset + PASSED_OVER_BYTES)
        buffer = bytearray(READ_BYTES)
        while self._oversized and at < stop:
            at = behind_hole(fd, at, end)
            got = os.preadv(fd, [buffer], at) if at < end else 0
            newline = buffer.find(b"\n", 0, min(got, end - at))
            self._oversized = newline < 0
            at = min(end, at + (newline + 1 if newline >= 0 else got))
            if not got:
                break
        self._line_number += bool(self._line_number and not self._oversized)
        self._move_to(fd, at)

    def _wait_for_zeros(self, chunk: Chunk, end: int, at_rest: bool) -> None:
        """Hold back a line with NULs near the end, and what follows: data may be on the way."""
        zeros = next((i for i, line in enumerate(chunk.lines) if b"\0" in line), None)
        near_end = chunk.offset + sum(map(len, chunk.lines)) + READ_BYTES > end
        if zeros is None or not near_end or not self._may_wait(at_rest):
            self._zero_retries = 0
            return
        del chunk.lines[zeros:]

    def _advance(self, chunk: Chunk, data: bytes) -> None:
        """Go behind the lines of a chunk, which were taken from `data`."""
        if self._line_number:
            self._line_number = chunk.line_number + len(chunk.lines)
        self._move_over(data[: sum(map(len, chunk.lines)) + len(chunk.lines)])

    def _line_behind(self, fd: int, start: int) -> int | None:
        """Return where the first line begins that does so at or behind `start`, if any."""
        newline = os.pread(fd, MAX_LINE_BYTES, start - 1).find(b"\n")
        return None if newline < 0 else start + newline

    def _last_line(self, fd: int, end: int) -> int | None:
        """Return where the line begins whose newline is the last byte; None if not behind here."""
        start = max(self.offset, end - MAX_LINE_BYTES)
        newline = os.pread(fd, end - 1 - start, start).rfind(b"\n")
        return None if newline < 0 else start + newline + 1
