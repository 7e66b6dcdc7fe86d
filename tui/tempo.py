"""How often the screen shows new rows: at once after a rest or a key, else as often as one reads.

A run of ten steps a second changes every number of the screen each time it is looked at. Nobody
reads them so fast, and each time costs some 400 bytes of the link.
"""

from __future__ import annotations

EVERY_S = 0.5
BURST = 4
"""So many looks are free after a rest: a start, or another run, is drawn as it is read."""


class Tempo:
    """Counts the looks that are left."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = 0.0

    def may_look(self, now_s: float) -> bool:
        """Tell whether to look for new rows now."""
        self._left = min(BURST, self._left + max(0.0, now_s - self._at) / EVERY_S)
        self._at = now_s
        return self._left >= 1.0

    def found(self) -> None:
        """Note that there were some, and that they are drawn."""
        self._left = max(0.0, self._left - 1.0)

    def hurry(self) -> None:
        """Have what a key has asked for drawn at once."""
        self._left = float(BURST)
