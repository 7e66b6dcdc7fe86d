"""Hyperparameters: Lightning's document, and what TensorBoard's plugin of that name is told.

The plugin's messages are those of tensorboard/plugins/hparams/plugin_data.proto and api.proto, and
the values are google.protobuf.Value. They also tell how a session ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from runstore.files.limits import METRICS_PER_RUN, TEXT_CHARS, YAML_BYTES
from runstore.files.records import MAX_INT, JsonObject
from runstore.sources.log_files import Batch, DocumentFile
from runstore.sources.wire import BYTES, FIXED64, VARINT, Field, fields, floating, text

HPARAMS_FILE = "hparams.yaml"

_STATUS = {1: "finished", 2: "failed"}
"""`Status` of api.proto: success, failure; the others say that it goes on."""


def hparams_document(path: Path, patient: bool) -> DocumentFile:
    """Return what follows the `hparams.yaml` of a run; see `foreign.Opener`."""
    return DocumentFile(path, path.name, _take_document, YAML_BYTES)


def _take_document(data: bytes, batch: Batch) -> None:
    # PyYAML takes longer to import than a run to read.
    from runstore.sources.yaml_document import decode_yaml

    batch.info["params"] = decode_yaml(data)


@dataclass(slots=True)
class Session:
    """What one message of the plugin tells."""

    params: JsonObject = field(default_factory=dict)
    status: str = ""
    """How the session ended: `finished`, `failed`; nothing where that is not told."""
    ended: float = 0.0
    """When it ended, in Unix seconds; 0 where that is not told."""


def read_session(content: bytes) -> Session:
    """Return what `_hparams_/session_start_info` or `_hparams_/session_end_info` says.

    Raises:
        RecordError: it is no such message.
    """
    session = Session()
    for found in fields(content):
        if (found.number, found.kind) == (3, BYTES):
            _take_start(content, found, session)
        elif (found.number, found.kind) == (4, BYTES):
            _take_end(content, found, session)
    return session


def _take_start(content: bytes, info: Field, session: Session) -> None:
    inside = fields(content, info.start, info.end)
    entries = (f for f in inside if (f.number, f.kind) == (1, BYTES))
    for entry in islice(entries, METRICS_PER_RUN):
        name, value = "", None
        for found in fields(content, entry.start, entry.end):
            if (found.number, found.kind) == (1, BYTES):
                name = text(content, found, TEXT_CHARS)
            elif (found.number, found.kind) == (2, BYTES):
                value = _value(content, found)
        session.params[name] = value


def _value(content: bytes, place: Field) -> float | int | str | bool | None:
    """Return a number, text or truth value; None for a null, a list or an object."""
    for found in fields(content, place.start, place.end):
        match found.number, found.kind:
            case (2, 1):
                return _as_written(floating(content, found) or 0.0)
            case (3, 2):
                return text(content, found, TEXT_CHARS)
            case (4, 0):
                return bool(found.value)
    return None


def _as_written(value: float) -> float | int:
    """Every number is a double there: a whole one is taken for the integer that it mostly was."""
    return int(value) if value.is_integer() and abs(value) <= MAX_INT else value


def _take_end(content: bytes, info: Field, session: Session) -> None:
    for found in fields(content, info.start, info.end):
        if (found.number, found.kind) == (1, VARINT):
            session.status = _STATUS.get(found.value, "")
        elif (found.number, found.kind) == (2, FIXED64):
            session.ended = floating(content, found) or 0.0
