"""Event files of TensorBoard for tests, by tensorboard's own classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

import runstore
from runstore.files.records import JsonObject
from runstore.sources.foreign import ForeignReader
from runstore.sources.tensorboard import open_run

NAME = "events.out.tfevents.1790000000.host.1.0"
BEGUN = 1.79e9

Event = Any
"""tensorboard publishes no types."""


def version() -> Event:
    return event_pb2.Event(wall_time=BEGUN, file_version="brain.Event:2")


def scalar(step: int, tag: str, value: float) -> Event:
    """As SummaryWriter of torch writes it."""
    return summary(step, summary_pb2.Summary.Value(tag=tag, simple_value=value))


def tensor(step: int, tag: str, value: Any, plugin: str | None = "scalars") -> Event:
    """As tf.summary writes it: a tensor, and the plugin that shows it."""
    found = summary_pb2.Summary.Value(tag=tag, tensor=make_tensor_proto(value))
    if plugin is not None:
        found.metadata.plugin_data.plugin_name = plugin
    return summary(step, found)


def summary(step: int, *values: Any) -> Event:
    return event_pb2.Event(
        wall_time=BEGUN + step, step=step, summary=summary_pb2.Summary(value=values)
    )


def image(step: int, size_bytes: int) -> Event:
    pixels = np.random.default_rng(step).bytes(size_bytes)
    found = summary_pb2.Summary.Image(height=1, width=1, encoded_image_string=pixels)
    return summary(step, summary_pb2.Summary.Value(tag="image", image=found))


def session_start(step: int) -> Event:
    log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    return event_pb2.Event(wall_time=BEGUN + step, step=step, session_log=log)


def write_events(path: Path, events: Iterable[Event], mode: str = "ab") -> Path:
    """Append events to a file, whose folder is made; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
    return path


def as_bytes(events: Iterable[Event], path: Path) -> bytes:
    """Return what these events are in a file; `path` is used for it."""
    return write_events(path, events, "wb").read_bytes()


def read(directory: Path, budget: int = 1 << 20, *, patient: bool = False) -> ForeignReader:
    return read_on(open_run(directory, patient=patient), budget)


def read_on(reader: ForeignReader, budget: int = 1 << 20) -> ForeignReader:
    reader.poll(budget)
    while reader.behind:
        reader.poll(budget)
    return reader


def rows(directory: Path) -> list[JsonObject]:
    return runstore.load(directory).metrics()


def without_time(found: list[JsonObject]) -> list[JsonObject]:
    return [{key: value for key, value in row.items() if key != "time"} for row in found]
