"""What W&B's records tell about a run as a whole, as facts like those of `run.json`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from runstore.files.limits import DOCUMENT_BYTES, DOCUMENT_CONTAINERS, TEXT_CHARS
from runstore.files.records import JsonObject, RecordError, decode_document
from runstore.metrics.values import as_json
from runstore.sources.log_files import Batch
from runstore.sources.wandb_items import MOST_PARTS, Keys, Value, items, parts
from runstore.sources.wire import Field, signed, text

UPDATE = 1
"""Field of `ConfigRecord`."""
_RUN_TEXTS = {
    1: "wandb_id",
    2: "entity",
    3: "project",
    6: "group",
    7: "job_type",
    8: "name",
    9: "notes",
    12: "sweep",
    13: "host",
}
"""Fields of `RunRecord`."""
_SHOWN_AS_TAGS = ("project", "group", "job_type", "sweep")
_CONFIG, _TAGS, _START_TIME, _RESUMED, _GIT, _RESUME = 4, 10, 17, 18, 21, 24
_ENVIRONMENT_TEXTS = {1: "platform", 2: "python", 6: "program", 12: "host", 13: "user"}
"""Fields of `EnvironmentRecord`."""
_ARGUMENTS, _ENVIRONMENT_GIT = 5, 9
_GIT_TEXTS = {1: "remote", 2: "commit"}
MOST_TAGS = 1000
MOST_ARGUMENTS = 10_000


class Params:
    """The configuration, nested as the script has it."""

    def __init__(self) -> None:
        """Know none."""
        self.values: JsonObject = {}
        self._sizes: Counter[str] = Counter()
        """How many bytes each had in the file."""
        self._size = 0

    def update(self, data: bytes, message: Field) -> None:
        """Take in what a `ConfigRecord` sets.

        Raises:
            RecordError: it is damaged, or there would be more than is kept.
        """
        for keys, value, _ in items(data, message, UPDATE):
            if keys[:1] in ((), ("_wandb",)):
                continue
            size = len(value) if isinstance(value, bytes) else 0
            before = self._sizes[keys[0]] if len(keys) == 1 else 0
            if self._size + size - before > DOCUMENT_BYTES or len(self._sizes) > MOST_PARTS:
                raise RecordError(f"parameters over {DOCUMENT_BYTES:,} bytes")
            self._size += size - before
            self._sizes[keys[0]] += size - before
            _put(self.values, keys, _parsed(value))


def run_facts(data: bytes, message: Field, params: Params) -> JsonObject:
    """Return what a `RunRecord` tells; `is_resumed` where it may go on with an earlier one.

    Its configuration goes into `params`.

    Raises:
        RecordError: it is damaged.
    """
    facts: JsonObject = {}
    tags: list[str] = []
    for field in parts(data, message):
        if field.number in _RUN_TEXTS:
            facts[_RUN_TEXTS[field.number]] = text(data, field, TEXT_CHARS)
        elif field.number == _TAGS and len(tags) < MOST_TAGS:
            tags.append(text(data, field, TEXT_CHARS))
        elif field.number == _CONFIG:
            params.update(data, field)
        elif field.number == _START_TIME:
            facts["created"] = timestamp(data, field)
        elif field.number == _GIT:
            facts["git"] = _texts(data, field, _GIT_TEXTS)
        elif field.number in (_RESUMED, _RESUME):
            facts["is_resumed"] = True
    told = [f"{key}={facts[key]}" for key in _SHOWN_AS_TAGS if facts.get(key)]
    return {**facts, "tags": [*tags, *told]}


def environment_facts(data: bytes, message: Field) -> JsonObject:
    """Return what an `EnvironmentRecord` tells; a run has several, each with a part of it.

    Raises:
        RecordError: it is damaged.
    """
    facts = _texts(data, message, _ENVIRONMENT_TEXTS)
    arguments: list[str] = []
    for field in parts(data, message):
        if field.number == _ARGUMENTS and len(arguments) < MOST_ARGUMENTS:
            arguments.append(text(data, field, TEXT_CHARS))
        elif field.number == _ENVIRONMENT_GIT:
            facts["git"] = _texts(data, field, _GIT_TEXTS)
    return _with_command(facts, facts.pop("program", None), arguments)


def metadata_facts(data: bytes, batch: Batch) -> None:
    """Add what `files/wandb-metadata.json` tells, which has the environment up to wandb 0.21.

    Raises:
        RecordError: it is no document.
    """
    found = decode_document(data, DOCUMENT_BYTES)
    names = {"os": "platform", "python": "python", "host": "host", "username": "user"}
    facts: JsonObject = {
        ours: found[theirs] for theirs, ours in names.items() if isinstance(found.get(theirs), str)
    }
    if isinstance(git := found.get("git"), dict):
        facts["git"] = {key: git[key] for key in ("remote", "commit") if key in git}
    arguments = found.get("args")
    known = [str(one) for one in arguments] if isinstance(arguments, list) else []
    batch.info = {**batch.info, **_with_command(facts, found.get("program"), known)}


def timestamp(data: bytes, message: Field) -> float:
    """Return a `Timestamp` of protocol buffers as Unix seconds.

    Raises:
        RecordError: it is damaged.
    """
    seconds = nanos = 0
    for field in parts(data, message):
        if field.number == 1:
            seconds = signed(field.value)
        elif field.number == 2:
            nanos = signed(field.value)
    return seconds + nanos / 1e9


def _texts(data: bytes, message: Field, names: dict[int, str]) -> JsonObject:
    return {
        names[field.number]: text(data, field, TEXT_CHARS)
        for field in parts(data, message)
        if field.number in names
    }


def _with_command(facts: JsonObject, program: object, arguments: list[str]) -> JsonObject:
    return {**facts, "command": [program, *arguments]} if isinstance(program, str) else facts


def _put(params: JsonObject, path: Keys, value: Any) -> None:
    for key in path[:-1]:
        inner = params.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = params[key] = {}
        params = inner
    params[path[-1]] = value


def _parsed(value: Value) -> Any:
    """Return a value of the configuration; NaN and infinities as texts, as in `run.json`."""
    if not isinstance(value, bytes):
        return value
    if value.count(b"[") + value.count(b"{") > DOCUMENT_CONTAINERS:
        return "<too many values>"
    try:
        return as_json(json.loads(value))
    except (ValueError, RecursionError):
        return value[:TEXT_CHARS].decode("utf-8", "replace")
