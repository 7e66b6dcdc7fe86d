"""What is in an event, beside what tensorboard's own classes put there."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.hparams import plugin_data_pb2, summary_v2

from runstore.files.records import RecordError
from runstore.sources.hparams import Session, read_session
from runstore.sources.tf_events import PEEK_BYTES, Event, can_skip, read_event
from tests import event_files


def read(event: Any) -> Event:
    data = event.SerializeToString()
    return read_event(data + b"\1\2\3\4", len(data))


@given(value=st.floats(width=32), step=st.integers(-(2**63), 2**63 - 1), tag=st.text(max_size=80))
def test_scalar_is_the_float32_that_was_written(value: float, step: int, tag: str) -> None:
    event = read(event_files.scalar(step, tag, value))
    (found,) = event.values
    assert (event.step, found.tag) == (step, tag)
    assert event.time == event_files.BEGUN + step
    assert found.number == value or (math.isnan(value) and math.isnan(found.number or 0))
    data = event_files.scalar(step, tag, value).SerializeToString()
    assert data[found.float_at : found.float_at + 4] == struct.pack("<f", value)


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16",
     "uint32", "uint64", "bool"],
)  # fmt: skip
def test_tensor_without_dimensions_is_a_scalar_of_any_type(dtype: str) -> None:
    for number in (0, 1, 100, -3):
        if number >= 0 or dtype[0] in "fi":
            value = np.array(number, dtype)
            (found,) = read(event_files.tensor(1, "x", value)).values
            assert (found.number, found.plugin) == (float(value), "scalars")


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"dtype": types_pb2.DT_BFLOAT16, "half_val": [0x4049]}, 3.140625),
        ({"dtype": types_pb2.DT_BFLOAT16, "tensor_content": b"\x49\x40"}, 3.140625),
        ({"dtype": types_pb2.DT_HALF, "half_val": [0x4248]}, 3.140625),
        ({"dtype": types_pb2.DT_FLOAT, "tensor_content": b"\0\0\xc0\x3f"}, 1.5),
        ({"dtype": types_pb2.DT_INT64, "int64_val": [-7]}, -7.0),
        ({"dtype": types_pb2.DT_INT32, "int_val": [-7]}, -7.0),
        ({"dtype": types_pb2.DT_FLOAT, "tensor_content": b"\0\0"}, None),
        ({"dtype": types_pb2.DT_STRING, "string_val": [b"text"]}, None),
        ({"dtype": types_pb2.DT_COMPLEX64, "tensor_content": bytes(8)}, None),
        ({"dtype": types_pb2.DT_FLOAT}, None),
    ],
)
def test_forms_of_a_number_in_a_tensor(fields: dict[str, Any], number: float | None) -> None:
    value = summary_pb2.Summary.Value(tag="x", tensor=tensor_pb2.TensorProto(**fields))
    event = read(event_files.summary(1, value))
    assert [found.number for found in event.values] == ([] if number is None else [number])


def test_tensor_with_dimensions_is_no_scalar() -> None:
    for value in ([1.0], [[1.0, 2.0]], np.zeros((0,), "float32")):
        assert read(event_files.tensor(1, "x", value, plugin=None)).values == []


def test_values_of_one_event_are_all_there_and_images_between_them_are_not() -> None:
    """TensorFlow 1 merges the summaries of a step."""
    picture = event_files.image(1, 100).summary.value[0]
    values = [summary_pb2.Summary.Value(tag=tag, simple_value=2.5) for tag in "ab"]
    event = read(event_files.summary(7, values[0], picture, values[1]))
    assert [(found.tag, found.number) for found in event.values] == [("a", 2.5), ("b", 2.5)]


def test_beginning_of_a_file_and_of_a_session_are_known() -> None:
    assert read(event_files.version()).opens
    started = read(event_files.session_start(6))
    assert (started.starts, started.step) == (True, 6)
    stopped = event_pb2.SessionLog(status=event_pb2.SessionLog.STOP)
    assert not read(event_pb2.Event(step=6, session_log=stopped)).starts


@given(st.binary(max_size=100))
def test_garbage_is_an_event_or_refused(data: bytes) -> None:
    with suppress(RecordError):
        read_event(data, len(data))


def test_long_events_without_scalars_are_skipped_by_their_beginning() -> None:
    graph = event_pb2.Event(wall_time=1.0, graph_def=bytes(100_000))
    scalar = summary_pb2.Summary.Value(tag="loss", simple_value=1.0)
    merged = event_files.summary(3, event_files.image(3, 100_000).summary.value[0], scalar)
    params = summary_v2.hparams_pb({"note": "x" * 100_000})
    told = {
        "graph": graph,
        "image": event_files.image(3, 100_000),
        "text": event_files.tensor(3, "text", ["word" * 30_000], "text"),
        "merged": merged,
        "params": event_files.summary(0, *params.value),
        "garbage": None,
    }
    skipped = set()
    for name, event in told.items():
        data = event.SerializeToString() if event is not None else b"\xff" * 100_000
        assert can_skip(data[: PEEK_BYTES - 1], 0, len(data)) is None
        if can_skip(data[:PEEK_BYTES], 0, len(data)):
            skipped.add(name)
    assert skipped == {"graph", "image", "text"}


def test_event_longer_than_anything_read_is_skipped_whatever_it_is() -> None:
    assert can_skip(b"", 0, 1 << 40)


# ---- hyperparameters -----------------------------------------------------------------------------


def content(value: Any) -> bytes:
    """What is meant for the plugin in a summary's value, through the event that it is in."""
    (found,) = read(event_files.summary(0, value)).values
    assert found.plugin == "hparams"
    return found.content


def test_parameters_are_those_that_keras_and_flax_write() -> None:
    params = {"lr": 0.1, "layers": 3, "name": "größe", "dropout": False, "big": 1e300}
    (value,) = summary_v2.hparams_pb(params).value
    assert read_session(content(value)) == Session(params=params)
    assert type(read_session(content(value)).params["layers"]) is int


def test_end_of_a_session_is_told_with_its_time() -> None:
    status = {0: "", 1: "finished", 2: "failed", 3: ""}
    for number, word in status.items():
        info = plugin_data_pb2.SessionEndInfo(status=number, end_time_secs=1.79e9)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
        assert read_session(data.SerializeToString()) == Session(status=word, ended=1.79e9)


def test_odd_parameters_are_kept_apart_from_the_rest() -> None:
    info = plugin_data_pb2.SessionStartInfo()
    info.hparams["list"].list_value.values.add().number_value = 1.0
    info.hparams["null"].null_value = 0
    info.hparams["nan"].number_value = math.nan
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info).SerializeToString()
    found = read_session(data).params
    assert math.isnan(found.pop("nan"))
    assert found == {"list": None, "null": None}
