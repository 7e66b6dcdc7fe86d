"""Which files a run of another tool has, and how each is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from runstore.sources.log_files import LogFile

Opener = Callable[[bool], LogFile]
"""Opens a file at its beginning; gets whether to be patient (see `Cursor`)."""


class Layout(Protocol):
    """What a format has in a run's directory."""

    NAME: str
    """The source's name, shown beside the run."""
    EVIDENCE: str
    """Why nothing can be said about a run whose log does not grow, in words."""
    IS_ONE_SERIES: bool
    """The files, in order, are one log: a later one goes on where an earlier one ended. Otherwise
    each is a log of its own."""

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the files that are there now, by the names that users see, in order.

        Raises:
            OSError: the directory cannot be listed.
        """


def names_in(directory: Path) -> list[str]:
    """Return the names in a directory, sorted.

    Raises:
        OSError: it cannot be listed.
    """
    return sorted(os.listdir(directory))
