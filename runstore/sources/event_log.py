"""One event file of TensorBoard that is followed."""

from __future__ import annotations

import re
from pathlib import Path

from runstore.cursor import READ_BYTES
from runstore.record_tail import Records, RecordTail
from runstore.records import JsonObject
from runstore.sources.event_rows import SHORTEST, VALUE_END, EventRows, step_of
from runstore.sources.log_files import Batch, joined, looked
from runstore.sources.tag_names import TagNames
from runstore.sources.tf_events import PEEK_BYTES, can_skip
from runstore.sources.tfrecord import RecordSplit, next_record
from runstore.state import BadLine

LONG_BYTES = 16 << 10
"""Longer records are looked at before they are read: images, audio, graphs."""
FIRST_BYTES, GLANCED_BYTES = 4 << 10, 16 << 10
"""What a glance looks at, at both ends of a long file: at the end some 350 scalars."""
FIRST_KEPT = 4
"""Records at the beginning of a file that a glance keeps: they tell when it began."""

_SPLIT = RecordSplit(long_bytes=LONG_BYTES, peek_bytes=PEEK_BYTES, skip=can_skip)
_ONE_BY_ONE = RecordSplit(
    long_bytes=LONG_BYTES, peek_bytes=PEEK_BYTES, skip=can_skip, has_stretches=False
)
"""For few records that is faster."""
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
            self._tail = RecordTail(self._tail.path, split=_ONE_BY_ONE, patient=self._patient)
            records = self._tail.poll(FIRST_BYTES)
            if not records.more:
                return self._batch(records, 0)
            first = self._batch(_newest(records, FIRST_KEPT), 0)
        records = self._tail.jump(GLANCED_BYTES, next_record)
        return joined(first, self._batch(_newest(records), self._tail.offset))

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


def _newest(records: Records, kept: int = 0) -> Records:
    """Return the first `kept` records, and of those that are alike but for their values the last.

    Nearly all have steps of the same length. What looks different for another reason stays. The
    numbers are 0 from the first one on that may be missing.
    """
    payloads, numbers = records.payloads, records.numbers
    if payloads and len(payloads[-1]) > SHORTEST:
        _, at = step_of(payloads[-1])
        places = {record[at:-VALUE_END]: place for place, record in enumerate(payloads)}
        chosen = sorted({*range(min(kept, len(payloads))), *places.values()})
        records.payloads = [payloads[place] for place in chosen]
        records.numbers = [numbers[place] if place < kept else 0 for place in chosen]
    return records


def writer_of(file_name: str) -> JsonObject:
    """Return the host that the name of an event file tells."""
    found = _NAME.fullmatch(file_name)
    return {"host": found[1]} if found and found[1] else {}
