"""What an entry of Trainer's log means: its metrics, by our names, and the epoch that it closes.

Names are those that Trainer gives its metrics in TensorBoard and W&B (`rewrite_logs` in
transformers/integrations/integration_utils.py), with `val/` for `eval/`: `loss` is `train/loss`,
`eval_loss` is `val/loss`. What is of no split keeps the name that Trainer prints; so does what it
says of the whole training at the end: `train_loss` there is a mean over all of it. An evaluation
behind that, at a step that was evaluated, is no point of the curve but of the model that is kept,
which may be an earlier one (`load_best_model_at_end`): its `eval_loss` is `final/loss`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from runstore.files.records import JsonObject, number
from runstore.sources.columns import SPLITS
from runstore.sources.epoch_rows import EVALUATED, EpochRows, final_name
from runstore.sources.log_files import ForeignRow

OF_NO_SPLIT = frozenset(
    ("learning_rate", "grad_norm", "total_flos", "num_input_tokens_seen", "num_tokens")
)
OF_WHOLE_TRAINING = "train_"
PREFIXES = {"eval_": EVALUATED, "test_": "test/"}
RUNTIME = "train_runtime"
"""Seconds that the training took; in the last entry."""
_SPEEDS = ("runtime", "_per_second", "_time")
BYTES_PER_VALUE = 32


def metric_name(name: str) -> str:
    """Return our name of a metric of Trainer."""
    if name in OF_NO_SPLIT or name.startswith(OF_WHOLE_TRAINING):
        return name
    for prefix, split in PREFIXES.items():
        if name.startswith(prefix) and name != prefix:
            return split + name.removeprefix(prefix)
    head, slash, _ = name.partition("/")
    return name if slash and head in SPLITS else f"train/{name}"


class TrainerRows:
    """Turns the entries of one log, in order, into rows."""

    def __init__(self) -> None:
        """Know of no entry."""
        self._epochs = EpochRows()
        self._names: dict[str, str] = {"step": "step", "epoch": "epoch"}
        self._evaluated: set[str] = set()
        """Our names of what evaluations have."""
        self._extremes: dict[str, tuple[float, float]] = {}
        """The lowest and highest value of each of them, …"""
        self._evaluated_at: dict[str, object] = {}
        """… and the step of the last."""
        self._is_over = False
        """The last entry that was no evaluation told of the whole training."""
        self.runtime_s: float | None = None

    def take(self, entry: JsonObject, place: int) -> Iterator[ForeignRow]:
        """Yield the rows of an entry, the `place`th of the log; 0 where that is unknown."""
        row = self._row(entry)
        if self._evaluated.isdisjoint(row):
            self._is_over = RUNTIME in entry
            self.runtime_s = number(entry, RUNTIME) or self.runtime_s
        else:
            row = self._evaluation(row)
        size = BYTES_PER_VALUE * len(row)
        yield ForeignRow("metrics", row, place, size)
        if (epoch := self._epochs.take(row)) is not None:
            yield ForeignRow("epochs", epoch, place, size)

    def _row(self, entry: JsonObject) -> JsonObject:
        row: JsonObject = {}
        names = self._names
        for name, value in entry.items():
            kind = type(value)
            if kind is not float and kind is not int:
                continue
            ours = names.get(name) or self._learn(name)
            if ours == "epoch":
                if kind is float and not math.isfinite(value):
                    continue
                # 0.5 is within the first one.
                value = math.ceil(value)
            row[ours] = value
        if type(row.get("step", 0)) is not int:
            del row["step"]
        return row

    def _learn(self, name: str) -> str:
        found = self._names[name] = metric_name(name)
        if found.startswith(EVALUATED):
            self._evaluated.add(found)
        return found

    def _evaluation(self, row: JsonObject) -> JsonObject:
        """Return the row of an evaluation, by other names where it is of the model that is kept."""
        step, known = row.get("step"), self._evaluated_at
        names = self._evaluated & row.keys()
        if self._is_over and any(name in known and known[name] == step for name in names):
            return {final_name(name): value for name, value in row.items()}
        for name in names:
            value = row[name]
            if value == value:
                low, high = self._extremes.get(name, (value, value))
                self._extremes[name] = min(low, value), max(high, value)
            known[name] = step
        return row

    def best_rule(self, best: float | None) -> str:
        """Return what makes an epoch the best one, as far as the best value tells; else nothing.

        A state says which value was the best, and not of which metric. It is the lowest or the
        highest of one; where that leaves a choice, as after a first evaluation, it is what
        Trainer takes by itself: the lowest of a loss, the highest of what is none.
        """
        found = []
        for name, (low, high) in self._extremes.items():
            usual = "min" if name.endswith("loss") else "max"
            if best not in (low, high) or name.endswith(_SPEEDS):
                continue
            direction = usual if low == high else "min" if best == low else "max"
            found.append((direction != usual, name, direction))
        _, name, direction = min(found, default=(True, "", ""))
        return f"{name}:{direction}" if name else ""
