"""Which keys the rows of a stream have.

Keys that the first and last lines of a file have are known from a look at both its ends. A metric
that is logged in the middle only is found when a query names it (`which_occur`), or when it asks
for all columns (`runstore.sql.database.all_keys`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from runstore.files.limits import EXPORT_COLUMNS, MAX_LINE_BYTES
from runstore.files.records import BYTE_ORDER_MARK, RESERVED_KEYS, RecordError, decode
from runstore.files.regular import open_regular, opened_regular

END_BYTES = 2048
"""Of each end of a file: some ten rows."""
SEARCH_BYTES = 1 << 20
HOLES_MATTER_BYTES = 64 << 20
"""A file with holes is not read through where it is longer: a hole may have terabytes."""
_VALUES = b"0123456789.+-"


@dataclass(slots=True)
class Keys:
    """The keys of a stream's rows in the order in which they were met."""

    names: dict[str, None] = field(default_factory=dict)
    _shapes: set[int] = field(default_factory=set)
    """Hashes, because the files of a large root may all be different."""

    def note_lines(self, text: bytes) -> None:
        """Note the keys of some whole lines; of what looks the same without digits, the first's.

        The ends of files are often alike as a whole, or else their lines are.
        """
        if self._is_new(text):
            for line in filter(self._is_new, text.split(b"\n")):
                self._note_line(line)

    def _is_new(self, text: bytes) -> bool:
        before = len(self._shapes)
        self._shapes.add(hash(text.translate(None, _VALUES)))
        return len(self._shapes) > before

    def _note_line(self, line: bytes) -> None:
        try:
            self.note(decode(line))
        except RecordError:
            return

    def note(self, keys: Iterable[str]) -> None:
        """Note what are names of metrics, of other keys none; no more than a table has columns."""
        for key in keys:
            if len(self.names) >= EXPORT_COLUMNS:
                return
            if key not in RESERVED_KEYS and is_name(key):
                self.names.setdefault(key)


def is_name(key: str) -> bool:
    """Tell whether a key can be a column: some text, and none of the reserved ones."""
    return key != "" and not key.startswith("_") and "\0" not in key


@dataclass(frozen=True, slots=True)
class Ends:
    """What the two ends of a file tell of it."""

    size: int
    """In bytes."""
    begin: int = 0
    """Where its first line begins: behind a byte order mark."""
    end: int | None = None
    """Where its last whole line ends, if what stands behind it looks like a whole line too."""
    has_holes: bool = False
    """It is large on paper only: there is nothing in parts of it."""


def look_at_ends(path: str, keys: Keys) -> Ends:
    """Note the keys of a file's first and last lines.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor, status = opened_regular(path)
    try:
        size = status.st_size
        has_holes = size > HOLES_MATTER_BYTES and os.lseek(descriptor, 0, os.SEEK_HOLE) < size
        head = _head(descriptor)
        tail = head if size <= len(head) else _tail(descriptor, size)
    finally:
        os.close(descriptor)
    keys.note_lines(head[: head.rfind(b"\n") + 1])
    if tail is not head:
        keys.note_lines(tail[tail.find(b"\n") + 1 : tail.rfind(b"\n") + 1])
    begin = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    unfinished = tail[tail.rfind(b"\n") + 1 :]
    end = size - len(unfinished) if _is_object(unfinished) else None
    return Ends(size, begin, end, has_holes)


def _head(descriptor: int) -> bytes:
    """Return the beginning of a file, its first line whole unless it is too long."""
    length = END_BYTES
    while True:
        data = os.pread(descriptor, length, 0)
        if len(data) < length or b"\n" in data or length > MAX_LINE_BYTES:
            return data
        length *= 4


def _tail(descriptor: int, size: int) -> bytes:
    """Return the end of a file from somewhere in a line on, its last whole line included."""
    length = END_BYTES
    while True:
        start = max(0, size - length)
        data = os.pread(descriptor, size - start, start)
        if start == 0 or data.count(b"\n") > 1 or length > 2 * MAX_LINE_BYTES:
            return data
        length *= 4


def _is_object(line: bytes) -> bool:
    """Tell whether a line without its newline looks finished."""
    if not line.rstrip().endswith(b"}"):
        return False
    try:
        decode(line)
    except RecordError:
        return False
    return True


def which_occur(names: Iterable[str], paths: Iterable[str]) -> set[str]:
    """Return those of some names that are keys in any of some files.

    Files are read until all are found, so that only a name that is nowhere costs reading all.
    """
    missing = {name: _spellings(name) for name in names if is_name(name)}
    found: set[str] = set()
    for path in paths:
        if not missing:
            break
        for name in [name for name, words in missing.items() if _occurs(words, path)]:
            del missing[name]
            found.add(name)
    return found


def _spellings(name: str) -> set[bytes]:
    """Return a key as JSON may have it: as it is, and in ASCII."""
    spelled = (json.dumps(name, ensure_ascii=is_ascii) for is_ascii in (True, False))
    return {text.encode("utf-8", "surrogatepass") for text in spelled}


def _occurs(words: set[bytes], path: str) -> bool:
    overlap = max(map(len, words))
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    try:
        before = b""
        while data := os.read(descriptor, SEARCH_BYTES):
            if any(word in before + data for word in words):
                return True
            before = data[-overlap:]
    finally:
        os.close(descriptor)
    return False
