"""What a glance takes of the ends of an event file: the newest event of each tag, and the first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runstore.files.record_tail import Frames, Several
from runstore.sources.skim import FIRST_KEPT, Skim
from runstore.sources.stretches import HEADER_BYTES, Stretch
from runstore.sources.tfrecord import RecordSplit
from tests.unit.sources.test_stretches import TAGS, record

SPLIT = RecordSplit(long_bytes=1 << 14, peek_bytes=1 << 10, skip=lambda *_: True)
SKIM = Skim(SPLIT, whole_bytes=0, long_bytes=1 << 14)

Logged = list[tuple[str, bytes]]
"""The tag of each event, and its bytes in a file."""

LOGS: st.SearchStrategy[Logged] = st.lists(
    st.tuples(st.integers(0, 1 << 35), st.sampled_from(TAGS), st.floats(width=32)), max_size=80
).map(lambda events: [(tag, record(step, tag, value)) for step, tag, value in events])


def payloads(frames: Frames) -> list[bytes]:
    found: list[bytes] = []
    for payload in frames.payloads:
        found += payload.payloads() if isinstance(payload, Stretch) else [payload]
        assert isinstance(payload, Stretch) or not isinstance(payload, Several)
    return found


@given(LOGS, st.integers(0, 60), st.booleans())
def test_newest_event_of_each_tag_is_there(logged: Logged, cut: int, is_beginning: bool) -> None:
    data = b"".join(event for _, event in logged)
    data = data[: len(data) - cut]
    offset = 0 if is_beginning else 1000
    whole = SPLIT(data, offset, offset + len(data) + cut)
    every, skimmed = payloads(whole), SKIM(data, offset, offset + len(data) + cut)
    found = payloads(skimmed)
    assert skimmed.consumed == whole.consumed
    left = iter(every)
    assert all(payload in left for payload in found)  # in order
    newest = {tag: event[HEADER_BYTES:] for tag, event in logged[: len(every)]}
    assert set(newest.values()) <= set(found)
    first = min(len(every), FIRST_KEPT) if is_beginning else 0
    assert found[:first] == every[:first]
    assert skimmed.unnumbered == first


def test_what_is_odd_is_left_to_the_careful_split() -> None:
    good = [record(step, "loss", 1.0) for step in range(100)]
    flipped = bytearray(good[50])
    flipped[4] ^= 1
    data = b"".join([*good[:50], flipped, *good[51:]])
    assert SKIM(data, 0, len(data)).damage == SPLIT(data, 0, len(data)).damage != ""
    assert payloads(SKIM(data, 0, len(data))) == payloads(SPLIT(data, 0, len(data)))


def test_short_file_is_taken_in_whole() -> None:
    data = b"".join(record(step, "loss", 1.0) for step in range(20))
    skim = Skim(SPLIT, whole_bytes=len(data), long_bytes=1 << 14)
    assert len(payloads(skim(data, 0, len(data)))) == 20
    assert skim(data, 0, len(data)).unnumbered is None
