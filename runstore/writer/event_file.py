"""One event file of TensorBoard, by tensorboard's own writer.

tensorboard is imported when a file is opened, never with this module. TensorFlow and torch are not
imported at all.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from runstore.files.records import without_surrogates

_NAME = re.compile(r"events\.out\.tfevents\.([0-9]{1,18})\..*", re.DOTALL)
END_SUFFIX = ".end"
"""Ends the name of the file that holds nothing but how the session ended."""
FILE_VERSION = "brain.Event:2"
PURGING_FILE_VERSION = "brain.Event:1"


class EventFile:
    """Writes summaries into a new file of a directory. For one thread at a time."""

    def __init__(
        self, directory: Path, *, suffix: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        """Create the file; its name sorts behind those of all event files that are there.

        Args:
            directory: where it is to be.
            suffix: what its name ends with.
            clock: gives the Unix seconds of what has no time of its own.

        Raises:
            ImportError: tensorboard is not installed.
            OSError: the file cannot be created.
        """
        # All imports here, in the thread that opens the run: a process that is forked while another
        # thread imports would find half of a module, and its lock taken for ever.
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
        from tensorboard.plugins.hparams import metadata as hparams
        from tensorboard.plugins.text import metadata as text

        self._event = event_pb2.Event
        self._event_pb2, self._summary_pb2 = event_pb2, summary_pb2
        self._tensor_pb2, self._types_pb2 = tensor_pb2, types_pb2
        self._api_pb2, self._plugin_data_pb2 = api_pb2, plugin_data_pb2
        self._hparams, self._text = hparams, text
        self._clock = clock
        self.path = directory / (_next_name(os.listdir(directory)) + suffix)
        self._file = self.path.open("xb")
        self._writer = _writer_into(self._file)
        self._kept_step: int | None = None
        self._add(file_version=FILE_VERSION)

    def begin_session(self, step: int, *, again: bool) -> None:
        """Say that the run goes on behind `step`: readers drop what came later than that before.

        Also before the first session: TensorBoard's reader in Python purges at every
        `SessionLog.START` but the first.

        Args:
            step: the last step that is kept; 0 when the run starts over and nothing is.
            again: whether there may be an earlier session. Then a reader in Python is put into the
                mode of the old file version too, in which a value at an earlier step drops the
                later values of its own tag, as TensorBoard's reader in Rust always does: epochs are
                counted apart from steps, so no step tells which of them to drop.
        """
        purged = step + 1 if step else 0
        start = self._event_pb2.SessionLog(status=self._event_pb2.SessionLog.START)
        self._add(step=purged, session_log=start)
        if again:
            self._add(step=purged, file_version=PURGING_FILE_VERSION)
            self._kept_step = step

    def _purge_again(self, step: int) -> None:
        """What came behind a checkpoint can share its step, or is counted in epochs.

        Then it comes once more, and START has not purged it. In the mode of the old file version
        only what is earlier than the event before it purges.
        """
        if self._kept_step is not None and step <= self._kept_step:
            self._add(step=step + 1, summary=self._summary_pb2.Summary())

    def scalars(self, values: Mapping[str, float], step: int, wall_time: float) -> None:
        """Write one value for each tag, as float32; NaN and infinities as they are."""
        self._purge_again(step)
        event = self._event(wall_time=wall_time, step=step)
        add = event.summary.value.add
        try:
            for tag, value in values.items():
                add(tag=tag, simple_value=value)
        except UnicodeEncodeError:
            return self.scalars(without_surrogates(values), step, wall_time)
        self._writer.add_event(event)
        return None

    def text(self, tag: str, markdown: str, step: int, wall_time: float) -> None:
        """Write a text, which TensorBoard shows as Markdown."""
        self._purge_again(step)
        tag, markdown = without_surrogates(tag), without_surrogates(markdown)
        tensor = self._tensor_pb2.TensorProto(
            dtype=self._types_pb2.DT_STRING, string_val=[markdown.encode()]
        )
        metadata = self._text.create_summary_metadata(display_name=None, description=None)
        self._summary(tag, tensor, metadata, step=step, wall_time=wall_time)

    def image(
        self, tag: str, png: bytes, size: tuple[int, int, int], step: int, wall_time: float
    ) -> None:
        """Write an image file; its size is width, height and channels."""
        self._purge_again(step)
        width, height, channels = size
        image = self._summary_pb2.Summary.Image(
            width=width, height=height, colorspace=channels, encoded_image_string=png
        )
        value = self._summary_pb2.Summary.Value(tag=without_surrogates(tag), image=image)
        summary = self._summary_pb2.Summary(value=[value])
        self._add(summary=summary, step=step, wall_time=wall_time)

    def hparams(self, params: Mapping[str, float | bool | str]) -> None:
        """Write the hyperparameters of the run, into its own file: a sub-run would be listed.

        Without an `experiment` summary, on purpose: TensorBoard takes the first one of all runs for
        all of them, so the columns would be those of one run. Without any, it has the parameters
        and metrics of every run.
        """
        info = self._plugin_data_pb2.SessionStartInfo(start_time_secs=self._clock())
        for name, value in without_surrogates(params).items():
            key = "bool_value" if isinstance(value, bool) else "number_value"
            kind = "string_value" if isinstance(value, str) else key
            setattr(info.hparams[name], kind, value)
        data = self._plugin_data_pb2.HParamsPluginData(session_start_info=info)
        self._hparams_summary(self._hparams.SESSION_START_INFO_TAG, data)

    def end_session(self, *, success: bool, time_s: float | None = None) -> None:
        """Write that the session has ended, how, and in which Unix second; None for now."""
        status = self._api_pb2.STATUS_SUCCESS if success else self._api_pb2.STATUS_FAILURE
        ended = self._clock() if time_s is None else time_s
        info = self._plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended)
        data = self._plugin_data_pb2.HParamsPluginData(session_end_info=info)
        self._hparams_summary(self._hparams.SESSION_END_INFO_TAG, data)

    def _hparams_summary(self, tag: str, data: Any) -> None:
        metadata = self._hparams.create_summary_metadata(data)
        self._summary(tag, self._hparams.NULL_TENSOR, metadata)

    def _summary(self, tag: str, tensor: Any, metadata: Any, **fields: Any) -> None:
        value = self._summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
        self._add(summary=self._summary_pb2.Summary(value=[value]), **fields)

    def _add(self, **fields: Any) -> None:
        self._writer.add_event(self._event(**{"wall_time": self._clock(), **fields}))

    def flush(self) -> None:
        """Hand what was written to the kernel."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()

    def abandon(self) -> None:
        """Close without writing what waits: after a fault of the disk, and in a forked child."""
        with suppress(OSError):
            # The buffer counts as closed with it, and is not flushed when it is collected.
            self._file.raw.close()


def _writer_into(file: BinaryIO) -> Any:
    """Return tensorboard's `EventFileWriter` without the thread, queue and file of its own.

    They would import TensorFlow wherever it is installed, print a traceback when the disk is full,
    and name the file by second and process, so that a second attempt may sort before the first.
    """
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.summary.writer.record_writer import RecordWriter

    class Writer(EventFileWriter):  # type: ignore[misc]  # tensorboard publishes no types
        def __init__(self) -> None:
            self._async_writer = RecordWriter(file)

    return Writer()


def event_files(run_dir: Path) -> list[str]:
    """Return the names of the event files in a directory, in the order in which they are read."""
    try:
        return sorted(name for name in os.listdir(run_dir) if _NAME.fullmatch(name))
    except OSError:
        return []


def _next_name(names: list[str]) -> str:
    """Readers take the files of a run by name; a clock set back must not change their order."""
    found = (_NAME.fullmatch(name) for name in names)
    newest = max((int(match[1]) for match in found if match), default=0)
    seconds = max(int(time.time()), newest + 1)
    return f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}.0"
