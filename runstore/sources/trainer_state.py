"""`trainer_state.json` of transformers' Trainer: where the log lies in it, and what is around it.

`TrainerState.save_to_json` (transformers/trainer_callback.py) writes the fields of a state, sorted
by name, with an indent of two; the log is one of them, `log_history`, a list of objects that may be
20 MB long. JSON has no newline within a string, so that a line's indent tells how deep it is: the
log is found, and read a part at a time, without parsing what is before it. A document that is laid
out otherwise is parsed, and laid out so.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstore.files.cursor import READ_BYTES
from runstore.files.limits import (
    DOCUMENT_BYTES,
    DOCUMENT_CONTAINERS,
    MAX_LINE_BYTES,
    TRAINER_STATE_BYTES,
)
from runstore.files.records import JsonObject, RecordError
from runstore.files.regular import first_bytes, open_regular

LOG = "log_history"
WHOLE_BYTES = 64 << 10
"""So short a document is read once."""
HEAD_BYTES = (2 << 10, 64 << 10)
TAIL_BYTES = (4 << 10, 64 << 10)
"""Read at the ends of others, and more where that did not do; what is around the log is 2 KiB."""
HALF = "half a document: it is being written, or was cut off"
_LOG_BEGINS = b'\n  "%s": [' % LOG.encode()
_LOG_ENDS = re.compile(rb"\n  \](?:,\n  \"|\n\})")
_BEHIND_LOG = b'\n  "max_steps": '
"""A field that sorts behind the log, and that every version has."""
_STEP = re.compile(rb'\n  "global_step": (\d{1,18}),')
_ENTRY = b"\n    {"
_ENTRY_ENDS = b"\n    }"
_EVALUATED = b'\n      "eval_'
"""A key of an entry itself, not of what is in it."""

Read = Callable[[int, int], bytes]
"""Returns so many bytes from an offset on."""


@dataclass(slots=True)
class TrainerState:
    """One document that is open."""

    facts: JsonObject
    """Its fields without the log."""
    log_bytes: int
    """How long the log is, between its brackets."""
    _begin: int
    _read: Read

    def checksum(self, end: int) -> int:
        """Return the CRC-32 of the log's first bytes."""
        found = 0
        for at in range(0, end, READ_BYTES):
            found = zlib.crc32(self._log(at, min(READ_BYTES, end - at)), found)
        return found

    def piece(self, at: int, budget: int) -> bytes:
        """Return whole entries, as they stand there, about `budget` bytes from `at` on.

        `at` is where an earlier piece ended, or 0. A piece ends behind its last entry, so that the
        log of a later state, which goes on there, has the same pieces.

        Raises:
            RecordError: an entry is longer than 1 MiB, or the log is no list of objects.
        """
        left = self.log_bytes - at
        for count in (budget, MAX_LINE_BYTES):
            if left <= count:
                return self._log(at, left)
            found = self._log(at, count)
            end = found.rfind(b"," + _ENTRY, 1)
            if end > 0:
                return found[:end]
        raise RecordError(f"no end of an entry of {LOG} within {MAX_LINE_BYTES:,} bytes")

    def last_piece(self, back: int) -> tuple[int, bytes]:
        """Return the entries that begin in the last `back` bytes, and where the first does."""
        start = max(0, self.log_bytes - back)
        found = self._log(start, self.log_bytes - start)
        first = found.find(_ENTRY) if start else 0
        return (start + first, found[first:]) if first >= 0 else (self.log_bytes, b"")

    def evaluations(self, end: int) -> list[JsonObject]:
        """Return the entries with results of an evaluation among the first `end` bytes of the log.

        Raises:
            RecordError: one is damaged.
        """
        data, found, at = self._log(0, end), [], 0
        while (key := data.find(_EVALUATED, at)) >= 0:
            first, at = data.rfind(_ENTRY, 0, key), data.find(_ENTRY_ENDS, key) + len(_ENTRY_ENDS)
            if first < 0 or at <= key:
                break
            found += parsed(data[first:at])
        return found

    def _log(self, at: int, count: int) -> bytes:
        found = self._read(self._begin + at, count)
        if len(found) < count:
            raise RecordError(HALF)  # it was cut off while it is read
        return found


def parsed(piece: bytes) -> list[JsonObject]:
    """Return the entries in a piece of a log; NaN and infinities are floats.

    Raises:
        RecordError: it is damaged.
    """
    found = _parsed(b"[" + piece.lstrip(b", \n") + b"]")
    return [entry for entry in found if isinstance(entry, dict)]


