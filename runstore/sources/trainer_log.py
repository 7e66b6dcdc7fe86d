"""The log of a training by transformers' Trainer, out of the newest of its states.

Each checkpoint has a `trainer_state.json` with the whole log so far, and there is one in the output
folder at the end. Checkpoints go while the training runs, and a state is not written in one go. So
the log is what the newest whole state has: how far it was read is kept as a place in the log, with
a checksum of what is before, and a later state is read on from there, or anew when what is before
is another log (the training was resumed from an earlier checkpoint, or begun anew).
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from runstore.files.cursor import READ_BYTES
from runstore.files.records import BadLine, JsonObject, RecordError, integer, number
from runstore.files.regular import why_unreadable
from runstore.sources.log_files import Batch, ForeignRow, merged_info
from runstore.sources.trainer_rows import BYTES_PER_VALUE, TrainerRows
from runstore.sources.trainer_state import TrainerState, open_state, parsed, step_in

STATE = "trainer_state.json"
CHECKPOINT = re.compile(r"checkpoint-(\d{1,18})")
GLANCE_WHOLE_BYTES = 32 << 10
GLANCE_LAST_BYTES = 16 << 10
GLANCE_EVALUATIONS_BYTES = 4 << 20
"""Up to so long a log is searched for evaluations, by which a glance judges the best epoch."""
PARAMS = (
    "max_steps",
    "num_train_epochs",
    "train_batch_size",
    "logging_steps",
    "eval_steps",
    "save_steps",
)
MOST_EPOCHS = 1 << 53
"""A data set without a length has `sys.maxsize` epochs."""

Signature = tuple[int, int, int]
"""Inode, size and time of change of a file."""
Take = Callable[[TrainerState, Batch], None]
ModelParams = Callable[[Path], JsonObject]


class _Saved(NamedTuple):
    """A state that is there; sorts by how far it has come."""

    step: float
    is_final: bool
    """It lies in the output folder, where it is written at the end."""
    path: Path


class TrainerLog:
    """The log of one output folder, or of one checkpoint (a `LogFile`)."""

    def __init__(
        self,
        directory: Path,
        model_params: ModelParams,
        *,
        whole_bytes: int = GLANCE_WHOLE_BYTES,
        last_bytes: int = GLANCE_LAST_BYTES,
    ) -> None:
        """Follow the states in a folder.

        Args:
            directory: the folder.
            model_params: reads what lies beside one of them.
            whole_bytes: a glance reads a log of so many bytes whole, …
            last_bytes: … and so much at the end of a longer one.
        """
        self._directory = directory
        self._whole_bytes, self._last_bytes = whole_bytes, last_bytes
        self._model_params: ModelParams | None = model_params
        name = Path(os.path.realpath(directory)).name
        self._is_checkpoint = CHECKPOINT.fullmatch(name) is not None
        self._known: tuple[Path, Signature] | None = None
        """The state that was read last."""
        self._unfit: dict[Path, tuple[Signature, BadLine]] = {}
        """States that are not whole, and why."""
        self._stepped: tuple[Signature, float] | None = None
        self._size = 0
        self._begin()

    def _begin(self) -> None:
        self._at = self._checksum = 0
        """How far the log was read, and the checksum of that much."""
        self._count = 0
        self._rows = TrainerRows()
        self._is_behind = True
        self._is_jumped = False
        self._epochs: float | None = None
        self._has_ended = False

    @property
    def size(self) -> int:
        """The bytes of its log, and its step.

        The step grows with the training also when nothing is logged.
        """
        return self._size

    def poll(self, budget: int = READ_BYTES) -> Batch:
        """Return what is new, about `budget` bytes of the log at most."""
        return self._look(lambda state, batch: self._go_on(state, budget, batch))

    def glance(self) -> Batch:
        """Return the newest entries, and the evaluations."""
        return self._look(self._glimpse)

    # ---- which state -----------------------------------------------------------------------------

    def _look(self, take: Take) -> Batch:
        """Have the newest state that is whole taken in, unless it was; tell of a newer half one."""
        batch = Batch()
        try:
            found = self._states()
        except OSError as error:
            return Batch(problem=why_unreadable(error), unread=True)
        for saved in found:
            try:
                unfit = self._take_in(saved, take, batch)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went, or did not come yet
            if unfit is None:
                break
            batch.torn = batch.torn or unfit
        if self._unfit:
            paths = {saved.path for saved in found}
            self._unfit = {path: why for path, why in self._unfit.items() if path in paths}
        return batch

    def _states(self) -> list[_Saved]:
        """Return the states that are there, the newest first: the one of the highest step."""
        names = os.listdir(self._directory)
        found = [
            _Saved(int(match[1]), False, self._directory / name / STATE)
            for name in names
            if (match := CHECKPOINT.fullmatch(name))
        ]
        if STATE in names:
            path = self._directory / STATE
            found.append(_Saved(self._step_in(path), not self._is_checkpoint, path))
        return sorted(found, reverse=True)

    def _step_in(self, path: Path) -> float:
        """Return the step of a state whose path does not tell it.

        Where its first bytes do not either, that it is the newest: it is being written.
        """
        try:
            signature = _signature(path)
        except OSError:
            return math.inf
        if self._stepped is None or self._stepped[0] != signature:
            found = step_in(path)
            self._stepped = signature, math.inf if found is None else found
        return self._stepped[1]

    def _take_in(self, saved: _Saved, take: Take, batch: Batch) -> BadLine | None:
        """Have a state taken in; return why that cannot be.

        Raises:
            FileNotFoundError, NotADirectoryError: it is not there.
        """
        signature: Signature = (0, 0, 0)
        try:
            signature = _signature(saved.path)
            known = self._unfit.get(saved.path)
            if known is not None and known[0] == signature:
                return known[1]
            if (saved.path, signature) != self._known or self._is_behind:
                self._open(saved, signature, take, batch)
            return None
        except (FileNotFoundError, NotADirectoryError):
            raise
        except (OSError, RecordError) as error:
            reason = why_unreadable(error) if isinstance(error, OSError) else str(error)
            name = str(saved.path.relative_to(self._directory))
            bad = BadLine(name, 0, signature[1], reason)
            self._unfit[saved.path] = signature, bad
            return bad

    def _open(self, saved: _Saved, signature: Signature, take: Take, batch: Batch) -> None:
        with open_state(saved.path) as state:
            if (saved.path, signature) != self._known:
                self._change_to(saved, state, batch)
                self._known = saved.path, signature
            take(state, batch)
            if not self._is_behind:
                self._tell(saved, state.facts, batch)

    def _change_to(self, saved: _Saved, state: TrainerState, batch: Batch) -> None:
        """Go on in another state, from where its log is the one that was read."""
        goes_on = self._at <= state.log_bytes and state.checksum(self._at) == self._checksum
        is_over = self._has_ended and not _ending(saved, state.facts)
        if not goes_on or self._is_jumped or is_over:
            self._begin()
            batch.rows.clear()
            batch.restarted = True
        self._size = state.log_bytes + (integer(state.facts, "global_step") or 0)
        self._is_behind = True

    # ---- what is in it ---------------------------------------------------------------------------

    def _go_on(self, state: TrainerState, budget: int, batch: Batch) -> None:
        piece = state.piece(self._at, budget)
        for entry in parsed(piece):
            self._count += 1
            batch.rows += self._rows.take(entry, self._count)
        self._at += len(piece)
        self._checksum = zlib.crc32(piece, self._checksum)
        batch.size_bytes += len(piece)
        self._is_behind = batch.more = self._at < state.log_bytes

    def _glimpse(self, state: TrainerState, batch: Batch) -> None:
        left = state.log_bytes - self._at
        start, last = state.last_piece(self._last_bytes)
        if left <= self._whole_bytes or not last:
            self._go_on(state, max(left, 1), batch)
            return
        is_searched = start <= GLANCE_EVALUATIONS_BYTES
        for entry in (*(state.evaluations(start) if is_searched else ()), *parsed(last)):
            batch.rows += self._rows.take(entry, 0)
        batch.size_bytes = len(last) + (start if is_searched else 0)
        self._is_behind, self._is_jumped = False, True

    def _tell(self, saved: _Saved, facts: JsonObject, batch: Batch) -> None:
        """Tell what a state says of the training as a whole."""
        if self._model_params is not None:
            batch.info["params"] = self._model_params(saved.path.parent)
            self._model_params = None
        batch.info = merged_info(batch.info, _info(facts))
        if rule := self._rows.best_rule(number(facts, "best_metric")):
            batch.info["best"] = rule
        epochs = number(facts, "num_train_epochs")
        if epochs is not None and epochs != self._epochs and 0 < epochs < MOST_EPOCHS:
            self._epochs = epochs
            batch.rows.append(_event({"event": "epoch_start", "epochs": math.ceil(epochs)}))
        reason = _ending(saved, facts)
        if reason and not self._has_ended:
            self._has_ended = True
            end: JsonObject = {"event": "end", "status": "finished", "reason": reason}
            step = integer(facts, "global_step")
            batch.rows.append(_event({**end, "step": step, "duration_s": self._rows.runtime_s}))


def _signature(path: Path) -> Signature:
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _event(event: JsonObject) -> ForeignRow:
    return ForeignRow("events", event, 1, len(event) * BYTES_PER_VALUE)


def _info(facts: JsonObject) -> JsonObject:
    """Return what `run.json` would say."""
    params: JsonObject = {
        name: facts[name]
        for name in PARAMS
        if type(facts.get(name)) in (int, float) and facts[name] < MOST_EPOCHS
    }
    trial, name = facts.get("trial_params"), facts.get("trial_name")
    if isinstance(trial, dict):
        params |= trial
    return {"params": params} | ({"name": name} if isinstance(name, str) and name else {})


def _ending(saved: _Saved, facts: JsonObject) -> str:
    """Return why the training is over; nothing where it need not be."""
    step, most = integer(facts, "global_step") or 0, integer(facts, "max_steps") or 0
    where = f"step {step:,}" + (f" of {most:,}" if most > 0 else "")
    if 0 < most <= step:
        return f"{STATE} says {where}"
    if saved.is_final:
        return f"{STATE} was written at the end, at {where}"
    return f"{STATE} says that it was to stop at {where}" if _is_to_stop(facts) else ""


def _is_to_stop(facts: JsonObject) -> bool:
    """Tell whether a callback, as that for early stopping, had asked the training to stop."""
    found: Any = facts
    for key in ("stateful_callbacks", "TrainerControl", "args"):
        found = found.get(key) if isinstance(found, dict) else None
    return isinstance(found, dict) and found.get("should_training_stop") is True
