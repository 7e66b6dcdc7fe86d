"""Rows that any tool wrote, by the names that the field uses for step, epoch, time and split.

What is no metric is known by its name (`iter`, `num_updates`, `mode`), whatever its case; `--map`
names it where that fails. A split before a name with an underscore becomes ours, so that curves of
several tools meet: `val_loss`, `valid_loss` and `eval_loss` are `val/loss`. Names with a slash are
taken as they are.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from runstore.errors import ColumnMapError
from runstore.files.records import NONFINITE_KEY, RESERVED_KEYS, JsonObject, with_nonfinite

STEP_NAMES = (
    "step",
    "_step",
    "global_step",
    "trainer/global_step",
    "iteration",
    "iter",
    "iters",
    "n_iter",
    "num_updates",
    "num_steps",
    "optimizer_step",
    "train_step",
    "training_step",
    "total_steps",
    "time/total_timesteps",
    "total_timesteps",
    "timesteps_total",
    "num_env_steps_sampled",
    "training_iteration",
    "batch",
    "batch_idx",
)
"""In the order of preference: the first that a row has is its step, others are left out."""
OF_A_SPLIT = ("num_updates", "global_step")
"""These also behind the name of a split."""
EPOCH_NAMES = ("epoch", "_epoch", "current_epoch", "trainer/epoch", "epochs")
TIME_NAMES = ("time", "timestamp", "_timestamp", "wall_time", "walltime", "wall time", "datetime")
SPLIT_NAMES = ("split", "mode", "phase", "stage", "subset")
ROLES = ("step", "epoch", "time", "split")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "evaluation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What tools call a split, and what it is called here."""
BARE = ("lr", "learning_rate")
"""Not of a split, whatever row they are in."""
EARLIEST_S = 1e8
"""Smaller numbers are no moments (1973) but durations: detectron2 and MMEngine call the seconds of
an iteration `time`."""
MOST_DEEP = 3
SHAPES_KEPT = 100

MAP_VARIABLE = "RUNSTORE_MAP"

_chosen: dict[str, str] = {}
_met: set[str] = set()
"""The roles whose chosen columns some log has had."""


def parse_map(text: str) -> dict[str, str]:
    """Return what `--map step=iter,split=mode` says: a role to the name of its column.

    Raises:
        ColumnMapError: it names something else than step, epoch, time or split, no column, or two.
    """
    chosen: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not column:
            raise ColumnMapError(part)
        if role in chosen:
            raise ColumnMapError(part, chosen[role])
        chosen[role] = column
    return chosen


def choose(mapping: Mapping[str, str]) -> None:
    """Use these columns, in this process, for logs of rows that are read from now on."""
    _chosen.clear()
    _chosen.update(mapping)
    _met.clear()


def choose_default() -> None:
    """Use the columns that `$RUNSTORE_MAP` names.

    Raises:
        ColumnMapError: as `parse_map`.
    """
    choose(parse_map(os.environ.get(MAP_VARIABLE, "")))


def unmet() -> list[str]:
    """Return the columns that were chosen and that no log has had so far."""
    return [column for role, column in _chosen.items() if role not in _met]


def chosen(role: str) -> str:
    """Return the column that was chosen for a role; nothing where none was."""
    return _chosen.get(role, "")


def is_log_header(names: Iterable[str]) -> bool:
    """Tell whether a table with these columns is a log: it has a step or an epoch, and more."""
    known = {_plain(name) for name in names}
    wanted = {_plain(_chosen[role]) for role in ("step", "epoch") if role in _chosen}
    return len(known) > 1 and bool(known & ({*STEP_NAMES, *EPOCH_NAMES} | wanted))


def canonical(name: str) -> str:
    """Return `val/loss` for `val_loss` or `valid_loss`; other names as they are."""
    split, underscore, rest = name.partition("_")
    known = SPLITS.get(split.lower())
    return f"{known}/{rest}" if known and underscore and rest and "/" not in name else name


