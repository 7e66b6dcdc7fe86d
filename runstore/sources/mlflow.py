"""MLflow's file store: `mlruns/<experiment>/<run>/`, a file per metric, parameter and tag.

    metrics/train/loss      1795893289259 1.1084 1      Unix milliseconds, value, step; appended
    params/lr               0.1
    tags/mlflow.user        kim
    meta.yaml               name, status, times; replaced when the run ends

What was logged at one step lies in as many files as there are metrics, and is one row here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from runstore.files.cursor import READ_BYTES
from runstore.files.limits import METRICS_PER_RUN
from runstore.files.paths import Stream
from runstore.files.records import MAX_INT, BadLine, JsonObject, RecordError
from runstore.files.regular import first_bytes, opened_regular, why_unreadable
from runstore.metrics.ranking import rank_metrics
from runstore.sources.columns import canonical
from runstore.sources.file_tree import FileTree, Signature, signature_of
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import MLFLOW
from runstore.sources.joined import joined
from runstore.sources.layout import Opener
from runstore.sources.log_files import Batch, ForeignRow, LineFile
from runstore.sources.mlflow_run import META, RunFiles, name_in
from runstore.sources.reading import RowLine

NAME = MLFLOW.name
EVIDENCE = "no end in meta.yaml, no process on record"
METRICS = "metrics"
SYSTEM = "system/"
"""What begins the names of the metrics that MLflow samples of the machine."""
DATABASE, SQLITE = "mlflow.db", b"SQLite format 3\0"
UNREAD = (
    "mlflow.db is MLflow's SQLite store, which is not read; MLflow writes files with "
    "MLFLOW_TRACKING_URI=mlruns and MLFLOW_ALLOW_FILE_STORE=true"
)
GLANCED_METRICS = 64
"""A list of runs reads the last values of so many, those that people look at first."""
GLANCE_BYTES = 1024
"""Enough for a metric's last line, also with the name of a data set in it."""
OPENED_EACH = 16
"""At each so many looks a file is opened though it seems unchanged: a file server's client may
answer from its memory until then."""
JOINED_BYTES = 1 << 20
JOINED_BYTES_AT_LEAST = 1 << 10
"""What is read ahead of all metrics, and of each, while their rows are joined."""
MOST_MS = 1e14
META_BYTES = 256


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """A run has its document and one of these folders; a logged model has another document."""
    if "meta.yaml" not in names or not {METRICS, "params", "artifacts"} & set(names):
        return False
    begins = first_bytes(directory / META, META_BYTES)
    return b"artifact_uri:" in begins or not begins


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return MlflowReader(directory, patient=patient)


def recorded_name(directory: Path) -> str:
    """Return the name that people know the run by; nothing where it has none."""
    return name_in(directory / META)


def unread_store(directory: Path) -> str:
    """Say of a directory without runs that they lie in a database; nothing where none is there."""
    places = [directory, directory / ".."] if directory.name == "mlruns" else [directory]
    for place in places:
        if first_bytes(place / DATABASE, len(SQLITE)) == SQLITE:
            return UNREAD
    return ""


