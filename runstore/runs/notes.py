"""What people write about a run: one small JSON document each in `notes/`, by any number of people.

No file is ever written again, so writers need no lock: each note is a file of its own, whole from
the moment that it has its name (docs/format.md, "notes").
"""

from __future__ import annotations

import heapq
import os
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runstore.environment.facts import user_name
from runstore.errors import NotWritableError, RunStoreError
from runstore.files.atomic import write_document
from runstore.files.limits import NOTE_BYTES, NOTE_TEXT_BYTES, NOTES_BYTES_KEPT, NOTES_KEPT
from runstore.files.paths import RunPaths, id_order, new_run_id
from runstore.files.records import (
    JsonObject,
    RecordError,
    decode_document,
    encode,
    number,
    without_surrogates,
)
from runstore.files.regular import read_regular, why_unreadable
from runstore.hosts.pulled import origin_of
from runstore.sources import NATIVE, recognise
from runstore.text import printable, printable_lines, shell_word


@dataclass(frozen=True, slots=True)
class Note:
    """One note, safe to print."""

    time: float | None
    """When it was written, in Unix seconds UTC; None where the file does not say."""
    text: str
    """One line or several."""
    user: str
    host: str
    name: str
    """The file's name in `notes/`."""
    size_bytes: int = 0
    """Of the file."""


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of a run, the oldest first."""

    notes: tuple[Note, ...] = ()
    problems: tuple[str, ...] = ()
    """`notes/NAME.json: why` for what is no note, safe to print."""
    left_out: int = 0
    """How many older ones were not read."""


@dataclass(slots=True)
class _Reading:
    known: Mapping[str, Note]
    """Notes by their names that need not be read again: none is ever changed."""
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    bytes_left: int = NOTES_BYTES_KEPT


def add_note(run_dir: Path, text: str, *, now: float | None = None) -> Path:
    """Write a note about a run and return its file.

    What people write stays as it is: no secrets are looked for in it.

    Args:
        run_dir: the run's directory.
        text: at most 64 KiB as UTF-8; blank ends are cut off.
        now: Unix seconds UTC; the default is this moment.

    Raises:
        RunStoreError: nothing or too much was written, or the run is another tool's.
        NotWritableError: the directory takes no file.
    """
    text = checked_text(text)
    refuse_foreign(run_dir, "a note")
    refuse_pulled(run_dir, "a note")
    seconds = time.time() if now is None else now
    facts = {"time": seconds, "text": text, "user": user_name(), "host": socket.gethostname()}
    directory = RunPaths(run_dir).notes
    path = directory / f"{new_run_id(None, now=seconds)}.json"
    try:
        make_folder(directory)
        write_document(path, encode(facts))
    except OSError as error:
        raise NotWritableError(directory, "a note", error) from error
    return path


def checked_text(text: str) -> str:
    """Return the text of a note as it is written, without blank ends.

    Raises:
        RunStoreError: nothing is left, or more than 64 KiB.
    """
    text = str(without_surrogates(text.strip()))
    size = len(text.encode())
    if not text:
        raise RunStoreError("a note needs a text; nothing was written")
    if size > NOTE_TEXT_BYTES:
        raise RunStoreError(
            f"the note has {size:,} bytes, the most is {NOTE_TEXT_BYTES:,}; "
            "put long texts into a file of their own, and its name into the note"
        )
    return text


def refuse_foreign(run_dir: Path, what: str) -> None:
    """Refuse to put something into the directory of a run that another tool writes.

    Args:
        run_dir: the run's directory.
        what: `a note`.

    Raises:
        RunStoreError: it is another tool's, or no run, or cannot be listed.
    """
    try:
        names = os.listdir(run_dir)
    except OSError as error:
        raise NotWritableError(run_dir, what, error) from error
    source = recognise(run_dir, names)
    if source is not NATIVE:
        kind = f"a run of {source.name}" if source else "no run"
        raise RunStoreError(f"{run_dir}: {kind}; {what} is kept only in a run that runstore wrote")


def refuse_pulled(run_dir: Path, what: str) -> None:
    """Refuse to put something into a copy that `runstore pull` keeps: the original has its own.

    Raises:
        RunStoreError: it is one.
    """
    origin = origin_of(run_dir)
    if origin is not None:
        raise RunStoreError(
            f"{run_dir}: a copy of {origin.source}, where {what} belongs; watch it by "
            f"runstore-tui {shell_word(origin.source)}, or write there"
        )


def make_folder(directory: Path) -> None:
    """Make a folder in a run's directory, or take the one that is there; no link out of it.

    Raises:
        OSError: it cannot be made, or something else has its name.
    """
    directory.mkdir(exist_ok=True)
    if not stat.S_ISDIR(directory.lstat().st_mode):
        raise NotADirectoryError(20, "a symbolic link, not a directory", str(directory))


def read_notes(run_dir: Path, known: Notes | None = None) -> Notes:
    """Return the notes of a run, the oldest first; of very many the newest.

    What cannot be read is told in `problems` and is no reason to fail. No `notes/`: no notes.

    Args:
        run_dir: the run's directory.
        known: what an earlier call returned, so that only what came since is read.
    """
    directory = RunPaths(run_dir).notes
    try:
        if not stat.S_ISDIR(directory.lstat().st_mode):
            return Notes(problems=(f"{directory.name}: not a directory",))
        names = [name for name in os.listdir(directory) if _is_note(name)]
    except FileNotFoundError:
        return Notes()
    except OSError as error:
        return Notes(problems=(f"{directory.name}: {why_unreadable(error)}",))
    reading, read = _Reading({note.name: note for note in known.notes} if known else {}), 0
    for name in heapq.nlargest(NOTES_KEPT, names, key=_order):
        if reading.bytes_left <= 0:
            break
        _read(directory / name, reading)
        read += 1
    return Notes(
        tuple(reversed(reading.notes)), tuple(reversed(reading.problems)), len(names) - read
    )


def _is_note(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _order(name: str) -> str:
    """Return what sorts notes by the time in their names."""
    return id_order(name.removesuffix(".json"))


def _read(path: Path, reading: _Reading) -> None:
    note = reading.known.get(printable(path.name))
    if note is not None:
        reading.bytes_left -= note.size_bytes
        reading.notes.append(note)
        return
    try:
        data = read_regular(path, NOTE_BYTES)
        reading.bytes_left -= len(data)
        reading.notes.append(_note(path.name, decode_document(data, NOTE_BYTES), len(data)))
    except (OSError, RecordError) as error:
        why = why_unreadable(error) if isinstance(error, OSError) else str(error)
        reading.problems.append(printable(f"notes/{path.name}: {why}"))


def _note(name: str, document: JsonObject, size_bytes: int) -> Note:
    text = document.get("text")
    if not isinstance(text, str):
        raise RecordError("its 'text' is no text")
    return Note(
        time=number(document, "time"),
        text=printable_lines(
            text.encode(errors="replace")[:NOTE_TEXT_BYTES].decode(errors="ignore")
        ),
        user=_field(document, "user"),
        host=_field(document, "host"),
        name=printable(name),
        size_bytes=size_bytes,
    )


def _field(document: JsonObject, key: str) -> str:
    value = document.get(key)
    return printable(value, limit=200) if isinstance(value, str) else ""
