"""The newest events of each kind at the ends of a file: what a glance shows, and no more."""

from __future__ import annotations

from runstore.files.record_tail import Frames, Split
from runstore.sources.stretches import FOOTER_BYTES, HEADER_BYTES
from runstore.sources.tfrecord import KNOWN_LENGTHS, is_right

FIRST_KEPT = 4
"""So many records at the beginning of a file are kept: they tell when it began."""
_AROUND = HEADER_BYTES + FOOTER_BYTES
KIND_AT, KIND_END = HEADER_BYTES + 15, FOOTER_BYTES + 4
"""What lies behind a step of up to five bytes, and in front of a `float` at the end, tells of most
events which tag they are about."""


class Skim:
    """Splits the ends of a file (a `record_tail.Split`)."""

    def __init__(self, careful: Split, *, whole_bytes: int, long_bytes: int) -> None:
        """Take records out of files.

        Args:
            careful: takes them out where anything is odd.
            whole_bytes: and all of them, out of a file up to this size.
            long_bytes: a longer record is odd.
        """
        self._careful, self._whole_bytes, self._long_bytes = careful, whole_bytes, long_bytes

    def __call__(self, data: bytes, offset: int, end: int) -> Frames:
        """Return of the records in `data` that are alike but for their values the last one."""
        found = self._newest(data, offset) if end > self._whole_bytes else None
        return self._careful(data, offset, end) if found is None else found

    def _newest(self, data: bytes, offset: int) -> Frames | None:
        """Return None where anything is odd."""
        frames, kinds = Frames(needed=HEADER_BYTES), dict[bytes, int]()
        length_in, long_bytes = KNOWN_LENGTHS.get, self._long_bytes
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            length = length_in(data[at : at + HEADER_BYTES])
            if length is None or length > long_bytes:
                return None
            behind = at + length + _AROUND
            if behind > size:
                frames.needed = behind - at
                break
            kinds[data[at + KIND_AT : behind - KIND_END]] = at
            at = behind
        first = () if offset else _first(data[:at])
        for place in sorted({*first, *kinds.values()}):
            payload = _payload(data, place)
            if not is_right(payload[:-FOOTER_BYTES], payload[-FOOTER_BYTES:]):
                return None
            frames.payloads.append(payload)
        frames.consumed, frames.unnumbered = at, len(first)
        return frames


def _first(data: bytes) -> tuple[int, ...]:
    """Return where the first records begin, in whole ones of known lengths."""
    places: list[int] = []
    at = 0
    while at < len(data) and len(places) < FIRST_KEPT:
        places.append(at)
        at += HEADER_BYTES + len(_payload(data, at))
    return tuple(places)


def _payload(data: bytes, place: int) -> bytes:
    begin = place + HEADER_BYTES
    return data[begin : begin + KNOWN_LENGTHS[data[place:begin]] + FOOTER_BYTES]
