"""Where a text occurs in bytes, without regard to case, as often as it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_CHARS = 200


class Needle:
    """A text to be found; letters beyond ASCII in UTF-8."""

    def __init__(self, text: str) -> None:
        """Find `text`, of which the first 200 characters count; it may not be empty."""
        self.text = text[:MOST_CHARS]
        self.shown = re.compile(re.escape(self.text), re.IGNORECASE)
        """Finds it in a line as it is shown."""
        self._lower = self.text.lower().encode() if self.text.isascii() else b""
        forms = [(char.lower().encode(), char.upper().encode()) for char in self.text]
        self._pattern = re.compile(b"".join(_either(*form) for form in forms))
        self.longest = sum(max(map(len, form)) for form in forms)
        """Bytes that an occurrence has at most."""

    def count(self, data: bytes) -> int:
        """Return how often it occurs; occurrences do not overlap."""
        if self._lower:  # many times as fast as a pattern
            return data.lower().count(self._lower)
        return sum(1 for _ in self._pattern.finditer(data))

    def places(self, data: bytes) -> list[int]:
        """Return where the occurrences that `count` counts begin."""
        return list(self._find(data))

    def _find(self, data: bytes) -> Iterator[int]:
        if not self._lower:
            yield from (found.start() for found in self._pattern.finditer(data))
            return
        lower = data.lower()
        at = lower.find(self._lower)
        while at >= 0:
            yield at
            at = lower.find(self._lower, at + len(self._lower))


def _either(lower: bytes, upper: bytes) -> bytes:
    if lower == upper:
        return re.escape(lower)
    return b"(?:%s|%s)" % (re.escape(lower), re.escape(upper))
