"""The records of a `.wandb` file, as rows, events and facts of ours.

A file is a sequence of `Record` messages (`wandb/proto/wandb_internal_pb2.py` of wandb 0.31), each
with one message of a kind. What a script has printed, files, artifacts and telemetry are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from runstore.files.limits import METRICS_PER_RUN, TEXT_CHARS
from runstore.files.records import JsonObject, RecordError
from runstore.sources.log_files import Batch, ForeignRow
from runstore.sources.wandb_facts import Params, environment_facts, run_facts, timestamp
from runstore.sources.wandb_items import Numbers, parts
from runstore.sources.wandb_rows import Learnt, Rows
from runstore.sources.wire import BYTES, VARINT, Field, signed, text, varint

HISTORY, SUMMARY, CONFIG, STATS, ALERT, METRIC = 2, 3, 5, 7, 10, 12
RUN, EXIT, PREEMPTING, ENVIRONMENT = 17, 18, 23, 26
"""Fields of `Record`."""
READ = {HISTORY, SUMMARY, CONFIG, STATS, ALERT, METRIC, RUN, EXIT, PREEMPTING, ENVIRONMENT}
_BESIDE = frozenset((16, 19, 200))
"""Fields of `Record` beside the one message: for W&B's processes among each other."""
INTERRUPTED = 255
"""The exit code that W&B's hook notes for a `KeyboardInterrupt`."""
_NO_RECORD = "no record of W&B"

GIB, GIB_IN_MIB = 1 / 2**30, 1 / 2**10
_SYSTEM = {"proc.memory.rssMB": ("process/rss_gib", GIB_IN_MIB)}
_GPU = re.compile(r"gpu\.([0-9]{1,4})\.([A-Za-z]+)")
_OF_GPU = {
    "gpu": ("busy_percent", 1.0),
    "memory": ("memory_busy_percent", 1.0),
    "memoryAllocatedBytes": ("memory_used_gib", GIB),
    "powerWatts": ("power_w", 1.0),
    "temp": ("temperature_c", 1.0),
    "smClock": ("sm_clock_mhz", 1.0),
    "memoryClock": ("memory_clock_mhz", 1.0),
}
"""W&B's system metrics that are ours, with the factor; others keep their names."""


def kind_of(data: bytes) -> Field:
    """Return the message that a record has, its number telling the kind; 0 where there is none.

    Of a record's first chunk alone, the message ends behind the data, or is not there yet.

    Raises:
        RecordError: it is damaged.
    """
    at, end = 0, len(data)
    try:
        while at < end:
            # By hand: this is done for each of a million records, most of which are passed over.
            key, at = (data[at], at + 1) if data[at] < 128 else varint(data, at, end)
            if key & 7 == VARINT:
                while data[at] > 127:
                    at += 1
                at += 1
                continue
            if key & 7 != BYTES:
                raise RecordError(_NO_RECORD)
            size, at = (data[at], at + 1) if data[at] < 128 else varint(data, at, end)
            if key >> 3 not in _BESIDE:
                return Field(key >> 3, BYTES, 0, at, at + size)
            at += size
    except IndexError:
        raise RecordError(_NO_RECORD) from None
    return Field(0, BYTES, 0, 0, 0)


def is_read(first: bytes) -> bool:
    """Tell by its first chunk whether a record may be one of those that are read."""
    try:
        kind = kind_of(first).number
    except RecordError:
        kind = 0
    return kind == 0 or kind in READ


