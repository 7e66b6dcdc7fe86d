"""What a run writes: its rows, events and images, each at its step and time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from runstore.environment.sampler import SystemSampler
from runstore.errors import BadValueError
from runstore.files.paths import Stream
from runstore.files.records import MAX_INT, RecordError, split_nonfinite
from runstore.images.grid import GridOptions
from runstore.images.writer import ImageWriter, WrittenImage
from runstore.metrics.row_values import RowValues
from runstore.metrics.values import as_index, shown_as_text
from runstore.run.metric_rows import MetricRows
from runstore.run.tensorboard import open_mirror
from runstore.several import world_size
from runstore.stages.position import Position
from runstore.writer.heartbeat import Progress
from runstore.writer.rank_writer import RankWriter
from runstore.writer.writer import RunWriter

Number = Any
"""A Python or numpy scalar, or an array or tensor of one element, on any device."""

_log = logging.getLogger("runstore")
_dumps = orjson.dumps
_monotonic = time.monotonic
_LINE = orjson.OPT_APPEND_NEWLINE
MANY_VALUES = 1000
"""A row with so many values has its length checked; shorter ones cannot be too long."""
IMAGES_WAIT_S = 60.0
"""How long an animation of an open run waits for its images."""


class Recording:
    """One attempt of one run, as far as it is written down: the base of `Run`."""

    def __init__(
        self,
        path: Path,
        params: dict[str, Any],
        *,
        attempt: int,
        strict: bool,
        step: int,
        rank: int,
        muted: bool,
    ) -> None:
        """Have nothing open; `_open` claims the attempt.

        With `muted` the script does again what an earlier attempt has logged already.
        """
        self.path: Path = path
        """The run's directory, absolute; of a run that is moved, where it is now."""
        self.id: str = path.name
        """The run's id, which is its directory's name."""
        self.params: dict[str, Any] = params
        """The hyperparameters by name, as they were given; of a resumed run those on record, and
        what a launcher gave, too."""
        self.attempt: int = attempt
        """How many times this run was started, from 1."""
        self.strict = strict
        self.step: int = step
        """Optimizer steps so far, from 0; in a plain loop each tracked train batch is one."""
        self.rank = rank
        """Which of the processes that train together this is; 0 writes."""
        # One reading of the wall clock per attempt: a clock set back must not reorder the rows.
        self._clock_offset = time.time() - time.monotonic()
        self._complained: set[str] = set()
        self._steps_are_tracked = False
        self.row_values = RowValues(self, self._step_of)
        """Takes what is logged and tracked."""
        self.epoch: int | None = None
        """The open epoch, from 1; after the epochs, the last one; None before the first."""
        self._position = Position()
        self._ended = False
        self._why_ended = "the run has ended"
        self._active = self.now()
        self._longest_gap_s = 0.0
        self._muted = muted
        self._muted_rows = 0

    def _open(
        self,
        *,
        opening: Mapping[str, Any] | None,
        progress: Progress,
        system_interval_s: float | None,
        all_ranks: bool,
    ) -> None:
        """Claim the attempt, and start the threads that write."""
        self._writer: RunWriter | RankWriter
        if self.rank == 0:
            self._writer = RunWriter(
                self.path,
                self.attempt,
                opening=opening,
                progress=progress,
                clock=self.now,
                on_moved=self._note_move,
            )
        else:
            streams: list[Stream] = ["metrics"] if all_ranks else []
            streams += ["system"] if system_interval_s is not None else []
            self._writer = RankWriter(self.path, self.attempt, self.rank, streams=streams)
        self._rows = MetricRows(self._writer, self._position, self.warn_once)
        self._images = ImageWriter(self, self.path, self._mirror_image)
        self._sampler = self._new_sampler(system_interval_s)

    def _new_sampler(self, interval_s: float | None) -> SystemSampler | None:
        if interval_s is None:
            return None
        return SystemSampler(
            self.path,
            interval_s,
            of_several=world_size() > 1,
            write=lambda values: self.write_row("system", values),
            tell=self._writer.event,
            complain=self.warn_once,
        )

    # ---- what training code logs -----------------------------------------------------------------

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
        try:
            for key, value in values.items():
                # The common case without a call: a known name and a Python float.
                if type(value) is float and key in known:
                    row[key] = value
                    total += value
                else:
                    plain = self.row_values.add(row, key, value) and plain
        except Exception as error:  # noqa: BLE001  # no dict, or one that another thread changes
            self._refuse_row(values, error)
            return
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
        wait, calls wait for room while files come; when the disk stands still, images are left out
        with one warning, and counted, until half of that is written. Only rank 0 writes. Needs
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
        at = self.step if step is None else self._step_of(step, least=0)
        self._images.put(name, images, at, options)

    def _mirror_image(self, image: WrittenImage) -> None:
        if self._rows.mirror is not None:
            self._rows.mirror.put_image(image)

    def _refuse_row(self, values: object, error: Exception) -> None:
        if isinstance(error, BadValueError):  # the run is strict
            raise error
        # Of a dict not what is in it, which may be a secret.
        given = "a dict" if isinstance(values, Mapping) else shown_as_text(values)
        self.complain(
            "log",
            f"log({given}): expected a dict of names and numbers ({error}); the row is left out",
        )

    def _leave_out_row(self) -> None:
        if self._ended:
            self.warn_once("log after the end", f"{self._why_ended}; this row is not written")
        else:
            self._muted_rows += 1

    def _step_of(self, step: object, least: int | None = None) -> int:
        try:
            index = as_index("step", step)
            if least is not None and index < least:
                raise BadValueError(f"'step' is {index}, expected {least} or more")
        except BadValueError as error:
            if self.strict:
                raise
            self.warn_once("step", f"{error}; run.step is used")
            return self.step
        if not self._steps_are_tracked:
            self.step = index
        return index

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

    # ---- what goes wrong -------------------------------------------------------------------------

    def warn_once(self, key: str, message: str) -> None:
        """Warn once per key: on stderr, and in the events."""
        if key in self._complained:
            return
        self._complained.add(key)
        _log.warning("runstore: %s (%s)", message, self.id)
        if not self._ended:
            self._writer.event("warning", {"message": message, "step": self.step})

    def warn(self, message: str) -> None:
        """Say what went wrong, each time; `complain` says it once."""
        _log.warning("runstore: %s (%s)", message, self.id)
        self._writer.event("warning", {"message": message, "step": self.step})

    def complain(self, key: str, message: str) -> None:
        """Warn once per key, or raise when the run is strict."""
        if self.strict:
            raise BadValueError(message)
        self.warn_once(key, message)

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

    def settle_rows(self) -> None:
        """Wait until every row is written whose values are still on an accelerator."""
        self._rows.settle()

    def settle_images(self) -> None:
        """Wait until the images that were logged lie in their files, for a minute at most."""
        self._images.flush(IMAGES_WAIT_S)

    def when_known(
        self, values: Mapping[str, Any], take: Callable[[Mapping[str, float] | None], object]
    ) -> None:
        """Call `take` with `values` as floats when those on an accelerator have come."""
        self._rows.when_known(values, take)

    # ---- time ------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Note that the training loop is alive."""
        now = _monotonic() + self._clock_offset
        if now - self._active > self._longest_gap_s:
            self._longest_gap_s = now - self._active
        self._active = now

    def now(self) -> float:
        """Return Unix seconds that never run backwards."""
        return _monotonic() + self._clock_offset

    def _note_move(self, path: Path) -> None:
        """Requests and checkpoints follow the directory too."""
        self.path = path
