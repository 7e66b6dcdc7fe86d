"""Everything that can be shown: one file per format, all behind one small protocol.

A source recognises a directory by the names in it and opens it as a `RunReader`, which keeps a
`RunState` up to date. The first source that recognises a directory has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runstore.slurm_jobs import JOBS
from runstore.sources import native, plain
from runstore.sources.reading import RunReader
from runstore.state import RunState


class Source(Protocol):
    """One format of runs."""

    NAME: str
    """Shown beside a run that is not native."""

    def recognises(self, directory: Path, names: Sequence[str]) -> bool:
        """Tell whether a directory with these entries is a run of this format."""

    def open_run(self, directory: Path, *, patient: bool = True) -> RunReader:
        """Return a reader; nothing is read yet."""


SOURCES: tuple[Source, ...] = (native, plain)
"""In the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run that was found, not read."""

    path: Path
    source: Source
    sort_key: str
    """Sorts runs by the time of their creation as far as their names tell."""

    @property
    def name(self) -> str:
        """The directory's name, which is the id of a native run."""
        return self.path.name


def recognise(directory: Path, names: Sequence[str]) -> Source | None:
    """Return the source that reads a directory with these entries, or None."""
    return next((s for s in SOURCES if s.recognises(directory, names)), None)


def open_run(ref: RunRef, *, patient: bool = True) -> RunReader:
    """Return a reader of a run that was found.

    Args:
        ref: the run.
        patient: zeros at the end of a file may still become data, so what follows them waits for
            later polls. Who reads only once must not be patient, or misses it.
    """
    return ref.source.open_run(ref.path, patient=patient)


def ask_scheduler(readers: Iterable[RunReader]) -> None:
    """Let runs that were read once, and whose end is unknown, learn what Slurm knows of their jobs.

    One question for all of them. A viewer that stays does not wait for the answer.
    """
    if JOBS.refresh():
        for reader in readers:
            reader.judge()


def learn_jobs(refs: Iterable[RunRef]) -> None:
    """Ask Slurm once about the jobs of many runs, before they are looked at one by one."""
    if JOBS.can_ask():
        for ref in refs:
            open_run(ref, patient=False).glance()
        JOBS.refresh()


__all__ = [
    "SOURCES",
    "RunReader",
    "RunRef",
    "RunState",
    "Source",
    "ask_scheduler",
    "learn_jobs",
    "open_run",
    "recognise",
]
