"""`Run.log_images`: grids of images as files of `samples/`, made and written by a thread.

The training hands its images over and goes on. With many in wait it waits for room, as long as
files come; where nothing moves, images are left out and counted until half of the room is free.
What the files are called and when they count is in docs/format.md.
"""

from __future__ import annotations

import io
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runstore.errors import BadValueError
from runstore.files.atomic import replace_document
from runstore.files.limits import IMAGE_BYTES
from runstore.files.paths import RunPaths, SampleFile, is_sample_leftover, sample_folder
from runstore.files.run_directory import RunDirectory
from runstore.images.batch import ImageBatch, take_images
from runstore.images.grid import GridOptions, make_grid
from runstore.metrics.values import shown_as_text
from runstore.numbers import count
from runstore.threads import start_daemon

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_WAITING = 64
MOST_WAITING_BYTES = 256 << 20
"""Images that wait to be written, in calls and in memory; a larger single call waits alone."""
STANDS_STILL_S = 3.0
"""Where the thread has not got on for so long, no call waits for room: a file server may not answer
for hours."""
TELL_S = 1.0
"""After calls have waited for so long in all, they say so."""
CHECKPOINT_WAIT_S = 5.0
"""How long a checkpoint waits: a resume does not log again what came before it."""
END_WAIT_S = 10.0
"""How long the end of a run waits for its images."""
DEVICE_WAIT_S = 60.0
"""After so long, images that are still on a GPU are given up."""
MOST_OF_A_NAME = 10_000
"""Files of a name that an attempt writes (docs/format.md): inodes are counted on clusters."""
FOLDER_CHARS = 200
COMPRESSION = 3
"""Of zlib, 0 to 9: above, files get smaller by a few percent and take twice the time."""
INSTALL = "pip install 'runstore[train]'"
_POLL_S = 0.001


class Imaged(Protocol):
    """The run, as far as its images need it."""

    attempt: int
    epoch: int | None

    def now(self) -> float:
        """Return Unix seconds."""

    def complain(self, key: str, message: str) -> None:
        """Warn once per key, or raise when the run is strict."""

    def warn_once(self, key: str, message: str) -> None:
        """Warn once per key."""


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """An image that lies in a file now."""

    name: str
    step: int
    time: float
    """When it was handed over, Unix seconds."""
    width: int
    height: int
    channels: int
    png: bytes


@dataclass(frozen=True, slots=True)
class _Job:
    """What one call handed over."""

    name: str
    file: SampleFile
    time: float
    batch: ImageBatch
    options: GridOptions


