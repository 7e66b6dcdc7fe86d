"""A run as training code sees it: log, track, and the loops around the user's own batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, SupportsIndex, TypeVar

import orjson

from runstore import exits
from runstore.boundaries import Boundaries, Windowed
from runstore.checkpointer import Checkpointer, Checkpoints
from runstore.checkpoints import ResumePoint
from runstore.console import say
from runstore.errors import BadValueError, CheckpointError
from runstore.image_grid import GridOptions
from runstore.image_writer import ImageWriter, WrittenImage
from runstore.metric_rows import MetricRows
from runstore.notebook import position, run_page
from runstore.paths import RunPaths, Stream
from runstore.pieces import Best
from runstore.position import Position
from runstore.process import ProcessIdentity
from runstore.rank_writer import RankWriter
from runstore.records import MAX_INT, RecordError, split_nonfinite
from runstore.registered import Registered
from runstore.replay import PlaceKind
from runstore.reports import ReportOptions
from runstore.restorer import Restorer
from runstore.row_values import RowValues
from runstore.several import let_collectives_go
from runstore.stages import Stages
from runstore.stops import Stop, take_requests
from runstore.system import SystemSampler
from runstore.tensorboard import open_mirror
from runstore.text import printable, shell_word
from runstore.values import as_float, as_index, is_late, shown_as_text
from runstore.writer import RunWriter

Batch = TypeVar("Batch")
"""Whatever a loader yields: it is handed on as it is."""
Number = Any
"""A Python or numpy scalar, or an array or tensor of one element, on any device."""

_log = logging.getLogger("runstore")
_dumps = orjson.dumps
_monotonic = time.monotonic
_LINE = orjson.OPT_APPEND_NEWLINE
MANY_VALUES = 1000
"""A row with so many values has its length checked; shorter ones cannot be too long."""
DYING_S = 1.0
FINISH_WAIT_S = 60.0
"""How long `finish` waits for values that are still on an accelerator."""


class Run:
    """One attempt of one run, open for logging.

    Made by `runstore.init` or `RunManager.begin_run`; as a context manager it calls `finish`. After
    it is made, no call raises for a fault of the disk, nor for a bad value unless `strict=True`.
    What raises: a wrong order of stage calls (StageError), and a checkpoint that does not fit, in
    `register` and in the loops (CheckpointError). A run that is asked to stop leaves the loops by
    SystemExit; by KeyboardInterrupt if that was Ctrl-C.
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
        system_interval_s: float | None = None,
        opening: Mapping[str, Any] | None = None,
        checkpoints: Checkpoints | None = None,
        rank: int = 0,
        all_ranks: bool = False,
    ) -> None:
        """Claim `attempt` of the run directory `path`; see `runstore.init` for the rest.

        On another rank than 0 nothing is claimed, and nothing written but what `all_ranks` asks.
        """
        if log_every < 1:
            raise ValueError(f"log_every is {log_every}, expected 1 or more")
        self.path: Path = path
        """The run's directory, absolute; of a run that is moved, where it is now."""
        self.id: str = path.name
        """The run's id, which is its directory's name."""
        self.params: dict[str, Any] = params
        """The hyperparameters by name, as they were given; of a resumed run those on record, and
        what a launcher gave, too."""
        self.attempt: int = attempt
        """How many times this run was started, from 1."""
        self.log_every = log_every
        self.strict = strict
        checkpoints = checkpoints or Checkpoints()
        point, keep_best = checkpoints.point, checkpoints.rules.keep_best
        self.step: int = point.row.step if point else 0
        """Optimizer steps so far, from 0; in a plain loop each tracked train batch is one."""
        self.rank = rank
        """Which of the processes that train together this is; 0 writes."""
        # One reading of the wall clock per attempt: a clock set back must not reorder the rows.
        self._clock_offset = time.time() - time.monotonic()
        self._complained: set[str] = set()
        self._steps_are_tracked = False
        self._counting, self._counting_has_stepped = 0, False
        """The stepper whose steps are counted."""
        self._next_counting: int | None = None
        self._counted_before: int | None = None
        self._had_stepped = False
        """Whether it had stepped when the checkpoint was made."""
        self.row_values = RowValues(self, self._step_of)
        """Takes what is logged and tracked."""
        self.epoch: int | None = None
        """The open epoch, from 1; after the epochs, the last one; None before the first."""
        self._position = Position()
        self._stages = Stages(self, self._position, best, keep_best[0] if keep_best else None)
        self._ended = False
        self._status = "running"
        self._why_ended = "the run has ended"
        # Re-entrant: SIGTERM may come while the main thread is inside.
        self._end_lock = threading.RLock()
        self._active = self.now()
        self._longest_gap_s = 0.0
        self._processes: list[dict[str, Any]] = []
        self._muted = point is not None
        """Whether the script does again what an earlier attempt has logged already."""
        self._muted_rows = 0
        self._registered = Registered()
        self._checkpointer = Checkpointer(self, self._registered, checkpoints)
        self._restorer = Restorer(self, self._registered, self._checkpointer, checkpoints)
        self.boundaries = Boundaries(self, self._checkpointer)
        self._writer: RunWriter | RankWriter
        if rank == 0:
            self._writer = RunWriter(
                path,
                attempt,
                opening=opening,
                progress=self._progress,
                clock=self.now,
                on_moved=self._note_move,
            )
        else:
            self._writer = RankWriter(path, attempt, rank, writes=all_ranks)
        self._rows = MetricRows(self._writer, self._position, self.warn_once)
        self._images = ImageWriter(self, path, self._mirror_image)
        self._sampler = self._new_sampler(system_interval_s)
        exits.watch(self)

    def _new_sampler(self, interval_s: float | None) -> SystemSampler | None:
        if interval_s is None:
            return None
        return SystemSampler(
            self.path,
            interval_s,
            write=lambda values: self.write_row("system", values),
            tell=self._writer.event,
            complain=self.warn_once,
        )

    # ---- level 1: logging ------------------------------------------------------------------------

    def log(self, values: Mapping[str, Number], step: int | None = None) -> None:
        """Write one metrics row: `run.log({"train/loss": loss, "lr": lr}, step=step)`.

        The row is in the kernel when this returns (on a local file system), so a killed process
        loses none. Tensors on a GPU are not waited for: their row, and those behind it, are written
        when the values have come. Values become floats; NaN and infinities are kept. What is no
        number is left out with one warning per key. An integer `epoch` or `step` among the values
        fills that reserved key. After the end of the run nothing is written, with one warning.

        The row's form is that of docs/format.md: float64, and `null` with a side note for NaN and
        infinities; at most 1 MiB.

        Args:
            values: metric names (`split/name` or bare, as in `lr`) and their values: Python or
                numpy scalars, or arrays and tensors of one element.
            step: the optimizer step, an integer up to 2**53 - 1; default `run.step`. Where a
                `Stepper` or `track` counts the steps, it is this row's only.

        Raises:
            BadValueError: a value is no number, or the step no integer, and the run is strict.
        """
        if self._ended or self._muted:
            self._leave_out_row()
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
        known, rows = self.row_values.known, self._rows
        plain, total = True, 0.0
        for key, value in pairs:
            # The common case without a call: a known name and a Python float.
            if type(value) is float and key in known:
                row[key] = value
                total += value
            else:
                plain = self.row_values.add(row, key, value) and plain
        # The sum is finite when every value is; one look instead of one a value.
        if plain and total - total == 0.0 and len(row) < MANY_VALUES:
            rows.append(_dumps(row, option=_LINE))
        else:
            rows.append_carefully(row)
        if rows.mirror is not None:
            rows.mirror_row("metrics", row)
        if epoch is not None:
            rows.note(row)

    def log_images(
        self,
        name: str,
        images: Any,
        *,
        value_range: tuple[float, float] | None = None,
        normalize: bool = False,
        scale_each: bool = False,
        nrow: int = 8,
        padding: int = 2,
        pad_value: float = 0.0,
        step: int | None = None,
    ) -> None:
        """Write images as one grid: `run.log_images("samples", fakes, value_range=(-1, 1))`.

        Each call is a PNG file in `samples/NAME/` of the run, made and written by a thread; the
        monitor shows them, and `runstore gif` makes an animation of them. The images are copied, so
        that a loop may go on and change them; nothing waits for a GPU. With 64 calls or 256 MiB in
        wait, a call waits for room, at most a second; when that was in vain, as with a disk that
        stands still, images are left out with one warning, and counted. Only rank 0 writes. Needs
        numpy and Pillow, the extra `train`.

        Parameters and pixels are those of torchvision's `make_grid` and `save_image`: with v a
        value and (low, high) the range, a pixel is the integer part of 255·u + 0.5, where u is
        (v - low) / max(high - low, 1e-5), cut off at 0 and 1. Without a range floats are taken as 0
        to 1, integers as 0 to 255, and true is white. NaN is black, with a warning.

        Args:
            name: what they are: `samples`, or `val/recon`; at most 200 characters.
            images: [N, C, H, W] with C of 1, 3 or 4 (grey, RGB, RGBA), [N, H, W], [C, H, W] or [H,
                W], of any real dtype. Tensors on any device, arrays (also with the channels last,
                where nothing else makes sense), Pillow's images, or a list of such of one size.
            value_range: what is black and what is white; (-1, 1) for the output of a tanh.
            normalize: take the smallest and the largest value for that, of each call: brightness
                is then not comparable between epochs.
            scale_each: take those of each image.
            nrow: images in a row, 1 or more.
            padding: pixels between the images and around them; a single image has none.
            pad_value: their brightness, from 0 to 1.
            step: the step that the file is named by; default `run.step`. Otherwise as in `log`.

        Raises:
            BadValueError: these are no images, and the run is strict.
        """
        if self.rank != 0 or self._muted:
            return
        if self._ended:
            self.warn_once("images after the end", f"{self._why_ended}; no images are written")
            return
        self.touch()
        options = GridOptions(value_range, normalize, scale_each, nrow, padding, pad_value)
        self._images.put(name, images, self.step if step is None else self._step_of(step), options)

    def _mirror_image(self, image: WrittenImage) -> None:
        if self._rows.mirror is not None:
            self._rows.mirror.put_image(image)

    def _leave_out_row(self) -> None:
        if self._ended:
            self.warn_once("log after the end", f"{self._why_ended}; this row is not written")
        else:
            self._muted_rows += 1

    def _step_of(self, step: object) -> int:
        try:
            index = as_index("step", step)
        except BadValueError as error:
            if self.strict:
                raise
            self.warn_once("step", f"{error}; run.step is used")
            return self.step
        if not self._steps_are_tracked:
            self.step = index
        return index

    def warn_once(self, key: str, message: str) -> None:
        """Warn once per key: on stderr, and in the events."""
        if key in self._complained:
            return
        self._complained.add(key)
        _log.warning("runstore: %s (%s)", message, self.id)
        if not self._ended:
            self._writer.event("warning", {"message": message, "step": self.step})

    @property
    def summary(self) -> dict[str, float]:
        """What the splits of the newest epoch came to so far: `summary["val/loss"]`.

        By `split/name`, the sample-weighted means of what was tracked, with `val/accuracy`,
        `val/f1_macro`, `val/mse` and the like, from the end of each split's loop on; NaN where no
        value was finite. With several processes the same on each of them. A copy.
        """
        return dict(self._stages.summary)

    @property
    def dropped_values(self) -> int:
        """Values that were no numbers, or did not come from their device, and were not logged."""
        return self.row_values.refused + self._rows.lost_values

    def mirror_to_tensorboard(self) -> None:
        """Write TensorBoard's event files too, from `run.step` on; at most one warning if not."""
        self._rows.mirror = open_mirror(
            self.path,
            step=self.step,
            params=self.params,
            on_problem=lambda problem: self.warn_once(problem, problem),
        )

    # ---- level 2: stages -------------------------------------------------------------------------

    def epochs(self, n: SupportsIndex) -> Iterator[int]:
        """Yield the epochs 1 to `n`, and write one epoch row behind each.

        A second call goes on counting: `n` further epochs. A `break` ends the epoch like its normal
        end; an exception leaves it open. A resumed run begins at the epoch of its checkpoint.

        Args:
            n: how many epochs; 0 for none.

        Yields:
            The number of the open epoch, from 1.

        Raises:
            StageError: it came inside of an open epoch or split.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.epochs(n)

    def train(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `train`: progress, rate, ETA, durations.

        Between two batches the run saves, and stops when it was asked to. A resumed run passes over
        the batches that its checkpoint had seen. The split's end adds `train/duration_s` and
        `train/samples_per_s` to the epoch's row, and the means of what was tracked.

        Args:
            loader: any iterable of batches; one with `len()` has progress and an ETA. Of a
                `DataLoader` with a `ResumableSampler` the run sets the epoch and the place.

        Yields:
            The batches, unchanged.

        Raises:
            StageError: it came inside of a split of `RunManager.begin_split`.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.split("train", loader)

    def val(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `val`: inside, after or without epochs.

        It may also come inside of a loop over `train`, every so many steps; the epoch's row then
        has the last one. The split's end writes a metrics row with its means.

        Args:
            loader: any iterable of batches; one with `len()` has progress and an ETA.

        Yields:
            The batches, unchanged.

        Raises:
            StageError: it came inside of an evaluation of `RunManager.begin_split`.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.split("val", loader)

    def test(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `test`, inside or after the epochs; as `val`.

        Args:
            loader: any iterable of batches; one with `len()` has progress and an ETA.

        Yields:
            The batches, unchanged.

        Raises:
            StageError: it came inside of an evaluation of `RunManager.begin_split`.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.split("test", loader)

    def track(
        self, *, n: Number | None = None, tokens: Number | None = None, **values: Number
    ) -> None:
        """Track a batch of the open split: `run.track(loss=loss, accuracy=acc, n=len(y))`.

        Adds to the split's sample-weighted means (`train/loss`, …). In a train split the batch is
        one step, and every `log_every` steps the values become a metrics row. Tensors on a GPU are
        summed there and not waited for. With the values v and counts n of its batches, on all
        ranks, a split's mean is Σ n·v / Σ n. Values that are not finite are left out of it, counted
        in `SPLIT/nonfinite`, and kept in the rows.

        Args:
            n: how many samples the values are the mean of, 0 or more. Without it every batch weighs
                the same, and there are no samples per second.
            tokens: how many tokens were in the batch, a number or a tensor; the epoch row has the
                split's tokens per second.
            values: the batch means, scalars or tensors of one element, by metric name without the
                split.

        Raises:
            StageError: no split is open.
            BadValueError: a value or a count is no number, and the run is strict.
        """
        self._stages.track(values, n, tokens)

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

        The numbers are those of scikit-learn's `classification_report(…, output_dict=True)`, bit
        for bit, and `SPLIT/accuracy` and `SPLIT/f1_macro` join the split's means. Nothing waits for
        a GPU. Needs torch.

        Args:
            predictions: scores or logits, float [n, k] with k of 2 or more, whose largest is the
                predicted class; or predicted classes, integer [n]. Tensors, arrays or lists.
            targets: true classes, integer [n], 0 to k - 1; -100 marks a sample to leave out, as in
                PyTorch's `ignore_index`.
            target_names: the names of `labels`, or of all k classes, in their order.
            labels: the classes to report on; default those that occur, or all when they are named.
            zero_division: 0, 1 or NaN: the score of a class where there is nothing to divide by;
                the averages leave NaN out.

        Raises:
            StageError: no split is open.
            BadValueError: shapes or labels do not fit, and the run is strict.
        """
        options = ReportOptions(target_names, labels, zero_division)
        self._stages.track_classification(predictions, targets, options)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions; the split's end has their `mse`, `mae` and `r2`.

        With predictions p and targets t of all batches, as in scikit-learn and in float64: `mse` is
        the mean of (p - t)², `mae` of |p - t|, and `r2` is 1 - Σ(p - t)² / Σ(t - mean of t)². Pairs
        that are not finite are left out and counted. Nothing waits for a GPU. Needs torch.

        Args:
            predictions: any shape and real dtype; each element is a sample. Tensors, arrays, lists.
            targets: as many elements, in the same order.

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
        """Close the open epoch, write its row, and return it; save if it is time."""
        return self._stages.leave_epoch()

    # ---- checkpoints -----------------------------------------------------------------------------

    def register(self, **objects: Any) -> None:
        """Name what a checkpoint holds: `run.register(model=model, optimizer=optimizer, …)`.

        Anything with `state_dict` and `load_state_dict`, and torch.Generator. In a resumed run
        each object gets its state back at once, so call it before the loops, with the model on its
        device. With anything registered, checkpoints are written as `init` was told, and hold the
        states of Python's, numpy's and torch's random generators too.

        Args:
            objects: by the name that the checkpoint has for each; the same names when it resumes.

        Raises:
            TypeError: an object has no state.
            CheckpointError: the checkpoint does not fit the objects, or `exact=True` and the resume
                would not be exact.
        """
        self._registered.add(objects)
        self._restorer.restore(objects)
        if not self._restorer.awaits_objects and not self._stages.is_behind:
            self.unmute()

    def save(self, *, is_best: bool = False) -> None:
        """Ask for a checkpoint; without registered objects there is one warning and none.

        Inside of `run.train`, and between epochs, it is written when the optimizer step, or the
        epoch's body, is done: only there a resumed run can go on exactly. In an epoch whose batches
        come from a loop of your own it is written before a `Stepper`'s next step, or at once, and
        the resumed run begins the epoch again. Elsewhere it is written at once, and the script
        itself must lead back to where it was, by `run.step` and `run.epoch`.

        Args:
            is_best: also name it `checkpoints/best.pt`, and keep it.

        Raises:
            BadValueError: nothing is registered, and the run is strict.
        """
        if not self._checkpointer.is_active:
            self.complain("save", "save(): nothing is registered; call run.register(…) first")
            return
        if self._ended:
            self.warn_once("save", f"save(): {self._why_ended}; nothing is written")
            return
        self._checkpointer.ask(best=is_best)
        if not self._stages.in_loop:
            self._checkpointer.save(self._stages.place_kind, "asked for")

    @property
    def resumed_from(self) -> int | None:
        """The optimizer step of the checkpoint that this attempt goes on from.

        None when it began anew, as the first attempt does.
        """
        return self._restorer.resumed_from

    # ---- what steppers, signals and requests call ------------------------------------------------

    def add_stepper(self, stepper: Windowed) -> None:
        """Let `stepper` count the optimizer steps, if it is the first one.

        Of several (one for each network of a GAN) only the first counts. One that is made when
        that has stepped already may be of a next phase of the training: see `is_counting`.
        """
        steppers = self.boundaries.steppers
        if self._counting_has_stepped and self._counting < len(steppers):
            self._next_counting = len(steppers)
        steppers.append(stepper)
        self._restorer.restore_late(self._registered.add_stepper(stepper))
        self._steps_are_tracked = True

    def is_counting(self, stepper: Windowed) -> bool:
        """Tell whether this stepper's step, which it has just taken, is one of the run's.

        A later stepper counts from its first step on, if the one that counted took none since it
        was made; when that one steps again, it was no phase that was over.
        """
        index = self.boundaries.steppers.index(stepper)
        if index == self._next_counting:
            self._counted_before, self._counting = self._counting, index
        elif index == self._counted_before:
            self._counting, self._counted_before = index, None
        if index != self._counting:
            return False
        self._counting_has_stepped, self._next_counting = True, None
        return True

    @property
    def has_stepper(self) -> bool:
        """Whether optimizer steps are counted by a `Stepper`, not by tracked batches."""
        return bool(self.boundaries.steppers)

    def begin_step(self) -> None:
        """A stepper begins a window behind the one before: saves and stops in own loops."""
        self._stages.begin_step()

    def train_position(self) -> tuple[int, int | None] | None:
        """Return the open train split's batch, from 1, and how many there are, or None."""
        return self._position.train_batch()

    def note_step(self, facts: Mapping[str, Number]) -> None:
        """Note what is known of the optimizer step just taken; it joins the step's row."""
        known = {key: v if is_late(v) else as_float(key, v) for key, v in facts.items()}
        self._stages.note_step(known)

    def check_registered(self) -> None:
        """Refuse to train on from a checkpoint that nobody has loaded.

        Raises:
            CheckpointError: the attempt resumes, and nothing is registered.
        """
        self._restorer.check_registered()

    @property
    def can_stop(self) -> bool:
        """Whether a loop of ours is running that will see the wish to stop."""
        return self._stages.in_loop and not self._ended

    @property
    def stop(self) -> Stop | None:
        """What asks the run to stop."""
        return self.boundaries.stop

    def ask_to_stop(self, stop: Stop) -> None:
        """Stop when the optimizer step is done and saved; called by signal handlers and threads."""
        self.boundaries.ask_to_stop(stop)
        if not stop.number and not self._stages.in_loop:
            exits.leave_from_thread(self)

    def ask_to_save(self) -> None:
        """Save at the next opportunity; called by the writer's thread."""
        self.boundaries.ask_to_save()

    # ---- what the stages write through -----------------------------------------------------------

    def write_event(self, event: str, **fields: Any) -> None:
        """Write a lifecycle event."""
        self._writer.event(event, fields)

    def write_document(self, name: str, data: bytes) -> None:
        """Write a small document of the run, durably.

        Raises:
            OSError: the disk does not take it.
        """
        self._writer.write_document(name, data)

    def write_row(
        self, stream: Stream, values: Mapping[str, Number], **fields: Any
    ) -> dict[str, Any]:
        """Write one row of a stream, stamped with step, epoch and time, and return it.

        A metrics row may have tensors on an accelerator: nothing waits for them, and the row has
        their values when it is written.
        """
        row = self._stamped()
        # What the machine does is new, also while the script does again what it had done.
        if self._muted and stream != "system":
            self._muted_rows += 1
            return row | fields | split_nonfinite(values)
        if stream == "metrics":
            row |= {**fields, **values}
            self._rows.append_carefully(row)
            if self._rows.mirror is not None:
                self._rows.mirror_row("metrics", row)
            return row
        row |= {**fields, **split_nonfinite(values)}
        try:
            self._writer.append(stream, row)
        except RecordError as error:
            self.warn_once(stream, f"a row of {stream} cannot be written: {error}")
        if self._rows.mirror is not None and not self._ended:
            # A copy: the caller gets the row, and may change it.
            self._rows.mirror_row(stream, dict(row))
        return row

    def note(self, row: Mapping[str, Any]) -> None:
        """Have the open epoch's row show the values of a row that was written, as of one logged."""
        self._rows.note(row)

    def _stamped(self) -> dict[str, Any]:
        row: dict[str, Any] = {"step": self.step}
        if self.epoch is not None:
            row["epoch"] = self.epoch
        row["time"] = self.now()
        return row

    def count_step(self) -> None:
        """Count one optimizer step of a plain loop."""
        self._steps_are_tracked = True
        self.step += 1

    def unmute(self) -> None:
        """The script is where the checkpoint was made: what it logs is new."""
        self._muted = False
        self._counting_has_stepped = self._counting_has_stepped or self._had_stepped

    def sync_rows(self) -> dict[str, int]:
        """Write and sync every row; return each stream file's size.

        Raises:
            CheckpointError: rows wait in memory for a disk that does not take them. A checkpoint
                now would have them written behind its cut.
        """
        self._stages.write_step_row()
        # A resumed run does not log again what came before its checkpoint.
        self._images.flush()
        positions = self._writer.sync()
        if self._rows.mirror is not None:
            self._rows.mirror.flush()
        if self._writer.degraded:
            raise CheckpointError("the disk does not take the rows before it")
        return positions

    def stage_state(self, kind: PlaceKind) -> dict[str, Any]:
        """Return where the loops are, for a checkpoint."""
        return {
            **self._stages.state(kind),
            "steps_are_tracked": self._steps_are_tracked,
            "counting": [self._counting, self._counting_has_stepped],
        }

    def load_stage_state(self, state: dict[str, Any], restore: Callable[[], None]) -> None:
        """Lead the loops to where a checkpoint was made."""
        self._steps_are_tracked = state["steps_are_tracked"]
        self._counting, self._had_stepped = state.get("counting", (0, False))
        self._stages.load_state(state, restore)

    def note_loader(self, loader: Iterable[Any], *, inside: bool) -> None:
        """Note what a split is drawn from; with `inside` it goes on in the middle of a pass."""
        from runstore.train.loaders import lacks_seeds, resumes_exactly

        if lacks_seeds(loader):
            self.warn_once(
                "seeds", "SeededDataset has no effect here: it needs sampler=ResumableSampler(…)"
            )
        if self.resume_point is None or self._muted:
            return
        why = resumes_exactly(loader, inside=inside)
        if why and why not in self._complained:
            self._complained.add(why)
            self.note_inexact(why)

    @property
    def resume_point(self) -> ResumePoint | None:
        """The checkpoint that this attempt goes on from."""
        return self._restorer.point

    def note_ranks(self, processes: list[dict[str, Any]]) -> None:
        """Record who trains together; at a bad end the run tells which of them is gone."""
        self._processes = processes
        self.write_event("ranks", world_size=len(processes), processes=processes)

    def note_inexact(self, why: str) -> None:
        """Record that what follows is not what an uninterrupted run would have done."""
        self._restorer.note_inexact(why)

    def warn(self, message: str) -> None:
        """Say what went wrong, each time; `complain` says it once."""
        _log.warning("runstore: %s (%s)", message, self.id)
        self._writer.event("warning", {"message": message, "step": self.step})

    def settle_rows(self) -> None:
        """Wait until every row is written whose values are still on an accelerator."""
        self._rows.settle()

    def settle_images(self) -> None:
        """Wait until the images that were logged lie in their files, for a minute at most."""
        self._images.flush(FINISH_WAIT_S)

    def when_known(
        self, values: Mapping[str, Any], take: Callable[[Mapping[str, float] | None], object]
    ) -> None:
        """Call `take` with `values` as floats when those on an accelerator have come."""
        self._rows.when_known(values, take)

    def touch(self) -> None:
        """Note that the training loop is alive."""
        now = _monotonic() + self._clock_offset
        if now - self._active > self._longest_gap_s:
            self._longest_gap_s = now - self._active
        self._active = now

    def now(self) -> float:
        """Return Unix seconds that never run backwards."""
        return _monotonic() + self._clock_offset

    def complain(self, key: str, message: str) -> None:
        """Warn once per key, or raise when the run is strict."""
        if self.strict:
            raise BadValueError(message)
        self.warn_once(key, message)

    def _note_move(self, path: Path) -> None:
        """Requests and checkpoints follow the directory too."""
        self.path = path

    def _progress(self) -> dict[str, Any]:
        take_requests(self, RunPaths(self.path).requests)
        idle_s = max(0.0, self.now() - self._active)
        return {
            "step": self.step,
            "idle_s": round(idle_s, 3),
            "longest_gap_s": round(self._longest_gap_s, 3),
            **self._position.progress(self.epoch, self.best),
        }

    # ---- the end ---------------------------------------------------------------------------------

    @property
    def best(self) -> Best | None:
        """The best epoch so far."""
        return self._stages.best

    def finish(self) -> None:
        """End the run as `finished`. Called by the `with` statement; a second call does nothing.

        It waits up to 60 s for values that are still on a GPU. A disk that takes nothing does not
        keep it: what could not be written is counted and told. An exception that leaves the `with`
        block ends the run as `failed`, Ctrl-C and SIGTERM as `interrupted`.
        """
        if not self._ended:
            self._stages.settle()
            self._tell_what_was_not_done()
            self.end("finished", self.unfinished())

    def _tell_what_was_not_done(self) -> None:
        """Before the end: rows, epochs and checkpoints that somebody may miss."""
        nothing_left = self._stages.nothing_left
        if self._muted and (self._muted_rows or not nothing_left):
            self.warn(
                f"the script ended before it came to where the checkpoint was made; "
                f"{self._muted_rows:,} rows were not written"
            )
        self._rows.settle(FINISH_WAIT_S)
        if nothing_left:
            if self.rank == 0:
                say(f"runstore: {nothing_left}")
        elif self._checkpointer.is_active and not (
            self._checkpointer.has_tried or self.resume_point
        ):
            self.warn_once(
                "never saved",
                "objects are registered, and no checkpoint was written: loops that are not "
                "run.epochs(…) or run.train(…) call run.save() themselves",
            )

    @property
    def ended(self) -> bool:
        """Whether the run has its end."""
        return self._ended

    def unfinished(self) -> str:
        """Say in words inside which epoch or split the run is; empty when it is in none."""
        return self._position.unfinished()

    def end(self, status: str, reason: str = "", **facts: Any) -> None:
        """End the run with one of the words finished, failed and interrupted, and a reason."""
        # Before the end: what goes wrong with them is an event.
        self._images.close()
        best = self._stages.best
        lost = self._lost_ranks(status) if status != "finished" else []
        if lost:
            reason = f"{reason}; rank {', '.join(map(str, lost))} is gone"
            facts["lost_ranks"] = lost
        with self._end_lock:
            already, self._ended = self._ended, True
            self._status = status
            try:
                if self._sampler is not None:
                    self._sampler.stop()
            finally:
                # Also when Ctrl-C interrupts the wait for the last sample.
                self._writer.end(
                    {
                        "status": status,
                        "reason": reason,
                        "duration_s": self._position.duration_s,
                        "step": self.step,
                        **self._position.open_stages(),
                        **(
                            {"best": {"epoch": best.epoch, best.metric: best.value}} if best else {}
                        ),
                        **({"dropped_values": self.dropped_values} if self.dropped_values else {}),
                        **(
                            {"dropped_images": self._images.dropped} if self._images.dropped else {}
                        ),
                        **facts,
                    }
                )
                if self._rows.mirror is not None:
                    self._rows.mirror.close(status)
            if not already:
                self._say_end(status, reason)
                let_collectives_go()
        # Last: a signal in the middle of the above leaves the rest to the end of the process.
        exits.forget(self)

    def _lost_ranks(self, status: str) -> list[int]:
        """Return the ranks whose processes on this machine are not there any more.

        A process that is killed closes its connections a moment before it is gone: what fails by
        that waits for it.
        """
        found = [(one["rank"], ProcessIdentity.from_record(one)) for one in self._processes]
        deadline = time.monotonic() + (DYING_S if status == "failed" and found else 0.0)
        while True:
            lost = [rank for rank, one in found if one and one.is_local() and not one.is_alive()]
            if lost or time.monotonic() >= deadline:
                return lost
            time.sleep(0.02)

    def _say_end(self, status: str, reason: str) -> None:
        """One line in any batch log; the run's last split may have had none."""
        if self.rank != 0:
            return
        self._stages.say_last()
        best = self._stages.best
        told = f"; best epoch {best.epoch}: {best.metric} {best.value:.4g}" if best else ""
        because = f" ({reason})" if reason else ""
        duration = f"{self._position.duration_s:.1f} s, step {self.step}"
        unwritten = "" if self._writer.end_is_written else "; its end could not be written"
        say(f"runstore: {status}{because} after {duration}{told}{unwritten}")
        if self._writer.lost:
            say(f"runstore: {self._writer.lost}")
        if self._images.dropped:
            say(f"runstore: images of {self._images.dropped:,} calls were not written")
        if status != "finished" and self._checkpointer.has_saved:
            say(f"runstore: go on with: runstore resume {shell_word(self.path)}")

    def forget_in_child(self) -> None:
        """A forked child does not write: every file has one writer."""
        self._ended = True
        self._why_ended = "this is a forked process and the run belongs to its parent"
        self._images.forget_in_child()
        if self._rows.mirror is not None:
            self._rows.mirror.forget_in_child()

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

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent to another process, as to a worker that is spawned.

        Raises:
            TypeError: always; a forked worker has the run, and what it logs is ignored.
        """
        raise TypeError(
            "a runstore.Run belongs to the process that opened it and cannot be sent to another; "
            "log there, and keep the run out of datasets and of arguments of workers"
        )

    def __repr__(self) -> str:
        """Return `<runstore.Run 2026…-digits-… running, epoch 3/10, step 120>`."""
        stands = position(self.epoch, self._position.epochs, self.step)
        return printable(f"<runstore.Run {self.id} {', '.join([self._status, *stands])}>")

    def _repr_html_(self) -> str:
        """Return what a notebook shows: where the run stands, and what it came to so far."""
        stands = position(self.epoch, self._position.epochs, self.step)
        facts = {
            "status": self._status,
            "position": ", ".join(stands),
            "directory": str(self.path),
        }
        return run_page(self.id, facts, self.params, self.summary, (), self.best)
