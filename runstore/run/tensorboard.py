"""`init(tensorboard=True)`: a run's rows once more as TensorBoard's event files.

The files lie in the run's directory itself, so that `tensorboard --logdir runs` lists every run of
a root by its id and nothing else. The rows stay the truth: what goes wrong here is one warning, and
the training goes on at its own pace.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from runstore.files.paths import Stream
from runstore.files.records import JsonObject, integer, metric_values, number
from runstore.images.writer import WrittenImage
from runstore.metrics.reports import SUMMARIES, text_report
from runstore.metrics.values import as_json
from runstore.redaction.redact import redact_params
from runstore.threads import start_daemon
from runstore.writer.event_file import END_SUFFIX, EventFile, event_files

INTERVAL_S = 1.0
"""How often what came is written and handed to the kernel: what a killed process loses at most."""
MOST_VALUES = 500_000
"""The most values that wait in memory, about 60 MB; further rows are left out."""
MOST_IMAGE_BYTES = 64 << 20
"""Images that wait in memory, as PNG."""
MANY_VALUES = 50_000
"""With more that wait, the thread no longer gives way to the training after each row."""
MOST_CLASSES = 50
"""With more classes, a report shows its averages only: each class takes three charts."""
CLOSING_S = 10.0
"""How long the end of a run waits for its event file; its own files are closed by then."""
PARAM_CHARS = 200
MOST_PARAMS = 500

Params = dict[str, float | bool | str]


def open_mirror(
    run_dir: Path, *, step: int, params: Mapping[str, Any], on_problem: Callable[[str], None]
) -> Mirror | None:
    """Return a new attempt's mirror; None, and one call of `on_problem`, when there can be none.

    Args:
        run_dir: the run's directory.
        step: the step from which the attempt goes on; what was mirrored at it or behind it goes.
        params: the hyperparameters; secrets are taken out.
        on_problem: called at most twice later on, also by another thread; must not raise.
    """
    try:
        return Mirror(run_dir, step=step, params=as_hparams(params), on_problem=on_problem)
    except ImportError as error:
        on_problem(f"no files for TensorBoard: {error}; pip install 'runstore[train]'")
    except Exception as error:  # noqa: BLE001  # another package, at whose fault no training ends
        on_problem(f"no files for TensorBoard: {type(error).__name__}: {error}")
    return None


class Mirror:
    """Takes rows from the training and writes them into an event file by a thread of its own."""

    def __init__(
        self, run_dir: Path, *, step: int, params: Params, on_problem: Callable[[str], None]
    ) -> None:
        """Open the file and start the thread; see `open_mirror`.

        Raises:
            ImportError: tensorboard is not installed.
            OSError: the file cannot be created.
        """
        self._run_dir, self._on_problem = run_dir, on_problem
        self._rows: deque[tuple[Stream, JsonObject]] = deque()
        self._images: deque[WrittenImage] = deque()
        # Each is changed by one thread at a time: values that came, values that were taken.
        self._came = self._taken = 0
        self._told: set[str] = set()
        self._open = True
        self._status = ""
        self._stop = threading.Event()
        self._writing = threading.Lock()
        earlier = event_files(run_dir)
        for name in earlier:
            # The run goes on, and TensorBoard would keep the first end that it sees. Emptied, not
            # removed: a server's reader in Python gives up on a run whose file is gone.
            if name.endswith(END_SUFFIX):
                os.truncate(run_dir / name, 0)
        self._file = EventFile(run_dir)
        self._file.begin_session(step, again=bool(earlier))
        self._file.hparams(params)
        self._file.flush()
        self._thread = start_daemon(self._serve, "runstore-tensorboard")

    def put(self, stream: Stream, row: JsonObject) -> None:
        """Take a row as it is written to a stream; it must not change afterwards. Never waits."""
        if not self._open:
            return
        if self._came - self._taken > MOST_VALUES:
            self._tell("rows come faster than TensorBoard's files are written; some are left out")
            return
        self._came += len(row)
        self._rows.append((stream, row))

    def put_image(self, image: WrittenImage) -> None:
        """Take an image that was written to its file. Never waits."""
        if self._open and sum(len(one.png) for one in tuple(self._images)) < MOST_IMAGE_BYTES:
            self._images.append(image)
        elif self._open:
            self._tell("images come faster than TensorBoard's files are written; some are left out")

    def flush(self) -> None:
        """Write what waits, now: a checkpoint's resume writes only what comes behind it."""
        if not self._open:
            return
        try:
            self._write_and_flush()
        except Exception as error:  # noqa: BLE001  # as in the thread
            self._give_up(error)

    def close(self, status: str) -> None:
        """Write what waits, and the end with the run's status; a second call does nothing."""
        if not self._open:
            return
        self._status, self._open = status, False
        self._stop.set()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            self._tell(f"TensorBoard's file was not complete after {CLOSING_S:.0f} s")

    def forget_in_child(self) -> None:
        """A forked child does not write: every file has one writer."""
        self._open = False
        self._rows.clear()
        self._file.abandon()

    # ---- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._stop.wait(INTERVAL_S):
                self._write_and_flush()
            self._write_and_flush()
            self._file.close()
            self._write_end()
        except Exception as error:  # noqa: BLE001  # the boundary of the thread
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._open = False
        self._rows.clear()
        self._images.clear()
        self._file.abandon()
        self._tell(f"writing TensorBoard's file failed ({type(error).__name__}: {error})")

    def _write_and_flush(self) -> None:
        with self._writing:
            self._write_what_waits()
            while self._images:
                image = self._images.popleft()
                size = (image.width, image.height, image.channels)
                self._file.image(image.name, image.png, size, image.step, image.time)
            self._file.flush()

    def _write_what_waits(self) -> None:
        # No more than is there now: a fast training must not put off the flush.
        for _ in range(len(self._rows)):
            stream, row = self._rows.popleft()
            self._taken += len(row)
            try:
                write_row(self._file, stream, row)
            except (TypeError, ValueError, AttributeError, KeyError) as error:
                self._tell(f"a row of {stream} cannot be shown in TensorBoard: {error}")
            if self._came - self._taken < MANY_VALUES and not self._stop.is_set():
                # Let the training have the interpreter: Python itself would do so every 5 ms.
                time.sleep(0)

    def _write_end(self) -> None:
        """Write how the run ended, in a file of its own, which a next attempt empties.

        An interrupted run is not over: it is meant to be resumed, and has no end.
        """
        if self._status == "interrupted":
            return
        file = EventFile(self._run_dir, suffix=END_SUFFIX)
        file.end_session(success=self._status == "finished")
        file.close()

    def _tell(self, problem: str) -> None:
        """Warn once of each kind."""
        kind = problem.partition("(")[0]
        if kind not in self._told:
            self._told.add(kind)
            self._on_problem(f"{problem}; the run's own files are complete")


