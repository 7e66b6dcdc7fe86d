"""Rows of W&B's history and summary, as rows of ours."""

from __future__ import annotations

import dataclasses
import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

from runstore.files.limits import METRICS_PER_RUN, TEXT_CHARS
from runstore.files.paths import Stream
from runstore.files.records import RESERVED_KEYS, JsonObject, integer
from runstore.sources.columns import EPOCH_NAMES, OF_A_SPLIT, STEP_NAMES, canonical, chosen
from runstore.sources.counting import Counting
from runstore.sources.log_files import Batch, ForeignRow
from runstore.sources.wandb_items import Numbers, parts
from runstore.sources.wandb_steps import Steps
from runstore.sources.wire import Field, text

ITEM, UPDATE = 1, 1
"""Fields of `HistoryRecord` and `SummaryRecord`."""
STEP_METRIC = 4
"""Field of `MetricRecord`."""
CALL, TIME = "_step", "_timestamp"
"""The keys that each row of the history has."""
MAPPED, DEFINED = -2, -1
"""The ranks of keys that the user and the script have named as steps, before those of the field."""
COUNTS_KEPT = 32


@dataclass(slots=True)
class Learnt:
    """What only later rows have told of how a log counts; it is read once more with this."""

    is_by_calls: bool = False
    """What the training logs as its step is none."""
    has_many_rows_per_epoch: bool = False
    """A row with an epoch is not a whole epoch."""

    def forget(self) -> None:
        """Know nothing, because the file is another one."""
        self.is_by_calls = self.has_many_rows_per_epoch = False


class Rows:
    """Makes rows of one file's history, in order."""

    def __init__(self, learnt: Learnt) -> None:
        """Know nothing but what was learnt, and what the user has chosen for this process."""
        self.time: float | None = None
        """Of the last row."""
        self._learnt = learnt
        self._steps = Steps(is_by_calls=learnt.is_by_calls or chosen("step") == CALL)
        self._counting = Counting()
        self._counting.contradicted = learnt.has_many_rows_per_epoch
        self._numbers = Numbers()
        self._metrics: dict[str, str] = {}
        """Key to the metric's name; empty for what is no metric."""
        self._counts: list[tuple[int, str]] = []
        """The keys that count steps, each behind its rank."""
        self._summary: dict[str, float] = {}
        self._calls = -1
        if chosen("step"):
            self._add_count(MAPPED, chosen("step"))

    @property
    def step(self) -> int | None:
        """Where the last row lies."""
        return self._steps.step

    def has_learnt(self) -> bool:
        """Tell whether the log has to be read again, because it counts otherwise than thought."""
        learnt, before = self._learnt, dataclasses.astuple(self._learnt)
        learnt.is_by_calls |= self._steps.contradicted
        learnt.has_many_rows_per_epoch |= self._counting.contradicted
        return dataclasses.astuple(learnt) != before

    def define(self, data: bytes, message: Field) -> None:
        """Take in which key the script has named as the step of a metric."""
        for field in parts(data, message):
            if field.number == STEP_METRIC:
                name = text(data, field, TEXT_CHARS)
                if name[:1] != "_" and not _is_epoch(name):
                    self._add_count(DEFINED, name)

    def history(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        """Add a row of the history to a batch."""
        values = self._numbers.read(data, message, ITEM)
        metrics, epoch = self._split(values)
        call = integer(values, CALL)
        self._calls = self._calls + 1 if call is None else call
        self.time = values.get(TIME, self.time)
        if not metrics:
            return
        logged = self._logged(values)
        row: JsonObject = {"step": self._steps.of(metrics, logged, self._calls)}
        stream: Stream = "metrics"
        if epoch is not None:
            row["epoch"] = math.ceil(epoch)
            # With a fraction, rows lie within epochs.
            self._counting.contradicted |= not epoch.is_integer()
            if logged is None:
                # Values of training and validation may come in rows of their own.
                stream = self._counting.place({"epoch": row["epoch"]}, min(metrics))
        self._add(stream, row, metrics, number, message, batch)

    def summary(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        """Add a row of what the script itself has put into the summary.

        What W&B puts there is also in the history, or has a path of keys.
        """
        values = self._numbers.read(data, message, UPDATE, only_keys=True)
        known = self._summary
        fresh = {
            name: value
            for name, value in self._split(values)[0].items()
            if not self._steps.has(name) and known.get(name) != value
        }
        if not fresh:
            return
        if len(known) < METRICS_PER_RUN:
            known.update(fresh)
        row: JsonObject = {} if self.step is None else {"step": self.step}
        self._add("metrics", row, fresh, number, message, batch)

    def _add(
        self,
        stream: Stream,
        row: JsonObject,
        metrics: Mapping[str, float],
        number: int,
        message: Field,
        batch: Batch,
    ) -> None:
        if self.time is not None:
            row["time"] = self.time
        # W&B writes them in any order; rows that are alike are folded together.
        row.update(sorted(metrics.items()))
        batch.rows.append(ForeignRow(stream, row, number, message.end - message.start))

    def _logged(self, values: Mapping[str, float]) -> int | None:
        """Return the training's own count in a row; of several the one that is preferred."""
        for _, key in self._counts:
            if (count := integer(values, key)) is not None:
                return count
        return None

    def _split(self, values: Mapping[str, float]) -> tuple[dict[str, float], float | None]:
        """Return the metrics among some values, and the epoch."""
        metrics: dict[str, float] = {}
        epoch: float | None = None
        known = self._metrics
        for key, value in values.items():
            name = known.get(key)
            if name is None:
                name = self._learn(key)
            if name:
                metrics[name] = value
            elif key[:1] == "_":
                continue
            elif _is_epoch(key):
                epoch = value if abs(value) < 2.0**53 else epoch
            elif not value.is_integer():
                metrics[f"{key}_value" if key in RESERVED_KEYS else key] = value
        return metrics, epoch

    def _learn(self, key: str) -> str:
        """Return the name of a metric; nothing where it is a step, an epoch, or W&B's own."""
        plain = key.strip().lower()
        if plain in STEP_NAMES and plain != CALL:
            self._add_count(STEP_NAMES.index(plain), key)
        elif canonical(plain).partition("/")[2] in OF_A_SPLIT:
            self._add_count(len(STEP_NAMES), key)
        is_count = any(key == count for _, count in self._counts)
        name = "" if is_count or key[:1] == "_" or _is_epoch(key) else canonical(key.strip())
        if plain == "time":
            name = "time_s"
        if len(self._metrics) < METRICS_PER_RUN:
            self._metrics[key] = name
        return name

    def _add_count(self, rank: int, key: str) -> None:
        is_known = any(key == count for _, count in self._counts)
        if not is_known and len(self._counts) < COUNTS_KEPT:
            self._metrics[key] = ""
            insort(self._counts, (rank, key))


def _is_epoch(key: str) -> bool:
    """Tell whether a key counts epochs: `epoch`, `train/epoch`, Keras' `epoch/epoch`."""
    plain = key.strip().lower()
    return key == chosen("epoch") or plain in EPOCH_NAMES or plain.endswith("/epoch")
