"""Explicit stage calls for loops that are not `for` loops; the same code path as the iterators."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, SupportsIndex

from runstore.errors import StageError
from runstore.launch import init
from runstore.run import Run


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
        """Manage runs below `root`."""
        self.root = Path(root)
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The open run.

        Raises:
            StageError: there is none.
        """
        return self._open("run")

    def begin_run(self, params: object = None, **options: Any) -> Run:
        """Open a run; `options` are those of `runstore.init`."""
        if self._run is not None and not self._run.ended:
            raise StageError(f"begin_run() came inside {self._run.id}; end_run() was expected")
        self._run = init(params, root=self.root, **options)
        return self._run

    def begin_epoch(self, epochs: SupportsIndex | None = None) -> int:
        """Open the next epoch and return its number, from 1; `epochs` is how many there will be."""
        return self._open("begin_epoch()").begin_epoch(epochs)

    def begin_split(
        self,
        split: str,
        *,
        batches: SupportsIndex | None = None,
        samples: SupportsIndex | None = None,
    ) -> None:
        """Open a split (`train`, `val`, `test`, or any name), with its size when known."""
        self._open("begin_split()").begin_split(split, batches=batches, samples=samples)

    def track(self, *, n: float | None = None, **values: Any) -> None:
        """Track one batch of the open split; see `Run.track`."""
        self._open("track()").track(n=n, **values)

    def track_classification(self, predictions: Any, targets: Any, **options: Any) -> None:
        """Count a batch of classifications; see `Run.track_classification`."""
        self._open("track_classification()").track_classification(predictions, targets, **options)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions; see `Run.track_regression`."""
        self._open("track_regression()").track_regression(predictions, targets)

    def log(self, values: Any, step: int | None = None) -> None:
        """Write one metrics row; see `Run.log`."""
        self._open("log()").log(values, step)

    def end_split(self) -> dict[str, float]:
        """Close the open split and return its means."""
        return self._open("end_split()").end_split()

    def end_epoch(self) -> dict[str, Any]:
        """Close the open epoch, write its row, and return it."""
        return self._open("end_epoch()").end_epoch()

    def end_run(self) -> None:
        """End the open run; inside an open epoch the run's reason says so."""
        run = self._open("end_run()")
        self._run = None
        run.finish()

    def _open(self, call: str) -> Run:
        if self._run is None:
            raise StageError(f"{call} came outside of a run; begin_run() was expected")
        return self._run
