"""Explicit stage calls for loops that are not `for` loops; the same code path as the iterators."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, SupportsIndex

from runstore.errors import StageError
from runstore.launch.launch import init
from runstore.run.run import Run


class RunManager:
    """Runs one after another: begin_run → begin_epoch → begin_split → track → end_….

        manager = runstore.RunManager("runs")
        for params in runstore.grid(lr=[0.1, 0.01]):
            manager.begin_run(params)
            manager.begin_epoch()
            manager.begin_split("train")
            manager.track(loss=loss, n=len(y))
            manager.end_split()
            manager.end_epoch()
            manager.end_run()

    A call in the wrong order raises `StageError`, which names the call that was expected.
    """

    def __init__(self, root: str | os.PathLike[str] = "runs") -> None:
        """Manage runs below `root`.

        Args:
            root: the directory that gets the runs' directories; made when missing.
        """
        self.root: Path = Path(root)
        """The directory that gets the runs' directories."""
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The open run.

        Raises:
            StageError: there is none.
        """
        return self._open("run")

    def begin_run(self, params: object = None, **options: Any) -> Run:
        """Open a run and return it.

        Args:
            params: the hyperparameters: a dict, an `argparse.Namespace` or a dataclass.
            options: those of `runstore.init`, but `root`.

        Raises:
            StageError: the run before has not ended.
            RunStoreError, ValueError: as `runstore.init`.
        """
        if self._run is not None and not self._run.ended:
            raise StageError(f"begin_run() came inside {self._run.id}; end_run() was expected")
        self._run = init(params, root=self.root, **options)
        return self._run

    def begin_epoch(self, epochs: SupportsIndex | None = None) -> int:
        """Open the next epoch and return its number, from 1.

        Args:
            epochs: how many there will be, for progress and ETA.

        Raises:
            StageError: no run is open, or an epoch or split is.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
        """
        return self._open("begin_epoch()").begin_epoch(epochs)

    def begin_split(
        self,
        split: str,
        *,
        batches: SupportsIndex | None = None,
        samples: SupportsIndex | None = None,
    ) -> None:
        """Open a split; any other than `train` may be opened inside of an open `train`.

        Args:
            split: `train`, `val`, `test`, or any name without a slash or a leading underscore.
            batches: how many batches it has, for progress and ETA.
            samples: how many samples.

        Raises:
            StageError: no run is open, another split is, or that is no name for one.
        """
        self._open("begin_split()").begin_split(split, batches=batches, samples=samples)

    def track(self, *, n: float | None = None, **values: Any) -> None:
        """Track one batch of the open split; see `Run.track`.

        Args:
            n: how many samples the values are the mean of.
            values: the batch means, by metric name without the split; `tokens` as in `Run.track`.

        Raises:
            StageError: no run, or no split, is open.
            BadValueError: a value is no number, and the run is strict.
        """
        self._open("track()").track(n=n, **values)

    def track_classification(self, predictions: Any, targets: Any, **options: Any) -> None:
        """Count a batch of classifications; see `Run.track_classification`.

        Args:
            predictions: scores, float [n, k], or predicted classes, integer [n].
            targets: true classes, integer [n].
            options: `target_names`, `labels` and `zero_division`.

        Raises:
            StageError: no run, or no split, is open.
            BadValueError: shapes or labels do not fit, and the run is strict.
        """
        self._open("track_classification()").track_classification(predictions, targets, **options)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions; see `Run.track_regression`.

        Args:
            predictions: any shape; each element is a sample.
            targets: as many elements.

        Raises:
            StageError: no run, or no split, is open.
            BadValueError: the numbers of elements differ, and the run is strict.
        """
        self._open("track_regression()").track_regression(predictions, targets)

    def log(self, values: Any, step: int | None = None) -> None:
        """Write one metrics row; see `Run.log`.

        Args:
            values: metric names and their values.
            step: the optimizer step; default the run's.

        Raises:
            StageError: no run is open.
            BadValueError: a value is no number, and the run is strict.
        """
        self._open("log()").log(values, step)

    def log_images(self, name: str, images: Any, **options: Any) -> None:
        """Write images as one grid; see `Run.log_images`.

        Args:
            name: what they are, as in `samples`.
            images: [N, C, H, W], or what else `Run.log_images` takes.
            options: `value_range`, `nrow`, and the others of `Run.log_images`.

        Raises:
            StageError: no run is open.
            BadValueError: these are no images, and the run is strict.
        """
        self._open("log_images()").log_images(name, images, **options)

    def end_split(self) -> dict[str, float]:
        """Close the open split.

        Returns:
            Its sample-weighted means and what its reports come to, by `split/name`.

        Raises:
            StageError: no run, or no split, is open.
        """
        return self._open("end_split()").end_split()

    def end_epoch(self) -> dict[str, Any]:
        """Close the open epoch and write its row; save or stop if it is time.

        Returns:
            The row, as in docs/format.md.

        Raises:
            StageError: no epoch is open, or a split still is.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._open("end_epoch()").end_epoch()

    def end_run(self) -> None:
        """End the open run as `finished`; inside an open epoch the run's reason says so.

        Raises:
            StageError: no run is open.
        """
        run = self._open("end_run()")
        self._run = None
        run.finish()

    def _open(self, call: str) -> Run:
        if self._run is None:
            raise StageError(f"{call} came outside of a run; begin_run() was expected")
        return self._run