# ---- rows → summaries ----------------------------------------------------------------------------


def write_row(file: EventFile, stream: Stream, row: JsonObject) -> None:
    """Write what TensorBoard shows of a row.

    Raises:
        TypeError, ValueError, AttributeError, KeyError: it is not what a row of the stream is.
    """
    step, wall_time = integer(row, "step") or 0, number(row, "time") or 0.0
    if stream == "reports":
        _write_report(file, row, step, wall_time)
    elif stream == "epochs":
        # By epoch, not by step: so runs with different batch sizes compare, and their step curves
        # keep their own tags.
        values = {f"epoch/{name}": value for name, value in metric_values(row).items()}
        file.scalars(values, integer(row, "epoch") or 0, wall_time)
    else:
        file.scalars(metric_values(row), step, wall_time)


def _write_report(file: EventFile, row: JsonObject, step: int, wall_time: float) -> None:
    report, tag = row["report"], f"report/{row['split']}"
    if len(row["labels"]) > MOST_CLASSES:
        report = {name: report[name] for name in SUMMARIES if name in report}
    values = {}
    for name, scores in report.items():
        if not isinstance(scores, dict):
            values[f"{tag}/{name}"] = float(scores)
            continue
        for score, value in scores.items():
            if score != "support":
                values[f"{tag}/{name}/{score}"] = float(value)
    file.scalars(values, step, wall_time)
    table = "\n".join(text_report({"report": report}))
    file.text(tag, f"```\n{table}\n```", step, wall_time)


def as_hparams(params: Mapping[str, Any]) -> Params:
    """Return hyperparameters as TensorBoard has them: flat, numbers, booleans and strings.

    Nested names are joined by a point; secrets are taken out as in `run.json`.
    """
    flat: Params = {}
    _flatten("", redact_params(as_json(params)), flat)
    return dict(list(flat.items())[:MOST_PARAMS])


def _flatten(prefix: str, value: Any, flat: Params) -> None:
    if isinstance(value, dict) and (value or not prefix):
        for key, item in value.items():
            _flatten(f"{prefix}.{key}" if prefix else key, item, flat)
    elif isinstance(value, (bool, int, float)):
        flat[prefix] = value
    else:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        flat[prefix] = text[:PARAM_CHARS]
