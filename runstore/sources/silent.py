"""A run whose file system does not answer: it knows just that, and asks for nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runstore.errors import FormatError
from runstore.files.cursor import READ_BYTES
from runstore.files.paths import Stream
from runstore.sources.reading import RowLine, unreadable
from runstore.state.run_state import RunState
from runstore.state.status import Status

NO_ANSWER = "its file system does not answer"


def is_silent(state: RunState) -> bool:
    """Tell whether a run's file system did not answer: nothing more is to be asked of it."""
    return state.status.reason == NO_ANSWER


class SilentReader:
    """Stands in the place of a reader that would wait for ever."""

    behind = False
    size_bytes = 0

    def __init__(self, directory: Path, source: str) -> None:
        """Stand for the run at `directory`, of the format `source`."""
        self.state = RunState(directory, source=source)
        self.state.status = Status("unknown", NO_ANSWER)
        self.refused: FormatError | None = None
        self.unlisted = NO_ANSWER

    def glance(self) -> bool:
        """Learn nothing."""
        return False

    def poll(self, budget: int = READ_BYTES) -> bool:
        """Learn nothing."""
        return False

    def judge(self) -> bool:
        """Decide nothing."""
        return False

    def learn_cuts(self) -> None:
        """Learn nothing."""

    def files(self, stream: Stream) -> list[Path]:
        """Know of no file."""
        return []

    def rows(self, stream: Stream) -> Iterator[RowLine]:
        """Say that the rows cannot be read."""
        yield unreadable("", NO_ANSWER)
