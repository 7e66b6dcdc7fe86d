"""From which step on rows are hidden because a later attempt resumed without saying where.

Such an attempt hides the rows of earlier ones from its own first step on. A run may have thousands
of attempts, and each row asks: the answer is kept in order, and changed where it changes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from runstore.files.paths import StreamFile


class InferredCuts:
    """The first steps of one run's attempts, and what they hide."""

    def __init__(self) -> None:
        """Know of no attempt."""
        self._steps: dict[int, dict[int, int]] = {}
        """Attempt to the first step in each part of its metrics."""
        self._silent: set[int] = set()
        self._attempts: list[int] = []
        """The silent attempts whose first step is known, in order …"""
        self._lows: list[int] = []
        """… and for each the smallest first step of it and all later ones."""
        self._is_old = False
        self.version = 0
        """Grows whenever other rows may be hidden."""

    def __bool__(self) -> bool:
        self._update()
        return bool(self._attempts)

    def note_open(self, attempt: int, *, is_silent: bool) -> None:
        """Note whether an attempt resumed without naming cuts."""
        if is_silent is (attempt in self._silent):
            return
        if is_silent:
            self._silent.add(attempt)
        else:
            self._silent.discard(attempt)
        self._age()

    def note_first_step(self, file: StreamFile, step: int) -> None:
        """Note the first step in a metrics file."""
        parts = self._steps.setdefault(file.attempt, {})
        if parts.get(file.part) == step:
            return
        is_new = not parts and not self._is_old and file.attempt in self._silent
        parts[file.part] = step
        if is_new:
            self._insert(file.attempt, step)
            self.version += 1
        elif file.attempt in self._silent:
            self._age()

    def forget(self, file: StreamFile) -> None:
        """Forget the first step of a file that went away or became another one."""
        if self._steps.get(file.attempt, {}).pop(file.part, None) is not None:
            self._age()

    def hidden_from(self, attempt: int) -> int | None:
        """Return the step from which an attempt's rows are hidden; None when none are."""
        if self._is_old:
            self._update()
        if not self._attempts:
            return None
        at = bisect_right(self._attempts, attempt)
        return self._lows[at] if at < len(self._lows) else None

    def _age(self) -> None:
        self._is_old = True
        self.version += 1

    def _update(self) -> None:
        if self._is_old:
            self._is_old = False
            self._attempts, self._lows = [], []
            for attempt in sorted(self._silent, reverse=True):
                if parts := self._steps.get(attempt):
                    self._insert(attempt, parts[min(parts)])

    def _insert(self, attempt: int, step: int) -> None:
        at = bisect_left(self._attempts, attempt)
        low = min(step, self._lows[at]) if at < len(self._lows) else step
        self._attempts.insert(at, attempt)
        self._lows.insert(at, low)
        for earlier in range(at - 1, -1, -1):
            if self._lows[earlier] <= low:
                break
            self._lows[earlier] = low
