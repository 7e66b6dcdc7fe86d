"""What MLflow notes of a run besides its metrics: its document, parameters and tags."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from runstore.files.cursor import READ_BYTES
from runstore.files.limits import TEXT_CHARS, VALUE_FILES, YAML_BYTES
from runstore.files.paths import short_id
from runstore.files.records import MAX_INT, JsonObject, RecordError, number
from runstore.files.regular import opened_regular, read_regular
from runstore.sources.file_tree import FileTree, Signature, signature_of
from runstore.sources.log_files import Batch, DocumentFile, ForeignRow

META = "meta.yaml"
VALUE_BYTES = 32 << 10
"""Of a parameter or a tag. MLflow takes 6,000 and 8,000 characters."""
DOCUMENTS_KEPT = 1024
NUMBERED = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
STATUSES = {
    "RUNNING": ("", ""),
    "SCHEDULED": ("pending", "MLflow says SCHEDULED"),
    "FINISHED": ("finished", ""),
    "FAILED": ("failed", ""),
    "KILLED": ("interrupted", "MLflow says KILLED"),
}
"""Ours, with a reason; of a run without an end only its growth tells."""
DELETED = "deleted in MLflow"
OWN = "mlflow."
"""What begins the tags that MLflow sets itself."""
FACTS = {
    "mlflow.runName": "name",
    "mlflow.user": "user",
    "mlflow.note.content": "notes",
}
GIT_FACTS = {
    "mlflow.source.git.commit": "commit",
    "mlflow.source.git.branch": "branch",
    "mlflow.source.git.repoURL": "remote",
}
SCRIPT = "mlflow.source.name"
PARENT = "mlflow.parentRunId"
READ_OF_OWN = frozenset({*FACTS, *GIT_FACTS, SCRIPT, PARENT})
DEFAULT = "Default"
"""The experiment of runs that name none."""


class RunFiles:
    """Everything but the metrics, as one file of the log (a `LogFile`)."""

    size = 0
    """That a document changes is no sign that the run goes on."""

    def __init__(self, directory: Path, patient: bool) -> None:
        """Follow the run in `directory`; whether to be patient makes no difference."""
        self._directory = directory
        self._meta = DocumentFile(directory / META, META, self._take_meta, YAML_BYTES)
        self._params = ValueFiles(directory / "params")
        self._tags = ValueFiles(directory / "tags", own=READ_OF_OWN)
        self._is_deleted = False

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new; a damaged document leaves what the one before it said."""
        batch = self._meta.poll()
        if batch.problem is not None:
            return batch
        if not batch.rows:
            batch.restarted = False
        if self._params.look():
            batch.info["params"] = {key: typed(v) for key, v in self._params.values.items()}
        if self._tags.look() or batch.rows:
            batch.info = {**self._facts(), **batch.info}
        for values in (self._params, self._tags):
            if values.problem:
                warning = {"event": "warning", "message": values.problem}
                batch.rows.append(ForeignRow("events", warning, 0, 0))
        return batch

    def glance(self) -> Batch:
        """Return the same: all of it is small."""
        return self.poll()

    def _take_meta(self, data: bytes, batch: Batch) -> None:
        # PyYAML is imported when the first run of MLflow is read.
        from runstore.sources.yaml_document import decode_yaml

        meta = decode_yaml(data)
        word, reason = _status(meta)
        self._is_deleted = meta.get("lifecycle_stage") == "deleted"
        if self._is_deleted:
            word, reason = word or "interrupted", DELETED
        started, ended = _seconds(meta, "start_time"), _seconds(meta, "end_time")
        batch.info.update(_named(meta), **({} if started is None else {"created": started}))
        self._add_event(batch, {"event": "open", "time": started})
        if word:
            end = {"event": "end", "status": word, "reason": reason, "time": ended}
            self._add_event(batch, end)

    def _add_event(self, batch: Batch, event: JsonObject) -> None:
        kept = {key: value for key, value in event.items() if value is not None}
        batch.rows.append(ForeignRow("events", kept, 0, 0))

    def _facts(self) -> JsonObject:
        """Return what the tags tell, as `run.json` would."""
        tags = self._tags.values
        facts: JsonObject = {ours: tags[own] for own, ours in FACTS.items() if tags.get(own)}
        git = {ours: tags[own] for own, ours in GIT_FACTS.items() if tags.get(own)}
        if git:
            facts["git"] = git
        if tags.get(SCRIPT):
            facts["command"] = [tags[SCRIPT]]
        return {**facts, "tags": self._shown_tags(tags)}

    def _shown_tags(self, tags: Mapping[str, str]) -> list[str]:
        experiment = name_in(self._directory / ".." / META)
        told = {"experiment": experiment if experiment != DEFAULT else ""}
        if parent := tags.get(PARENT, ""):
            document = self._directory / ".." / Path(parent).name / META
            told["parent"] = name_in(document) or short_id(parent)[:TEXT_CHARS]
        shown = [f"{key}={value}" for key, value in told.items() if value]
        if self._is_deleted:
            shown.append("deleted")
        for key in sorted(key for key in tags if not key.startswith(OWN)):
            shown.append(f"{key}={tags[key]}"[:TEXT_CHARS] if tags[key] else key)
        return shown


