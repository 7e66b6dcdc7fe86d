"""Finds stretches of a file in which events repeat but for time, step and value.

Most of a long event file is such: the same tags in each step, one event each, all of the same
length while the step takes as many bytes. That is seen, and the numbers are taken out, by a few
operations on all of it at once, in a third of the time that one event after the other takes.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise, takewhile
from operator import lt

from runstore.files.record_tail import Several

HEADER_BYTES, FOOTER_BYTES, PAGE_BYTES = 12, 4, 4096
FEWEST_ROWS = 8
"""Fewer are not worth it."""
MOST_RECORDS = 64
"""Records of one step that are looked at."""
MOST_STEP_BYTES = 4

_TIME_AT, _STEP_AT = HEADER_BYTES + 1, HEADER_BYTES + 10
"""A record is its header, `09`, eight bytes of time, `10`, the step, and what tells the tag, …"""
_VALUE_END = 4 + FOOTER_BYTES
"""… and at its end four bytes of value and the checksum."""
_SHORTEST = _STEP_AT + 1 + _VALUE_END

_LAST_BYTES, _EARLIER_BYTES = bytes(range(128)), bytes(range(128, 256))
"""The bytes of a varint."""
_LOWER_BITS = bytes(byte & 127 for byte in range(256))

Check = Callable[[bytes, int, int], bool]
"""Tells whether the data of a record, which begins and ends there, is what its checksum says."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the records of one step look like."""

    places: tuple[int, ...]
    """Where each begins, from the beginning of the first."""
    size: int
    step_bytes: int

    def records(self) -> Iterator[tuple[int, int]]:
        """Yield where each begins and ends."""
        return pairwise((*self.places, self.size))

    def constants(self) -> Iterator[int]:
        """Yield the places of all bytes but those of times, steps, values and checksums."""
        for begin, end in self.records():
            yield from range(begin, begin + _TIME_AT)
            yield begin + _STEP_AT - 1
            yield from range(begin + _STEP_AT + self.step_bytes, end - _VALUE_END)

    def steps(self, data: bytes) -> list[int]:
        """Return the step of each row in `data`."""
        first, *more = (data[_STEP_AT + at :: self.size] for at in range(self.step_bytes))
        steps = [byte & 127 for byte in first]
        for number, column in enumerate(more, 1):
            shift = 7 * number
            steps = [
                step + ((byte & 127) << shift) for step, byte in zip(steps, column, strict=True)
            ]
        return steps


class Stretch(Several):
    """The bytes of rows that are alike."""

    row: Row
    steps: list[int]

    @classmethod
    def of(cls, data: bytes, row: Row, steps: list[int]) -> Stretch:
        """Return `data`, which is a row that looks like `row` for each of the steps."""
        made = cls(data)
        made.row, made.steps, made.records = row, steps, len(steps) * len(row.places)
        return made

    def payloads(self) -> Iterator[bytes]:
        """Yield the records without their headers."""
        for begin in range(0, len(self), self.row.size):
            for place, end in self.row.records():
                yield self[begin + place + HEADER_BYTES : begin + end]

    def tags(self) -> list[bytes]:
        """Return what is between step and value in each record of a row."""
        behind_step = _STEP_AT + self.row.step_bytes
        return [self[begin + behind_step : end - _VALUE_END] for begin, end in self.row.records()]

    def columns(self) -> tuple[list[float], list[list[float]]]:
        """Return the time of each row, and for each record of a row its values."""
        values = [self._column("f", end - _VALUE_END) for _, end in self.row.records()]
        return self._column("d", _TIME_AT), values

    def _column(self, kind: str, place: int) -> list[float]:
        """Return the numbers that lie at a place of each row; `kind` is that of an `array`."""
        numbers: array[float] = array(kind)
        size = numbers.itemsize
        together = bytearray(size * len(self.steps))
        for at in range(size):
            together[at::size] = self[place + at :: self.row.size]
        numbers.frombytes(together)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()


