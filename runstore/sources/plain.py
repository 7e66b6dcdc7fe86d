"""A directory of plain JSON lines, one row each, written by anything.

    echo '{"step":1,"loss":2}' >> runs/x/metrics.jsonl

Files named `epochs…` are read as epoch rows, all others as metrics. MMEngine and detectron2 give
such files other names, and fairseq puts a prefix before each line; columns are known by the names
that the field uses (`columns`). No process is on record, so what can be told is whether rows
arrive.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path

from runstore.records import JsonObject, RecordError, decode
from runstore.regular import first_bytes
from runstore.sources.foreign import ForeignReader
from runstore.sources.log_files import Batch
from runstore.sources.rows_file import RowsFile, RowsLayout

NAME = "jsonl"
LOOKED_FOR: tuple[str, ...] = (
    "*.jsonl",
    "metrics.json",
    "scalars.json",
    "*.log.json",
    "*train*.log of JSON lines",
)
EVIDENCE = "plain JSON lines, no process on record"

# detectron2; MMEngine; mmcv before it.
_JSON_NAMES = ("metrics.json", "scalars.json", "*.log.json")
_PREFIXED = "*train*.log"
_BEFORE_ROW = b" | {"
"""What stands before a row in the logs of fairseq."""
PEEK_BYTES = 64 << 10


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """Any `*.jsonl` makes the directory a run; of other names, those that hold JSON lines."""
    return any(_holds_rows(directory, name) for name in names)


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, _LAYOUT, patient=patient)


def _holds_rows(directory: Path, name: str) -> bool:
    if name.endswith(".jsonl"):
        return True
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _JSON_NAMES):
        return first_bytes(directory / name, 1) in (b"{", b"")
    if fnmatch.fnmatchcase(name, _PREFIXED):
        return _BEFORE_ROW + b'"epoch"' in first_bytes(directory / name, PEEK_BYTES)
    return False


class JsonRowsFile(RowsFile):
    """One file of JSON lines."""

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        found = _row_in(line)
        if found is not None:
            self._add(_decoded(found), line if found is line else b"", number, batch)


def _open(path: Path, patient: bool) -> JsonRowsFile:
    return JsonRowsFile(path, patient, is_epochs=path.name.startswith("epoch"))


_LAYOUT = RowsLayout(NAME, EVIDENCE, _holds_rows, _open)


def _row_in(line: bytes) -> bytes | None:
    """Return the JSON in a line; None for a line of a log that is meant for people."""
    if line.startswith((b"{", b"\xef\xbb\xbf")) or _BEFORE_ROW not in line:
        is_text = line[:1].isdigit() and b" | " in line[:64]
        return None if is_text else line
    return line[line.index(_BEFORE_ROW) + len(_BEFORE_ROW) - 1 :]


def _decoded(line: bytes) -> JsonObject:
    """Return the object on a line, also one with NaN and Infinity, which `json.dumps` writes.

    Raises:
        RecordError: it is damaged.
    """
    try:
        return decode(line)
    except RecordError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise
        return found