class MetricFile:
    """One metric (a `LogFile`)."""

    def __init__(
        self, path: str, name: str, key: str, patient: bool, *, is_glanced: bool = True
    ) -> None:
        """Follow `path`, which the user sees as `name`; the metric's name in rows is `key`."""
        self._path, self._name, self._key, self._patient = path, name, key, patient
        self._stream: Stream = "metrics"
        if key.startswith(SYSTEM):
            self._stream, self._key = "system", key.removeprefix(SYSTEM)
        self._is_glanced = is_glanced
        self._lines: LineFile | None = None
        self._step, self._is_stepped = -1, False
        """Of the last value; whether any value had another step than 0."""
        self.size = 0
        """Of the file in bytes, at the last look."""
        self._read_to: Signature | None = None
        """Of the file when it was read to its end, …"""
        self._glanced_at: Signature | None = None
        """… and when its last value was."""
        self._torn: BadLine | None = None
        self._looks = 0

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new; a file that did not change costs one call."""
        self._looks += 1
        before = _signature(self._path)
        if before is not None and before == self._read_to and self._looks % OPENED_EACH:
            return Batch(torn=self._torn)
        if self._lines is None:
            path = Path(self._path)
            self._lines = LineFile(path, self._name, self._translate, patient=self._patient)
        batch = self._lines.poll(budget)
        self._read_to = before if self._lines.reached_end else None
        self.size, self._torn = self._lines.size, batch.torn
        return batch

    def glance(self) -> Batch:
        """Return the last value."""
        seen = self._glanced_at
        if not self._is_glanced or (seen is not None and seen == _signature(self._path)):
            return Batch(torn=self._torn)
        try:
            batch = self._last_value()
        except FileNotFoundError:
            return Batch()
        except OSError as error:
            return Batch(problem=why_unreadable(error))
        self._torn = batch.torn
        return batch

    def _last_value(self) -> Batch:
        descriptor, status = opened_regular(self._path)
        try:
            start = max(0, status.st_size - GLANCE_BYTES)
            data = os.pread(descriptor, GLANCE_BYTES, start)
        finally:
            os.close(descriptor)
        self._glanced_at, self.size = signature_of(status), status.st_size
        batch, whole = Batch(), data.rfind(b"\n") + 1
        if whole < len(data):
            batch.torn = BadLine(self._name, 0, start + whole, "the last line is torn")
        before = data.rfind(b"\n", 0, max(0, whole - 1))
        if whole and (before >= 0 or start == 0):
            with suppress(RecordError):  # a look that reads all of the file tells where
                self._translate(data[before + 1 : whole - 1], 0, batch)
        return batch

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        if number == 1:
            self._step, self._is_stepped = -1, False
        time_s, value, step = _parsed(line)
        row: JsonObject = {}
        if self._stream == "metrics" and (step or number):
            row["step"] = self._placed(step)
        if time_s is not None:
            row["time"] = time_s
        if self._key == "epoch" and math.isfinite(value):
            row["epoch"] = math.ceil(value)
        else:
            row[_ROLES.get(self._key, self._key)] = value
        batch.rows.append(ForeignRow(self._stream, row, number, len(line)))

    def _placed(self, step: int) -> int:
        """Return a value's step. MLflow writes 0 where `log_metric` was given none.

        Such values are counted; behind others of the same metric one is where that stands.
        """
        if step:
            self._step, self._is_stepped = step, True
        elif not self._is_stepped:
            self._step += 1
        return self._step


_ROLES = {"step": "step_value", "epoch": "epoch_value", "time": "time_s"}
"""What metrics of reserved names are called, as in tables of rows (`columns`)."""


def _signature(path: str) -> Signature | None:
    try:
        return signature_of(os.lstat(path))
    except OSError:
        return None


def _parsed(line: bytes) -> tuple[float | None, float, int]:
    """Return time in seconds, value and step; what may follow, the name of a data set, is passed.

    Raises:
        RecordError: it is no such line.
    """
    parts = line.split()
    try:
        time_ms, value = int(parts[0]), float(parts[1])
        step = int(parts[2]) if len(parts) > 2 else 0
    except (ValueError, IndexError):
        raise RecordError("expected milliseconds, value and step") from None
    if abs(step) > MAX_INT:
        raise RecordError("the step is larger than 2**53")
    return (time_ms / 1000.0 if 0 < time_ms < MOST_MS else None), value, step


class _Layout:
    """The files of one run; keeps what was listed, and new ones behind those that were known."""

    NAME = NAME
    EVIDENCE = EVIDENCE
    IS_ONE_SERIES = False

    def __init__(self, directory: Path) -> None:
        self._metrics = FileTree(directory / METRICS, most=METRICS_PER_RUN)
        self._openers: dict[str, Opener] = {META: partial(RunFiles, directory)}

    @property
    def left_out(self) -> int:
        """How many metrics there are beyond those that are followed."""
        return self._metrics.left_out

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the run's document, with what belongs to it, and the files of its metrics."""
        directory.stat()
        if self._metrics.look():
            self._take(directory)
        if self._metrics.problem:
            raise OSError(self._metrics.problem)
        return self._openers

    def _take(self, directory: Path) -> None:
        folder, keys = str(directory / METRICS), _keys(self._metrics.names)
        glanced = _glanced(keys.values())
        openers: dict[str, Opener] = {META: self._openers[META]}
        for name, key in keys.items():
            shown, is_glanced = f"{METRICS}/{name}", key in glanced
            openers[shown] = self._openers.get(shown) or partial(
                MetricFile, f"{folder}/{name}", shown, key, is_glanced=is_glanced
            )
        self._openers = openers


def _glanced(keys: Iterable[str]) -> Collection[str]:
    own = [key for key in keys if not key.startswith(SYSTEM)]
    return own if len(own) <= GLANCED_METRICS else set(rank_metrics(own)[:GLANCED_METRICS])


def _keys(names: Iterable[str]) -> dict[str, str]:
    """Return what the files' metrics are called: `val/loss` for `val_loss`, where it is free."""
    there = set(names)
    return {name: name if (ours := canonical(name)) in there else ours for name in names}


class MlflowReader(ForeignReader):
    """Follows one run; joins what its metrics have at the same step."""

    def __init__(self, directory: Path, *, patient: bool = True) -> None:
        """Follow `directory`; see `Cursor` for `patient`."""
        self._found = _Layout(directory)
        super().__init__(directory, self._found, patient=patient)

    def _find_files(self) -> bool:
        changed = super()._find_files()
        if more := self._found.left_out:
            self.state.left_out["files"] = f"{more:,} more metrics are left out"
        return changed

    def _at_once(self, stream: Stream) -> int:
        return max(JOINED_BYTES_AT_LEAST, JOINED_BYTES // max(1, len(self._files)))

    def _line(self, file: str, number: int, row: JsonObject, superseded: bool) -> RowLine:
        # Written out once it is joined.
        return RowLine(file, number, b"", row, superseded)

    def _together(self, stream: Stream, tables: Sequence[Iterator[RowLine]]) -> Iterator[RowLine]:
        if stream == "metrics":
            return joined(tables, lambda row: row.get("step"))
        if stream == "system":
            return joined(tables, lambda row: row.get("time"))
        # Only the document, which is the first, tells of anything else.
        return joined(tables[:1], lambda row: None)