def split_in(file_name: str) -> str:
    """Return the split that a file's name says: `val` for `eval_metrics.jsonl`.

    Nothing where it says none, or several.
    """
    words = re.split("[-_.]", file_name.lower())[:-1]
    named = {SPLITS[word] for word in words if word in SPLITS}
    return named.pop() if len(named) == 1 else ""


class Columns:
    """Turns the records of one log into rows; remembers what it has learnt of their names."""

    def __init__(
        self, *, paired: Iterable[str] = (), aliases: Mapping[str, str] | None = None
    ) -> None:
        """Use the columns that were chosen for this process.

        `paired` names all columns, where they are known: a `loss` beside a `val_loss` is that of
        the training. Columns in `aliases` are taken as if they had the names there.
        """
        self._aliases = aliases or {}
        self._by_role = {role: _plain(column) for role, column in _chosen.items()}
        self.split = ""
        """The split that the last record named in a column."""
        self._rank = math.inf
        self._ours: dict[tuple[str, ...], bool] = {}
        """Of the columns of a record, whether all are named as ours."""
        self._names: dict[str, str] = {}
        """Name in the log to the metric's name, or to `=role`."""
        self._steps: dict[str, int] = {}
        """The rank of each column that may be the step, smaller is preferred."""
        names = {canonical(name.strip()) for name in paired}
        self._trained = {name for name in names if f"val/{name}" in names}

    def row(self, record: JsonObject) -> JsonObject:
        """Return a record as a row: `step`, `epoch`, `time`, and metrics as numbers.

        Texts that are numbers are taken as such; other texts, lists and truth values stay what they
        are, and are no metrics. Objects are flattened (`{"train": {"loss": 1}}` is `train/loss`).
        """
        if self._is_row(record):
            self.split = ""
            return record
        row: JsonObject = {}
        metrics: dict[str, Any] = {}
        self.split, self._rank = "", math.inf
        names = self._names
        for name, value in record.items():
            role = names.get(name) or self._learn(name)
            kind = type(value)
            if role[0] == "=" or kind is dict or kind is str:
                self._take(name, role, value, row, metrics)
            else:
                metrics[role] = value
        row.update(of_split(metrics, self.split) if self.split else metrics)
        return row

    def called(self, name: str) -> str:
        """Return the metric's name that a column has here, or what it is otherwise: `=step`."""
        return self._names.get(name) or self._learn(name)

    def _is_row(self, record: JsonObject) -> bool:
        """Tell whether a record is a row as it is; most logs are made of such."""
        names = tuple(record)
        if names not in self._ours:
            if len(self._ours) < SHAPES_KEPT:
                self._ours[names] = self._are_ours(names)
            return False
        if not self._ours[names]:
            return False
        for value in record.values():
            kind = type(value)
            if kind is not float and kind is not int and value is not None:
                return False
        time = record.get("time")
        return time is None or time >= EARLIEST_S

    def _are_ours(self, names: tuple[str, ...]) -> bool:
        roles = {name: self._names.get(name) or self._learn(name) for name in names}
        return all(
            role == (f"={name}" if name in RESERVED_KEYS else name) for name, role in roles.items()
        )

    def _take(
        self, name: str, role: str, value: Any, row: JsonObject, metrics: dict[str, Any]
    ) -> None:
        """Take in a value that is no plain metric."""
        if role == NAMELESS:
            return
        if name == NONFINITE_KEY:
            metrics[name] = value
        elif isinstance(value, dict):
            for key, inner in _flat(value, f"{name}/"):
                inner_role = self._names.get(key) or self._learn(key)
                self._take(key, inner_role, inner, row, metrics)
        elif role == "=step" and (step := _integer(value)) is not None:
            if self._steps[name] < self._rank:
                self._rank, row["step"] = self._steps[name], step
        elif role == "=epoch" and (epoch := _epoch(value)) is not None:
            row["epoch"] = epoch
        elif role == "=time" and (moment := _moment(value)) is not None:
            row["time"] = moment
        elif role == "=split" and isinstance(value, str):
            split = value.strip()
            self.split = SPLITS.get(split.lower(), split)
        elif value != "":
            found = _number(value)
            metrics[_metric_name(name, role)] = value if found is NO_NUMBER else found

    def _learn(self, name: str) -> str:
        called = self._aliases.get(name, name)
        plain = _plain(called)
        role = self._role(plain)
        if role == "step":
            self._steps[name] = STEP_NAMES.index(plain) if plain in STEP_NAMES else -1
        found = canonical(called.strip())
        if found in self._trained and "/" not in found:
            found = found if found in BARE else f"train/{found}"
        if found in RESERVED_KEYS:
            # Another column was chosen for that.
            found = f"{found}_value"
        self._names[name] = f"={role}" if role else found or NAMELESS
        return self._names[name]

    def _role(self, plain: str) -> str:
        for role, names in zip(
            ROLES, (STEP_NAMES, EPOCH_NAMES, TIME_NAMES, SPLIT_NAMES), strict=True
        ):
            chosen = self._by_role.get(role)
            if plain == chosen:
                _met.add(role)
            if plain == chosen or (chosen is None and plain in names):
                return role
        # fairseq: `train_num_updates`.
        is_step = "step" not in self._by_role and canonical(plain).partition("/")[2] in OF_A_SPLIT
        return "step" if is_step else ""


