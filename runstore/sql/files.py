"""Which files DuckDB reads for a stream, and which keys their rows have.

Most are the runs' own. A file of which a part counts is copied as far as it does; the rows of other
tools' runs are written anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runstore.errors import UnreadableFileError
from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.paths import Stream
from runstore.files.regular import why_unreadable
from runstore.sql.found import Counted, FoundRun
from runstore.sql.keys import Ends, Keys, look_at_ends
from runstore.sql.scratch import Scratch

DUCKDB_LINE_BYTES = 16 << 20
"""`maximum_object_size` of `read_json`; a longer line ends the query, whatever it is told."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that DuckDB reads."""

    path: str
    run: str
    hidden_from: int | None = None
    """The step from which its rows are superseded."""
    superseded: bool = False
    """All of its rows are."""
    is_rewritten: bool = False
    """It has whole rows only, so one may lack a step."""


class StreamFiles:
    """The files of one stream of all runs."""

    def __init__(
        self,
        stream: Stream,
        root: Path,
        runs: Sequence[FoundRun],
        scratch: Scratch,
        *,
        everything: bool,
    ) -> None:
        """Look at both ends of every file.

        Args:
            stream: metrics, epochs or reports.
            root: the directory below which the runs are.
            runs: those that were found.
            scratch: where copies go.
            everything: take superseded rows too.
        """
        self.keys = Keys()
        self.problems: list[str] = []
        self.linked: list[str] = []
        """Files of runs that a symbolic link leads to, and those by another name."""
        self._links = Links(root)
        self._scratch = scratch
        self._here = str(Path.cwd())
        self._everything = everything
        self._stream: Stream = stream
        self.files: list[ReadFile] = []
        for run in runs:
            if not run.is_refused:
                self.files += self._of_run(run)

    def _of_run(self, run: FoundRun) -> Iterator[ReadFile]:
        if run.through_reader:
            yield from self._rewritten(run)
            return
        for file in run.files:
            if file.stream != self._stream or (file.limit == 0 and not self._everything):
                continue
            try:
                yield from self._of_file(run.run, file)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.problems.append(f"{file.path}: {why_unreadable(error)}")

    def _rewritten(self, run: FoundRun) -> Iterator[ReadFile]:
        from runstore.sql.by_reader import rows_of

        try:
            path = self._scratch.write(rows_of(run.ref, self._stream, self.keys))
        except UnreadableFileError as error:
            self.problems.append(str(error))
            return
        if path.stat().st_size:
            yield ReadFile(str(path), run.run, is_rewritten=True)

    def _of_file(self, run: str, file: Counted) -> Iterator[ReadFile]:
        ends = look_at_ends(file.path, self.keys)
        limit = ends.size if file.limit is None else min(file.limit, ends.size)
        if limit:
            yield ReadFile(self._counting(file.path, ends, limit), run, file.hidden_from)
        if limit < ends.size and self._everything and not ends.has_holes:
            counting = self._scratch.copy(file.path, ends.begin, limit).stat().st_size
            rest = self._scratch.copy(file.path, ends.begin + counting, ends.end)
            yield ReadFile(str(rest), run, superseded=True)

    def _counting(self, path: str, ends: Ends, limit: int) -> str:
        """Return the path of the file, or of a copy of the part that counts."""
        if ends.has_holes:
            return self._rows_only(path, limit)
        if limit < ends.size or ends.begin or ends.end is not None:
            end = limit if ends.end is None else min(limit, ends.end)
            return str(self._scratch.copy(path, ends.begin, end))
        place = os.path.join(self._here, path)  # noqa: PTH118 - a Path is slow for a thousand
        is_own = is_spelled(place)
        if not is_own:
            place = str(self._scratch.link(place))
        if not is_own or self._links.lead_to(os.path.dirname(path)):  # noqa: PTH120 - as above
            self.linked.append(place)
        return place

    def without_long_lines(self) -> None:
        """Put copies in the place of files with lines that DuckDB does not take."""
        for at, file in enumerate(self.files):
            if has_long_line(Path(file.path)):
                self.files[at] = replace(file, path=self._rows_only(file.path, None))

    def _rows_only(self, path: str, limit: int | None) -> str:
        """Return the path of a copy without damaged lines, and without holes."""
        from runstore.sources.reading import file_rows

        lines = file_rows(Path(path), limit=limit)
        whole = (line.line + b"\n" for line in lines if line.row is not None)
        return str(self._scratch.write(whole))


class Links:
    """Which directories below a root are reached by way of a symbolic link."""

    def __init__(self, root: Path) -> None:
        self._known = {str(root): False}

    def lead_to(self, directory: str) -> bool:
        """Tell whether a link leads to a directory below the root, or to one above it there."""
        known = self._known.get(directory)
        if known is None:
            above = os.path.dirname(directory)  # noqa: PTH120 - a Path is slow for a thousand
            known = os.path.islink(directory) or (above != directory and self.lead_to(above))  # noqa: PTH114
            self._known[directory] = known
        return known


def is_spelled(path: str) -> bool:
    """Tell whether DuckDB takes a path for that file alone: it is UTF-8, and no pattern."""
    return path.isprintable() and not any(character in path for character in "*?[]\\")


def has_long_line(path: Path) -> bool:
    """Tell whether a file has a line longer than DuckDB takes."""
    length = 0
    with path.open("rb") as file:
        while data := file.read(MAX_LINE_BYTES):
            first = data.find(b"\n")
            length += len(data) if first < 0 else first
            if length > DUCKDB_LINE_BYTES:
                return True
            if first >= 0:
                length = len(data) - data.rfind(b"\n") - 1
    return False
