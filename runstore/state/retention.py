"""What of a run is kept in memory, so that no run takes more than its share (`limits`).

What goes first is what is oldest: the newest attempt is what people look at. Whatever went is
counted in its piece, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice

from runstore.files.limits import (
    BUCKETS_AT_LEAST,
    BUCKETS_PER_RUN,
    CURVES_PER_RUN,
    EPOCH_ROWS_KEPT,
    EPOCH_VALUES_KEPT,
    METRICS_PER_RUN,
    REPORT_BYTES_KEPT,
    REPORT_PLACES_KEPT,
)
from runstore.files.records import NONFINITE_KEY, RESERVED_KEYS, JsonObject
from runstore.state.pieces import Block, Piece
from runstore.state.series import BUCKETS

SMALL_BYTES = 512
"""A record of so few bytes is kept as it is; of a longer one lists, objects and long texts go."""


class CurveRoom:
    """How many metrics and curves of one run are kept, and how finely."""

    def __init__(self) -> None:
        """Have room for all that trainings usually write."""
        self.buckets = BUCKETS
        """Of each curve."""
        self.curves = 0
        self._names: set[str] = set()

    def admit(self, name: str) -> bool:
        """Take a further curve of a metric in; return False when there is no room for it."""
        if self.curves >= CURVES_PER_RUN:
            return False
        if name not in self._names:
            if len(self._names) >= METRICS_PER_RUN:
                return False
            self._names.add(name)
        self.curves += 1
        while self.curves * self.buckets > BUCKETS_PER_RUN and self.buckets > BUCKETS_AT_LEAST:
            self.buckets //= 2
        return True


class Retention:
    """Bounds what the pieces of one run hold."""

    def __init__(self, pieces: dict[str, Piece]) -> None:
        """Bound `pieces`, those of a run by file name, which come and go."""
        self._pieces = pieces
        self._room = CurveRoom()
        self._epoch_rows = 0
        self._epoch_values = 0
        self._report_bytes = 0
        self._report_places = 0

    def add_values(self, piece: Piece, row: JsonObject, step: int | None, *, partial: bool) -> None:
        """Have a piece take in a row's values."""
        room = self._room
        if room.curves + len(row) > CURVES_PER_RUN:
            self._make_room_for_curves(piece, row)
        buckets, curves = room.buckets, room.curves
        piece.add_values(row, step, room, partial=partial)
        if room.curves != curves:
            self._shrink_from(buckets)

    def add_block(self, piece: Piece, block: Block) -> None:
        """Have a piece take in rows that are alike."""
        room = self._room
        if room.curves + len(block.values) > CURVES_PER_RUN:
            self._make_room_for_curves(piece, block.values)
        buckets = room.buckets
        piece.add_block(block, room)
        self._shrink_from(buckets)

    def _shrink_from(self, buckets: int) -> None:
        if self._room.buckets != buckets:
            for other in self._pieces.values():
                other.shrink(self._room.buckets)

    def _make_room_for_curves(self, piece: Piece, row: Collection[str]) -> None:
        wanted = sum(key not in piece.last for key in row)
        while self._room.curves + wanted > CURVES_PER_RUN:
            oldest = self._oldest(lambda other: bool(other.last))
            if oldest is None or oldest.file >= piece.file:
                return
            self._room.curves -= oldest.let_curves_go()

    def add_epoch(self, piece: Piece, row: JsonObject, rule: str, *, partial: bool) -> None:
        """Have a piece take in an epoch's row."""
        if partial:
            self._epoch_rows -= len(piece.epoch_rows)
            self._epoch_values -= piece.epoch_values
        piece.add_epoch(row, rule, partial=partial)
        self._epoch_rows += 1
        self._epoch_values += len(row)
        while self._epoch_rows > EPOCH_ROWS_KEPT or self._epoch_values > EPOCH_VALUES_KEPT:
            oldest = self._oldest(lambda other: bool(other.epoch_rows))
            if oldest is None or self._epoch_rows == 1:
                return
            self._epoch_rows -= len(oldest.epoch_rows)
            self._epoch_values -= oldest.epoch_values
            oldest.let_epochs_go()
            self._epoch_rows += len(oldest.epoch_rows)
            self._epoch_values += oldest.epoch_values

    def add_report(
        self, piece: Piece, row: JsonObject, size_bytes: int, offset: int | None
    ) -> None:
        """Have a piece take in a report, whose line had `size_bytes` and began at `offset`."""
        self._report_bytes -= sum(piece.report_bytes.values())
        piece.add_report(row, size_bytes, offset)
        self._report_bytes += sum(piece.report_bytes.values())
        self._report_places += offset is not None
        while self._report_places > REPORT_PLACES_KEPT:
            oldest = self._oldest(lambda other: bool(other.report_places))
            if oldest is None:
                break
            self._report_places -= oldest.let_places_go()
        while self._report_bytes > REPORT_BYTES_KEPT:
            oldest = self._oldest(lambda other: bool(other.reports))
            if oldest is None:
                return
            self._report_bytes -= next(iter(oldest.report_bytes.values()))
            oldest.let_report_go()

    def forget(self, piece: Piece) -> None:
        """Have the room again that a piece took."""
        self._room.curves -= len(piece.last)
        self._epoch_rows -= len(piece.epoch_rows)
        self._epoch_values -= piece.epoch_values
        self._report_bytes -= sum(piece.report_bytes.values())
        self._report_places -= len(piece.report_places)

    def _oldest(self, has: Callable[[Piece], bool]) -> Piece | None:
        found: Iterable[Piece] = filter(has, self._pieces.values())
        return min(found, key=lambda piece: piece.file, default=None)


def without_nesting(row: JsonObject, size_bytes: int) -> JsonObject:
    """Return a row to keep: of a long one its numbers, at most as many as a run has metrics."""
    if size_bytes <= SMALL_BYTES:
        return row
    metrics = (key for key, value in row.items() if value is None or type(value) in (float, int))
    names = [key for key in islice(metrics, METRICS_PER_RUN) if key not in RESERVED_KEYS]
    notes = row.get(NONFINITE_KEY)
    kept = {key: row[key] for key in RESERVED_KEYS if isinstance(row.get(key), (int, float))}
    kept |= {name: row[name] for name in names}
    if isinstance(notes, dict) and (noted := {k: notes[k] for k in names if k in notes}):
        kept[NONFINITE_KEY] = noted
    return kept
