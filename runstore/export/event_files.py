"""Runs as TensorBoard's event files, a sub-directory each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runstore.errors import MissingPackageError, RunStoreError
from runstore.export.rows import Written
from runstore.files.paths import Stream
from runstore.files.records import JsonObject, integer
from runstore.run.tensorboard import as_hparams, write_row
from runstore.runs.reader import glance, known_state, visible_rows
from runstore.sources import RunRef
from runstore.sources.reading import RunReader
from runstore.tables.labels import labels
from runstore.writer.event_file import EventFile

STREAMS: tuple[Stream, ...] = ("metrics", "epochs", "reports")
_NO_ROW = (TypeError, ValueError, AttributeError, KeyError)


def write_event_files(refs: Sequence[RunRef], root: Path, directory: Path) -> Written:
    """Write each run into a sub-directory of `directory`, as `init(tensorboard=True)` does.

    Metrics are scalars by step, as float32 (TensorBoard knows no other), the metrics of epochs are
    `epoch/NAME` by epoch, reports `report/SPLIT/…`; with hyperparameters, and how the run ended. A
    row without a step has its number. A sub-directory appears when it is complete.

    Raises:
        RunStoreError: a sub-directory is there already, or tensorboard is not installed.
        FormatError: a run was written in a newer format.
        UnreadableFileError: a file of one is there and cannot be read.
        OSError: the disk is full, the directory cannot be written, …
    """
    refs = list({ref.place: ref for ref in refs}.values())
    targets = [directory / _inside(name) for name in labels(refs, root)]
    for target in targets:
        _refuse_existing(target)
    count = bad = 0
    for ref, target in zip(refs, targets, strict=True):
        with _new_directory(target) as beside:
            written, left_out = _write_run(ref, beside)
        count, bad = count + written, bad + left_out
    return Written(count, f"{bad:,} rows are not what TensorBoard shows" if bad else "")


def _inside(name: str) -> Path:
    """Return a run's name as a path that stays below the directory, whatever it is."""
    return Path(*(part for part in Path(name).parts if part not in ("/", "..")))


def _refuse_existing(target: Path) -> None:
    try:
        is_there = bool(os.listdir(target))
    except FileNotFoundError:
        is_there = False
    except NotADirectoryError:
        is_there = True
    if is_there:
        raise RunStoreError(f"{target}: is there already; name another directory with -o")


@contextmanager
def _new_directory(target: Path) -> Iterator[Path]:
    """Make a directory that gets its name when all is written into it; on a failure it goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name[:100]}.{os.getpid()}.tmp")
    beside.mkdir()
    try:
        yield beside
        beside.rename(target)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:
            # A write that fails names no file.
            error.filename = str(target)
        raise


def _write_run(ref: RunRef, directory: Path) -> tuple[int, int]:
    """Return how many rows were written, and how many were no rows of their streams."""
    reader = glance(ref)
    file = _opened(directory, reader.state.created)
    try:
        file.begin_session(0, again=False)
        file.hparams(as_hparams(known_state(reader).params))
        count, bad = _write_rows(ref, reader, file)
        _write_end(reader, file)
        file.close()
    except BaseException:
        file.abandon()
        raise
    return count, bad


def _opened(directory: Path, created: float | None) -> EventFile:
    try:
        return EventFile(directory, clock=time.time if created is None else lambda: created)
    except ModuleNotFoundError as error:
        raise MissingPackageError("tensorboard", "--format tensorboard") from error


def _write_rows(ref: RunRef, reader: RunReader, file: EventFile) -> tuple[int, int]:
    count = bad = 0
    for stream in STREAMS:
        for number, line in enumerate(visible_rows(ref, stream, reader), start=1):
            try:
                write_row(file, stream, _placed(line.row or {}, number))
                count += 1
            except _NO_ROW:
                bad += 1
    return count, bad


def _placed(row: JsonObject, number: int) -> JsonObject:
    """Return a row with a step; without one TensorBoard would draw all of them at 0."""
    return row if integer(row, "step") is not None else {**row, "step": number}


def _write_end(reader: RunReader, file: EventFile) -> None:
    """Write how the run ended, once it has; one that was interrupted may go on."""
    state = reader.state
    if state.status.word in ("finished", "failed", "crashed"):
        file.end_session(success=state.status.word == "finished", time_s=state.end_time)
