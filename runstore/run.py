"""A run as training code sees it: log, track, and the loops around the user's own batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex, TypeVar

import orjson

from runstore import exits
from runstore.console import say
from runstore.errors import BadValueError
from runstore.paths import Stream
from runstore.records import (
    MAX_INT,
    RESERVED_KEYS,
    RecordError,
    encode,
    split_nonfinite,
)
from runstore.stages import Stages
from runstore.state import Best
from runstore.values import as_float, as_index, is_late, shown_as_text
from runstore.writer import RunWriter

Batch = TypeVar("Batch")
Number = Any
"""A Python or numpy scalar, or a 0-d array or tensor."""

_log = logging.getLogger("runstore")
_dumps = orjson.dumps
_monotonic = time.monotonic
_LINE = orjson.OPT_APPEND_NEWLINE
MANY_VALUES = 1000
"""A row with so many values has its length checked; shorter ones cannot be too long."""
MOST_NAME_CHARS = 500
FINISH_WAIT_S = 60.0
"""How long `finish` waits for values that are still on an accelerator."""


class Run:
    """One attempt of one run, open for logging.

    Made by `runstore.init` or `RunManager.begin_run`. After it is made, no call raises for a
    fault of the disk or a bad value; only `strict=True` and a wrong order of stage calls raise.
    """

    def __init__(
        self,
        path: Path,
        params: dict[str, Any],
        *,
        attempt: int = 1,
        log_every: int = 1,
        strict: bool = False,
        best: str = "val/loss:min",
        opening: Mapping[str, Any] | None = None,
    ) -> None:
        """Claim `attempt` of the run directory `path`; see `runstore.init` for the rest."""
        if log_every < 1:
            raise ValueError(f"log_every is {log_every}, expected 1 or more")
        self.path = path
        """The run's directory."""
        self.id = path.name
        """The run's id, which is its directory's name."""
        self.params = params
        """The hyperparameters; with a launcher, what the launcher gave."""
        self.attempt = attempt
        """How many times this run was started, from 1."""
        self.log_every = log_every
        self.strict = strict
        self.step = 0
        """Optimizer steps so far; in a plain loop each tracked train batch is one."""
        # One reading of the wall clock per attempt: a clock set back must not reorder the rows.
        self._clock_offset = time.time() - time.monotonic()
        self._known: set[str] = set()
        self._complained: set[str] = set()
        self.dropped_values = 0
        """Values that were no numbers and were not logged."""
        self._steps_are_tracked = False
        self.epoch: int | None = None
        """The open epoch, from 1; after the epochs, the last one; None before the first."""
        self._stages = Stages(self, best)
        self._ended = False
        self._why_ended = "the run has ended"
        # Re-entrant: SIGTERM may come while the main thread is inside.
        self._end_lock = threading.RLock()
        self._active = self.now()
        self._longest_gap_s = 0.0
        self._writer = RunWriter(
            path, attempt, opening=opening, progress=self._progress, clock=self.now
        )
        self._late = self._writer.late
        self._late.on_change = self._divert
        self._divert(False)
        exits.watch(self)

    # ---- level 1: logging ------------------------------------------------------------------------

    def log(self, values: Mapping[str, Number], step: int | None = None) -> None:
        """Write one metrics row: `run.log({"train/loss": loss, "lr": lr}, step=step)`.

        The row is in the kernel when this returns (on a local file system), so a killed process
        loses none. Tensors on a GPU are not waited for: their row, and those behind it, are written
        when the values have come. Values become floats; NaN and infinities are kept. What is no
        number is left out with one warning per key. An integer `epoch` or `step` among the values
        fills that reserved key.

        Args:
            values: metric names (`split/name` or bare, as in `lr`) and their values.
            step: the optimizer step; default `run.step`.

        Raises:
            BadValueError: a value is no number, and the run is strict.
        """
        if self._ended:
            self._complain("log after the end", f"{self._why_ended}; this row is not written")
            return
        try:
            pairs = values.items()
        except Exception:  # noqa: BLE001  # whatever was given instead of a dict
            self.complain(
                "log", f"log({shown_as_text(values)}): expected a dict of names and numbers"
            )
            return
        now = _monotonic() + self._clock_offset
        if now - self._active > self._longest_gap_s:
            self._longest_gap_s = now - self._active
        self._active = now
        if step is None:
            step = self.step
        elif type(step) is not int or self._steps_are_tracked or not -MAX_INT <= step <= MAX_INT:
            step = self._step_of(step)
        else:
            self.step = step
        epoch = self.epoch
        row: dict[str, Any]
        if epoch is None:
            row = {"step": step, "time": now}
        else:
            row = {"step": step, "epoch": epoch, "time": now}
        known = self._known
        plain, total = True, 0.0
        for key, value in pairs:
            # The common case without a call: a known name and a Python float.
            if type(value) is float and key in known:
                row[key] = value
                total += value
            else:
                plain = self._add_value(row, key, value) and plain
        # The sum is finite when every value is; one look instead of one a value.
        if plain and total - total == 0.0 and len(row) < MANY_VALUES:
            self._append_metrics(_dumps(row, option=_LINE))
        else:
            self._append_carefully(row)
        if epoch is not None:
            self._note_logged(row)

    def _step_of(self, step: object) -> int:
        index = self._index("step", step)
        if index is None:
            return self.step
        if not self._steps_are_tracked:
            self.step = index
        return index

    def _append_carefully(self, row: dict[str, Any]) -> None:
        """Append a row with names that need escaping, or values that are not finite, or not here.

        Such values are still tensors in `row`; they become floats in their turn.
        """
        late: dict[str, Any] = {}
        for key, value in row.items():
            kind = type(value)
            if kind is not float and kind is not int:
                late[key] = value
        if late:
            self.when_known(late, partial(self._append_known, row))
        else:
            self._append_metrics(self._encode_carefully(row, self._complain))

    def _append_known(self, row: dict[str, Any], known: Mapping[str, float] | None) -> None:
        """Append a row whose late values are there, in whatever thread that is seen."""
        if known is None:
            return
        row |= known
        line = self._encode_carefully(row, self._writer.note_problem)
        self._writer.metrics.append(line)

    def _encode_carefully(
        self, row: dict[str, Any], complain: Callable[[str, str], object]
    ) -> bytes:
        total = 0.0
        for value in row.values():
            total += value
        if total - total != 0.0:  # finite when every value is
            row |= split_nonfinite({k: v for k, v in row.items() if type(v) is float})
        try:
            return encode(row)
        except RecordError as error:
            complain("row", f"a row cannot be written: {error}")
            return encode({key: row[key] for key in RESERVED_KEYS if key in row})

    def when_known(
        self, values: Mapping[str, Any], take: Callable[[Mapping[str, float] | None], object]
    ) -> None:
        """Call `take` with `values` as floats when those on an accelerator have come.

        Nothing waits for them here. Rows that are written later wait behind; `take` is told None
        when the values were lost, and may be called in the writer's thread.
        """
        late = {key: value for key, value in values.items() if is_late(value)}
        here = {key: value for key, value in values.items() if key not in late}
        try:
            from runstore.train.host_copy import HostCopy

            copy = HostCopy(list(late.values())) if late else None
        except Exception as error:  # noqa: BLE001  # whatever torch says, of earlier faults too
            self.dropped_values += len(late)
            self._complain("late", f"{', '.join(late)}: the values cannot be read ({error})")
            self._late.do(partial(take, here or None))
            return
        if copy is None:
            self._late.do(partial(take, here))
        else:
            self._late.put(copy, partial(self._take_late, take, here, tuple(late)))

    def _take_late(
        self,
        take: Callable[[Mapping[str, float] | None], object],
        here: Mapping[str, float],
        names: tuple[str, ...],
        values: list[float] | None,
    ) -> None:
        if values is None:
            self.dropped_values += len(names)
            take(None)
        else:
            take({**here, **dict(zip(names, values, strict=True))})

    def _divert(self, waiting: bool) -> None:
        """Have rows wait behind those whose values are on their way, or no longer.

        By exchanging two functions, so that `log` need not ask in each row.
        """
        if waiting:
            self._append_metrics, self._note_logged = self._append_behind, self._note_behind
        else:
            self._append_metrics = self._writer.metrics.append
            self._note_logged = self._stages.note_logged

    def _append_behind(self, line: bytes) -> None:
        self._late.do(partial(self._writer.metrics.append, line))

    def _note_behind(self, row: Mapping[str, Any]) -> None:
        noted = self._stages.noted_epoch()
        if noted is not None:
            self._late.do(partial(noted.note, row))

    def settle_rows(self) -> None:
        """Wait until every row is written whose values are still on an accelerator."""
        self._late.settle()

    def _add_value(self, row: dict[str, Any], key: object, value: Number) -> bool:
        """Put a value into a row, whatever it is; the careful half of `log`.

        Return whether it can be written as it is: a finite value by a name of plain characters.
        """
        try:
            name = self._name(key)
            if name in RESERVED_KEYS:
                self._set_reserved(row, name, value)
                return True
            late = is_late(value)
            number = value if late else as_float(name, value)
        except BadValueError as error:
            self.dropped_values += 1
            if self.strict:
                raise
            self._complain(str(key), f"{error}; it is left out")
            return True
        plain = name.isascii() and name.isprintable() and len(name) <= MOST_NAME_CHARS
        if plain:
            self._known.add(name)
        row[name] = number
        return plain and not late and number - number == 0.0

    def _name(self, key: object) -> str:
        name = key if isinstance(key, str) else str(key)
        if not name or name.startswith("_") or name == "time":
            raise BadValueError(
                f"{name!r} is reserved, no name for a metric; use split/name, as in train/loss"
            )
        return name

    def _set_reserved(self, row: dict[str, Any], name: str, value: object) -> None:
        index = as_index(name, value)
        row[name] = self._step_of(index) if name == "step" else index

    def _index(self, key: str, value: object) -> int | None:
        try:
            return as_index(key, value)
        except BadValueError as error:
            if self.strict:
                raise
            self._complain(key, f"{error}; run.step is used")
            return None

    def _complain(self, key: str, message: str) -> None:
        """Warn once per key: on stderr, and in the events."""
        if key in self._complained:
            return
        self._complained.add(key)
        _log.warning("runstore: %s (%s)", message, self.id)
        if not self._ended:
            self._writer.event("warning", {"message": message, "step": self.step})

    # ---- level 2: stages -------------------------------------------------------------------------

    def epochs(self, n: SupportsIndex) -> Iterator[int]:
        """Yield the epochs 1 to `n`, and write one epoch row behind each.

        A second call goes on counting: `n` further epochs. A `break` ends the epoch like its normal
        end; an exception leaves it open.
        """
        return self._stages.epochs(n)

    def train(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `train`: progress, rate, ETA, durations."""
        return self._stages.split("train", loader)

    def val(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `val`: inside, after or without epochs.

        It may also come inside of a loop over `train`, every so many steps; the epoch's row then
        has the last one.
        """
        return self._stages.split("val", loader)

    def test(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `test`, inside or after the epochs."""
        return self._stages.split("test", loader)

    def track(self, *, n: Number | None = None, **values: Number) -> None:
        """Track a batch of the open split: `run.track(loss=loss, accuracy=acc, n=len(y))`.

        Adds to the split's sample-weighted means (`train/loss`, …). In a train split the batch is
        one step, and every `log_every` steps the values become a metrics row. Tensors on a GPU are
        summed there and not waited for.

        Args:
            n: how many samples the values are the mean of. Without it every batch weighs the same,
                and there are no samples per second.
            values: the batch means, by metric name without the split.

        Raises:
            StageError: no split is open.
        """
        self._stages.track(values, n)

    def track_classification(
        self,
        predictions: Any,
        targets: Any,
        *,
        target_names: Iterable[str] | None = None,
        labels: Iterable[int] | None = None,
        zero_division: float = 0,
    ) -> None:
        """Count a batch of classifications; the split's end writes a report row.

        Args:
            predictions: scores or logits, float [n, k], or predicted classes, integer [n].
            targets: true classes, integer [n]; -100 marks a sample to leave out, as in PyTorch.
            target_names: the classes' names, k of them, as in scikit-learn.
            labels: the classes to report on, as in scikit-learn; default all.
            zero_division: 0, 1 or NaN: the score of a class where there is nothing to divide by,
                as in scikit-learn.

        Raises:
            StageError: no split is open.
            BadValueError: shapes or labels do not fit, and the run is strict.
        """
        self._stages.track_classification(predictions, targets, target_names, labels, zero_division)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions; the split's end has their `mse`, `mae` and `r2`.

        Args:
            predictions: any shape; each element is a sample.
            targets: as many elements.

        Raises:
            StageError: no split is open.
            BadValueError: the numbers of elements differ, and the run is strict.
        """
        self._stages.track_regression(predictions, targets)

    def begin_epoch(self, epochs: SupportsIndex | None = None) -> int:
        """Open the next epoch and return its number; `epochs` is how many there will be."""
        return self._stages.begin_epoch(epochs)

    def begin_split(
        self,
        split: str,
        *,
        batches: SupportsIndex | None = None,
        samples: SupportsIndex | None = None,
    ) -> None:
        """Open a split (`train`, `val`, `test`, or any name), with its size when known.

        Any other than `train` may be opened inside of an open `train`.
        """
        self._stages.begin_split(split, batches, samples)

    def end_split(self) -> dict[str, float]:
        """Close the open split and return its means."""
        return self._stages.end_split()

    def end_epoch(self) -> dict[str, Any]:
        """Close the open epoch, write its row, and return it."""
        return self._stages.end_epoch()

    # ---- what the stages write through -----------------------------------------------------------

    def write_event(self, event: str, **fields: Any) -> None:
        """Write a lifecycle event."""
        self._writer.event(event, fields)

    def write_row(
        self, stream: Stream, values: Mapping[str, Number], **fields: Any
    ) -> dict[str, Any]:
        """Write one row of a stream, stamped with step, epoch and time, and return it.

        A metrics row may have tensors on an accelerator: nothing waits for them, and the row has
        their values when it is written.
        """
        row = self._stamped()
        if stream == "metrics":
            row |= {**fields, **values}
            self._append_carefully(row)
            return row
        row |= {**fields, **split_nonfinite(values)}
        try:
            self._writer.append(stream, row)
        except RecordError as error:
            self._complain(stream, f"a row of {stream} cannot be written: {error}")
        return row

    def note(self, row: Mapping[str, Any]) -> None:
        """Have the open epoch's row show the values of a row that was written, as of one logged."""
        self._note_logged(row)

    def _stamped(self) -> dict[str, Any]:
        row: dict[str, Any] = {"step": self.step}
        if self.epoch is not None:
            row["epoch"] = self.epoch
        row["time"] = self.now()
        return row

    def numbers(self, prefix: str, values: Mapping[str, Number]) -> dict[str, Any]:
        """Return tracked values as floats under `prefix/name`; what is no number is left out.

        Tensors on an accelerator are returned as they are.
        """
        numbers: dict[str, Any] = {}
        for key, value in values.items():
            name = f"{prefix}/{key}"
            try:
                as_it_is = type(value) is float or is_late(value)
                numbers[name] = value if as_it_is else as_float(name, value)
            except BadValueError as error:
                self.dropped_values += 1
                if self.strict:
                    raise
                self._complain(name, f"{error}; it is left out")
        return numbers

    def count_step(self) -> None:
        """Count one optimizer step of a plain loop."""
        self._steps_are_tracked = True
        self.step += 1

    def touch(self) -> None:
        """Note that the training loop is alive."""
        now = self.now()
        self._longest_gap_s = max(self._longest_gap_s, now - self._active)
        self._active = now

    def now(self) -> float:
        """Return Unix seconds that never run backwards."""
        return _monotonic() + self._clock_offset

    def complain(self, key: str, message: str) -> None:
        """Warn once per key, or raise when the run is strict."""
        if self.strict:
            raise BadValueError(message)
        self._complain(key, message)

    def _progress(self) -> dict[str, Any]:
        idle_s = max(0.0, self.now() - self._active)
        return {
            "step": self.step,
            "idle_s": round(idle_s, 3),
            "longest_gap_s": round(self._longest_gap_s, 3),
            **self._stages.position(),
        }

    # ---- the end ---------------------------------------------------------------------------------

    @property
    def best(self) -> Best | None:
        """The best epoch so far."""
        return self._stages.best

    def finish(self) -> None:
        """End the run as `finished`. Called by the `with` statement; a second call does nothing."""
        if not self._ended:
            self._stages.settle()
            self._late.settle(FINISH_WAIT_S)
            self.end("finished", self.unfinished())

    @property
    def ended(self) -> bool:
        """Whether the run has its end."""
        return self._ended

    def unfinished(self) -> str:
        """Say in words inside which epoch or split the run is; empty when it is in none."""
        return self._stages.unfinished()

    def end(self, status: str, reason: str = "", **facts: Any) -> None:
        """End the run with one of the words finished, failed and interrupted, and a reason."""
        best = self._stages.best
        with self._end_lock:
            already, self._ended = self._ended, True
            self._writer.end(
                {
                    "status": status,
                    "reason": reason,
                    "duration_s": self._stages.run_duration_s(),
                    "step": self.step,
                    **self._stages.open_stages(),
                    **({"best": {"epoch": best.epoch, best.metric: best.value}} if best else {}),
                    **({"dropped_values": self.dropped_values} if self.dropped_values else {}),
                    **facts,
                }
            )
            if not already:
                self._say_end(status, reason)
        # Last: a signal in the middle of the above leaves the rest to the end of the process.
        exits.forget(self)

    def _say_end(self, status: str, reason: str) -> None:
        """One line in any batch log; the run's last split may have had none."""
        best = self._stages.best
        told = f"; best epoch {best.epoch}: {best.metric} {best.value:.4g}" if best else ""
        because = f" ({reason})" if reason else ""
        duration = f"{self._stages.run_duration_s():.1f} s, step {self.step}"
        say(f"runstore: {status}{because} after {duration}{told}")

    def forget_in_child(self) -> None:
        """A forked child does not write: every file has one writer."""
        self._ended = True
        self._why_ended = "this is a forked process and the run belongs to its parent"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            exits.end_by_exception(self, error)

    def __repr__(self) -> str:
        """Return `<runstore.Run 2026…-digits-… step 120>`."""
        return f"<runstore.Run {self.id} step {self.step}>"
