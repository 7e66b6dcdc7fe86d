r"""JSON lines with a `step` in what a program prints: `{"step": 1, "loss": 0.5}` is a row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.records import RESERVED_KEYS

_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
_MARK = b'"step"'


class JsonRows:
    """Finds the rows in the output of one program, in pieces cut anywhere."""

    def __init__(self) -> None:
        """Begin with an empty line."""
        self._begun = b""
        self._is_passing_over = False
        """Whether the line that is begun is too long for a row."""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Take what was printed next; yield the rows whose lines have ended."""
        *ended, rest = data.split(b"\n") if _MARK in data or self._begun else _last_line(data)
        for piece in ended:
            line, is_whole = self._begun + piece, not self._is_passing_over
            self._begun, self._is_passing_over = b"", False
            row = row_of(line) if is_whole and _MARK in line else None
            if row is not None:
                yield row
        self._begun += rest
        # Of a progress bar only what it shows now; a last `\r` may be that of `\r\n`.
        drawn = self._begun.rfind(b"\r", 0, -1)
        self._begun = self._begun[max(0, drawn) :]
        if len(self._begun) > MAX_LINE_BYTES:
            self._begun, self._is_passing_over = b"", True


def _last_line(data: bytes) -> tuple[bytes, ...]:
    """Split off what stands behind the last newline; the lines before it hold no row."""
    head, newline, rest = data.rpartition(b"\n")
    return (head, rest) if newline else (rest,)


def row_of(line: bytes) -> dict[str, Any] | None:
    """Return the values of a printed line that is a row: an integer `step`, and a number.

    What is no number is not of the row: a line of a structured log has words too.
    """
    found = _object_in(_SEQUENCE.sub(b"", line).rstrip().lstrip(b" \t"))
    if found is None or not _is_index(found.get("step")):
        return None
    row = {key: value for key, value in found.items() if type(value) in (int, float, bool)}
    if not _is_index(row.get("epoch", 0)):
        del row["epoch"]
    row.pop("time", None)
    return row if row.keys() - RESERVED_KEYS else None


def _object_in(line: bytes) -> dict[str, Any] | None:
    """Return the object that is the line, or that was printed where a progress bar stood."""
    before, brace, rest = line.partition(b"{")
    if not line.endswith(b"}") or (before and b"\r" not in before):
        return None
    try:
        # Not orjson: Python's json prints NaN and Infinity as these words.
        found = json.loads(brace + rest)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_index(value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())
