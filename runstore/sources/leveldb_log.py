"""What is new in a growing log in the framing of LevelDB: whole records since an offset.

https://github.com/google/leveldb/blob/main/doc/log_format.md, with what W&B makes of it: a header
in front that counts into the first block, and zlib's CRC-32 instead of CRC-32C.

The file is a sequence of blocks of 32 KiB. A record lies in a block as one chunk, or goes on in the
following ones: its first, middle and last chunks. A writer appends whole blocks, so that a record
is there in part until the next block comes, which is no damage. Damage costs the rest of its block:
reading goes on where the next record begins.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from runstore.files.cursor import READ_BYTES, Cursor, behind_hole
from runstore.files.limits import LINES_AT_ONCE
from runstore.files.record_tail import RECORD_BYTES, Records

BLOCK_BYTES = 32 << 10
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_CHUNK = struct.Struct("<IHB")
"""The checksum of kind and data, the length of the data, the kind."""
CHUNK_BYTES = _CHUNK.size
_BEFORE_KIND = 6
ZEROS = "zeros instead of a record (a file system lost the data there)"


class BlockTail(Cursor):
    """A cursor in such a log. It lies between chunks; what it has of a record is kept."""

    is_torn: bool
    """The file ended inside a chunk at the last look: it is a part of a copy, or a disk was full.
    What a killed writer leaves ends behind a chunk."""

    def __init__(
        self, path: Path, header: bytes, *, wants: Callable[[bytes], bool], patient: bool = True
    ) -> None:
        """Start at the beginning of `path`; see `Cursor` for `patient`.

        `header` is what such a file begins with. `wants` tells by the first chunk of a record in
        several whether anybody reads it; others are passed over without keeping them.
        """
        self._header = header
        self._wants = wants
        super().__init__(path, patient=patient)

    def _rewind(self) -> None:
        super()._rewind()
        self.is_torn = False
        self._number = 1
        self._parts: list[bytes] | None = None
        """The chunks of the record that is open; None where none is."""
        self._is_wanted = False
        self._is_lost = False
        """Behind damage, where what is left of a record has no beginning."""
        self._resume = 0
        """The offset up to which nothing can be read."""
        self._is_refused = False

    def poll(self, budget: int = READ_BYTES) -> Records:
        """Return the whole records that came since the last poll, about `budget` bytes at most."""
        return self._look(Records, lambda *opened: self._take(budget, *opened))

    def jump(self, back: int) -> Records:
        """Go to the block that lies `back` bytes before the end, and return the records from there.

        Nothing happens when the cursor is there or further already, or nothing was read yet.
        """

        def go(fd: int, end: int) -> None:
            start = _block_of(end - back)
            if start > self.offset > 0:
                self._move_to(fd, start)
                self._number, self._parts, self._is_lost = 0, None, True

        return self._look(Records, lambda *opened: self._take(back + BLOCK_BYTES, *opened), go)

    def _take(self, budget: int, fd: int, end: int, at_rest: bool) -> Records:
        found = Records(offset=self.offset)
        unread = max(0, end - self.offset)
        if not unread:
            return found
        # At least a block, so that there is always a whole chunk to go on with.
        data = os.pread(fd, min(max(budget, BLOCK_BYTES), unread), self.offset)
        at, is_waiting = 0, False
        if self.offset == 0:
            if not self._begins_well(data, at_rest, found):
                return found
            at = len(self._header)
        while at < len(data):
            at, problem = self._chunks(data, at, found)
            is_waiting = bool(problem) and self._must_wait(data, at, at_rest)
            if not problem or is_waiting:
                break
            at = self._pass_over(fd, data, at, end, found, problem)
        if not is_waiting:
            self._zero_retries = 0
        self._go_on(fd, data, at)
        is_full = len(found.payloads) >= LINES_AT_ONCE
        self.is_torn = not is_waiting and not is_full and at < len(data) == unread
        found.more = not is_waiting and self.offset < end and (is_full or len(data) < unread)
        return found

    def _begins_well(self, data: bytes, at_rest: bool, found: Records) -> bool:
        """Tell whether the file's header is there; note once when it never will be."""
        if data.startswith(self._header[: len(data)]):
            return len(data) >= len(self._header)
        if not self._is_refused and not self._must_wait(data, 0, at_rest):
            self._is_refused = True
            found.damaged.append((0, "not a log of this kind: it begins with something else"))
        return False

    def _must_wait(self, data: bytes, at: int, at_rest: bool) -> bool:
        """Tell whether what is no record may still become one: it has zeros in it so far."""
        in_block = at + BLOCK_BYTES - (self.offset + at) % BLOCK_BYTES
        return data.find(b"\0" * 8, at, in_block) >= 0 and self._may_wait(at_rest)

    def _go_on(self, fd: int, data: bytes, at: int) -> None:
        if at <= len(data):
            self._move_over(data[:at])
        else:
            self._move_to(fd, self.offset + at)

    def _chunks(self, data: bytes, at: int, found: Records) -> tuple[int, str]:
        """Take in the chunks from a place on; return how far they reach, and what is wrong there.

        They end without a problem where data is missing, or after many records.
        """
        size = len(data)
        while len(found.payloads) < LINES_AT_ONCE:
            place = self.offset + at
            room = BLOCK_BYTES - place % BLOCK_BYTES
            if place < self._resume or room < CHUNK_BYTES:
                at = min(size, at + (max(0, self._resume - place) or room))
                if at < size:
                    continue
            start = at + CHUNK_BYTES
            if start > size:
                break
            checksum, length, kind = _CHUNK.unpack_from(data, at)
            stop = start + length
            if length + CHUNK_BYTES > room or not FULL <= kind <= LAST:
                return at, "no record" if checksum or length or kind else ZEROS
            if stop > size:
                break
            if zlib.crc32(data[at + _BEFORE_KIND : stop]) != checksum:
                return at, "a record whose checksum is not that of its data"
            if kind == FULL and self._parts is None:
                # Nearly all are whole records; there may be a million.
                self._is_lost = False
                found.payloads.append(data[start:stop])
                found.numbers.append(self._number)
                self._number += bool(self._number)
            else:
                self._take_chunk(kind, data[start:stop], place, found)
            at = stop
        return at, ""

    def _take_chunk(self, kind: int, chunk: bytes, place: int, found: Records) -> None:
        is_beginning = kind in (FULL, FIRST)
        if is_beginning != (self._parts is None):
            self._note_damage(found, place, "a record of which a part is missing")
        if is_beginning:
            self._is_lost, self._is_wanted = False, kind == FULL or self._wants(chunk)
            self._parts = [chunk]
        elif self._parts is None:
            return
        elif self._is_wanted:
            self._parts.append(chunk)
            if len(self._parts) * BLOCK_BYTES > RECORD_BYTES:
                self._note_damage(found, place, f"a record over {RECORD_BYTES:,} bytes")
                return
        if kind in (FULL, LAST):
            self._end_record(found)

    def _end_record(self, found: Records) -> None:
        if self._is_wanted and self._parts is not None:
            found.payloads.append(b"".join(self._parts))
            found.numbers.append(self._number)
        self._parts = None
        self._number += bool(self._number)

    def _note_damage(self, found: Records, place: int, why: str) -> None:
        """Note damage, once for all that it costs; it counts as one record."""
        if not self._is_lost:
            found.damaged.append((place, why))
            self._number += bool(self._number)
        self._parts, self._is_lost = None, True

    def _pass_over(self, fd: int, data: bytes, at: int, end: int, found: Records, why: str) -> int:
        """Note damage and return where to go on: in the next block that has anything in it.

        A hole need not be read: 40 GiB of it take 4 KiB on a disk.
        """
        place = self.offset + at
        self._note_damage(found, place, why)
        self._resume = _block_of(place) + BLOCK_BYTES
        if why == ZEROS:
            behind = place + len(data) - at - len(data[at:].lstrip(b"\0"))
            if behind == self.offset + len(data):
                behind = behind_hole(fd, behind, end)
            self._resume = max(self._resume, _block_of(behind))
        return min(self._resume, end) - self.offset


def _block_of(offset: int) -> int:
    """Return where the block begins in which an offset lies."""
    return offset - offset % BLOCK_BYTES
