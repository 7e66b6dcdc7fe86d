"""One file of a run of another tool, and how far it was read."""

from __future__ import annotations

from dataclasses import dataclass, field

from runstore.files.paths import Stream, StreamFile
from runstore.sources.layout import Opener
from runstore.sources.log_files import LogFile


@dataclass(frozen=True, slots=True, order=True)
class NamedFile(StreamFile):
    """A file whose name tells nothing of ours."""

    file_name: str = ""

    @property
    def name(self) -> str:
        """The name as it is; a file may hold rows of several streams."""
        return self.file_name if self.stream == "metrics" else f"{self.file_name} ({self.stream})"


@dataclass(slots=True)
class Followed:
    """One file of a run."""

    name: str
    place: int
    """Its number in the order of the files, from 1."""
    open: Opener
    log: LogFile
    complete: bool = True
    """Every row from the beginning was folded; False after a glance."""
    more: bool = False
    times_again: int = 0
    has_events: bool = False
    size_before: int = 0
    """Its size before it was read again."""
    _of: dict[Stream, NamedFile] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Its size in bytes at the last look."""
        return self.log.size or self.size_before

    def of(self, stream: Stream) -> NamedFile:
        """Return what stands for the file's rows of a stream in a state."""
        found = self._of.get(stream)
        if found is None:
            # No such log has attempts; a part each keeps their rows apart.
            found = self._of[stream] = NamedFile(1, self.place, stream, 0, self.name)
        return found
