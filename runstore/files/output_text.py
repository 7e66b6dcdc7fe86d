"""What a run's command printed, as one text: `output.log` and its earlier parts, while they grow.

A place is a part and an offset in it, so it stays where it is when `output.log` is closed as
`output.3.log`, and when an earlier part is deleted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from runstore.files.line_index import CHUNK_BYTES, ChunkCounts, TextFile, looked_at
from runstore.files.paths import RunPaths
from runstore.files.regular import why_unreadable
from runstore.files.text_search import Needle

MOST_PARTS = 64
"""The newest; `runstore exec` keeps four."""
_CLOSED = re.compile(r"output\.([0-9]{1,9})\.log")


class Place(NamedTuple):
    """Where something is in the text."""

    part: int
    offset: int


class TextLine(NamedTuple):
    """One line, or a piece of one that is very long."""

    start: Place
    end: Place
    data: bytes
    """Without its newline."""


class OutputText:
    """The output of one run. Not for several threads at a time."""

    def __init__(self, run_dir: Path) -> None:
        """Know the output of the run in `run_dir`; nothing is read yet."""
        self._paths = RunPaths(run_dir)
        self.parts: dict[int, TextFile] = {}
        """Those that are there and not empty, in order; a number is given once."""
        self.problem = ""
        """Why there is nothing to read, or not all; empty when no file is there."""
        self.is_empty = False
        """A file is there, and nothing is in any of them."""
        self._next = 0
        self._gone: dict[int, TextFile] = {}
        """Those that were missing at the last look: one may be renamed in the middle of a look."""

    def refresh(self) -> None:
        """Look at the files: which are there, and how long they are."""
        self.problem, self.is_empty = "", False
        try:
            paths = self._wanted()
        except OSError as error:
            self.close()
            # The directory may be away for a while; then places in them hold again.
            self._gone, self.parts = self._gone | self.parts, {}
            if not isinstance(error, NotADirectoryError):  # another tool's run, which is a file
                self.problem = why_unreadable(error)
            return
        self._take(paths)

    def close(self) -> None:
        """Close all files until they are next read."""
        for part in self.parts.values():
            part.close()

    def _wanted(self) -> list[Path]:
        names = os.listdir(self._paths.run_dir)
        numbers = sorted(int(match[1]) for name in names if (match := _CLOSED.fullmatch(name)))
        paths = [self._paths.output_part(number) for number in numbers[-MOST_PARTS:]]
        if not paths and self._paths.output.name not in names and "files" in names:
            return [self._paths.run_dir / "files" / "output.log"]  # where W&B keeps it
        return [*paths, self._paths.output]

    def _take(self, paths: list[Path]) -> None:
        """Know the parts again that were there before, by what they are and not by their names."""
        before = self._gone | self.parts
        known = {part.identity: (number, part) for number, part in before.items()}
        kept: dict[int, TextFile] = {}
        has_empty = False
        for path in paths:
            try:
                status = looked_at(path)
                has_empty |= status is not None and not status.st_size
                if status is None or not status.st_size:
                    continue
                number, part = known.get((status.st_dev, status.st_ino), (-1, None))
                if (
                    part is None
                    or number < max(kept, default=0)
                    or not _is_same(part, path, status)
                ):
                    number, part = self._next, TextFile(path, status)
                    part.note_end()
                    self._next += 1
            except FileNotFoundError:  # renamed in this moment; the next look tells
                continue
            except OSError as error:  # the other parts can be read
                self.problem = f"{path.name}: {why_unreadable(error)}"
            else:
                kept[number] = part
        gone = {number: part for number, part in self.parts.items() if kept.get(number) is not part}
        for part in gone.values():
            part.close()
        self.parts, self._gone = kept, gone
        self.is_empty = has_empty and not kept

    # ---- places --------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """How long all parts are together."""
        return sum(part.size for part in self.parts.values())

    @property
    def stamp(self) -> object:
        """What is another one when there is something new."""
        parts = self.parts.items()
        return (
            self.problem,
            self.is_empty,
            [(number, part.size, part.changed_ns) for number, part in parts],
        )

    @property
    def top(self) -> Place:
        """Where the text begins."""
        return Place(min(self.parts, default=0), 0)

    @property
    def end(self) -> Place:
        """Behind the last line."""
        last = max(self.parts, default=0)
        return Place(last, self.parts[last].size if self.parts else 0)

    def settled(self, place: Place) -> Place:
        """Return the beginning of the line at a place; of the next one where that is gone."""
        if place.part not in self.parts:
            later = [number for number in self.parts if number > place.part]
            return Place(min(later), 0) if later else self.end
        part = self.parts[place.part]
        if place.offset >= part.size:
            return Place(place.part, part.size)
        return Place(place.part, part.line_start(place.offset + 1))

    def line(self, place: Place) -> TextLine | None:
        """Return the line that begins at a place; None at the end of the text."""
        part = self.parts.get(place.part)
        if part is None or place.offset >= part.size:
            later = [number for number in self.parts if number > place.part]
            return self.line(Place(min(later), 0)) if later else None
        end = part.line_end(place.offset)
        data = part.line(place.offset, end)
        return TextLine(place, Place(place.part, end), data)

    def line_before(self, place: Place) -> TextLine | None:
        """Return the line that ends at a place; None at the top of the text."""
        part = self.parts.get(place.part)
        if part is None or place.offset <= 0:
            earlier = [number for number in self.parts if number < place.part]
            if not earlier:
                return None
            last = max(earlier)
            return self.line_before(Place(last, self.parts[last].size))
        start = part.line_start(place.offset)
        data = part.line(start, place.offset)
        return TextLine(Place(place.part, start), place, data)

    # ---- numbers -------------------------------------------------------------------------------

    def count_lines(self, is_over: Callable[[], bool]) -> bool:
        """Count the lines until `is_over`; tell whether all are counted."""
        return all(part.newlines.extend(part, is_over) for part in self.parts.values())

    @property
    def is_counted(self) -> bool:
        """Whether all lines are counted."""
        return all(part.newlines.counted >= part.size for part in self.parts.values())

    @property
    def lines(self) -> int:
        """How many lines were counted, one without its newline at the end included."""
        whole = sum(part.newlines.total for part in self.parts.values())
        return whole + (self.size_bytes > 0 and not self._ends_with_newline())

    def _ends_with_newline(self) -> bool:
        part = self.parts[self.end.part]
        return part.read(part.size - 1, 1) == b"\n"

    def number_of(self, place: Place) -> int | None:
        """Return the number of the line that begins at a place, from 1; None: not counted yet."""
        before = 0
        for number, part in self.parts.items():
            if number == place.part:
                found = part.number_at(place.offset)
                return None if found is None else before + found + 1
            if number < place.part and part.newlines.counted < part.size:
                return None
            before += part.newlines.total
        return None

    def share_before(self, place: Place) -> float:
        """Return how much of the text is in front of a place, from 0 to 1."""
        earlier = sum(part.size for number, part in self.parts.items() if number < place.part)
        return min(1.0, (earlier + place.offset) / max(1, self.size_bytes))


def _is_same(part: TextFile, path: Path, status: os.stat_result) -> bool:
    """Take in a part's name and size as they are now; False when it was written anew."""
    if part.path != path:
        part.close()
        part.path = path
    return part.has_grown(status)


