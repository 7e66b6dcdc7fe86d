"""W&B's own log of a run, which every run has on its machine, online or not.

`wandb/offline-run-<time>-<id>/run-<id>.wandb` or `wandb/run-…`; `wandb/latest-run` is a link to one
of them. W&B appends a block when 32 KiB are full, and what it has after some 15 seconds, so a
killed run lacks its last seconds. No process is on record, only how a run has ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from runstore.files.cursor import READ_BYTES
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.record_tail import Records as Found
from runstore.files.records import BadLine, RecordError
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import WANDB
from runstore.sources.layout import Opener, names_in
from runstore.sources.leveldb_log import BLOCK_BYTES, BlockTail
from runstore.sources.log_files import Batch, DocumentFile, joined, looked
from runstore.sources.wandb_facts import metadata_facts
from runstore.sources.wandb_records import Records, is_read
from runstore.sources.wandb_rows import Learnt

NAME = WANDB.name
EVIDENCE = "no exit on record; W&B adds to its file every 15 s while a run goes on"
SUFFIX = ".wandb"
_RUN_NAME = re.compile(r"(?:offline-)?run-[0-9]{8}_[0-9]{6}-(?P<id>.+)")
HEADER = b":W&B\xe1\xbe\x00"
"""Name, magic number and version of the format, 0."""
METADATA = "files/wandb-metadata.json"
OTHERS_TOLD = 5
FIRST_KEPT = 32
"""Records at the beginning of a long file that a glance keeps: they tell how its steps count."""
_NUMBERS = bytes({*range(256)} - {*b"ABCDFGHIJKLMNOPQRSTUVWXYZ_abcdfghijklmnopqrstuvwxyz/"})
"""What sizes, and numbers such as `1e-05`, are made of."""


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """A `.wandb` file makes the directory a run, or its name: `files` comes before the log."""
    is_named = bool(names) and _RUN_NAME.fullmatch(directory.name) is not None
    return is_named or any(name.endswith(SUFFIX) for name in names)


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, _Layout(), patient=patient)


def recorded_name(directory: Path) -> str:
    """Return the id that W&B gave the run, which is the end of its folder's name."""
    found = _RUN_NAME.fullmatch(directory.name)
    return found["id"] if found else ""


class _Layout:
    """One log, and beside it what older versions wrote apart (a `Layout`)."""

    NAME = NAME
    EVIDENCE = EVIDENCE
    IS_ONE_SERIES = False

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the files that are there."""
        found: dict[str, Opener] = {}
        for name in names_in(directory):
            if name.endswith(SUFFIX):
                found[name] = partial(WandbFile, directory / name, Learnt())
        if (directory / METADATA).is_file():
            found[METADATA] = partial(_open_metadata, directory / METADATA)
        return found


class WandbFile:
    """One `.wandb` file."""

    def __init__(self, path: Path, learnt: Learnt, patient: bool) -> None:
        """Follow `path`; `learnt` is kept for whoever opens it next. See `Cursor` for `patient`."""
        self._path, self._learnt, self._patient = path, learnt, patient
        self._begin()

    def _begin(self) -> None:
        self._tail = BlockTail(self._path, HEADER, wants=is_read, patient=self._patient)
        self._records = Records(self._learnt, partial(_others, self._path.parent))

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self._tail.size

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new; all of it once more where it turns out to count otherwise."""
        return self._read(lambda: self._tail.poll(budget))

    def glance(self) -> Batch:
        """Return the newest of each kind that the first block has, and the last ones."""
        first = Batch()
        if self._tail.offset == 0:
            first = self._read(lambda: _of_long_file(self._tail.poll(BLOCK_BYTES)))
            if not first.more:
                return first
        at = self._tail.offset
        found = self._tail.jump(BLOCK_BYTES)
        count = len(found.payloads)
        last = self._batch(_newest(found, 0))
        last.passed_over = first.more or found.offset > at or len(found.payloads) < count
        return joined(first, last)

    def _read(self, look: Callable[[], Found]) -> Batch:
        batch, is_anew = self._batch(look()), False
        while self._must_begin_again(batch):
            batch, is_anew = self._batch(look()), True
        batch.restarted |= is_anew
        return batch

    def _must_begin_again(self, batch: Batch) -> bool:
        if batch.restarted:
            self._learnt.forget()
        elif not self._records.rows.has_learnt():
            return False
        self._begin()
        return True

    def _batch(self, found: Found) -> Batch:
        batch, name = looked(found), self._path.name
        for payload, number in zip(found.payloads, found.numbers, strict=True):
            try:
                self._records.translate(payload, number, batch)
            except RecordError as error:
                # Where a record lies is not kept; its number, or the look, tells where to search.
                batch.bad.append(BadLine(name, number, found.offset, str(error)))
        batch.bad += [BadLine(name, 0, offset, reason) for offset, reason in found.damaged]
        if self._tail.is_torn:
            batch.torn = BadLine(name, 0, self._tail.offset, "the last record is torn")
        batch.size_bytes = max(0, self._tail.offset - found.offset)
        return batch


def _of_long_file(found: Found) -> Found:
    return _newest(found, FIRST_KEPT) if found.more else found


def _newest(found: Found, kept: int) -> Found:
    """Leave out the records that have a later one which differs in numbers only, but the first.

    The numbers of records are 0 from the first one on that may be left out. Should the names of two
    metrics differ only in what is taken for a number, a glance may have one of them alone.
    """
    newest = {data.translate(None, _NUMBERS): n for n, data in enumerate(found.payloads)}
    chosen = sorted({*range(min(kept, len(found.payloads))), *newest.values()})
    found.payloads = [found.payloads[n] for n in chosen]
    found.numbers = [found.numbers[n] if n < kept else 0 for n in chosen]
    return found


def _open_metadata(path: Path, patient: bool) -> DocumentFile:
    return DocumentFile(path, METADATA, metadata_facts, DOCUMENT_BYTES)


def _others(directory: Path, run_id: str) -> list[str]:
    """Return the names of the other folders beside a run's that are of the same id."""
    parent = directory.absolute().parent
    try:
        names = _runs_in(parent, parent.stat().st_mtime_ns)
    except OSError:
        return []
    return [name for name in names.get(run_id, ()) if name != directory.name][:OTHERS_TOLD]


@lru_cache(maxsize=1)
def _runs_in(directory: Path, changed_ns: int) -> Mapping[str, Sequence[str]]:
    """Return the names in a folder of runs, by the id that they end with.

    Kept until the folder changes: it may have thousands, of which each asks for its others.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(directory)):
        if name.startswith(("run-", "offline-run-")):
            found.setdefault(name.rpartition("-")[2], []).append(name)
    return found
