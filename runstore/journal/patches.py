"""A patch as git writes it, file by file. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = re.compile(rb"^diff --git .*$", re.MULTILINE)
COMPARED_LINES = 5000
"""Of a file in both patches together; beyond that only that they differ is told: to compare takes
the square of it."""


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What a patch changes in one file."""

    header: str
    """`diff --git a/train.py b/train.py`."""
    data: bytes
    """All of its lines."""

    @property
    def is_binary_without_content(self) -> bool:
        """Whether it only says that a binary file differs: nothing can apply that."""
        before_hunks = self.data.partition(b"\n@@ ")[0]
        return b"\nBinary files " in before_hunks

    @property
    def name(self) -> str:
        """The file's name, as far as the header tells."""
        # Both names are the same but where a file was renamed.
        return self.header.rpartition(" b/")[2] or self.header


def file_patches(patch: bytes) -> list[FilePatch]:
    """Return the parts of a patch, a file each; what stands before the first one is left out."""
    # In a hunk each line begins with a blank, a sign or a backslash: no header stands in one.
    starts = [found.start() for found in _HEADER.finditer(patch)]
    ends = [*starts[1:], len(patch)]
    parts = [patch[start:end] for start, end in zip(starts, ends, strict=False)]
    return [FilePatch(_text(part.split(b"\n", 1)[0]), part) for part in parts]


def differing_lines(one: bytes, other: bytes, names: tuple[str, str]) -> Iterator[str]:
    """Yield how two patches differ, as a unified diff of them, without their equal files.

    Args:
        one: the first patch.
        other: the second.
        names: what they are called.
    """
    ours, theirs = ({part.header: part for part in file_patches(patch)} for patch in (one, other))
    yield from (f"--- {names[0]}", f"+++ {names[1]}")
    for header in dict.fromkeys((*ours, *theirs)):
        before, after = ours.get(header), theirs.get(header)
        old = _text(before.data).splitlines() if before else []
        new = _text(after.data).splitlines() if after else []
        if old == new:
            continue
        if old and new and len(old) + len(new) > COMPARED_LINES:
            yield f"# {header}: differs; too long to be compared here"
            continue
        # Without the two lines that name the files.
        yield from list(difflib.unified_diff(old, new, lineterm=""))[2:]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
