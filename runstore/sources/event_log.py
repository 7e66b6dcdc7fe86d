"""One event file of TensorBoard that is followed."""

from __future__ import annotations

import re
from pathlib import Path

from runstore.files.cursor import READ_BYTES
from runstore.files.record_tail import Records, RecordTail
from runstore.files.records import BadLine, JsonObject
from runstore.sources.event_rows import EventRows
from runstore.sources.log_files import Batch, joined, looked
from runstore.sources.skim import Skim
from runstore.sources.tag_names import TagNames
from runstore.sources.tf_events import PEEK_BYTES, can_skip
from runstore.sources.tfrecord import RecordSplit, next_record

LONG_BYTES = 16 << 10
"""Longer records are looked at before they are read: images, audio, graphs."""
FIRST_BYTES, GLANCED_BYTES = 4 << 10, 16 << 10
"""What a glance looks at, at both ends of a long file: at the end some 350 scalars."""
DAMAGES_PASSED = 4
"""So often a glance goes on behind what is damaged there."""
GLANCED_EPOCHS_BYTES = 1 << 20
"""What a glance reads of the log of a split, to judge the best epoch."""

_SPLIT = RecordSplit(long_bytes=LONG_BYTES, peek_bytes=PEEK_BYTES, skip=can_skip)
_SKIM = Skim(_SPLIT, whole_bytes=FIRST_BYTES, long_bytes=LONG_BYTES)
_NAME = re.compile(r"(?s).*?tfevents\.[0-9]+\.(.*?)(?:\.[0-9]+\.[0-9]+)?(?:\.v2)?")
"""`events.out.tfevents.SECONDS.HOST.PID.NUMBER.v2`; tensorboardX has only the host."""


class EventLog:
    """One event file that is followed (a `LogFile`)."""

    def __init__(
        self, path: Path, name: str, split: str, patient: bool, *, takes_params: bool = True
    ) -> None:
        """Follow `path`, which the user sees as `name`.

        Args:
            path: the file.
            name: how the user sees it.
            split: see `TagNames`.
            patient: see `Cursor`.
            takes_params: see `EventRows`.
        """
        self._takes_params = takes_params
        self._tail = RecordTail(path, split=_SPLIT, patient=patient)
        self._name, self._split, self._patient = name, split, patient
        self._begin()

    def _begin(self) -> None:
        opened = writer_of(self._tail.path.name)
        self._rows = EventRows(
            self._name, TagNames(self._split), opened, takes_params=self._takes_params
        )

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self._tail.size

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new."""
        start = self._tail.offset
        return self._batch(self._tail.poll(budget), start)

    def glance(self) -> Batch:
        """Return the first row, and the last values of the metrics in the last events."""
        first = Batch()
        if self._tail.offset == 0:
            if not self._split:
                self._tail = RecordTail(self._tail.path, split=_SKIM, patient=self._patient)
            first = self.poll(GLANCED_EPOCHS_BYTES if self._split else FIRST_BYTES)
            if not first.more:
                return first
        records = self._tail.jump(GLANCED_BYTES, next_record)
        found = joined(first, self._batch(records, self._tail.offset))
        looks = DAMAGES_PASSED if records.damaged else 0
        while found.more and looks:
            looks, found = looks - 1, joined(found, self.poll(GLANCED_BYTES))
        return found

    def _batch(self, records: Records, start: int) -> Batch:
        if records.restarted:
            self._begin()
        batch = looked(records)
        self._rows.add(records, batch)
        for offset, reason in records.damaged:
            batch.bad.append(BadLine(self._name, 0, offset, reason))
        if self._tail.unfinished:
            batch.torn = BadLine(self._name, 0, self._tail.offset, "the last record is torn")
        batch.size_bytes = max(0, self._tail.offset - start)
        return batch


def writer_of(file_name: str) -> JsonObject:
    """Return the host that the name of an event file tells."""
    found = _NAME.fullmatch(file_name)
    return {"host": found[1]} if found and found[1] else {}
