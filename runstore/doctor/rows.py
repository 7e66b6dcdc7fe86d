"""Line by line: damaged ones, repeated rows, steps and times that run backwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runstore.doctor.findings import Findings
from runstore.doctor.lines import LineFile, NotRegularError
from runstore.files.cursor import AT_REST_S
from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.records import JsonObject, RecordError, decode, integer, number
from runstore.numbers import duration

BACKWARDS_S = 1.0
"""So far `time` may go back: threads that log side by side write a little out of order."""

Record = tuple[int, int, bytes, JsonObject]
"""The line's number, the byte where it begins, the line, and what it says."""


@dataclass(slots=True)
class CheckedFile:
    """One file of JSON lines: yields its records, and notes what is none."""

    findings: Findings
    path: Path
    name: str
    """As the findings name the file: from the run's directory."""
    growing: bool = False
    """Somebody may be writing it, as far as anybody can tell."""
    proven: bool = True
    """It is known whether somebody writes it."""
    visible_bytes: int | None = None
    """Where a cut ends the rows that count."""
    file: LineFile = field(init=False)

    def records(self, *, checked_bytes: int = 0) -> Iterator[Record]:
        """Yield the whole lines that are JSON objects; note the others."""
        self.file = LineFile(self.path, checked_bytes=checked_bytes)
        try:
            for number_, begins, line in self.file.lines():
                record = self._decoded(number_, begins, line)
                if record is not None and line is not None:
                    yield number_, begins, line, record
        except NotRegularError:
            self.findings.add("not_regular", "no regular file: it is not read", file=self.name)
        except FileNotFoundError:
            # It was there when the directory was listed.
            return
        except OSError as error:
            self._unreadable(error)
        else:
            self._look_at_end()

    def is_visible(self, begins: int, line: bytes) -> bool:
        """Tell whether a line counts: it ends before the cut, if there is one."""
        return self.visible_bytes is None or begins + len(line) + 1 <= self.visible_bytes

    def _decoded(self, line_number: int, begins: int, line: bytes | None) -> JsonObject | None:
        if line is None:
            self._damaged("bad_line", "a line over 1 MiB", line_number, begins, MAX_LINE_BYTES)
            return None
        try:
            return decode(line)
        except RecordError as error:
            zeros = line.find(b"\0")
            if zeros < 0:
                self._damaged("bad_line", str(error), line_number, begins, len(line))
            elif not self._may_still_come(begins):
                run = len(line) - len(line[zeros:].lstrip(b"\0")) - zeros
                found = f"{run:,} NUL bytes"
                self._damaged("nul_run", found, line_number, begins + zeros, len(line) - zeros)
            return None

    def _may_still_come(self, begins: int) -> bool:
        """A network file system shows zeros where data is on its way."""
        near_end = begins + 2 * MAX_LINE_BYTES > self.file.size
        return self.growing and near_end and time.time() - self.file.modified < AT_REST_S

    def _damaged(self, code: str, found: str, line: int, byte: int, length: int) -> None:
        behind = self.visible_bytes is not None and byte + length + 1 > self.visible_bytes
        self.findings.add(
            code,
            f"{found}; behind a cut, no reader counts it" if behind else found,
            file=self.name,
            line=line,
            byte=byte,
            severity="note" if behind else None,
        )

    def _look_at_end(self) -> None:
        torn = self.file.size - self.file.end_of_lines
        if torn and not self._writing():
            unknown = "" if self.proven else "; nobody can tell whether its writer is gone"
            self.findings.add(
                "torn_tail",
                f"{torn:,} bytes behind the last newline{unknown}",
                file=self.name,
                line=self.file.rows + 1,
                byte=self.file.end_of_lines,
            )

    def _writing(self) -> bool:
        if self.proven:
            return self.growing
        # What was touched a moment ago may be in the middle of a line.
        return self.growing and abs(time.time() - self.file.modified) < AT_REST_S

    def _unreadable(self, error: OSError) -> None:
        why = (error.strerror or str(error)).lower()
        self.findings.add("unreadable", f"cannot be read: {why}", file=self.name)


@dataclass(slots=True)
class Times:
    """The first and the last moment that the lines of an attempt tell, in Unix seconds."""

    first: float | None = None
    last: float | None = None
    last_file: str = ""
    last_line: int = 0

    def take(self, moment: float, file: str, line: int) -> None:
        """Note one more."""
        if self.first is None:
            self.first = moment
        if self.last is None or moment > self.last:
            self.last, self.last_file, self.last_line = moment, file, line

    def join(self, other: Times) -> None:
        """Note the last one of `other` too."""
        if other.last is not None:
            self.take(other.last, other.last_file, other.last_line)


@dataclass(slots=True)
class RowCheck:
    """Rows in the order in which one process wrote them, over all parts of a stream."""

    findings: Findings
    times: Times
    has_steps: bool = True
    """Steps go up (rows of `system` only tell where the run was)."""
    strict: bool = True
    """Each row has a time of its own; in lines of anybody equal ones may follow each other."""
    next_first: bytes | None = None
    """The first line of the next part; the same one before is where rows were written again."""
    _line: bytes | None = None
    _step: int | None = None
    _time: float | None = None

    def begin_again(self) -> None:
        """Another process may have written what comes now: it has steps and a clock of its own."""
        self._line = self._step = self._time = None

    def read(self, checked: CheckedFile, *, checked_bytes: int = 0) -> None:
        """Check the rows of one more part."""
        for line_number, begins, line, row in checked.records(checked_bytes=checked_bytes):
            if checked.is_visible(begins, line):
                self._take(checked.name, line_number, begins, line, row)

    def _take(self, file: str, line_number: int, begins: int, line: bytes, row: JsonObject) -> None:
        problems: list[tuple[str, str]] = []
        if line == self._line and (self.strict or "time" in row):
            problems.append(("repeated_rows", "the same bytes as the line before"))
        elif line == self.next_first:
            problems.append(("repeated_rows", "from here on, the next part has them again"))
        self._line = line
        step, moment = integer(row, "step"), number(row, "time")
        if step is not None and self.has_steps:
            if self._step is not None and step < self._step:
                problems.append(("steps_back", f"step {step:,} behind step {self._step:,}"))
            self._step = step
        if moment is not None:
            if self._time is not None and moment < self._time - BACKWARDS_S:
                back = duration(self._time - moment)
                problems.append(("time_back", f"{back} before the line before"))
            self._time = moment
            self.times.take(moment, file, line_number)
        for code, found in problems:
            self.findings.add(code, found, file=file, line=line_number, byte=begins)
