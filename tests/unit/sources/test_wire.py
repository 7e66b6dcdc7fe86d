"""The wire format of protocol buffers, beside Google's own reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2

from runstore.files.records import RecordError
from runstore.sources import wire


@given(
    step=st.integers(-(2**63), 2**63 - 1),
    time=st.floats(allow_nan=False),
    version=st.text(max_size=300),
)
def test_fields_are_those_that_were_written(step: int, time: float, version: str) -> None:
    event = event_pb2.Event(step=step, wall_time=time, file_version=version)
    data = event.SerializeToString()
    found = {field.number: field for field in wire.fields(data)}
    assert wire.signed(found[2].value) == step if step else 2 not in found
    assert wire.floating(data, found[1]) == time if 1 in found else time == 0
    assert wire.text(data, found[3], 10_000) == version
    assert wire.text(data, found[3], 5).startswith(version[:1])


@given(st.binary(max_size=60))
def test_anything_else_is_refused_in_words(data: bytes) -> None:
    try:
        found = list(wire.fields(data))
    except RecordError as error:
        assert str(error).startswith("no protocol buffer: ")
    else:
        assert all(0 <= field.start <= field.end <= len(data) for field in found)


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\x08\x80", b"\x08" + b"\x80" * 20, b"\x09" + bytes(7), b"\x0a\x05abcd",
     b"\x0b", b"\x00\x01", b"\x0a" + b"\xff" * 9 + b"\x01"],
    ids=["no value", "half a number", "endless number", "half a double", "half a text",
         "a group", "field 0", "a length of 2**64"],
)  # fmt: skip
def test_message_that_is_cut_or_no_message_is_damaged(data: bytes) -> None:
    with pytest.raises(RecordError):
        list(wire.fields(data))


def test_message_in_a_message_ends_where_it_says() -> None:
    data = event_pb2.Event(session_log=event_pb2.SessionLog(status=1, msg="x")).SerializeToString()
    (log,) = (field for field in wire.fields(data) if field.number == 7)
    assert [field.number for field in wire.fields(data, log.start, log.end)] == [1, 3]
    with pytest.raises(RecordError):
        list(wire.fields(data, log.start, log.end - 1))
