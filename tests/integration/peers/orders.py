"""What the writers share: orders come on standard input, an answer to each on standard output.

* `log N`: log N more steps, and have them on disk as the tool's user would;
* `end`, or the end of standard input: end the run as the tool ends it.

The answer is what was logged, under the tool's own names and in the precision that the tool keeps:
`{"rows": [{"step": 1, "values": {"train/loss": 0.5}}, …]}`.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Callable, Mapping


class Orders:
    """Make it before anything is imported that prints: standard output is the answers' alone."""

    def __init__(self) -> None:
        self.flush: Callable[[], object] = lambda: None
        """What puts the logged steps on disk where the tool alone would do so later."""
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._left = 0
        self._is_unanswered = False
        self._rows: list[dict[str, object]] = []

    def more(self) -> bool:
        """Tell whether to log another step; answers and waits where the last order is carried out.

        Call it before each step, never ahead of the step before.
        """
        if self._left:
            return True
        if self._is_unanswered:
            self.flush()
            self._answer()
        order, _, number = sys.stdin.readline().strip().partition(" ")
        self._left = int(number) if order == "log" else 0
        self._is_unanswered = self._left > 0
        return self._is_unanswered

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Note a step, and what the tool was given for it; some log no values of most steps."""
        self._left -= 1
        if values:
            self.also(step, values)

    def also(self, step: int, values: Mapping[str, float]) -> None:
        """Note what the tool logged beside the steps that were ordered."""
        self._rows.append({"step": step, "values": dict(values)})

    def end(self) -> None:
        """Say that the tool has ended its run, and what it logged at that."""
        self._answer()

    def _answer(self) -> None:
        self._answers.write(json.dumps({"rows": self._rows}) + "\n")
        self._answers.flush()
        self._rows = []


def losses(step: int, *, restarted: bool = False) -> dict[str, float]:
    """Return the values of a step, the same in every run, with digits in all places."""
    return {
        "train/loss": (0.2 if restarted else 0.1) + 1 / step + 0.01 * math.sin(step),
        "val/accuracy": 1 - 1 / (1 + 0.1 * step) + 0.001 * math.cos(step),
    }


def float32(values: Mapping[str, float]) -> dict[str, float]:
    """Return what is left of values in 32 bits."""
    return {name: struct.unpack("<f", struct.pack("<f", x))[0] for name, x in values.items()}
