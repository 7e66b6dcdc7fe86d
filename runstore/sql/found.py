"""The runs that a query is about, and what of their files counts.

A run whose rows all count is told from its names and its events alone. Where a later attempt or a
`cut` event may hide rows, the run's own reader says which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runstore.errors import FormatError
from runstore.files.limits import DOCUMENT_BYTES, FILES_PER_RUN
from runstore.files.paths import LIFECYCLE, RunPaths, Stream, StreamFile
from runstore.files.records import (
    FORMAT,
    JsonObject,
    RecordError,
    check_format,
    decode,
    decode_document,
)
from runstore.files.regular import open_regular, read_regular, why_unreadable
from runstore.sources import NATIVE, RunRef
from runstore.tables.labels import labels

if TYPE_CHECKING:
    from runstore.state.run_state import RunState

DOCUMENT = RunPaths(Path()).document.name
READ_BYTES = 64 << 10
_parse = lru_cache(maxsize=1024)(StreamFile.parse)
"""The files of a thousand runs have the same few names."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One file of a native run."""

    path: str
    stream: Stream
    limit: int | None = None
    """The byte at which its rows are superseded; None: nowhere."""
    hidden_from: int | None = None
    """The step from which its rows are superseded, where that was inferred."""


@dataclass(slots=True)
class FoundRun:
    """A run that a query is about."""

    run: str
    """What it is called in every view."""
    ref: RunRef
    document: JsonObject = field(default_factory=dict)
    """`run.json` of a native run."""
    files: list[Counted] = field(default_factory=list)
    """Those of a native run that DuckDB may read."""
    through_reader: bool = False
    """Its rows come from its reader: another tool's format, or too many files."""
    has_launcher: bool = False
    """`runstore exec` has begun it, so the script's words are in its events."""
    is_refused: bool = False
    """A newer version wrote it."""
    problems: list[str] = field(default_factory=list)
    """What of it cannot be read."""


def name_runs(refs: Sequence[RunRef], root: Path) -> Iterator[tuple[str, RunRef]]:
    """Yield each run with what it is called in all views."""
    yield from zip(labels(refs, root), refs, strict=True)


def look(run: str, ref: RunRef) -> FoundRun:
    """Return what a run's files are."""
    found = FoundRun(run, ref)
    if ref.source is not NATIVE:
        found.through_reader = True
        return found
    try:
        names = os.listdir(ref.place)
    except OSError as error:
        found.problems.append(f"{ref.place}: {why_unreadable(error)}")
        return found
    if DOCUMENT in names:
        _read_document(found)
    _find_files(found, names)
    return found


def _read_document(found: FoundRun) -> None:
    # As text: of a thousand runs the paths would cost more than reading.
    path = f"{found.ref.place}/{DOCUMENT}"
    try:
        found.document = decode_document(read_regular(path, DOCUMENT_BYTES), DOCUMENT_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        found.problems.append(f"{path}: {why_unreadable(error)}")
    except RecordError as error:
        found.problems.append(f"{path}: {error}")
    _check_format(found, path, found.document)


def _find_files(found: FoundRun, names: Sequence[str]) -> None:
    files = [file for name in names if (file := _parse(name)) and file.rank == 0]
    if len(files) > FILES_PER_RUN:
        found.through_reader = True
        return
    files.sort()
    lifecycle = [file for file in files if file.stream in LIFECYCLE]
    found.has_launcher = any(file.stream == "exec" for file in lifecycle)
    # All are read, for each may be of a newer format.
    may_cut = [_may_cut(found, file) for file in lifecycle]
    state = _learn_cuts(found) if any(may_cut) else None
    for file in files:
        if file.stream in ("metrics", "epochs", "reports"):
            limit = state.cuts.get(file.name) if state else None
            hidden_from = state.hidden_from(file.attempt) if state else None
            path = f"{found.ref.place}/{file.name}"
            found.files.append(Counted(path, file.stream, limit, hidden_from))


def _may_cut(found: FoundRun, file: StreamFile) -> bool:
    """Tell whether an events file may supersede rows: it resumes a run, or names a cut."""
    path = f"{found.ref.place}/{file.name}"
    try:
        descriptor = open_regular(path)
    except OSError as error:
        found.problems.append(f"{path}: {why_unreadable(error)}")
        return True
    try:
        block, before = os.read(descriptor, READ_BYTES), b""
        if file.part == 0:
            _check_opened(found, path, block)
        has_cut = file.attempt > 1
        while block and not has_cut:
            data = before + block
            has_cut = b'"cut' in data or b"\\u" in data
            # A word may lie across the border.
            before = data[-8:]
            block = os.read(descriptor, READ_BYTES) if len(block) == READ_BYTES else b""
    finally:
        os.close(descriptor)
    return has_cut


def _check_opened(found: FoundRun, path: str, data: bytes) -> None:
    line, newline, _ = data.partition(b"\n")
    try:
        opened = decode(line) if newline else {}
    except RecordError:
        return
    _check_format(found, path, opened)


def _check_format(found: FoundRun, path: str, document: JsonObject) -> None:
    if document.get("format") == FORMAT:
        return
    try:
        check_format(Path(path), document)
    except FormatError as error:
        found.is_refused = True
        found.problems.append(str(error))


def _learn_cuts(found: FoundRun) -> RunState:
    # Few runs need it, and it brings all that a state is made of.
    from runstore.sources.native import NativeReader

    reader = NativeReader(found.ref.path, patient=False)
    reader.learn_cuts()
    return reader.state
