"""A run's rows as they count: superseded and damaged ones left out, NaN and infinities put back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from runstore.errors import UnreadableFileError
from runstore.files.paths import Stream
from runstore.files.records import JsonObject, with_nonfinite
from runstore.metrics.reports import class_rows
from runstore.sources import RunRef, open_run
from runstore.sources.glances import ask_scheduler, glanced
from runstore.sources.native import NativeReader
from runstore.sources.reading import RowLine, RunReader
from runstore.state.run_state import RunState
from runstore.watching import Watch, unwatched


def read_whole(ref: RunRef, watch: Watch = unwatched) -> RunReader:
    """Return a reader that has read all there is; `watch` sees how far that is.

    Raises:
        FormatError: the run was written in a newer format.
    """
    reader = open_run(ref, patient=False)
    for _ in watch(_polls(reader), "reading MiB"):
        pass
    ask_scheduler([reader])
    return checked(reader)


def _polls(reader: RunReader) -> Iterator[bool]:
    """Read all there is, a MiB at a time."""
    yield reader.poll()
    while reader.behind:
        yield reader.poll()


def visible_rows(ref: RunRef, stream: Stream, reader: RunReader | None = None) -> Iterator[RowLine]:
    """Yield the rows of a stream that count, in order.

    Args:
        ref: the run.
        stream: the stream.
        reader: one of the run that is there already, if any.

    Raises:
        UnreadableFileError: a file is there and cannot be read.
    """
    for line in (reader or open_run(ref, patient=False)).rows(stream):
        if line.error is not None and not line.number:
            raise UnreadableFileError(ref.path / line.file, line.error)
        if line.row is not None and not line.superseded:
            yield line


def table_rows(
    ref: RunRef, stream: Stream, reader: RunReader | None = None
) -> Iterator[JsonObject]:
    """Return the rows of a stream's table: flat, NaN and infinities as floats.

    A report is a row for each class and each average, any other line a row.

    Args:
        ref: the run.
        stream: the stream.
        reader: one that has had a look at the run, if any.

    Raises:
        FormatError: the run was written in a newer format.
        UnreadableFileError: a file is there and cannot be read; also while rows are taken.
    """
    reader = checked(reader) if reader is not None else glance(ref)
    rows = (line.row for line in visible_rows(ref, stream, reader) if line.row is not None)
    if stream == "reports":
        return chain.from_iterable(map(class_rows, rows))
    return map(with_nonfinite, rows)


def glance(ref: RunRef) -> RunReader:
    """Return a reader that has had one look at a run, a few KiB.

    Raises:
        FormatError: the run was written in a newer format.
    """
    (reader,) = glanced([ref])
    return checked(reader)


def known_state(reader: RunReader) -> RunState:
    """Return what a look at a run has told, with all of its parameters."""
    if isinstance(reader, NativeReader):
        reader.read_document()
    return reader.state


def checked(reader: RunReader) -> RunReader:
    """Return a reader that has had a look at its run.

    Raises:
        FormatError: the run was written in a newer format.
    """
    if reader.refused is not None:
        raise reader.refused
    return reader