class ImageWriter:
    """Takes the images of one attempt and writes them; its thread starts with the first ones."""

    def __init__(
        self, run: Imaged, run_dir: Path, on_written: Callable[[WrittenImage], object]
    ) -> None:
        """Have nothing to write.

        Args:
            run: whose images these are.
            run_dir: its directory; it is followed when it moves.
            on_written: told of each file, in the thread.
        """
        self._run, self._on_written = run, on_written
        self._directory = RunDirectory(run_dir)
        # A SimpleQueue: its put may be interrupted by a signal handler that puts.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._came = self._done = self._came_bytes = self._done_bytes = 0
        self._moved_at = 0.0
        """When the thread was last seen to get on, or had nothing to do; of `time.monotonic`."""
        self._waited_s = 0.0
        """How long calls have waited for room."""
        self._stands_still = self._is_over = False
        self._written: Counter[str] = Counter()
        """Files by folder."""
        self._newest: dict[str, SampleFile] = {}
        """The last file of each folder."""
        self.dropped = 0
        """Calls whose images were not written."""

    def put(self, name: str, images: Any, step: int, options: GridOptions) -> None:
        """Take images, to be the sample of a name at a step; see `Run.log_images`.

        Raises:
            BadValueError: these are no images, or the name cannot be one, and the run is strict.
        """
        try:
            _check_name(name)
            if step < 0:
                raise BadValueError(f"step is {step}, expected 0 or more")
            options = options.check()
            self._check_packages()
            batch = take_images(images, options)
        except BadValueError as error:
            self._leave_out()
            shown = shown_as_text(name)
            self._run.complain(f"images {shown}", f"log_images({shown}): {error}")
        except ImportError as error:
            self._leave_out()
            self._run.warn_once("images", f"no images are written: {error}; {INSTALL}")
        else:
            if batch.left_out:
                self._run.warn_once(
                    f"large {name}",
                    f"log_images({name!r}): the last {count(batch.left_out)} images are left out; "
                    "no viewer would take so large a grid",
                )
            file = SampleFile(step, self._run.attempt, epoch=self._run.epoch)
            self._enqueue(_Job(name, file, self._run.now(), batch, options))

    def _check_packages(self) -> None:
        """Import what is needed, here: a process that is forked while another thread imports would
        find half of a module.

        Raises:
            ImportError: one is missing.
        """
        if self._thread is None:
            import numpy
            import PIL.PngImagePlugin

            del numpy, PIL

    def _enqueue(self, job: _Job) -> None:
        if not self._has_room(job.batch.size_bytes):
            self._leave_out()
            self._run.warn_once(
                "lost images",
                f"no image could be written for {STANDS_STILL_S:.0f} s; images are left out until "
                "that is over",
            )
            return
        with self._lock:
            if self._thread is None:
                try:
                    self._thread = start_daemon(self._serve, "runstore-images")
                except RuntimeError as error:  # as many threads as the machine allows
                    self._leave_out()
                    self._run.warn_once("images", f"no images are written: {error}")
                    return
            if not self._waiting:
                self._moved_at = time.monotonic()
            self._came += 1
            self._came_bytes += job.batch.size_bytes
            self._jobs.put(job)

    def _has_room(self, size_bytes: int) -> bool:
        """Tell whether more images can wait; wait for that while files come."""
        while self._waiting and (
            self._waiting >= MOST_WAITING
            or self._came_bytes - self._done_bytes + size_bytes > MOST_WAITING_BYTES
        ):
            # A disk that stands still has done so for a while before the queue is full.
            if self._is_stuck():
                return False
            begun = time.monotonic()
            time.sleep(_POLL_S)
            self._waited_s += time.monotonic() - begun
            if self._waited_s >= TELL_S:
                self._run.warn_once(
                    "slow images",
                    "images come faster than they can be written, and log_images waits for room; "
                    "log them more rarely, or smaller ones",
                )
        return True

    def _is_stuck(self) -> bool:
        """Tell whether the thread stands still; once it has, until half of the room is free."""
        if time.monotonic() - self._moved_at >= STANDS_STILL_S:
            self._stands_still = True
        return self._stands_still

    @property
    def _waiting(self) -> int:
        return self._came - self._done

    def _leave_out(self) -> None:
        with self._lock:
            self.dropped += 1

    def flush(self, timeout_s: float = CHECKPOINT_WAIT_S) -> bool:
        """Wait until what came is written, and tell whether that is so; in vain only once."""
        came, deadline = self._came, time.monotonic() + timeout_s
        while self._done < came:
            if self._stands_still or time.monotonic() >= deadline:
                self._is_stuck()
                return False
            time.sleep(_POLL_S)
        return True

    def close(self) -> None:
        """Write what waits, as far as the time allows; afterwards nothing is written any more."""
        if self._is_over:
            return
        self._stands_still = False
        is_written = self.flush(END_WAIT_S)
        self._is_over = True
        self._jobs.put(None)
        if not is_written:
            self.dropped += self._waiting
            self._run.warn_once(
                "late images",
                f"{count(self._waiting)} images could not be written within {END_WAIT_S:.0f} s",
            )
        elif self._thread is not None:
            self._thread.join(END_WAIT_S)

    def forget_in_child(self) -> None:
        """Leave everything to the parent, in a forked child, and free nothing of the GPU's."""
        self._left_to_parent = self._jobs
        self._jobs = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._is_over, self._thread = True, None
        self._directory.forget_in_child()

    # ---- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._is_over:
                break
            try:
                self._write(job)
            except Exception as error:  # noqa: BLE001  # the boundary of the thread
                self._leave_out()
                why = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
                self._run.warn_once(
                    f"images: {why}", f"images of {job.name!r} cannot be written ({why})"
                )
            self._moved_at = time.monotonic()
            self._done_bytes += job.batch.size_bytes
            self._done += 1
            if self._has_caught_up():
                self._stands_still = False
        self._directory.close()

    def _has_caught_up(self) -> bool:
        """Tell whether half of the room is free again, or nothing waits."""
        waiting_bytes = self._came_bytes - self._done_bytes
        is_half = self._waiting <= MOST_WAITING // 2 and waiting_bytes <= MOST_WAITING_BYTES // 2
        return is_half or not self._waiting

    def _write(self, job: _Job) -> None:
        images = _arrived(job.batch)
        if self._is_over:
            return
        grid = make_grid(images, job.options)
        if grid.remark:
            self._run.warn_once(f"values {job.name}", f"log_images({job.name!r}, …): {grid.remark}")
        png = _as_png(grid.pixels)
        # A large one takes seconds of the CPU, and is no disk that stands still.
        self._moved_at = time.monotonic()
        if len(png) > IMAGE_BYTES:
            raise ValueError(f"a file of {len(png):,} bytes; viewers take up to {IMAGE_BYTES:,}")
        self._write_file(job, png)
        height, width, *channels = grid.pixels.shape
        self._on_written(
            WrittenImage(
                job.name,
                job.file.step,
                job.time,
                width,
                height,
                channels[0] if channels else 1,
                png,
            )
        )

    def _write_file(self, job: _Job, png: bytes) -> None:
        folder = sample_folder(job.name)
        if self._written[folder] >= MOST_OF_A_NAME:
            raise ValueError(f"{MOST_OF_A_NAME:,} are there; log them more rarely")
        directory = self._directory.open_folder(RunPaths(Path()).samples.name, folder)
        try:
            if not self._written[folder]:
                _remove_leftovers(directory)
            file = _free_file(directory, job.file, self._newest.get(folder))
            replace_document(directory, file.name, png)
        finally:
            os.close(directory)
        self._newest[folder] = file
        self._written[folder] += 1


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise BadValueError("the name is no text; expected one such as 'samples' or 'val/recon'")
    if len(sample_folder(name)) > FOLDER_CHARS:
        raise BadValueError(f"the name is too long; at most {FOLDER_CHARS} characters as a folder")


def _arrived(batch: ImageBatch) -> npt.NDArray[Any]:
    """Wait for images that are still on their way, without blocking in a driver.

    Raises:
        TimeoutError: the device did not deliver them.
    """
    deadline = time.monotonic() + DEVICE_WAIT_S
    while (images := batch.poll()) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError("the device did not deliver them in time")
        time.sleep(_POLL_S)
    return images


def _as_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", compress_level=COMPRESSION)
    return file.getvalue()


def _free_file(directory: int, file: SampleFile, newest: SampleFile | None) -> SampleFile:
    """Return the attempt's first image at this step, or a further one; `newest` saves looks."""
    if newest is not None and newest.step == file.step:
        file = replace(file, again=newest.again + 1)
    while True:
        try:
            os.stat(file.name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return file
        file = replace(file, again=file.again + 1)


def _remove_leftovers(directory: int) -> None:
    """Remove what a killed attempt had not renamed yet: this one holds the run."""
    for name in os.listdir(directory):
        if is_sample_leftover(name):
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