class Records:
    """Translates the records of one file, in order."""

    def __init__(self, learnt: Learnt, others: Callable[[str], Sequence[str]]) -> None:
        """Know nothing but what was learnt; `others` names other runs of an id."""
        self.rows = Rows(learnt)
        self._others = others
        self._numbers = Numbers()
        self._params = Params()
        self._info: JsonObject = {}
        self._system: dict[str, tuple[str, float]] = {}
        self._is_preempted = False
        self._readers = {
            HISTORY: self.rows.history,
            SUMMARY: self.rows.summary,
            CONFIG: self._config,
            STATS: self._stats,
            ALERT: self._alert,
            METRIC: self._metric,
            RUN: self._run,
            EXIT: self._exit,
            PREEMPTING: self._preempting,
            ENVIRONMENT: self._environment,
        }

    def translate(self, data: bytes, number: int, batch: Batch) -> None:
        """Add what a record means to a batch (`log_files.Translate`)."""
        message = kind_of(data)
        if message.end > len(data):
            raise RecordError(_NO_RECORD)
        read = self._readers.get(message.number)
        if read is not None:
            read(data, message, number, batch)

    def _metric(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        self.rows.define(data, message)

    def _config(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        self._params.update(data, message)
        self._tell({}, batch)

    def _run(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        facts = run_facts(data, message, self._params)
        is_resumed = facts.pop("is_resumed", False)
        is_first = "wandb_id" not in self._info
        self._tell(facts, batch)
        if not is_first:
            return
        opened = {"event": "open", "time": facts.get("created"), "host": facts.get("host")}
        self._event(opened, number, batch)
        others = self._others(str(facts.get("wandb_id"))) if is_resumed else ()
        if others:
            told = f"the same run of W&B, begun or resumed, is also in {', '.join(others)}"
            self._event({"event": "warning", "message": told}, number, batch)

    def _environment(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        self._tell(environment_facts(data, message), batch)

    def _tell(self, facts: JsonObject, batch: Batch) -> None:
        """Add all that is known of the run to a batch; readers copy it."""
        self._info.update(facts, params=self._params.values)
        batch.info = self._info

    def _stats(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        """Add a sample of the machine, as a row of `system`."""
        values = self._numbers.read(data, message, 3)
        time = next(
            (timestamp(data, f) for f in parts(data, message) if f.number == 2),
            None,
        )
        where = {"step": self.rows.step, "time": time}
        row: JsonObject = {key: value for key, value in where.items() if value is not None}
        for key, value in values.items():
            name, factor = self._system.get(key) or self._learn(key)
            row[name] = value * factor
        batch.rows.append(ForeignRow("system", row, number, message.end - message.start))

    def _learn(self, key: str) -> tuple[str, float]:
        name, factor = _SYSTEM.get(key, (key, 1.0))
        if (of_gpu := _GPU.fullmatch(key)) and of_gpu[2] in _OF_GPU:
            name, factor = _OF_GPU[of_gpu[2]]
            name = f"gpu{of_gpu[1]}/{name}"
        if len(self._system) < METRICS_PER_RUN:
            self._system[key] = name, factor
        return name, factor

    def _alert(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        found = {f.number: f for f in parts(data, message)}
        said = [text(data, found[part], TEXT_CHARS) for part in (1, 2) if part in found]
        self._event({"event": "warning", "message": ": ".join(said)}, number, batch)

    def _preempting(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        self._is_preempted = True

    def _exit(self, data: bytes, message: Field, number: int, batch: Batch) -> None:
        found = {f.number: f.value for f in parts(data, message)}
        code, runtime_s, is_not_complete = (signed(found.get(part, 0)) for part in (1, 2, 3))
        if is_not_complete:
            return
        created = self._info.get("created")
        times = [self.rows.time or 0.0, created + runtime_s if created else 0.0]
        event: JsonObject = {"event": "end", "time": max(times) or None, "duration_s": runtime_s}
        self._event({**event, **_ended(code, self._is_preempted)}, number, batch)

    def _event(self, event: JsonObject, number: int, batch: Batch) -> None:
        known = {key: value for key, value in event.items() if value is not None}
        timed = {"time": self.rows.time, **known} if self.rows.time else known
        batch.rows.append(ForeignRow("events", timed, number, 0))


def _ended(code: int, is_preempted: bool) -> JsonObject:
    if is_preempted:
        return {"status": "interrupted", "reason": f"preempted (exit code {code})"}
    if code == INTERRUPTED:
        return {"status": "interrupted", "reason": f"Ctrl-C (exit code {code})"}
    if code:
        return {"status": "failed", "reason": f"exit code {code}"}
    return {"status": "finished"}
