"""How the uncommitted changes of two runs differ, file by file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .text import LazyLines, Line, Span, from_file, line

MOST_COMPARED = 4_000_000
"""Lines of one times lines of the other; more could take minutes, and are shown one below the
other."""
_FILE = "diff --git "


@dataclass(frozen=True, slots=True)
class PatchDifference:
    """The difference, ready to be drawn."""

    title: str
    rows: Sequence[tuple[str, str]]
    """Text, as it stands in the files, and role."""

    @property
    def lines(self) -> Sequence[Line]:
        """One line each; made when they are looked at."""
        return LazyLines(len(self.rows), self._line)

    def _line(self, at: int) -> Line:
        text, role = self.rows[at]
        return line(Span(from_file(text.expandtabs(4)), role))


def difference(first: bytes, other: bytes) -> PatchDifference:
    """Return how two patches differ, by unified differences of what each changes in a file.

    Where they are the same, or one of them is empty, that is said, and the one that is there is
    shown as it is. It may take a second: do not call it in the screen's thread.
    """
    one, two = (data.decode("utf-8", "replace").splitlines() for data in (first, other))
    if not one and not two:
        return PatchDifference("neither has a patch", [])
    if one == two:
        return PatchDifference("both have the same patch", list(map(_patch_line, one)))
    if not one or not two:
        which = "only the first has a patch" if one else "only the other has a patch"
        return PatchDifference(which, list(map(_patch_line, one or two)))
    return _by_file(_files(one), _files(two))


def _by_file(one: dict[str, list[str]], two: dict[str, list[str]]) -> PatchDifference:
    rows: list[tuple[str, str]] = []
    names = list(dict.fromkeys((*one, *two)))
    differing = [name for name in names if one.get(name) != two.get(name)]
    for name in differing:
        rows += [("", ""), (f"── {name} {_where(name, one, two)}".rstrip(), "title")]
        if name in one and name in two:
            rows += _difference_of(one[name], two[name])
        else:
            rows += map(_patch_line, one.get(name) or two[name])
    same = len(names) - len(differing)
    title = f"{len(differing)} of {len(names)} changed files differ"
    if same:
        files = "1 file is" if same == 1 else f"{same} files are"
        rows += [("", ""), (f"{files} changed alike in both", "dim")]
    return PatchDifference(title, rows[1:])


def _where(name: str, one: dict[str, list[str]], two: dict[str, list[str]]) -> str:
    if name in one and name in two:
        return ""
    return "(changed only in the first)" if name in one else "(changed only in the other)"


def _files(lines: Sequence[str]) -> dict[str, list[str]]:
    """Return the lines of a patch by the file that they change."""
    found: dict[str, list[str]] = {}
    name = ""
    for text in lines:
        if text.startswith(_FILE):
            name = text[len(_FILE) :].rpartition(" b/")[2]
        found.setdefault(name, []).append(text)
    return found


def _difference_of(one: list[str], two: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what differs between what two patches do to one file."""
    if len(one) * len(two) > MOST_COMPARED:
        yield "too long to be compared line by line", "warn"
        yield from ((f"-{text}", "bad") for text in one)
        yield from ((f"+{text}", "good") for text in two)
        return
    unified = difflib.unified_diff(one, two, n=3, lineterm="")
    for at, text in enumerate(unified):
        if at >= 2:  # the first two name files that patches do not have
            yield text, _role(text)


def _role(text: str) -> str:
    return {"+": "good", "-": "bad", "@": "head"}.get(text[:1], "")


def _patch_line(text: str) -> tuple[str, str]:
    return text, "title" if text.startswith(_FILE) else _role(text)
