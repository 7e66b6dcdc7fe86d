"""What is new in a growing file of binary records: whole ones since an offset.

A format says by a `Split` where its records end. A record counts when all of it is there; a long
one that nobody reads is passed over without reading it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runstore.files.cursor import READ_BYTES, Cursor, Look

RECORD_BYTES = 64 << 20
"""The longest record that is read into memory; a file that asks for more is damaged."""


class Several(bytes):
    """The bytes of several records that a format hands over together."""

    records: int


@dataclass(slots=True)
class Frames:
    """The records in some bytes of a file."""

    payloads: list[bytes] = field(default_factory=list)
    """Of one record each, or `Several`."""
    has_several: bool = False
    unnumbered: int | None = None
    """From this place among the payloads on, records were left out."""
    skipped: list[int] = field(default_factory=list)
    """Places among the payloads, from 0, in front of which a record was passed over; it has a
    number too."""
    consumed: int = 0
    """How far they reach, from the beginning of the bytes; may be behind their end, where the last
    ones are passed over unread."""
    needed: int = 0
    """So many bytes from `consumed` on have to be there to go on; 0 where any more may do."""
    passes_over: bool = False
    """What is `needed` is passed over: it has to be there, and is not read."""
    damage: str = ""
    """Why what begins at `consumed` is no record."""
    resume: int = 0
    """Where reading can go on behind the damage, from the beginning of the bytes; 0 where it
    cannot."""


class Split(Protocol):
    """Finds the records in bytes of a file."""

    def __call__(self, data: bytes, offset: int, end: int) -> Frames:
        """Return the whole records in `data`.

        Args:
            data: bytes of the file; they begin where a record or a file does.
            offset: where they lie in it.
            end: the size of the file, as far as it may be read.
        """


@dataclass(slots=True)
class Records(Look):
    """Whole records, in file order."""

    payloads: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """Of each its number in the file, from 1; 0 when unknown (reading began in the middle). Of
    several that of the first."""
    damaged: list[tuple[int, str]] = field(default_factory=list)
    """Offsets of what is no record, and why."""


Resync = Callable[[bytes], int | None]
"""Returns where in some bytes from the middle of a file a record begins, or None."""


class RecordTail(Cursor):
    """A cursor in a file of records."""

    def __init__(self, path: Path, *, split: Split, patient: bool = True) -> None:
        """Start at the beginning of `path`; see `Cursor`. `split` finds the records."""
        self._split = split
        super().__init__(path, patient=patient)

    def _rewind(self) -> None:
        super()._rewind()
        self._number = 1
        self._is_damaged = False
        self._needed = 0
        self._passes_over = False

    @property
    def unfinished(self) -> bool:
        """Whether the file ended inside a record at the last look."""
        return self.reached_end and self.size > self.offset and not self._is_damaged

    def poll(self, budget: int = READ_BYTES) -> Records:
        """Return the whole records that came since the last poll, about `budget` bytes at most."""
        return self._look(Records, lambda *opened: self._take(budget, *opened))

    def jump(self, back: int, resync: Resync) -> Records:
        """Go to about `back` bytes before the end, and return the whole records from there.

        Nothing happens when the cursor is there or further already, or no record is found there.
        """

        def go(fd: int, end: int) -> None:
            start = end - back
            if start <= self.offset or self._is_damaged:
                return
            found = resync(os.pread(fd, back, start))
            if found is not None:
                self._number = self._needed = 0
                self._passes_over = False
                self._move_to(fd, start + found)

        return self._look(Records, lambda *opened: self._take(READ_BYTES, *opened), go)

    def _take(self, budget: int, fd: int, end: int, at_rest: bool) -> Records:
        found = Records(offset=self.offset)
        unread = max(0, end - self.offset)
        if self._is_damaged or not unread or unread < self._needed:
            return found
        at_least = 0 if self._passes_over else self._needed
        data = os.pread(fd, min(max(budget, at_least), unread), self.offset)
        frames = self._split(data, self.offset, end)
        if self._must_wait(frames, data, at_rest):
            frames.resume = 0
        else:
            self._note_damage(frames, found)
        found.payloads = frames.payloads
        found.numbers = self._numbered(frames)
        if not (frames.consumed or frames.needed or frames.damage):
            # Not even the beginning of a record: the budget was too small for that.
            frames.needed = min(2 * len(data), unread)
        self._go_on(fd, frames, data)
        left = end - self.offset
        stuck = self._is_damaged or bool(self._zero_retries)
        unseen = len(data) < unread or bool(frames.damage)
        found.more = not stuck and unseen and left >= max(1, self._needed)
        return found

    def _must_wait(self, frames: Frames, data: bytes, at_rest: bool) -> bool:
        """Tell whether what is no record may still become one: its bytes are zeros so far."""
        if frames.damage:
            unread = data[frames.consumed :]
            zeros = b"\0" * 8 in unread or unread.endswith(b"\0")
            if zeros and self._may_wait(at_rest):
                return True
        self._zero_retries = 0
        return False

    def _note_damage(self, frames: Frames, found: Records) -> None:
        damage, at = frames.damage, self.offset + frames.consumed
        if frames.needed > RECORD_BYTES and not frames.passes_over:
            damage, frames.resume = f"a record of {frames.needed:,} bytes", 0
        if damage:
            found.damaged.append((at, damage))
            self._is_damaged = not frames.resume
            frames.consumed = max(frames.consumed, frames.resume)

    def _numbered(self, frames: Frames) -> list[int]:
        count = len(frames.payloads)
        if not self._number:
            return [0] * count
        if frames.unnumbered is not None:
            known = range(self._number, self._number + frames.unnumbered)
            self._number = 0
            return [*known, *[0] * (count - len(known))]
        numbers: list[int] = []
        number, place = self._number, 0
        for behind in (*frames.skipped, count):
            if frames.has_several:
                for payload in frames.payloads[place:behind]:
                    numbers.append(number)
                    number += payload.records if isinstance(payload, Several) else 1
            else:
                numbers += range(number, number + behind - place)
                number += behind - place
            number, place = number + 1, behind
        self._number = number - 1 + bool(frames.damage and frames.resume)
        return numbers

    def _go_on(self, fd: int, frames: Frames, data: bytes) -> None:
        self._needed, self._passes_over = frames.needed, frames.passes_over
        further = frames.consumed
        if further <= len(data):
            self._move_over(data[:further])
        else:
            self._move_to(fd, self.offset + further)