class Search:
    """Finds a needle in the output: the next place at once, how often in all as it goes on."""

    def __init__(self, text: OutputText, needle: Needle) -> None:
        """Look for `needle` in `text`; nothing is read yet."""
        self.needle = needle
        self.hit: Place | None = None
        """Where the last `look` has found it."""
        self.is_looking = False
        self._text = text
        self._counts: dict[int, ChunkCounts] = {}
        self._at = Place(0, 0)
        self._way = 1
        self._chunks_left = 0

    def look(self, place: Place, way: int) -> None:
        """Begin to look behind a place (`way` 1), or in front of it (-1), and round the end."""
        self._at, self._way, self.is_looking = place, way, True
        chunks = [part.size // CHUNK_BYTES + 1 for part in self._text.parts.values()]
        self._chunks_left = sum(chunks) + 1

    def go_on(self, is_over: Callable[[], bool]) -> bool:
        """Look, and then count, until `is_over`; tell whether all is done."""
        while self.is_looking:
            if is_over():
                return False
            self._look_in_chunk()
        parts = self._text.parts.items()
        return all(self._counts_of(number).extend(part, is_over) for number, part in parts)

    def _counts_of(self, number: int) -> ChunkCounts:
        counts = self._counts.get(number)
        if counts is None:
            counts = ChunkCounts(self.needle.count, self.needle.longest - 1)
            self._counts[number] = self._text.parts[number].hits = counts
        return counts

    def _look_in_chunk(self) -> None:
        parts, number = self._text.parts, self._at.part
        part = parts.get(number)
        if part is not None:
            offset = self._at.offset
            chunk = max(0, offset + self._way) // CHUNK_BYTES
            places = self._places(number, chunk)
            beyond = [p for p in places if (p > offset if self._way > 0 else p < offset)]
            if beyond:
                self.hit = Place(number, beyond[0] if self._way > 0 else beyond[-1])
                self.is_looking = False
                return
        self._chunks_left -= 1
        self.is_looking = self._chunks_left > 0 and bool(parts)
        if self.is_looking:
            self._at = self._next_chunk(number)

    def _next_chunk(self, number: int) -> Place:
        """Return from where to look on: just in front of a chunk, or just behind one."""
        parts = self._text.parts
        part, offset = parts.get(number), self._at.offset
        if self._way > 0:
            following = ((offset + 1) // CHUNK_BYTES + 1) * CHUNK_BYTES
            if part is not None and following < part.size:
                return Place(number, following - 1)
            later = [other for other in parts if other > number]
            return Place(min(later or parts), -1)
        preceding = (max(offset, 1) - 1) // CHUNK_BYTES * CHUNK_BYTES
        if part is not None and preceding > 0:
            return Place(number, preceding)
        earlier = [other for other in parts if other < number]
        last = max(earlier or parts)
        return Place(last, parts[last].size)

    def _places(self, number: int, chunk: int) -> list[int]:
        if self._counts_of(number).within(chunk) == 0:
            return []
        at = chunk * CHUNK_BYTES
        data = self._text.parts[number].read(at, CHUNK_BYTES + self.needle.longest - 1)
        return [at + place for place in self.needle.places(data)]

    @property
    def is_counted(self) -> bool:
        """Whether the whole text was searched."""
        parts = self._text.parts.items()
        return all(self._counts_of(number).counted >= part.size for number, part in parts)

    @property
    def share_counted(self) -> float:
        """How much of the text was searched, from 0 to 1."""
        counted = sum(self._counts_of(number).counted for number in self._text.parts)
        return counted / max(1, self._text.size_bytes)

    @property
    def hits(self) -> int:
        """How often it was found."""
        return sum(self._counts_of(number).total for number in self._text.parts)

    def number_of_hit(self) -> int | None:
        """Return which of the hits the last one is, from 1; None where that is not counted yet."""
        if self.hit is None or self.hit.part not in self._text.parts:
            return None
        numbers = [number for number in self._text.parts if number < self.hit.part]
        for number in numbers:
            if self._counts_of(number).counted < self._text.parts[number].size:
                return None
        chunk = self.hit.offset // CHUNK_BYTES
        before = self._counts_of(self.hit.part).before(chunk)
        if before is None:
            return None
        here = sum(place <= self.hit.offset for place in self._places(self.hit.part, chunk))
        return sum(self._counts_of(number).total for number in numbers) + before + here
