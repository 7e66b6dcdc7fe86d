"""Turns the events of a file into rows.

Writers put one value into an event; values of one step that follow each other become one row. Its
number is that of the first event with the step, wherever what was read at once began or ended.

Nearly all events are like an earlier one of the same tag but for time, step and value. So what is
behind the step of an event, without the value, is looked up as a whole, and only what was never
seen is taken apart. Stretches that are alike are taken apart at once. So the rows are there in a
quarter of the time that tensorboard's own classes need, compiled as they are, and nothing has to be
installed: there is one way to read them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from itertools import count, repeat

from runstore.files.limits import METRICS_PER_RUN
from runstore.files.record_tail import Records
from runstore.files.records import BadLine, JsonObject, RecordError
from runstore.sources.hparams import read_session
from runstore.sources.log_files import Batch, ForeignRow, ForeignRows, merged_info
from runstore.sources.stretches import FOOTER_BYTES, Stretch
from runstore.sources.tag_names import TagNames
from runstore.sources.tf_events import SCALARS, Event, Value, read_event
from runstore.sources.tfrecord import CHECKED_BYTES, WRONG_DATA, is_right
from runstore.sources.wire import signed, varint
from runstore.state.pieces import Block

SHAPES_KEPT = 2 * METRICS_PER_RUN
LATEST_S = 1e11
"""Larger times are no moments: the year 5138."""
_VALUE_END = 4 + FOOTER_BYTES
"""A value at the end of an event begins so many bytes before the end of its record."""
_SHORTEST = 24

_TIME, _STEP, _SIMPLE_VALUE = 0x09, 0x10, b"\x15"
"""The first bytes of these fields of an event, and of a value."""
_tags: dict[bytes, str] = {}
"""What is between step and value of an event that needs nothing else to be understood, to its tag:
the runs of a tree have the same ones."""
_double, _float = struct.Struct("<d").unpack_from, struct.Struct("<f").unpack_from


class EventRows:
    """Turns the events of one file, in order, into rows."""

    def __init__(
        self, name: str, names: TagNames, opened: JsonObject, *, takes_params: bool = True
    ) -> None:
        """Know no events yet.

        Args:
            name: the file's, as the user sees it.
            names: what metrics are called.
            opened: what is known of the writer.
            takes_params: hyperparameters are taken from here.
        """
        self._name, self._names, self._opened = name, names, opened
        self._takes_params = takes_params
        self._keys: dict[bytes, str] = {}
        """What is between the step and the value of an event that ends with it, to the name."""
        self._ends: dict[int, int] = {}
        """Of other events: how many bytes are behind the step, to how many from the value on."""
        self._framed_keys: dict[bytes, str] = {}
        """What is in front of the value and behind it, to the name."""
        self._plugins: dict[str, str] = {}
        """Of each tag."""
        self._row: JsonObject | None = None
        """The last row, while values of its step may come; None where it was handed over."""
        self._held: ForeignRow | None = None
        """The same, where it was not handed over because there is more to read."""
        self._step: int | None = None
        self._first = 0
        """The number of the first event of that step."""

    def add(self, records: Records, batch: Batch) -> None:
        """Add what the next records mean to a batch."""
        rows = batch.rows
        if self._held is not None:
            rows.append(self._held)
        self._add_all(zip(records.payloads, records.numbers, strict=True), batch)
        is_open = bool(rows) and rows[-1].row is self._row
        self._held = rows.pop() if is_open and records.more else None
        self._row = self._held.row if self._held else None
        if self._names.has_epoch:
            for found in rows:
                _make_epoch_whole(found.row)

    def _add_all(self, records: Iterable[tuple[bytes, int]], batch: Batch) -> None:
        keys, framed, ends = self._keys, self._framed_keys, self._ends
        add_row = batch.rows.append
        row, step = self._row, self._step
        for record, number in records:
            if type(record) is Stretch:
                self._row, self._step = row, step
                self._add_stretch(record, number, batch)
                row, step = self._row, self._step
                continue
            size = len(record)
            if size > _SHORTEST and record[0] == _TIME:
                this, at = _step_of(record) if record[9] == _STEP else (0, 9)
                place = size - _VALUE_END
                key = keys.get(record[at:place])
                if key is None and (end := ends.get(size - at)):
                    place = size - end
                    key = framed.get(record[at:place] + record[place + 4 : -FOOTER_BYTES])
                if key is not None:
                    if row is not None and this == step:
                        row[key] = _float(record, place)[0]
                        continue
                    if this != step:
                        step, self._first = this, number
                    row = _begun(this, _double(record, 1)[0])
                    row[key] = _float(record, place)[0]
                    add_row(ForeignRow("metrics", row, self._first, size))
                    continue
            self._row, self._step = row, step
            self._add_unknown(record, number, batch)
            row, step = self._row, self._step
        self._row, self._step = row, step

    def _add_stretch(self, stretch: Stretch, number: int, batch: Batch) -> None:
        """Add rows at once, unless there is anything odd about them."""
        found = self._block(stretch) if number else None
        if found is None:
            numbers = count(number) if number else repeat(0)
            self._add_all(zip(stretch.payloads(), numbers, strict=False), batch)
            return
        block, times = found
        of_rows = range(number, number + stretch.records, len(block.values))
        size = stretch.row.size
        batch.rows.append(
            ForeignRows("metrics", block.last_row, of_rows[-1], size, b"", block, times, of_rows)
        )
        self._row, self._step, self._first = None, block.steps[-1], of_rows[-1]

    def _block(self, stretch: Stretch) -> tuple[Block, Sequence[float]] | None:
        names = [self._keys.get(key) for key in stretch.tags()]
        known = [name for name in names if name is not None and name != "epoch"]
        if len(set(known)) < len(names):
            return None
        steps, (times, columns) = stretch.steps, stretch.columns()
        total = sum(times)
        are_moments = min(times) > 0.0 and max(times) < LATEST_S and total - total == 0.0
        if steps[0] == self._step or not are_moments:
            return None
        values = dict(zip(known, columns, strict=True))
        last = {name: column[-1] for name, column in values.items()}
        row = {"step": steps[-1], "time": times[-1], **last}
        return Block(steps, values, times[-1], row), times

    def _add_unknown(self, record: bytes, number: int, batch: Batch) -> None:
        """Add an event that is unlike all before, as damaged ones are."""
        end, reason = len(record) - FOOTER_BYTES, ""
        if end <= CHECKED_BYTES and not is_right(record[:end], record[end:]):
            reason = WRONG_DATA
        elif self._learn_from_others(record):
            self._add_all([(record, number)], batch)
        else:
            try:
                self._take(read_event(record, end), record, number, batch)
            except RecordError as error:
                reason = str(error)
        if reason:
            batch.bad.append(BadLine(self._name, number, 0, reason))

    def _take(self, event: Event, record: bytes, number: int, batch: Batch) -> None:
        size = len(record)
        if event.opens and number == 1:
            opened = {"event": "open", **_at(event.time), **self._opened}
            batch.rows.append(ForeignRow("events", opened, number, size))
        if event.starts and not self._names.split:
            self._row = self._step = None
            purge = {"event": "purge", "step": event.step}
            batch.rows.append(ForeignRow("events", purge, number, size))
        for value in event.values:
            if value.content:
                self._take_session(value.content, number, batch)
            elif self._is_scalar(value):
                self._put(value, event, number, size, batch)
        if len(event.values) == 1:
            self._learn(event.values[0], record)

    def _take_session(self, content: bytes, number: int, batch: Batch) -> None:
        session = read_session(content)
        if session.params and self._takes_params:
            batch.info = merged_info(batch.info, {"params": session.params})
        # torch and Lightning write an end without a time beside the parameters, before anything.
        if session.status and session.ended:
            ended = {"event": "end", "status": session.status, "reason": "", **_at(session.ended)}
            batch.rows.append(ForeignRow("events", ended, number, len(content)))

    def _is_scalar(self, value: Value) -> bool:
        if value.number is None or not value.tag:
            return False
        if value.plugin and len(self._plugins) < SHAPES_KEPT:
            self._plugins.setdefault(value.tag, value.plugin)
        return self._plugins.get(value.tag, SCALARS) == SCALARS

    def _put(self, value: Value, event: Event, number: int, size: int, batch: Batch) -> None:
        stream, key = self._names.of(value.tag)
        if stream == "epochs":
            row: JsonObject = {"epoch": event.step, **_at(event.time), key: value.number}
            batch.rows.append(ForeignRow(stream, row, number, size))
            return
        if self._row is None or event.step != self._step:
            if event.step != self._step:
                self._step, self._first = event.step, number
            self._row = _begun(event.step, event.time)
            batch.rows.append(ForeignRow(stream, self._row, self._first, size))
        self._row[key] = value.number

    def _learn_from_others(self, record: bytes) -> bool:
        """Tell whether an event looks like one of another file, and remember what that said."""
        if len(record) <= _SHORTEST or record[0] != _TIME or self._is_full():
            return False
        _, at = _step_of(record) if record[9] == _STEP else (0, 9)
        key = record[at:-_VALUE_END]
        tag = _tags.get(key)
        stream, name = self._names.of(tag) if tag else ("events", "")
        if stream == "metrics":
            self._keys[key] = name
        return stream == "metrics"

    def _is_full(self) -> bool:
        return len(self._keys) + len(self._framed_keys) >= SHAPES_KEPT

    def _learn(self, value: Value, record: bytes) -> None:
        """Remember what an event with a single `float` looks like."""
        if not value.float_at or record[0] != _TIME or self._is_full():
            return
        stream, key = self._names.of(value.tag)
        if stream == "metrics" and self._is_scalar(value):
            _, at = _step_of(record) if record[9] == _STEP else (0, 9)
            before, behind = record[at : value.float_at], record[value.float_at + 4 : -FOOTER_BYTES]
            if behind:
                self._framed_keys[before + behind] = key
                self._ends[len(record) - at] = len(record) - value.float_at
            else:
                self._keys[before] = key
                if before.endswith(_SIMPLE_VALUE) and len(_tags) < SHAPES_KEPT:
                    _tags[before] = value.tag


def _begun(step: int, time: float) -> JsonObject:
    """Return the beginning of a row."""
    return {"step": step, "time": time} if 0.0 < time < LATEST_S else {"step": step}


def _at(time: float) -> JsonObject:
    return {"time": time} if 0.0 < time < LATEST_S else {}


def _step_of(record: bytes) -> tuple[int, int]:
    """Return the step behind the first ten bytes of an event, and the place behind it."""
    first, second, third = record[10:13]
    if first < 128:
        return first, 11
    if second < 128:
        return first - 128 + (second << 7), 12
    if third < 128:
        return first + (second << 7) + (third << 14) - 0x4080, 13
    try:
        step, place = varint(record, 10, len(record))
    except RecordError:
        return 0, 9
    return signed(step), place


def _make_epoch_whole(row: JsonObject) -> None:
    """Lightning logs the epoch as a metric; of a fraction, the epoch that was open."""
    epoch = row.pop("epoch", None)
    if epoch is not None and math.isfinite(epoch):
        row["epoch"] = math.ceil(epoch)
