"""At which step a row of W&B's history lies: where the training was, not how often it has logged.

W&B counts the calls of `log` (`_step`). Many trainings log their own count besides (`step`,
`trainer/global_step`), or say with `define_metric` which key it is; where a row has such a count,
it is the row's step, and that of the rows behind it that have none. It has to grow, metric by
metric: a log of one process in which a metric's count goes back, or stands still again and again,
has something else there (the number of a batch in its epoch), and is read by `_step`.
"""

from __future__ import annotations

from collections.abc import Iterable

from runstore.files.limits import METRICS_PER_RUN

REPEATS_BORNE = 2
"""Rows that repeat a metric at its step: an evaluation behind the training, and one more, …"""
ROWS_PER_REPEAT = 8
"""… and besides one for so many that do not."""


class Steps:
    """The steps of one file's rows, in order."""

    def __init__(self, *, is_by_calls: bool = False) -> None:
        """Know no row; say whether the count that the training logs is known to be none."""
        self.step: int | None = None
        """Of the last row."""
        self._is_by_calls = is_by_calls
        self._logged: int | None = None
        self._last: dict[str, int] = {}
        """Metric to the step of its newest value."""
        self._fresh = 0
        self._repeats = 0
        self._went_back = False

    def of(self, metrics: Iterable[str], logged: int | None, call: int) -> int:
        """Return the step of a row that has these metrics.

        Args:
            metrics: their names.
            logged: what the training has logged as its own count, None where it has not.
            call: the number of the call, from 0.
        """
        if logged is not None and not self._is_by_calls:
            self._logged = logged
        self.step = call if self._logged is None else self._logged
        self._note(metrics, self.step)
        return self.step

    @property
    def contradicted(self) -> bool:
        """Whether what was taken for the training's count is none: the log has to be read again."""
        too_many = self._repeats > REPEATS_BORNE + self._fresh // ROWS_PER_REPEAT
        return self._logged is not None and (self._went_back or too_many)

    def has(self, metric: str) -> bool:
        """Tell whether a row had a metric; also where that is not known any more."""
        return metric in self._last or len(self._last) >= METRICS_PER_RUN

    def _note(self, metrics: Iterable[str], step: int) -> None:
        last, is_repeat = self._last, False
        for metric in metrics:
            before = last.get(metric)
            if before is None:
                if len(last) < METRICS_PER_RUN:
                    last[metric] = step
            elif step > before:
                last[metric] = step
            else:
                is_repeat = True
                self._went_back |= step < before
        self._repeats += is_repeat
        self._fresh += not is_repeat
