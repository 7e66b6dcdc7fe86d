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
import re
from collections.abc import Sequence
from pathlib import Path

from runstore.files.records import JsonObject, RecordError, decode
from runstore.files.regular import first_bytes
from runstore.sources.columns import is_log_header
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import PLAIN
from runstore.sources.log_files import Batch
from runstore.sources.rows_file import RowsFile, RowsLayout

NAME = PLAIN.name
EVIDENCE = "plain JSON lines, no process on record"

# detectron2; MMEngine; mmcv before it; Stable-Baselines3.
_JSON_NAMES = ("metrics.json", "scalars.json", "*.log.json", "progress.json")
_TEXT_LOG = "*train*.log"
_ROW_IN_TEXT = re.compile(rb'^(?:.{0,200} \| )?(?=\{"epoch": )', re.MULTILINE)
"""A row between the other lines of a log of fairseq; where the log goes to the terminal as well,
time and level stand before it."""
PEEK_BYTES = 64 << 10
PEEK_LINES = 4


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """Any `*.jsonl` makes the directory a run; of other names, those that hold JSON lines."""
    return any(_holds_rows(directory, name) for name in names)


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, RowsLayout(NAME, EVIDENCE, _holds_rows, _open), patient=patient)


def _holds_rows(directory: Path, name: str) -> bool:
    if name.endswith(".jsonl"):
        return True
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _JSON_NAMES):
        return _are_rows(first_bytes(directory / name, PEEK_BYTES))
    if fnmatch.fnmatchcase(name, _TEXT_LOG):
        return _ROW_IN_TEXT.search(first_bytes(directory / name, PEEK_BYTES)) is not None
    return False


def _are_rows(data: bytes) -> bool:
    """Tell whether a file that begins so holds JSON lines: scikit-learn and DVC write one object.

    What has no whole line yet may become one, if it is none by itself.
    """
    lines = data.split(b"\n")[:PEEK_LINES]
    if len(lines) == 1:
        return data[:1] in (b"{", b"") and not _is_object(data)
    whole = lines[:-1] or lines
    return all(map(_is_object, whole)) and (len(whole) > 1 or is_log_header(_decoded(whole[0])[0]))


def _is_object(line: bytes) -> bool:
    try:
        _decoded(line)
    except RecordError:
        return False
    return True


class JsonRowsFile(RowsFile):
    """One file of JSON lines."""

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        record, is_json = _decoded(line)
        self._add(record, number, batch, len(line), line if is_json else b"")


class TextLogFile(RowsFile):
    """A log for people, with JSON on some of its lines."""

    # fairseq's `train.log` has `train_loss` of epochs beside `loss` of batches, and validations.
    _split_by_name = False

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        found = _ROW_IN_TEXT.match(line)
        if found is not None:
            record, _ = _decoded(line[found.end() :])
            self._add(record, number, batch, len(line))


def _open(path: Path, patient: bool) -> RowsFile:
    if path.name.endswith(".log"):
        return TextLogFile(path, patient)
    return JsonRowsFile(path, patient, is_epochs=path.name.startswith("epoch"))


def _decoded(line: bytes) -> tuple[JsonObject, bool]:
    """Return the object on a line, and whether it is JSON: `json.dumps` writes NaN and Infinity.

    Raises:
        RecordError: it is damaged.
    """
    try:
        return decode(line), True
    except RecordError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise
        return found, False
