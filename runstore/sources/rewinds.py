"""Which values of a run that another tool wrote are void because it went on from an earlier step.

No such log says where it was resumed, so the steps have to tell, metric by metric: a value at a
step that is not behind its metric's last one makes void what the metric had from that step on. This
is how TensorBoard's own server reads event files. Values of other metrics stay: a log may count
training and validation apart.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from runstore.files.limits import METRICS_PER_RUN

EVERY_METRIC = ""


@dataclass(slots=True)
class _Steps:
    """One metric in one file."""

    last: float
    low: float
    at: int
    """The number of the row that was noted last."""
    rewound_at: list[int] = field(default_factory=list)
    """The numbers of the rows at which it went back, …"""
    rewound_to: list[float] = field(default_factory=list)
    """… and for each to which step; both grow: going back further covers what was before."""

    def go_back(self, number: int, step: float) -> None:
        while self.rewound_to and self.rewound_to[-1] >= step:
            self.rewound_to.pop()
            self.rewound_at.pop()
        self.rewound_at.append(number)
        self.rewound_to.append(step)

    def hides(self, number: int, step: float) -> bool:
        # The steps grow with the rows: of the later ones, the next went back the furthest.
        at = bisect_right(self.rewound_at, number)
        return at < len(self.rewound_at) and self.rewound_to[at] <= step


class Rewinds:
    """The steps of a run's metrics, in files that are numbered in the order of time."""

    def __init__(self, *, is_one_series: bool) -> None:
        """Know of no value; say whether a file goes on where the one before it ended."""
        self._is_one_series = is_one_series
        self._files: dict[int, dict[str, _Steps]] = {}
        """File to metric to its steps there."""
        self._noted: dict[int, int] = {}
        """File to the number of its last row that was noted."""
        self._any = False
        self.went_back = False
        """Whether any went to an earlier step; another value at the same one, as of a second
        evaluation, takes the place of the first, and is no news."""

    def __bool__(self) -> bool:
        """Tell whether any value may be void."""
        return self._any

    def note_row(self, file: int, number: int, step: float, keys: Sequence[str]) -> list[str]:
        """Note the metrics of a row, and return those of which earlier values are void now.

        What was noted before is passed over: a file may be read again, and of a row that was read
        while it was the last one, more may have come.

        Args:
            file: the number of the file, in the order of time.
            number: the number of the row in it, from 1.
            step: its step.
            keys: the names of its metrics.
        """
        noted = self._noted.get(file, 0)
        if number < noted:
            return []
        self._noted[file] = number
        known = self._files.setdefault(file, {})
        void: list[str] = []
        for key in keys:
            steps = known.get(key)
            if steps is not None and number == noted and steps.at == number:
                continue
            if steps is not None and step > steps.last:
                steps.last, steps.at = step, number
            elif self._goes_back(known, key, file, number, step):
                void.append(key)
        self._any = (
            self._any
            or bool(void)
            or (
                len(self._files) > 1
                and any(self._is_behind_later_file(file, key, step) for key in keys)
            )
        )
        return void

    def _goes_back(
        self, known: dict[str, _Steps], key: str, file: int, number: int, step: float
    ) -> bool:
        steps = known.get(key)
        if steps is not None:
            self.went_back = self.went_back or step < steps.last
            steps.go_back(number, step)
            steps.last, steps.low, steps.at = step, min(steps.low, step), number
            return True
        if len(known) < METRICS_PER_RUN:
            known[key] = _Steps(step, step, number)
        lasts = self._lasts_before(file, key)
        self.went_back = self.went_back or any(last > step for last in lasts)
        return any(last >= step for last in lasts)

    def _lasts_before(self, file: int, key: str) -> list[float]:
        """Return the last steps that a metric has in earlier files of the same log."""
        if not self._is_one_series:
            return []
        return [
            known[key].last for other, known in self._files.items() if other < file and key in known
        ]

    def note_block(
        self, file: int, numbers: Sequence[int], steps: Sequence[int], keys: Collection[str]
    ) -> bool:
        """Note rows with the same metrics, whose steps grow; return whether that could be done.

        It cannot, and nothing is noted, where one of them may void a value, or was noted before.
        """
        known = self._files.setdefault(file, {})
        is_new = numbers[0] > self._noted.get(file, 0) and file == max(self._files)
        if not is_new or not all(self._goes_on(known, key, file, steps[0]) for key in keys):
            return False
        self._noted[file] = numbers[-1]
        for key in keys:
            if len(known) < METRICS_PER_RUN or key in known:
                found = known.setdefault(key, _Steps(steps[0], steps[0], 0))
                found.last, found.at = steps[-1], numbers[-1]
        return True

    def _goes_on(self, known: dict[str, _Steps], key: str, file: int, step: float) -> bool:
        if key in known:
            return known[key].last < step
        return all(last < step for last in self._lasts_before(file, key))

    def hides_none(self, file: int, number: int, keys: Collection[str]) -> bool:
        """Tell that no value of these metrics is void in this row and those behind it."""
        if not self._any:
            return True
        known = self._files.get(file, {})
        found = [steps for key in (*keys, EVERY_METRIC) if (steps := known.get(key))]
        is_behind = all(not s.rewound_at or s.rewound_at[-1] <= number for s in found)
        return is_behind and file == max(self._files, default=file)

    def purge(self, file: int, number: int, step: float) -> bool:
        """Note that a writer said that every metric goes on at a step; tell if any value is void.

        Nothing happens where that was noted before.
        """
        if self.has_noted(file, number):
            return False
        self._noted[file] = number
        is_void = any(
            steps.last >= step
            for other, known in self._files.items()
            for steps in known.values()
            if other <= file
        )
        steps = self._files.setdefault(file, {}).setdefault(EVERY_METRIC, _Steps(step, step, 0))
        steps.go_back(number, step)
        # It is no metric, and has no last value.
        steps.low, steps.last = min(steps.low, step), -math.inf
        self._any = True
        return is_void

    def has_noted(self, file: int, number: int) -> bool:
        """Tell whether a row was noted before, or one behind it."""
        return number <= self._noted.get(file, 0)

    def hides(self, file: int, number: int, step: float, key: str) -> bool:
        """Tell whether a value is void, as far as was noted."""
        return self._hides(file, number, step, key) or self._hides(file, number, step, EVERY_METRIC)

    def _hides(self, file: int, number: int, step: float, key: str) -> bool:
        steps = self._files.get(file, {}).get(key)
        if steps is not None and steps.rewound_at and steps.hides(number, step):
            return True
        return self._is_behind_later_file(file, key, step)

    def _is_behind_later_file(self, file: int, key: str, step: float) -> bool:
        return self._is_one_series and any(
            later[key].low <= step
            for other, later in self._files.items()
            if other > file and key in later
        )

    def forget(self, file: int) -> None:
        """Forget a file that went away or became another one."""
        self._noted.pop(file, None)
        self._files.pop(file, None)