def _parsed(data: bytes) -> Any:
    try:
        # Not orjson, which does not know the NaN that Python writes.
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {str(error).split(': line', 1)[0]}") from None


@contextmanager
def open_state(path: Path) -> Iterator[TrainerState]:
    """Open a document; only its ends are read.

    Raises:
        RecordError: it is none, or not whole.
        OSError: it is missing, no regular file, or cannot be read.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > WHOLE_BYTES:
            yield _located(lambda offset, count: os.pread(descriptor, count, offset), size)
        else:
            data = os.pread(descriptor, size, 0)
            yield _located(lambda offset, count: data[offset : offset + count], len(data))
    finally:
        os.close(descriptor)


def step_in(path: Path) -> int | None:
    """Return the step of a state without reading it; None where its first bytes do not tell."""
    found = _STEP.search(first_bytes(path, HEAD_BYTES[0]))
    return int(found[1]) if found else None


def _located(read: Read, size: int) -> TrainerState:
    if size > TRAINER_STATE_BYTES:
        raise RecordError(f"{size:,} bytes long, the most is {TRAINER_STATE_BYTES:,}")
    for count in HEAD_BYTES:
        head = read(0, count)
        before = head.find(_LOG_BEGINS)
        if not head.startswith(b"{\n"):
            break
        if before >= 0:
            return _around(head[:before], read, size)
    return _laid_out(read, size)


def _around(before: bytes, read: Read, size: int) -> TrainerState:
    """Return a document as Trainer lays it out, by the bytes before its log."""
    if not read(max(0, size - 4), 4).rstrip(b"\n").endswith(b"\n}"):
        raise RecordError(HALF)
    begin = len(before) + len(_LOG_BEGINS)
    end = _end_of_log(read, begin, size)
    return TrainerState(_facts(before, read, end, size), end - begin, begin, read)


def _end_of_log(read: Read, begin: int, size: int) -> int:
    if read(begin, 1) == b"]":
        return begin
    for count in TAIL_BYTES:
        start = max(begin, size - count)
        tail = read(start, size - start)
        found = _LOG_ENDS.search(tail)
        # What is behind the log may be longer than that, and have lists too.
        if found and (start == begin or tail.find(_BEHIND_LOG, found.start()) >= 0):
            return start + found.start()
    return _first_end(read, begin, size)


def _first_end(read: Read, begin: int, size: int) -> int:
    for at in range(begin, size, READ_BYTES):
        found = _LOG_ENDS.search(read(at, READ_BYTES + 8))
        if found:
            return at + found.start()
    raise RecordError(f"{LOG} has no end")


def _facts(before: bytes, read: Read, end: int, size: int) -> JsonObject:
    """Return the fields before and behind the log."""
    if size - end > DOCUMENT_BYTES:
        raise RecordError(f"{size - end:,} bytes behind {LOG}, the most is {DOCUMENT_BYTES:,}")
    first = before.rstrip(b",")
    last = read(end, size - end).lstrip().removeprefix(b"]").removeprefix(b",")
    between = b"," if first.strip() != b"{" and last.strip() != b"}" else b""
    facts = _parsed(_of_few_containers(first + between + last))
    assert isinstance(facts, dict)  # it is in braces
    return facts


def _of_few_containers(data: bytes) -> bytes:
    if data.count(b"[") + data.count(b"{") > DOCUMENT_CONTAINERS:
        raise RecordError(f"more than {DOCUMENT_CONTAINERS:,} objects and arrays")
    return data


def _laid_out(read: Read, size: int) -> TrainerState:
    """Return a document that something else wrote as Trainer would have written it."""
    if size > DOCUMENT_BYTES:
        raise RecordError(f"{size:,} bytes, and not laid out as Trainer does")
    data = read(0, size)
    if data.lstrip()[:1] not in (b"{", b"", b"\0"):
        raise RecordError(f"no object with a list {LOG}")
    if not data.rstrip().endswith(b"}"):
        raise RecordError(HALF)
    found = _parsed(_of_few_containers(data))
    if not isinstance(found, dict) or not isinstance(found.get(LOG), list):
        raise RecordError(f"no object with a list {LOG}")
    text = json.dumps(found, indent=2, sort_keys=True).encode()
    return _around(
        text[: text.index(_LOG_BEGINS)],
        lambda offset, count: text[offset : offset + count],
        len(text),
    )
