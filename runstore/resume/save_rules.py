"""When a checkpoint is due, and which checkpoints stay."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass

_EVERY = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>ep|st|s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class SaveEvery:
    """`1ep` (epochs), `500st` (optimizer steps), `30s`, `10min` or `2h`."""

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> SaveEvery:
        """Return what `text` means.

        Raises:
            ValueError: it is none of these forms, or no positive count.
        """
        match = _EVERY.fullmatch(text.strip()) if isinstance(text, str) else None
        count = float(match["count"]) if match else 0.0
        whole = match is not None and match["unit"] in ("ep", "st")
        if match is None or not 0 < count < math.inf or (whole and count != int(count)):
            raise ValueError(
                f"save_every is {text!r}, expected epochs (1ep), steps (500st) or time (10min)"
            )
        if match["unit"] == "ep":
            return cls(epochs=int(count))
        if match["unit"] == "st":
            return cls(steps=int(count))
        return cls(seconds=count * _SECONDS[match["unit"]])


@dataclass(frozen=True, slots=True)
class SaveRules:
    """What `init` was told about checkpoints."""

    every: SaveEvery = SaveEvery(seconds=600.0)
    keep_last: int = 2
    keep_best: tuple[str, float] | None = None
    """A metric, and 1.0 if its lowest value is best, -1.0 if its highest."""


class SaveClock:
    """Tells when the next checkpoint is due."""

    def __init__(self, every: SaveEvery, step: int) -> None:
        """Count from `step` and from now."""
        self._every = every
        self._step = step
        self._epochs = 0
        self._then = time.monotonic()

    def note_save(self, step: int) -> None:
        """A checkpoint was written, or was tried."""
        self._step, self._epochs, self._then = step, 0, time.monotonic()

    def note_epoch(self) -> None:
        """An epoch has ended."""
        self._epochs += 1

    def is_due(self, step: int) -> bool:
        """Tell whether steps, epochs or time since the last one call for another."""
        every = self._every
        if every.steps is not None:
            # At multiples of the step, so that a resumed run saves where the other would have.
            return step // every.steps > self._step // every.steps
        if every.epochs is not None:
            return self._epochs >= every.epochs
        return time.monotonic() - self._then >= (every.seconds or 0.0)
