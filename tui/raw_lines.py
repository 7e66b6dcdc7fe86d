"""Lines of a run's files as they were written: the newest, the damaged, and those of a step.

Reads a few KiB however long the files are: the end of each, and, for a step, the places where a
bisection looks. Rows of an attempt are in the order of their steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from runstore.files.paths import StreamFile
from runstore.files.records import BadLine
from runstore.files.regular import open_regular

NEWEST = 3
"""Lines at the end of each file."""
MOST_FILES = 20
MOST_BYTES = 8 << 10
"""Of one line; a report of a thousand classes has a hundred times as many."""
_NEAR = 64 << 10
"""So near to a step the lines are read one by one."""
_SUFFIXES = (".jsonl", ".csv", ".tsv")
_WITH_STEPS = ("metrics", "epochs")
_ORDER = ("metrics", "epochs", "reports", "events", "exec", "system")


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line of a file."""

    place: str
    """`metrics-0001.jsonl`, and which of its lines this is."""
    text: str
    """Without its newline; bytes that are no UTF-8 as `\\xff`."""
    problem: str = ""
    """What is wrong with it."""


class RawReading:
    """Reads such lines of one run, again and again; what `SideReader` wants."""

    every_s = 1.0

    def __init__(self, path: Path, bad: Sequence[BadLine], step: float | None) -> None:
        """Read the lines of a run.

        Args:
            path: its directory, or the file that it is.
            bad: damaged lines that are known.
            step: the step that is looked at; None: none.
        """
        self._path, self._bad = path, list(bad)
        self.step = step
        """May be set anew: the next read looks for it."""
        self.lines: list[RawLine] | None = None
        """None before the first read."""

    def read(self) -> bool:
        """Read once."""
        try:
            files = _files(self._path)
        except OSError as error:
            self.lines = [RawLine(self._path.name, "", error.strerror or str(error))]
            return False
        found = [_damaged(self._path, bad) for bad in self._bad]
        if (step := self.step) is not None:
            found += _at_step(files, step)
        found += [line for file in files for line in newest(file)]
        self.lines = found
        return False


def _files(path: Path) -> list[Path]:
    """Return the files of lines, of the newest attempt first.

    Raises:
        OSError: the directory cannot be read.
    """
    if path.is_file():
        return [path]
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(_SUFFIXES))
    return [path / name for name in sorted(names, key=_place)][:MOST_FILES]


def _place(name: str) -> tuple[int, int, int, int]:
    file = StreamFile.parse(name)
    if file is None:
        return (0, 0, 0, 0)
    return (-file.attempt, _ORDER.index(file.stream), file.rank, -file.part)


def newest(file: Path) -> list[RawLine]:
    """Return the last lines of a file, the newest first; of one that cannot be read, why."""
    try:
        with _opened(file) as descriptor:
            size = os.fstat(descriptor).st_size
            start = max(0, size - NEWEST * MOST_BYTES)
            data = os.pread(descriptor, size - start, start)
    except OSError as error:
        return [RawLine(file.name, "", error.strerror or str(error))]
    whole, _, torn = data.rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    if start and lines:
        lines[0] = b"\xe2\x80\xa6" + lines[0]  # an ellipsis: it begins before what was read
    names = ["last line", *(f"line {back} before it" for back in range(1, NEWEST))]
    found = [
        RawLine(f"{file.name}  {name}", _text(line))
        for name, line in zip(names, reversed(lines), strict=False)
    ]
    if torn:
        found.insert(0, RawLine(f"{file.name}  after its last newline", _text(torn), "not whole"))
    return found


def _damaged(path: Path, bad: BadLine) -> RawLine:
    place = f"{bad.place}, byte {bad.offset:,}"
    file = path if path.is_file() else path / bad.file
    try:
        with _opened(file) as descriptor:
            data = os.pread(descriptor, MOST_BYTES + 1, bad.offset)
    except OSError as error:
        return RawLine(place, "", f"{bad.reason}; {error.strerror or error}")
    return RawLine(place, _text(data.partition(b"\n")[0]), bad.reason)


def _at_step(files: Sequence[Path], step: float) -> Iterator[RawLine]:
    """Yield of each stream the rows that a step is in: the newest attempt's that has some."""
    for stream in _WITH_STEPS:
        for file in files:
            parsed = StreamFile.parse(file.name)
            if parsed is None or parsed.stream != stream or parsed.rank:
                continue
            try:
                found = lines_of_step(file, step)
            except OSError:
                continue
            yield from (RawLine(f"{file.name}  at step {step:,.0f}", _text(row)) for row in found)
            if found:
                break


def lines_of_step(file: Path, step: float) -> list[bytes]:
    """Return the lines of the first step that is not below `step`, or else of the last one.

    At most some, and none where the file begins later: the step is in an earlier one.
    """
    with _opened(file) as descriptor:
        low, high = 0, os.fstat(descriptor).st_size
        while high - low > _NEAR:
            middle = (low + high) // 2
            at = _step_behind(descriptor, middle)
            if at is not None and at < step:
                low = middle
            else:
                high = middle
        begin = max(0, low - _NEAR)
        data = os.pread(descriptor, high - begin + 2 * _NEAR, begin)
    lines = data.split(b"\n")[1 if begin else 0 :]
    steps = [(found, line) for line in lines if (found := _step_of(line)) is not None]
    if not steps or (begin == 0 and steps[0][0] > step):
        return []
    wanted = next((found for found, _ in steps if found >= step), steps[-1][0])
    return [line for found, line in steps if found == wanted][:NEWEST]


def _step_behind(descriptor: int, offset: int) -> float | None:
    """Return the step of the first row that begins behind a place."""
    data = os.pread(descriptor, _NEAR, offset)
    for line in data.split(b"\n")[1:-1]:
        if (step := _step_of(line)) is not None:
            return step
    return None


def _step_of(line: bytes) -> float | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    step = row.get("step") if isinstance(row, dict) else None
    return step if isinstance(step, (int, float)) and not isinstance(step, bool) else None


def _text(line: bytes) -> str:
    more = len(line) - MOST_BYTES
    text = line[:MOST_BYTES].decode("utf-8", "backslashreplace")
    return f"{text} …" if more > 0 else text


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = open_regular(file)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