NO_NUMBER = object()
NAMELESS = "="
"""The role of a column without a name, such as the index of pandas: it is passed over."""


def _plain(name: str) -> str:
    return name.strip().lower()


def _metric_name(name: str, role: str) -> str:
    """Return a metric's name; one that only looked like a role must not take a reserved key."""
    if not role.startswith("="):
        return role
    stripped = name.strip()
    return f"{stripped}_s" if role == "=time" else f"{stripped}_value"


def _flat(inner: Mapping[str, Any], before: str, depth: int = 1) -> Iterable[tuple[str, Any]]:
    for key, value in inner.items():
        if not isinstance(value, dict):
            yield f"{before}{key}", value
        elif depth < MOST_DEEP:
            yield from _flat(value, f"{before}{key}/", depth + 1)


def of_split(values: JsonObject, split: str) -> JsonObject:
    """Return values, or a row, with the split in front of the names of metrics."""
    return {
        f"{split}/{name}" if _is_of_split(name, value) else name: value
        for name, value in with_nonfinite(values).items()
    }


def _is_of_split(name: str, value: object) -> bool:
    is_number = value is None or type(value) in (float, int)
    return is_number and "/" not in name and name not in BARE and name not in RESERVED_KEYS


def _number(value: Any) -> Any:
    """Return a number, None for a null, or NO_NUMBER."""
    if value is None or type(value) in (float, int):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            # Not `1_000`, which Python takes and no log means.
            return float(text) if text and "_" not in text else NO_NUMBER
        except ValueError:
            return NO_NUMBER
    return NO_NUMBER


def _integer(value: Any) -> int | None:
    if type(value) is int:
        return value
    found = _number(value)
    is_whole = isinstance(found, float) and found.is_integer() and abs(found) <= 2.0**63
    return int(found) if is_whole else None


def _epoch(value: Any) -> int | None:
    """Return an epoch; of a fraction, the epoch that was open: 0.5 is within the first one."""
    if type(value) is int:
        return value
    found = _number(value)
    return math.ceil(found) if isinstance(found, float) and abs(found) < 2.0**53 else None


def _moment(value: Any) -> float | None:
    """Return Unix seconds of a number of seconds or milliseconds, or of an ISO 8601 text."""
    found = _number(value)
    if isinstance(found, int | float):
        seconds = found / 1000.0 if abs(found) >= 1e11 else float(found)
        return seconds if EARLIEST_S <= seconds < 1e11 else None
    try:
        return datetime.fromisoformat(value.strip()).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