class ValueFiles:
    """A folder in which each file is a value."""

    def __init__(self, folder: Path, *, own: frozenset[str] | None = None) -> None:
        """Follow `folder`; of MLflow's own names, which begin with `mlflow.`, read only `own`."""
        self.values: dict[str, str] = {}
        self.problem = ""
        """What is not read, in words, when that is news."""
        self._folder, self._name, self._own = str(folder), folder.name, own
        self._tree = FileTree(folder, most=VALUE_FILES)
        self._seen: dict[str, Signature] = {}
        self._told = ""

    def look(self) -> bool:
        """Read what came or changed; tell whether anything did."""
        changed = self._tree.look()
        names = [name for name in self._tree.names if self._is_read(name)]
        if changed:
            self.values = {name: self.values[name] for name in names if name in self.values}
        for name in names:
            changed |= self._read(name)
        self.problem = problem = self._left_out() if self._left_out() != self._told else ""
        self._told = problem or self._told
        return changed

    def _is_read(self, name: str) -> bool:
        return self._own is None or not name.startswith(OWN) or name in self._own

    def _read(self, name: str) -> bool:
        path, seen = f"{self._folder}/{name}", self._seen.get(name)
        try:
            if seen is not None and signature_of(os.lstat(path)) == seen:
                return False
            descriptor, status = opened_regular(path)
        except OSError:
            return False
        try:
            value = os.pread(descriptor, VALUE_BYTES, 0).decode("utf-8", "replace")
        except OSError:
            return False
        finally:
            os.close(descriptor)
        is_news = self.values.get(name) != value
        self._seen[name], self.values[name] = signature_of(status), value
        return is_news

    def _left_out(self) -> str:
        if self._tree.problem:
            return self._tree.problem
        more = self._tree.left_out
        return f"{more:,} more {self._name} are left out" if more else ""


def typed(text: str) -> Any:
    """Return what a parameter was before MLflow made a text of it, where that is beyond doubt.

    `0.1` is a number; `007` and `1e-5` are what somebody wrote as text.
    """
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and math.isfinite(value):
            # JSON has no longer integers that every reader keeps.
            return value if kind is float or abs(value) <= MAX_INT else text
    return text


def name_in(document: Path) -> str:
    """Return the name in a document of a run or an experiment; nothing where it has none."""
    try:
        status = os.lstat(document)
    except OSError:
        return ""
    return _name_in(str(document), signature_of(status))


@lru_cache(DOCUMENTS_KEPT)
def _name_in(document: str, signature: Signature) -> str:
    """`signature` makes it another call when the document has changed."""
    from runstore.sources.yaml_document import decode_yaml

    try:
        meta = decode_yaml(read_regular(Path(document), YAML_BYTES))
    except (OSError, RecordError):
        return ""
    name = meta.get("run_name") or meta.get("name")
    return name[:TEXT_CHARS] if isinstance(name, str) else ""


def _status(meta: JsonObject) -> tuple[str, str]:
    """Return a status of ours, or nothing for a run that has not ended, and the reason.

    Raises:
        RecordError: there is none, as in half a document.
    """
    status = meta.get("status")
    found = STATUSES.get(NUMBERED.get(status, "") if type(status) is int else str(status))
    if found is None:
        raise RecordError("no status that MLflow has")
    return found


def _named(meta: JsonObject) -> JsonObject:
    facts = {"id": meta.get("run_id"), "name": meta.get("run_name")}
    return {key: value for key, value in facts.items() if value and isinstance(value, str)}


def _seconds(meta: JsonObject, key: str) -> float | None:
    milliseconds = number(meta, key)
    return milliseconds / 1000.0 if milliseconds and 0 < milliseconds < 1e14 else None