def find_stretch(
    data: bytes, at: int, offset: int, lengths: Mapping[bytes, int], is_right: Check
) -> tuple[int, Stretch] | None:
    """Return the next stretch, and where it begins: behind the step that begins at `at`.

    Its last row is followed by one more that looks like it: values of its step may come.

    Args:
        data: bytes of a file.
        at: where a record begins in them.
        offset: where they lie in the file.
        lengths: headers that are known to be right, to the length of the data.
        is_right: is asked about records that lie at the end of a page.
    """
    first = _row_at(data, at, lengths)
    begin = at + first.size if first else at
    row = _row_at(data, begin, lengths) if first else None
    if row is None:
        return None
    rows = _alike(data, begin, row, (len(data) - begin) // row.size)
    steps = row.steps(data[begin : begin + rows * row.size])
    rows = _growing(steps) - 1
    if rows >= FEWEST_ROWS:
        rows = _whole(data, begin, row, rows, offset, is_right)
    if rows < FEWEST_ROWS:
        return None
    return begin, Stretch.of(data[begin : begin + rows * row.size], row, steps[:rows])


def _row_at(data: bytes, at: int, lengths: Mapping[bytes, int]) -> Row | None:
    """Return the row that begins at a place; None where it does not look like a row, or end."""
    places: list[int] = []
    place, step = at, b""
    for _ in range(MOST_RECORDS):
        length = lengths.get(data[place : place + HEADER_BYTES], 0)
        end = place + HEADER_BYTES + length + FOOTER_BYTES
        is_event = end - place > _SHORTEST and data[place + HEADER_BYTES : place + 13] == b"\x09"
        if not is_event or end > len(data) or data[place + _STEP_AT - 1] != 0x10:
            return None
        found = _step_at(data, place + _STEP_AT)
        if step and found != step:
            return Row(tuple(places), place - at, len(step))
        if not found or end - place - _VALUE_END <= _STEP_AT + len(found):
            return None
        step = found
        places.append(place - at)
        place = end
    return None


def _step_at(data: bytes, at: int) -> bytes:
    """Return the bytes of the step at a place; none of a longer one than most."""
    for end in range(at, at + MOST_STEP_BYTES):
        if data[end] < 128:
            return data[at : end + 1]
    return b""


def _alike(data: bytes, begin: int, row: Row, rows: int) -> int:
    """Return how many rows, of so many, look like the first one."""

    def column(place: int) -> bytes:
        return data[begin + place : begin + rows * row.size : row.size]

    for place in row.constants():
        rows = _beginning(column(place), data[begin + place : begin + place + 1])
    for at in range(_STEP_AT, _STEP_AT + row.step_bytes):
        is_last = at == _STEP_AT + row.step_bytes - 1
        rows = _beginning(column(at), _LAST_BYTES if is_last else _EARLIER_BYTES)
        for place in row.places[1:]:
            rows = _same(column(at), column(place + at))
    return rows


def _beginning(column: bytes, allowed: bytes) -> int:
    """Return how many of the first bytes are among those that are allowed."""
    return len(column) - len(column.lstrip(allowed))


def _same(column: bytes, other: bytes) -> int:
    """Return how many of the first bytes are the same."""
    if column == other:
        return len(column)
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(column, other, strict=True))
    )


def _growing(steps: list[int]) -> int:
    """Return how many of the first steps grow."""
    if all(map(lt, steps, islice(steps, 1, None))):
        return len(steps)
    return 1 + sum(1 for _ in takewhile(lambda pair: pair[0] < pair[1], pairwise(steps)))


def _whole(data: bytes, begin: int, row: Row, rows: int, offset: int, is_right: Check) -> int:
    """Return how many rows are in front of the first that is wrong at the end of a page."""
    page = PAGE_BYTES - (offset + begin) % PAGE_BYTES
    for end in range(page, rows * row.size + 1, PAGE_BYTES):
        number, within = divmod(end - 1, row.size)
        place = bisect_right(row.places, within) - 1
        start, behind = list(row.records())[place]
        first = begin + number * row.size
        if not is_right(data, first + start, first + behind):
            return number
    return rows
